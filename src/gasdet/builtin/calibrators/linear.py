"""Calibrators that are a straight line on the margin: a shift, a line by likelihood, and Platt's line."""

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
)
from gasdet.builtin.calibrators.logistic import best_shift, fit_logistic, side_of
from gasdet.builtin.tally import FloatArray

_LARGEST = 1e9


@dataclass(frozen=True, slots=True)
class Bias(Calibrator):
    """A shift: z + b. What is right where only the share of synthetic samples differs from that of the training.

    Attributes:
        bias: b, added to the margin.
    """

    bias: float = 0.0

    monotone: ClassVar[bool] = True
    minimum_samples: ClassVar[int] = 30

    def __post_init__(self) -> None:
        check_number("bias", self.bias, -_LARGEST, _LARGEST)

    @classmethod
    def fit(cls, logits: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Self:
        """The b with the smallest weighted negative log likelihood: the one at which mean probability and mean label agree."""
        return cls(best_shift(*calibration_data(logits, labels, weights)))

    def margin(self, z: FloatArray) -> FloatArray:
        """The margin moved: z + b."""
        return z + self.bias

    def affine(self) -> tuple[float, float]:
        """(1, b)."""
        return 1.0, self.bias


@dataclass(frozen=True, slots=True)
class TemperatureBias(Calibrator):
    """A line: scale * z + bias, fitted by the likelihood (the learnable calibrator of logits).

    Attributes:
        scale: From 0.01 to 100; 1 / T.
        bias: Added after it.
    """

    scale: float = 1.0
    bias: float = 0.0

    monotone: ClassVar[bool] = True
    minimum_samples: ClassVar[int] = 50

    def __post_init__(self) -> None:
        check_number("scale", self.scale, MIN_SLOPE, MAX_SLOPE)
        check_number("bias", self.bias, -_LARGEST, _LARGEST)

    @classmethod
    def fit(cls, logits: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Self:
        """Scale and bias with the smallest weighted negative log likelihood, the scale within its bounds.

        Where a threshold tells the classes apart without an error, the scale is the upper bound (the lower one where the
        classes are exchanged), and the bias the best one with it.
        """
        z, y, w = calibration_data(logits, labels, weights)
        if side := side_of(z, y):
            scale = MAX_SLOPE if side > 0 else MIN_SLOPE
            return cls(scale, best_shift(scale * z, y, w))
        return cls(*_line(z, y, w))

    def margin(self, z: FloatArray) -> FloatArray:
        """The line: scale * z + bias."""
        return self.scale * z + self.bias

    def affine(self) -> tuple[float, float]:
        """(scale, bias)."""
        return self.scale, self.bias


@dataclass(frozen=True, slots=True)
class Platt(TemperatureBias):
    """Platt scaling (Platt 1999): a line fitted to smoothed labels, so that it stays finite on separable data.

    The targets are (N+ + 1) / (N+ + 2) of the synthetic and 1 / (N- + 2) of the real samples, N+ and N- their numbers (sums of
    weights, scaled to the number of samples). It differs from ``TemperatureBias`` in nothing else.
    """

    @classmethod
    def fit(cls, logits: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Self:
        """Scale and bias with the smallest weighted cross-entropy to the smoothed labels."""
        z, y, w = calibration_data(logits, labels, weights)
        counts = w * (w.size / w.sum())
        synthetic, real = float(counts[y == 1].sum()), float(counts[y == 0].sum())
        targets = np.where(y == 1, (synthetic + 1.0) / (synthetic + 2.0), 1.0 / (real + 2.0))
        return cls(*_line(z, targets, w))


def _line(z: FloatArray, targets: FloatArray, weights: FloatArray) -> tuple[float, float]:
    """Slope and intercept by logistic regression; on standardised margins, whose scale then does not matter."""
    centre = float((weights * z).sum() / weights.sum())
    spread = float(np.sqrt((weights * (z - centre) ** 2).sum() / weights.sum())) or 1.0
    design = np.stack([(z - centre) / spread, np.ones_like(z)], axis=1)
    low = np.array([MIN_SLOPE * spread, -np.inf])
    high = np.array([MAX_SLOPE * spread, np.inf])
    start = np.clip(np.array([1.0, 0.0]), low, high)
    slope, intercept = fit_logistic(design, targets, weights, low, high, start)
    scale = min(max(float(slope) / spread, MIN_SLOPE), MAX_SLOPE)
    return scale, float(intercept) - scale * centre
