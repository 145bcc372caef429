"""Losses of single samples: functions of the probability p_t that the model gives to the sample's own class."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gasdet.builtin.losses.inputs import sample_weights, signed_margins, weighted_mean


def cross_entropy(
    logits: Tensor, labels: Tensor, weights: Tensor | None = None, *, label_smoothing: float = 0.0
) -> Tensor:
    """-(1 - s/2) log p_t - (s/2) log(1 - p_t), in nats, 0 or more; s is ``label_smoothing``.

    With s = 0 it is the negative log likelihood. With two logits it equals torch's ``cross_entropy`` with the same
    ``label_smoothing``. Source of the smoothing: Szegedy et al. 2016, arXiv 1512.00567, section 7.

    Args:
        logits: ``[B, 2]`` or ``[B, 3]``.
        labels: ``[B]``, 0 real or 1 synthetic.
        weights: ``[B]``, at least 0.
        label_smoothing: 0 to 1, share of the target that is spread evenly over real and synthetic.

    Raises:
        ValueError: Shapes or the option do not fit.
    """
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing must be from 0 to 1, not {label_smoothing}.")
    signed = signed_margins(logits, labels)
    losses = F.softplus(-signed)
    if label_smoothing:
        # log(1 - p_t) = log p_t - signed, so that one softplus is enough
        losses = losses + 0.5 * label_smoothing * signed
    return weighted_mean(losses, sample_weights(weights, signed))


def cross_entropy_optimum(label_smoothing: float = 0.0) -> float:
    """The margin towards its own class at which :func:`cross_entropy` of a sample is smallest: where p_t is 1 - s/2."""
    return math.log(2.0 / label_smoothing - 1.0) if label_smoothing else math.inf


def focal(
    logits: Tensor, labels: Tensor, weights: Tensor | None = None, *, gamma: float = 2.0, alpha: float | None = None
) -> Tensor:
    """-a_t (1 - p_t)^gamma log p_t, 0 or more; a_t is ``alpha`` for synthetic and 1 - ``alpha`` for real samples.

    With gamma = 0 and no alpha it is the cross-entropy. It is no proper score: it leaves p too near to 0.5. Source: Lin et
    al. 2017, arXiv 1708.02002, equation 5; there the mean is over the positive anchors, here over all samples.

    Args:
        logits: ``[B, 2]`` or ``[B, 3]``.
        labels: ``[B]``, 0 real or 1 synthetic.
        weights: ``[B]``, at least 0.
        gamma: 0 or more; how much samples that are right already are turned away from.
        alpha: 0 to 1, or None for a_t = 1.

    Raises:
        ValueError: Shapes or an option do not fit.
    """
    if alpha is not None and not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha must be from 0 to 1, not {alpha}.")
    signed = signed_margins(logits, labels)
    losses = _focal(signed, gamma)
    if alpha is not None:
        synthetic = labels.to(losses.dtype)
        losses = losses * (alpha * synthetic + (1.0 - alpha) * (1.0 - synthetic))
    return weighted_mean(losses, sample_weights(weights, signed))


def brier(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """(p - y)^2 = (1 - p_t)^2, where p is P(synthetic); 0 to 1, and 0.25 at p = 0.5. Source: Brier 1950.

    Args:
        logits: ``[B, 2]`` or ``[B, 3]``.
        labels: ``[B]``, 0 real or 1 synthetic.
        weights: ``[B]``, at least 0.

    Raises:
        ValueError: Shapes do not fit.
    """
    signed = signed_margins(logits, labels)
    return weighted_mean(torch.sigmoid(-signed) ** 2, sample_weights(weights, signed))


def focal_brier(
    logits: Tensor, labels: Tensor, weights: Tensor | None = None, *, gamma: float = 2.0, brier_weight: float = 1.0
) -> Tensor:
    """-(1 - p_t)^gamma log p_t + brier_weight (p - y)^2, 0 or more.

    The focal term turns away from samples that are already right but is no proper score; the Brier term is one, and pulls
    the probabilities back to calibrated ones. Sources: those of :func:`focal` and :func:`brier`.

    Args:
        logits: ``[B, 2]`` or ``[B, 3]``.
        labels: ``[B]``, 0 real or 1 synthetic.
        weights: ``[B]``, at least 0.
        gamma: 0 or more.
        brier_weight: 0 or more.

    Raises:
        ValueError: Shapes or an option do not fit.
    """
    if brier_weight < 0:
        raise ValueError(f"brier_weight must be at least 0, not {brier_weight}.")
    signed = signed_margins(logits, labels)
    losses = _focal(signed, gamma) + brier_weight * torch.sigmoid(-signed) ** 2
    return weighted_mean(losses, sample_weights(weights, signed))


def _focal(signed: Tensor, gamma: float) -> Tensor:
    if gamma < 0:
        raise ValueError(f"gamma must be at least 0, not {gamma}.")
    # (1 - p_t)^gamma through its logarithm: the derivative of a power below 1 is infinite at p_t = 1
    return torch.exp(-gamma * F.softplus(signed)) * F.softplus(-signed)
