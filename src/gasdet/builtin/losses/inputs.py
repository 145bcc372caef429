"""What the losses do to their inputs first: shapes are checked, and nothing is computed in less than float32."""

from __future__ import annotations

import torch
from torch import Tensor


def margins(logits: Tensor) -> Tensor:
    """``[B]``, at least float32: log P(synthetic) - log P(real). A third class is folded into synthetic.

    Args:
        logits: ``[B, 2]`` (real, synthetic) or ``[B, 3]`` (real, synthetic, semisynthetic), any float dtype.

    Raises:
        ValueError: Another shape.
    """
    if logits.ndim != 2 or logits.shape[1] not in (2, 3):
        raise ValueError(f"A loss takes logits [B, 2] or [B, 3], not {tuple(logits.shape)}.")
    logits = _precise(logits)
    return torch.logsumexp(logits[:, 1:], dim=1) - logits[:, 0]


def signed_margins(logits: Tensor, labels: Tensor) -> Tensor:
    """``[B]``: log p_t - log(1 - p_t), the logit of the sample's own class against the other.

    Raises:
        ValueError: The shapes do not fit.
    """
    margin = margins(logits)
    if labels.shape != margin.shape:
        raise ValueError(
            f"A loss takes logits [B, 2] or [B, 3] and labels [B], not {tuple(logits.shape)} and {tuple(labels.shape)}."
        )
    return torch.where(labels.bool(), margin, -margin)


def sample_weights(weights: Tensor | None, like: Tensor) -> Tensor:
    """``[B]`` in the dtype of ``like``: the weights, or ones.

    Raises:
        ValueError: There are not B weights.
    """
    if weights is None:
        return like.new_ones(like.shape[0])
    if weights.shape != like.shape[:1]:
        raise ValueError(f"A loss takes weights [B], not {tuple(weights.shape)} for B = {like.shape[0]}.")
    return weights.to(like.dtype)


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Scalar: sum(w v) / sum(w) over all elements; 0, with a gradient of 0, where all weights are 0 (or there are none)."""
    total = weights.sum()
    return (values * weights).sum() / torch.where(total > 0, total, torch.ones_like(total))


def _precise(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
