"""Random outputs of the model, on which the conformance kit calls the losses that take them."""

from __future__ import annotations

import torch
from torch import Tensor

from gasdet_gend.losses import FRAME_EMBEDDINGS, FRAME_OUTPUT

_WIDTH = 8


def frame_outputs(labels: Tensor, seed: int) -> dict[str, Tensor]:
    """Log probabilities ``[B, 2]`` and embeddings ``[B, 8]`` of frames for labels ``[B]``, drawn from a seed."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(labels), 2, generator=generator)
    return {
        FRAME_OUTPUT: torch.log_softmax(logits, dim=1),
        FRAME_EMBEDDINGS: torch.randn(len(labels), _WIDTH, generator=generator),
    }
