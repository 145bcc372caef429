"""Beta calibration: a curve on the margin with a slope of its own on either side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from gasdet.builtin.calibrators.interface import (
    MAX_SLOPE,
    MIN_SLOPE,
    Calibrator,
    calibration_data,
    check_number,
    softplus,
)
from gasdet.builtin.calibrators.logistic import best_shift, fit_logistic, side_of
from gasdet.builtin.tally import FloatArray

_LARGEST = 1e9


@dataclass(frozen=True, slots=True)
class Beta(Calibrator):
    """Beta calibration (Kull et al. 2017): a ln p - b ln(1 - p) + c. It contains the identity, (1, 1, 0).

    On the margin, with ln p = -softplus(-z) and ln(1 - p) = -softplus(z), its slope runs from a on the far real side to b on
    the far synthetic side.

    Attributes:
        a: From 0.01 to 100.
        b: From 0.01 to 100. Kull et al. allow 0, where the curve ends level and loses ranking.
        c: Shift.
    """

    a: float = 1.0
    b: float = 1.0
    c: float = 0.0

    monotone: ClassVar[bool] = True
    minimum_samples: ClassVar[int] = 100

    def __post_init__(self) -> None:
        check_number("a", self.a, MIN_SLOPE, MAX_SLOPE)
        check_number("b", self.b, MIN_SLOPE, MAX_SLOPE)
        check_number("c", self.c, -_LARGEST, _LARGEST)

    @classmethod
    def fit(cls, logits: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Self:
        """The a, b, c with the smallest weighted negative log likelihood, by logistic regression within the bounds.

        Where a threshold tells the classes apart without an error, a and b are the upper bound (the lower one where the
        classes are exchanged), and c the best one with them.
        """
        z, y, w = calibration_data(logits, labels, weights)
        if side := side_of(z, y):
            slope = MAX_SLOPE if side > 0 else MIN_SLOPE
            return cls(slope, slope, best_shift(slope * z, y, w))
        design = np.stack([-softplus(-z), softplus(z), np.ones_like(z)], axis=1)
        # Each column in units of its own size: raw logits of hundreds would else make the equations ill-conditioned.
        size = np.array([max(float(np.abs(column).max()), 1e-12) for column in design.T])
        low = np.array([MIN_SLOPE, MIN_SLOPE, -np.inf]) * size
        high = np.array([MAX_SLOPE, MAX_SLOPE, np.inf]) * size
        start = np.clip(np.array([1.0, 1.0, 0.0]), low, high)
        found = fit_logistic(design / size, y, w, low, high, start) / size
        a, b = (min(max(float(v), MIN_SLOPE), MAX_SLOPE) for v in found[:2])
        return cls(a, b, float(found[2]))

    def margin(self, z: FloatArray) -> FloatArray:
        """The curve: a ln p - b ln(1 - p) + c."""
        return np.asarray(-self.a * softplus(-z) + self.b * softplus(z) + self.c)
