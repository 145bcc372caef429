"""Losses of a whole batch: differentiable stand-ins for MCC and for the combined score, through soft counts."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gasdet.builtin.losses.inputs import margins, sample_weights, weighted_mean

FLOOR = 1e-3
"""(1 + MCC) / 2 and 1 - 4 Brier count as at least this, so that their logarithms stay finite; below, they have no gradient."""

_UNDER_ROOT = 1e-20
"""Added to the product of the margins, each a share of all weight: far below it even where a class has a millionth of the
weight, and far above what float64 rounds."""


class Counts(NamedTuple):
    """Weights of samples by decision and label, each ``[...]``: sums over a batch, or expected ones."""

    tp: Tensor
    fp: Tensor
    fn: Tensor
    tn: Tensor


def counts(decisions: Tensor, labels: Tensor, weights: Tensor) -> Counts:
    """Confusion counts of decisions, hard or soft.

    Args:
        decisions: ``[..., B]`` in [0, 1]: 1 for synthetic, or the probability of that decision.
        labels: ``[B]``, 0 real or 1 synthetic.
        weights: ``[B]``, at least 0.
    """
    synthetic = weights * labels.to(weights.dtype)
    real = weights - synthetic
    tp, fp = (decisions * synthetic).sum(dim=-1), (decisions * real).sum(dim=-1)
    return Counts(tp, fp, synthetic.sum() - tp, real.sum() - fp)


def mcc_of(table: Counts) -> Tensor:
    """Matthews' correlation ``[...]``: (tp tn - fp fn) / sqrt((tp + fp)(tp + fn)(tn + fp)(tn + fn) + 1e-20).

    The counts are taken as shares of their sum, so that the weights' scale has no effect. Where a margin is empty it is 0, as
    the metric is. The 1e-20 keeps the gradient finite there.
    """
    total = (table.tp + table.fp + table.fn + table.tn).detach()
    tp, fp, fn, tn = (count / torch.where(total > 0, total, 1.0) for count in table)
    margin = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return (tp * tn - fp * fn) / torch.sqrt(margin.clamp(min=0.0) + _UNDER_ROOT)


def soft_mcc(logits: Tensor, labels: Tensor, weights: Tensor | None = None, *, tau: float = 1.0) -> Tensor:
    """1 - MCC of the soft counts, 0 to 2: tp = sum w y pi, fp = sum w (1 - y) pi and so on, pi = sigmoid(margin / tau).

    With tau towards 0 it becomes 1 minus the metric. A batch of one class gets 1, with a gradient of 0. Source: Abhishek and
    Hamarneh 2020, arXiv 2010.13454, there for pixels and with tau = 1.

    Args:
        logits: ``[B, 2]`` or ``[B, 3]``.
        labels: ``[B]``, 0 real or 1 synthetic.
        weights: ``[B]``, at least 0.
        tau: Above 0.

    Raises:
        ValueError: Shapes or the option do not fit.
    """
    table = _soft(logits, labels, weights, tau)
    return (1.0 - mcc_of(table)).to(margins(logits).dtype)


def combined_score(logits: Tensor, labels: Tensor, weights: Tensor | None = None, *, tau: float = 1.0) -> Tensor:
    """-0.6 log max((1 + M) / 2, 1e-3) - 0.9 log max(1 - 4 B, 1e-3), 0 to 10.4: minus the logarithm of the combined score.

    M is the MCC of the soft counts as in :func:`soft_mcc`, B the mean of (p - y)^2 with p = sigmoid(margin), whatever tau. For
    B of 0.25 or more the second part has no gradient: start from a model that is better than chance. In a batch of one class
    M is 0 and B alone has a gradient. The score itself is GASBench's ``sn34_score``.

    Args:
        logits: ``[B, 2]`` or ``[B, 3]``.
        labels: ``[B]``, 0 real or 1 synthetic.
        weights: ``[B]``, at least 0.
        tau: Above 0.

    Raises:
        ValueError: Shapes or the option do not fit.
    """
    z = margins(logits)
    m = mcc_of(_soft(logits, labels, weights, tau)).to(z.dtype)
    b = weighted_mean((torch.sigmoid(z) - labels.to(z.dtype)) ** 2, sample_weights(weights, z))
    return -(log_decision(m) + log_calibration(b))


def log_decision(mcc: Tensor) -> Tensor:
    """0.6 log max((1 + MCC) / 2, 1e-3): what decisions add to the logarithm of the combined score."""
    return 0.6 * ((1.0 + mcc) / 2.0).clamp(min=FLOOR).log()


def log_calibration(brier: Tensor) -> Tensor:
    """0.9 log max(1 - 4 Brier, 1e-3): what probabilities add to the logarithm of the combined score."""
    return 0.9 * (1.0 - 4.0 * brier).clamp(min=FLOOR).log()


def _soft(logits: Tensor, labels: Tensor, weights: Tensor | None, tau: float) -> Counts:
    """The soft counts in float64: a margin is a small difference of large sums where all decisions are alike."""
    if tau <= 0:
        raise ValueError(f"tau must be above 0, not {tau}.")
    z = margins(logits)
    if labels.shape != z.shape:
        raise ValueError(f"A loss takes logits and labels of one length, not {len(z)} and {tuple(labels.shape)}.")
    z = z.double()
    return counts(torch.sigmoid(z / tau), labels, sample_weights(weights, z))
