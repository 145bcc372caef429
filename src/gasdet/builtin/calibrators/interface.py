"""What a calibrator is, and what all of the built-in ones share."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from gasdet.builtin.tally import FloatArray
from gasdet.errors import MetricError

MIN_SLOPE = 0.01
MAX_SLOPE = 100.0
"""How flat and how steep a fitted map from margin to margin may be. Above 0, so that no ranking is lost."""


class Calibrator(ABC):
    """A function of the margin z = logit_synthetic - logit_real, with its parameters.

    A calibrator of a plugin need not derive from this class; it needs ``fit``, ``apply``, ``parameters``,
    ``from_parameters``, ``monotone`` and ``minimum_samples``.
    """

    monotone: ClassVar[bool]
    """Whether the map is strictly increasing, so that every ranking, and with it AUROC, stays."""

    minimum_samples: ClassVar[int]
    """How many real and how many synthetic samples a fit needs, each."""

    @classmethod
    @abstractmethod
    def fit(cls, logits: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Self:
        """Fit to a calibration split.

        Args:
            logits: [N, 2], (real, synthetic), finite.
            labels: [N], 0 or 1, both present.
            weights: [N], finite and at least 0; None counts each sample once.

        Raises:
            MetricError: The shapes do not fit, a value is not finite, or there is one class only.
        """

    @abstractmethod
    def margin(self, z: FloatArray) -> FloatArray:
        """The calibrated margin for each margin, float64 of any shape."""

    def apply(self, logits: npt.ArrayLike) -> FloatArray:
        """Calibrated logits, float64 [N, 2]: around the same centre, with the calibrated margin between them.

        Raises:
            MetricError: The logits are not finite or not [N, 2].
        """
        pair = checked_logits(logits)
        centre = pair.mean(axis=1)
        half = self.margin(pair[:, 1] - pair[:, 0]) / 2.0
        return np.stack([centre - half, centre + half], axis=1)

    def parameters(self) -> dict[str, Any]:
        """The fitted values, in types that JSON has."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Self:
        """The calibrator with these fitted values.

        Raises:
            MetricError: A value is missing, unknown or unusable.
        """
        known = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        if set(parameters) != known:
            raise MetricError(
                f"A {cls.__name__} calibrator has the parameters {', '.join(sorted(known))}, not "
                f"{', '.join(sorted(map(str, parameters))) or 'none'}."
            )
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in parameters.items()})

    def affine(self) -> tuple[float, float] | None:
        """(scale, bias) where the calibrated margin is scale * z + bias; None where it is something else."""
        return None

    def knots(self) -> tuple[FloatArray, FloatArray] | None:
        """(x, y), float64 [K] each, where the map runs straight from (x_k, y_k) to (x_k+1, y_k+1) and is level outside."""
        return None


def checked_logits(logits: npt.ArrayLike) -> FloatArray:
    """Logits as float64 [N, 2].

    Raises:
        MetricError: They are something else, or not finite.
    """
    pair = np.asarray(logits, dtype=np.float64)
    if pair.ndim != 2 or pair.shape[1] != 2 or not np.isfinite(pair).all():
        raise MetricError(
            f"Calibration takes finite logits [N, 2] in the order (real, synthetic), not an array {pair.shape}."
        )
    return pair


def calibration_data(
    logits: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Margins, labels and weights, float64 [N] each, of the samples that have weight.

    Raises:
        MetricError: The shapes do not fit, a value is not finite, or there is one class only.
    """
    pair = checked_logits(logits)
    y = np.asarray(labels, dtype=np.float64)
    w = np.ones(y.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if y.shape != pair.shape[:1] or w.shape != y.shape:
        raise MetricError(f"Logits, labels and weights do not fit: {pair.shape}, {y.shape}, {w.shape}.")
    if not np.isin(y, (0.0, 1.0)).all() or not (np.isfinite(w).all() and (w >= 0.0).all()):
        raise MetricError("Labels must be 0 or 1, and weights finite and at least 0.")
    counted = w > 0.0
    if np.unique(y[counted]).size < 2:
        raise MetricError(
            "A calibrator is fitted on real and synthetic samples; the calibration data has one class only."
        )
    return (pair[:, 1] - pair[:, 0])[counted], y[counted], w[counted]


def check_number(name: str, value: object, low: float, high: float) -> None:
    """Raise MetricError where a parameter is no number from ``low`` to ``high``."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not low <= float(value) <= high:  # type: ignore[arg-type]
        raise MetricError(f"A calibrator's {name} is a number from {low:g} to {high:g}, not {value!r}.")


def sigmoid(x: FloatArray) -> FloatArray:
    """The logistic function, without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


def softplus(x: FloatArray) -> FloatArray:
    """ln(1 + e^x), without overflow."""
    return np.asarray(np.logaddexp(0.0, x))


def root(increasing: Callable[[float], float], low: float, high: float) -> float:
    """Where an increasing function is 0 between two bounds; the bound that is nearest to it where it is 0 outside."""
    if increasing(low) >= 0.0:
        return low
    if increasing(high) <= 0.0:
        return high
    while True:
        middle = (low + high) / 2.0
        if middle in (low, high) or high - low <= 1e-13 * max(abs(low), abs(high)):
            return middle
        low, high = (middle, high) if increasing(middle) < 0.0 else (low, middle)
