"""Published wav2vec 2.0 weights into the detector, before its training. Not part of a bundle.

One architecture is published under three sets of names: torchaudio's, Hugging Face transformers', fairseq's. Each is mapped
name by name; parts that only the pretraining uses are left out by their names, and whatever else is missing or left over is an
error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from gasdet_breathnet.model import BreathNet, load_tensors

CONVERT_PICKLE = (
    "convert it once, outside of gasdet: state = torch.load(FILE, map_location='cpu', weights_only=True); "
    "safetensors.torch.save_file({k: v.clone().contiguous() for k, v in state.get('model', state).items()}, "
    "'xls-r-300m.safetensors')"
)

_POSITION = "encoder.transformer.pos_conv_embed.conv"
_LENGTHS = ("weight_g", "parametrizations.weight.original0")
_DIRECTIONS = ("weight_v", "parametrizations.weight.original1")

_PRETRAINING = {
    "torchaudio": (),
    "transformers": ("masked_spec_embed", "quantizer.", "project_hid.", "project_q."),
    "fairseq": ("mask_emb", "quantizer.", "project_q.", "final_proj."),
}
"""Beginnings of the names of tensors that masking and the contrastive task alone use."""

_RENAMED: dict[str, tuple[tuple[str, str], ...]] = {
    "torchaudio": (),
    "transformers": (
        (r"feature_projection\.", "encoder.feature_projection."),
        (r"encoder\.", "encoder.transformer."),
    ),
    "fairseq": (
        (r"feature_extractor\.conv_layers\.(\d+)\.0\.", r"feature_extractor.conv_layers.\1.conv."),
        (r"feature_extractor\.conv_layers\.(\d+)\.2\.1\.", r"feature_extractor.conv_layers.\1.layer_norm."),
        (r"post_extract_proj\.", "encoder.feature_projection.projection."),
        (r"layer_norm\.", "encoder.feature_projection.layer_norm."),
        (r"encoder\.pos_conv\.0\.", f"{_POSITION}."),
        (r"encoder\.layer_norm\.", "encoder.transformer.layer_norm."),
        (r"encoder\.layers\.(\d+)\.self_attn_layer_norm\.", r"encoder.transformer.layers.\1.layer_norm."),
        (r"encoder\.layers\.(\d+)\.self_attn\.", r"encoder.transformer.layers.\1.attention."),
        (r"encoder\.layers\.(\d+)\.fc1\.", r"encoder.transformer.layers.\1.feed_forward.intermediate_dense."),
        (r"encoder\.layers\.(\d+)\.fc2\.", r"encoder.transformer.layers.\1.feed_forward.output_dense."),
        (r"encoder\.layers\.(\d+)\.final_layer_norm\.", r"encoder.transformer.layers.\1.final_layer_norm."),
    ),
}
"""Beginnings of names by the first that matches, in torchaudio's."""


def build(weights: Path | None = None, /, **model: Any) -> nn.Module:
    """The detector with its published encoder and untrained everything else, for the training.

    Args:
        weights: A safetensors file of XLS-R 300M under torchaudio's, transformers' or fairseq's names. None starts from random
            numbers, which is allowed where ``embed_dim`` or ``num_layers`` is named.
        model: Keyword arguments of ``BreathNet``.

    Raises:
        ValueError: The file does not fit, or one is missing, or an argument is unusable.
    """
    if weights is None and not {"embed_dim", "num_layers"} & set(model):
        raise ValueError("XLS-R 300M needs its weights file; choose one with --backbone.")
    module = BreathNet(**model)
    if weights is None:
        return module
    load_tensors(module.backbone, read_backbone(weights), str(weights))
    return module


def read_backbone(path: Path) -> dict[str, Tensor]:
    """The encoder's tensors under this model's names (torchaudio's), float32.

    Raises:
        ValueError: The file is no safetensors file, its names are none of the three, or a tensor holds no numbers that
            weights can be.
    """
    try:
        tensors = load_file(str(path), device="cpu")
    except (SafetensorError, OSError) as error:
        with Path(path).open("rb") as file:
            head = file.read(4)
        if head.startswith((b"PK\x03\x04", b"\x80")):
            raise ValueError(f"{path} is a pickle, which is never loaded here; {CONVERT_PICKLE}.") from None
        raise ValueError(f"{path} is no safetensors file: {error}.") from None
    found = converted(tensors, str(path))
    unusable = [name for name, t in found.items() if not t.is_floating_point() or not t.isfinite().all()]
    if unusable:
        raise ValueError(
            f"{path} holds whole numbers, NaN or infinities where weights belong: {', '.join(unusable[:20])}."
        )
    return {name: tensor.float() for name, tensor in found.items()}


def converted(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Tensors under torchaudio's names, with the positional convolution's weight in one tensor.

    Whether they are complete is checked where they are loaded; what has no place there keeps its name, so that it is told.

    Raises:
        ValueError: The names are none of the three.
    """
    plain = {re.sub(r"^(wav2vec2|w2v_model)\.", "", name): name for name in tensors}
    if len(plain) < len(tensors):
        raise ValueError(f"{where} holds two sets of tensors under the same names, with and without a prefix.")
    style = _style(plain)
    if style is None:
        raise ValueError(
            f"{where} is no wav2vec 2.0 encoder under torchaudio's, transformers' or fairseq's names; it begins with "
            f"{', '.join(sorted(tensors)[:3]) or 'no tensor'}."
        )
    found = {
        _renamed(name, style): tensors[original]
        for name, original in plain.items()
        if not name.startswith(_PRETRAINING[style])
    }
    return _joined(found)


def _style(names: Mapping[str, str]) -> str | None:
    tells: dict[str, Callable[[str], bool]] = {
        "torchaudio": lambda name: name.startswith(("encoder.transformer.", "encoder.feature_projection.")),
        "transformers": lambda name: name.startswith("feature_projection.") or ".attention.k_proj." in name,
        "fairseq": lambda name: name.startswith("post_extract_proj.") or ".self_attn.k_proj." in name,
    }
    return next((style for style, tell in tells.items() if any(tell(name) for name in names)), None)


def _renamed(name: str, style: str) -> str:
    for pattern, replacement in _RENAMED[style]:
        new, count = re.subn(f"^{pattern}", replacement, name)
        if count:
            return new
    return name


def _joined(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The positional convolution's length ``[1, 1, K]`` and direction ``[C, C / groups, K]`` multiplied to its weight.

    Files name them in torch's old or new way. A pair that does not fit stays as it is.
    """
    for length, direction in zip(_LENGTHS, _DIRECTIONS, strict=True):
        g, v = tensors.get(f"{_POSITION}.{length}"), tensors.get(f"{_POSITION}.{direction}")
        if g is None or v is None or v.dim() != 3 or g.shape != (1, 1, v.shape[2]):
            continue
        kept = {
            name: t for name, t in tensors.items() if name not in {f"{_POSITION}.{length}", f"{_POSITION}.{direction}"}
        }
        v = v.float()
        weight = g.float() * v / v.norm(dim=(0, 1), keepdim=True)
        return {**kept, f"{_POSITION}.weight": weight}
    return tensors
