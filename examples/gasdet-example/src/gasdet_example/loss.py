"""Cross-entropy whose scores do not learn how many synthetic samples the training set has."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def logit_adjusted(
    logits: Tensor, labels: Tensor, weights: Tensor | None = None, *, prior: float = 0.5, tau: float = 1.0
) -> Tensor:
    """Mean cross-entropy of logits to which tau times the log of the training set's class shares is added.

    Menon et al. 2021, arXiv 2007.07314, equation 10. At test time the logits are used as they are.

    Args:
        logits: ``[B, 2]`` (real, synthetic).
        labels: ``[B]``, 0 or 1.
        weights: ``[B]``, or None for ones.
        prior: Share of synthetic samples in the training set, in (0, 1).
        tau: How much of it is taken out.

    Returns:
        A scalar; 0, with a gradient of 0, where all weights are 0.

    Raises:
        ValueError: The prior is no share.
    """
    if not 0.0 < prior < 1.0:
        raise ValueError(f"prior is a share between 0 and 1, not {prior!r}.")
    logits = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
    shares = torch.tensor([math.log(1.0 - prior), math.log(prior)], dtype=logits.dtype, device=logits.device)
    own = torch.nn.functional.cross_entropy(logits + tau * shares, labels, reduction="none")
    w = torch.ones_like(own) if weights is None else weights.to(own.dtype)
    total = w.sum()
    return (own * w).sum() / torch.where(total > 0, total, torch.ones_like(total))
