"""GenD before its training: a published encoder, or one from scratch where it is small. Not part of a bundle."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from gasdet_gend.model import GenD, Tensors, encoder_names, load_tensors, own_names

_UNUSED = re.compile(r"head\.(weight|bias)|mask_token")
"""Of timm's files: the classifier over or beside the pooled token, and what pretraining alone uses."""
_UNUSED_OF_CLIP = re.compile(r"text_model\..*|(text|visual)_projection\.weight|logit_scale|.*\.position_ids")


def build(weights: Path | None = None, /, **model: Any) -> nn.Module:
    """The detector with its published encoder and an untrained head, for the training.

    Args:
        weights: A safetensors file of the encoder as timm's hub has it, of CLIP (``openai/clip-vit-large-patch14``) or DINOv3
            as transformers names them, or of a GenD detector of pictures, ours or the authors': then its head is taken too.
            None for a small encoder, which starts from scratch.
        model: Keyword arguments of ``GenD`` but ``scratch``.

    Raises:
        ValueError: The file does not fit, or one is missing, or one is given where none belongs, or an argument is unusable.
    """
    if model.get("control", "none") != "none":
        raise ValueError("control is for evaluation; nothing is trained under it.")
    if weights is None:
        if "embed_dim" not in model:
            raise ValueError(
                "GenD needs its encoder's weights file, choose one with --backbone; only a small encoder "
                "(--set model.embed_dim=...) starts from scratch."
            )
        module = GenD(**model, scratch=True)
        start_with_dct(module.encoder.patch_embed.proj.weight)
        return module
    tensors = read_backbone(weights)
    if "qkv_bias" not in model and "encoder.blocks.0.attn.q_bias" in tensors:
        model["qkv_bias"] = True
    module = GenD(**model)
    own = {name: t for name, t in module.state_dict().items() if not name.startswith("encoder.")}
    load_tensors(module, {**own, **tensors}, str(weights))
    return module


def read_backbone(path: Path) -> Tensors:
    """The tensors of an encoder's file under this model's names, with the head's where it has been trained as GenD.

    Whether they are complete, and nothing else, is checked where they are loaded.

    Raises:
        ValueError: The file is no safetensors file, or it is a detector of clips.
    """
    try:
        tensors = load_file(str(path), device="cpu")
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is no safetensors file: {error}.") from None
    tensors = own_names(tensors, str(path))
    layers = tensors.pop("temporal_layers", torch.tensor(0))  # 0 of a detector of pictures
    if layers.any() or any(name.startswith(("temporal.", "calibration.")) for name in tensors):
        raise ValueError(
            f"{path} is a trained detector of clips or a calibrated one, not a backbone; start from it with --weights."
        )
    if any(name.startswith("encoder.cls_token") for name in tensors):
        return tensors
    is_clip = any(name.startswith("vision_model.") for name in tensors)
    unused = _UNUSED_OF_CLIP if is_clip else _UNUSED
    kept = {name: tensor for name, tensor in tensors.items() if not unused.fullmatch(name)}
    return {f"encoder.{name}": tensor for name, tensor in encoder_names(kept, str(path)).items()}


@torch.no_grad()
def start_with_dct(weight: torch.Tensor) -> None:
    """Set a patch embedding's first filters to DCT-II basis images, from low frequencies to high ones, in place.

    Two of three are of luma (BT.601) and one of colour differences; random filters, as they were, take what is left.

    Args:
        weight: ``[D, 3, P, P]``.
    """
    count, _, side, _ = weight.shape
    position = (torch.arange(side, dtype=torch.float64) + 0.5) * math.pi / side
    basis = torch.stack([torch.cos(position * k) for k in range(side)])
    basis = basis / basis.norm(dim=1, keepdim=True)
    luma, blue, red = (
        torch.tensor(v, dtype=torch.float64).view(3, 1, 1)
        for v in ([0.299, 0.587, 0.114], [-0.299, -0.587, 0.886], [0.701, -0.587, -0.114])
    )
    orders = sorted(((u, v) for u in range(side) for v in range(side)), key=lambda uv: (sum(uv), uv))
    images = [torch.outer(basis[u], basis[v]) for u, v in orders]
    filters = [luma * image for image in images[: 2 * count // 3]]
    colours = [colour * image for image in images for colour in (blue, red)]
    filters += colours[: count - len(filters)]
    scale = weight.std() * math.sqrt(3 * side * side)
    for place, kernel in enumerate(filters):
        weight[place] = (kernel / kernel.norm() * scale).to(weight.dtype)
