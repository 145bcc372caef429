"""What all properties together tell: gradient-boosted trees that see nothing else, judged on groups they did not see."""

from __future__ import annotations

import numpy as np

from gasdet.inspection.auditing.folds import Frame
from gasdet.inspection.auditing.separation import Reading
from gasdet.inspection.auditing.table import Column, FloatArray

ITERATIONS = 100
LEAVES = 15
LEARNING_RATE = 0.1


def held_out_scores(columns: list[Column], readings: list[Reading], frame: Frame, *, seed: int = 0) -> FloatArray:
    """P(synthetic) of every sample by a model of the other four folds.

    scikit-learn's HistGradientBoostingClassifier without early stopping. Missing values are values of their own; categories
    are taken as such, their rarer values as one.

    Args:
        columns: The properties; there may be none.
        readings: Of each, with a category's levels.
        frame: The folds.
        seed: Of the model.

    Returns:
        float64 [N], in the frame's order; 0.5 everywhere without properties.
    """
    size = frame.labels.size
    result = np.full(size, 0.5)
    if not columns:
        return result
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    inputs = np.empty((size, len(columns)))
    for place, (column, reading) in enumerate(zip(columns, readings, strict=True)):
        values = column.values[frame.order]
        inputs[:, place] = values if column.is_number else np.where(np.isnan(values), np.nan, reading.levels)
    categories = np.array([not column.is_number for column in columns])
    for block in frame.blocks:
        training = np.r_[0 : block.start, block.stop : size]
        model = HistGradientBoostingClassifier(
            learning_rate=LEARNING_RATE,
            max_iter=ITERATIONS,
            max_leaf_nodes=LEAVES,
            min_samples_leaf=int(np.clip(training.size // 15, 3, 20)),
            l2_regularization=1.0,
            categorical_features=categories,
            early_stopping=False,
            random_state=seed,
        )
        # Threads would wait for one another more than they work: beside a busy process that has as many, an audit of 80 files
        # took over 300 s instead of 4, and one of 20,000 took 88 s instead of 13.
        with threadpool_limits(1, user_api="openmp"):
            model.fit(inputs[training], frame.labels[training])
            result[block] = model.predict_proba(inputs[block])[:, 1]
    return result
