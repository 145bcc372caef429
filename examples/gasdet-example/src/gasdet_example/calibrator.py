"""A line on the margin that is fitted as if both classes were equally many: prior-weighted logistic regression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class PriorWeighted:
    """A line on the margin z = logit_synthetic - logit_real.

    Each class's weights are scaled to a half of the whole, so that the calibrated margin is a log likelihood ratio: add the log
    odds of whatever balance is met later. Bruemmer and du Preez 2006.
    """

    monotone: ClassVar[bool] = True
    minimum_samples: ClassVar[int] = 30

    def __init__(self, scale: float, bias: float) -> None:
        self.scale, self.bias = scale, bias

    @classmethod
    def fit(cls, logits: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Self:
        """Fit by maximum likelihood, with a slight pull of the scale towards 1 that keeps it finite.

        Args:
            logits: ``[N, 2]``, (real, synthetic).
            labels: ``[N]``, 0 or 1, both present.
            weights: ``[N]``, or None for ones.

        Raises:
            ValueError: The logits are not finite, or there is one class only.
        """
        z, y = _margin(logits), np.asarray(labels, dtype=np.float64)
        w = np.ones(y.shape) if weights is None else np.asarray(weights, dtype=np.float64)
        if np.unique(y[w > 0]).size < 2:
            raise ValueError("example-prior-weighted is fitted on real and synthetic samples; there is one class only.")
        total = w.sum()
        w = np.where(y == 1, w / w[y == 1].sum(), w / w[y == 0].sum()) * total / 2.0
        inputs = np.stack([z, np.ones_like(z)], axis=1)
        values = np.array([1.0, 0.0])
        for _ in range(50):
            p = 0.5 * (1.0 + np.tanh(0.5 * (inputs @ values)))
            gradient = inputs.T @ (w * (p - y)) + np.array([1e-3 * (values[0] - 1.0), 0.0])
            curvature = (inputs * (w * np.maximum(p * (1.0 - p), 1e-9))[:, None]).T @ inputs + np.diag([1e-3, 1e-9])
            step = np.linalg.solve(curvature, gradient)
            values = values - step / max(1.0, float(np.abs(step).max()))
        return cls(float(np.clip(values[0], 0.01, 100.0)), float(values[1]))

    def apply(self, logits: npt.ArrayLike) -> Floats:
        """Calibrated logits ``[N, 2]``, around the same centre."""
        pair = np.asarray(logits, dtype=np.float64)
        half = (self.scale * _margin(pair) + self.bias) / 2.0
        centre = pair.mean(axis=1)
        return np.stack([centre - half, centre + half], axis=1)

    def parameters(self) -> dict[str, Any]:
        """The fitted values, in types that JSON has."""
        return {"scale": self.scale, "bias": self.bias}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Self:
        """The calibrator with these values."""
        return cls(float(parameters["scale"]), float(parameters["bias"]))

    def affine(self) -> tuple[float, float]:
        """(scale, bias), so that a bundle can hold it."""
        return self.scale, self.bias


def _margin(logits: npt.ArrayLike) -> Floats:
    pair = np.asarray(logits, dtype=np.float64)
    if pair.ndim != 2 or pair.shape[1] != 2 or not np.isfinite(pair).all():
        raise ValueError(f"example-prior-weighted takes finite logits [N, 2], not an array {pair.shape}.")
    return np.asarray(pair[:, 1] - pair[:, 0])
