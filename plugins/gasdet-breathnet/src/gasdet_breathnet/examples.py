"""Random outputs of the model, on which the conformance kit calls the loss that takes them."""

from __future__ import annotations

import torch
from torch import Tensor

_FRAMES = 10


def breath_outputs(labels: Tensor, seed: int) -> dict[str, Tensor]:
    """``breath_logits`` and ``breath_targets`` ``[B, 10]`` for labels ``[B]``, drawn from a seed; some targets are unknown."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(labels), _FRAMES)
    targets = torch.randint(-1, 2, shape, generator=generator)
    targets[:, 0] = 1  # so that every batch has a frame that is known
    return {"breath_logits": torch.randn(shape, generator=generator), "breath_targets": targets}
