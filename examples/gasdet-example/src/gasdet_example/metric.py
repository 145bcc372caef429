"""The partial AUROC: how well a detector ranks where few real samples may be accused."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MAX_FPR = 0.1


def partial_auroc(labels: npt.ArrayLike, scores: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Area under the ROC curve up to a false positive rate of 10 %, standardised by McClish: 0.5 is chance, 1 perfect.

    Args:
        labels: ``[N]``, 0 real or 1 synthetic.
        scores: ``[N]``, P(synthetic).
        weights: ``[N]``, at least 0; a weight of k counts like k copies.

    Returns:
        nan where a class is absent.

    Raises:
        ValueError: A score is no probability.
    """
    y, p = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    w = np.ones(y.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if not ((p >= 0.0) & (p <= 1.0)).all():  # also where one is NaN
        raise ValueError("example-partial-auroc takes probabilities, 0 to 1.")
    real, synthetic = w * (y == 0), w * (y == 1)
    if not real.sum() or not synthetic.sum():
        return float("nan")
    order = np.argsort(-p, kind="stable")
    last = np.append(np.diff(p[order]) != 0, True)  # equal scores are one step of the curve
    fpr = np.concatenate([[0.0], np.cumsum(real[order])[last] / real.sum()])
    tpr = np.concatenate([[0.0], np.cumsum(synthetic[order])[last] / synthetic.sum()])
    end = np.interp(MAX_FPR, fpr, tpr) if MAX_FPR not in fpr else tpr[fpr == MAX_FPR].max()
    inside = fpr <= MAX_FPR
    x, v = np.append(fpr[inside], MAX_FPR), np.append(tpr[inside], end)
    area = float(((x[1:] - x[:-1]) * (v[1:] + v[:-1]) / 2).sum())
    least, most = MAX_FPR**2 / 2, MAX_FPR
    return 0.5 * (1.0 + (area - least) / (most - least))


def by_scikit_learn(labels: npt.ArrayLike, scores: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """The same by scikit-learn, with which the conformance kit compares it."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels, scores, sample_weight=weights, max_fpr=MAX_FPR))
