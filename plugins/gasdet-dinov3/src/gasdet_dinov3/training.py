"""The detector before its training: a published transformer and a new head, or all of it new. Not part of a bundle."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gasdet_dinov3.backbones import read_backbone
from gasdet_dinov3.model import (
    IMAGENET_STD,
    Architecture,
    DINOv3,
    named_architecture,
    pixel_statistics,
)

SCRATCH = "vit_small_patch16_dinov3"
"""The architecture that a transformer of one's own size is a variant of, unless another is named."""


def build(
    weights: Path | None = None,
    /,
    backbone: str | None = None,
    head: str = "concat",
    pooling: str | None = None,
    share: float | None = None,
    temperature: float | None = None,
    embed_dim: int | None = None,
    depth: int | None = None,
    num_heads: int | None = None,
    patch_size: int | None = None,
    grid: int | None = None,
) -> nn.Module:
    """The detector with an untrained head.

    Args:
        weights: A transformer's safetensors file, see ``read_backbone``: a published one, or of the stated size. None makes a
            new one of that size, which is then trained from scratch.
        backbone: timm's name; None takes what the file holds.
        head: See ``DINOv3``; likewise all below.
        pooling: Of the patch head.
        share: Of its ``topk``.
        temperature: Of its ``lse``.
        embed_dim: See ``Architecture``; over the named backbone's. Likewise all below.
        depth: Number of blocks.
        num_heads: Attention heads.
        patch_size: In pixels.
        grid: Of DINOv2's positions.

    Raises:
        ValueError: The file does not fit or is not the named backbone; there is neither a file nor a size; or an argument
            is unusable.
    """
    size = {"embed_dim": embed_dim, "depth": depth, "num_heads": num_heads, "patch_size": patch_size, "grid": grid}
    stated: dict[str, Any] = {name: value for name, value in size.items() if value is not None}
    if weights is None and not stated:
        raise ValueError(
            "a backbone needs its weights file, choose one with --backbone; or state the size of one that is trained from "
            "scratch, e.g. model.embed_dim=192."
        )
    named = None if backbone is None else dataclasses.replace(named_architecture(backbone), **stated)
    mean, std = pixel_statistics(backbone or SCRATCH)
    tensors: dict[str, Tensor] = {}
    if weights is None:
        architecture = named or dataclasses.replace(named_architecture(SCRATCH), **stated)
    else:
        architecture, tensors = read_backbone(weights, stated, named)
    module = DINOv3(architecture, head, pooling, share, temperature, mean, std)
    if weights is None:
        start_from_scratch(module, architecture)
    else:
        module.backbone.load_state_dict(tensors, strict=True)
    return module


@torch.no_grad()
def start_from_scratch(module: DINOv3, architecture: Architecture) -> None:
    """Make a small transformer learn within minutes what a large one was pretrained for.

    The patch embedding starts as a bank of cosines (see ``cosine_filters``) and not as noise, and the layer scales start at 1
    and not at 1e-5, which is made for very deep ones.
    """
    for name, parameter in module.backbone.named_parameters():
        if name.rpartition(".")[2] in ("gamma_1", "gamma_2", "gamma"):
            nn.init.ones_(parameter)
    embed = module.backbone.patch_embed.proj
    filters = cosine_filters(architecture.patch_size)[: architecture.embed_dim]
    embed.weight[: len(filters)] = filters
    nn.init.zeros_(embed.bias)


def cosine_filters(patch: int) -> Tensor:
    """Two-dimensional DCT-II basis images for normalised RGB.

    Brightness comes first, then the two colour differences, each with its low frequencies first.

    A picture's amplitudes fall off with the frequency; each filter is multiplied by its distance from frequency 0, so that
    what it gives is about as large as the others'.

    Returns:
        float32 ``[3 patch^2, 3, patch, patch]``.
    """
    position = (torch.arange(patch, dtype=torch.float64) + 0.5) * math.pi / patch
    basis = torch.stack([torch.cos(position * k) for k in range(patch)])
    basis = basis / basis.norm(dim=1, keepdim=True)
    luma = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
    colours = [luma, torch.tensor([0.0, 0.0, 1.0]) - luma, torch.tensor([1.0, 0.0, 0.0]) - luma]
    std = torch.tensor(IMAGENET_STD, dtype=torch.float64)
    order = sorted(((u, v) for u in range(patch) for v in range(patch)), key=lambda f: (f[0] ** 2 + f[1] ** 2, f))
    filters = []
    for colour in colours:
        weights = (colour * std / std.mean()).view(3, 1, 1)
        for u, v in order:
            gain = math.hypot(u, v) if u or v else 0.2
            filters.append(weights * torch.outer(basis[u], basis[v]) * gain)
    return torch.stack(filters).float()
