"""Logistic regression with few parameters in fixed bounds, and what it has for an answer where there is no minimum."""

from __future__ import annotations

import numpy as np

from gasdet.builtin.calibrators.interface import root, sigmoid, softplus
from gasdet.builtin.tally import FloatArray

MAX_STEPS = 200
_BEYOND = 50.0
"""So far beyond the outermost margin a shift has put every sample on one side, as far as a sum's rounding can tell."""
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


def side_of(z: FloatArray, labels: FloatArray) -> int:
    """1 where a threshold on the margin tells the classes apart without an error, -1 where it does exchanged, else 0.

    In the first case every steeper line through that threshold has a smaller loss, so that there is no minimum (in the
    second, every flatter one): the best slope is the bound, which Newton's steps do not reach, as the gradient vanishes.
    """
    real, synthetic = z[labels == 0], z[labels == 1]
    if z.min() == z.max():
        return 0
    if real.max() <= synthetic.min():
        return 1
    return -1 if synthetic.max() <= real.min() else 0


def best_shift(z: FloatArray, labels: FloatArray, weights: FloatArray) -> float:
    """The b with the smallest weighted negative log likelihood of sigmoid(z + b): mean probability and mean label agree.

    That is where the real samples' probabilities add up to what the synthetic samples' lack to 1. The sums are compared in
    their logarithm, which has a sign where the sums themselves vanish.
    """
    real = labels == 0
    log_weights = np.log(weights)

    def excess(b: float) -> float:
        wrong = log_weights - softplus(np.where(real, -z - b, z + b))
        return float(np.logaddexp.reduce(wrong[real]) - np.logaddexp.reduce(wrong[~real]))

    return root(excess, -float(z.max()) - _BEYOND, -float(z.min()) + _BEYOND)
