"""Isotonic regression: the best non-decreasing map, by pooling adjacent violators."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from gasdet.builtin.calibrators.interface import Calibrator, calibration_data, check_number
from gasdet.builtin.tally import FloatArray
from gasdet.errors import MetricError

_LARGEST = 1e9


@dataclass(frozen=True, slots=True)
class Isotonic(Calibrator):
    """Isotonic regression (Zadrozny and Elkan 2002): steps, pooled by scikit-learn, with the ends kept off 0 and 1.

    The map runs through the ends of each step, straight in the margin between two steps, and level outside. Probabilities are
    clipped to [1 / (n + 2), 1 - 1 / (n + 2)], n the number of samples, since a step of samples of one class would else be sure.
    Steps are ties: no pair of samples changes its order, but some become equal, which moves AUROC.

    Attributes:
        x: Margins, strictly ascending, K of them.
        y: Calibrated margins, ascending.
    """

    x: tuple[float, ...] = (0.0,)
    y: tuple[float, ...] = (0.0,)

    monotone: ClassVar[bool] = False
    minimum_samples: ClassVar[int] = 500

    def __post_init__(self) -> None:
        for name, values in (("x", self.x), ("y", self.y)):
            if not isinstance(values, tuple) or not values:
                raise MetricError(f"An isotonic calibrator's {name} is a list of numbers.")
            for value in values:
                check_number(name, value, -_LARGEST, _LARGEST)
        ascending = all(a < b for a, b in pairwise(self.x)) and all(a <= b for a, b in pairwise(self.y))
        if len(self.x) != len(self.y) or not ascending:
            raise MetricError("An isotonic calibrator's x and y are of one length and ascending, x strictly.")

    @classmethod
    def fit(cls, logits: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Self:
        """The non-decreasing steps with the smallest weighted squared error to the labels."""
        from sklearn.isotonic import isotonic_regression

        z, y, w = calibration_data(logits, labels, weights)
        # What differs by less is the rounding of a model in float32, and equal.
        x, place = np.unique(np.round(z, 6), return_inverse=True)
        mass = np.bincount(place, weights=w)
        share = np.bincount(place, weights=w * y) / mass
        p = np.asarray(isotonic_regression(share, sample_weight=mass), dtype=np.float64)
        end = 1.0 / (z.size + 2.0)
        p = np.clip(p, end, 1.0 - end)
        same = np.isclose(np.diff(p), 0.0, rtol=0.0, atol=1e-12)
        inner = np.zeros(x.size, dtype=np.bool_)
        inner[1:-1] = same[:-1] & same[1:]  # inside a step: the line through its ends has it already
        x, p = x[~inner], p[~inner]
        calibrated = np.maximum.accumulate(np.log(p) - np.log1p(-p))
        return cls(tuple(map(float, x)), tuple(map(float, calibrated)))

    def margin(self, z: FloatArray) -> FloatArray:
        """Straight lines between the knots, level outside."""
        return np.asarray(np.interp(z, self.x, self.y))

    def knots(self) -> tuple[FloatArray, FloatArray]:
        """(x, y)."""
        return np.array(self.x), np.array(self.y)
