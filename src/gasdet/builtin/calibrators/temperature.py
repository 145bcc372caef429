"""Temperature scaling, and the sweep over temperatures that the combined score decides."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from gasdet.builtin.calibrators.interface import (
    Calibrator,
    calibration_data,
    check_number,
    checked_logits,
    root,
    sigmoid,
)
from gasdet.builtin.metrics import brier, combined_score
from gasdet.builtin.tally import FloatArray

MIN_TEMPERATURE = 0.01
MAX_TEMPERATURE = 100.0


@dataclass(frozen=True, slots=True)
class Temperature(Calibrator):
    """Temperature scaling (Guo et al. 2017): logits / T. Keeps every decision and, apart from rounding, every ranking.

    Attributes:
        temperature: T, from 0.01 to 100. Above 1 where the detector was too sure.
    """

    temperature: float = 1.0

    monotone: ClassVar[bool] = True
    minimum_samples: ClassVar[int] = 30

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature, MIN_TEMPERATURE, MAX_TEMPERATURE)

    @classmethod
    def fit(cls, logits: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Temperature:
        """The T with the smallest weighted mean negative log likelihood.

        The likelihood is convex in 1 / T, so that its derivative has one zero; it is found by bisection. Where it has none
        within the bounds (every sample on its own side of 0.5; or a detector that is worse than chance), T is the bound.

        Args:
            logits: [N, 2], (real, synthetic), finite.
            labels: [N], 0 or 1, both present.
            weights: [N], finite and at least 0; None counts each sample once.

        Raises:
            MetricError: The shapes do not fit, a value is not finite, or there is one class only.
        """
        z, y, w = calibration_data(logits, labels, weights)
        right = z * (2.0 * y - 1.0)

        def slope(inverse: float) -> float:
            """Derivative of the summed negative log likelihood with respect to 1 / T."""
            return float(-(w * right * sigmoid(-inverse * right)).sum())

        inverse = root(slope, 1.0 / MAX_TEMPERATURE, 1.0 / MIN_TEMPERATURE)
        return cls(min(max(1.0 / inverse, MIN_TEMPERATURE), MAX_TEMPERATURE))

    def margin(self, z: FloatArray) -> FloatArray:
        """The margin divided by T."""
        return z / self.temperature

    def apply(self, logits: npt.ArrayLike) -> FloatArray:
        """Calibrated logits, float64 [N, 2]: both divided by T."""
        return checked_logits(logits) / self.temperature

    def affine(self) -> tuple[float, float]:
        """(1 / T, 0)."""
        return 1.0 / self.temperature, 0.0


SWEEP = tuple(float(t) for t in np.round(10.0 ** (np.arange(-20, 21) / 20.0), 6))
"""The temperatures of the sweep: 41 from 0.1 to 10, equally spaced in their logarithm, 1 among them."""


@dataclass(frozen=True, slots=True)
class TemperatureSweep(Temperature):
    """The temperature of a fixed grid with the best combined score.

    Of equally good ones it is the one with the smallest Brier score (the combined score is 0 for every Brier score from 0.25
    on), then the one nearest to 1. A temperature moves no decision, so that this is a search for the smallest Brier score; on
    separable data it goes no further than the grid.
    """

    @classmethod
    def fit(
        cls, logits: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike | None = None
    ) -> TemperatureSweep:
        """The grid's temperature with the best weighted combined score. Arguments and errors as of ``Temperature.fit``."""
        z, y, w = calibration_data(logits, labels, weights)

        def merit(t: float) -> tuple[float, float, float]:
            p = sigmoid(z / t)
            return round(combined_score(y, p, w), 12), -round(brier(y, p, w), 12), -abs(math.log(t))

        return cls(max(SWEEP, key=merit))
