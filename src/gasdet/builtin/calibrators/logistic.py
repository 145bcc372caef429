"""Logistic regression with few parameters in fixed bounds: what Platt, temperature with bias, and beta are fitted by."""

from __future__ import annotations

import numpy as np

from gasdet.builtin.calibrators.interface import sigmoid, softplus
from gasdet.builtin.tally import FloatArray

MAX_STEPS = 200
_TOLERANCE = 1e-10


def fit_logistic(
    design: FloatArray, targets: FloatArray, weights: FloatArray, low: FloatArray, high: FloatArray, start: FloatArray
) -> FloatArray:
    """The coefficients with the smallest weighted mean cross-entropy of sigmoid(design @ coefficients).

    Projected Newton steps (Bertsekas 1982): a coefficient that is at a bound and pushed against it is held there, the others
    take a Newton step, halved until the loss falls. The loss is convex, so that there is one minimum to be found.

    Args:
        design: [N, K].
        targets: [N], from 0 to 1.
        weights: [N], at least 0, not all 0.
        low: [K], lower bounds; -inf for none.
        high: [K], upper bounds.
        start: [K], within the bounds.
    """
    w = weights / weights.sum()
    theta = start.copy()

    def loss(coefficients: FloatArray) -> float:
        logits = design @ coefficients
        return float((w * (softplus(logits) - targets * logits)).sum())

    best = loss(theta)
    for _ in range(MAX_STEPS):
        p = sigmoid(design @ theta)
        gradient = design.T @ (w * (p - targets))
        held = ((theta <= low) & (gradient > 0.0)) | ((theta >= high) & (gradient < 0.0))
        free = np.flatnonzero(~held)
        if not free.size or np.abs(gradient[free]).max() < 1e-15:
            break
        hessian = (design[:, free] * (w * p * (1.0 - p))[:, None]).T @ design[:, free]
        hessian += np.eye(free.size) * (1e-12 * max(float(np.trace(hessian)), 1e-6))
        step = np.zeros_like(theta)
        step[free] = np.linalg.solve(hessian, gradient[free])
        rate, moved = 1.0, theta
        while rate > 1e-12:
            moved = np.clip(theta - rate * step, low, high)
            value = loss(moved)
            if value < best:
                break
            rate /= 2.0
        else:
            break
        done = np.abs(moved - theta).max() <= _TOLERANCE * (1.0 + np.abs(theta).max())
        theta, best = moved, value
        if done:
            break
    return theta
