"""Published DINOv3 and DINOv2 weights under timm's names, whoever wrote the file. Not part of a bundle.

Read are timm's files, Meta's original checkpoints (saved as safetensors) and those of transformers, of before and since
its version 5. Every file is read strictly: what is missing, unexpected or misshapen is listed under the file's own names.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gasdet_dinov3.model import (
    BACKBONES,
    DINOV2,
    Architecture,
    check_names,
    check_numbers,
    make_vit,
    read_architecture,
)

Sources = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Style:
    """How a publisher names the tensors.

    Attributes:
        publisher: In words.
        blocks: What stands before a block's number.
        top: timm's name to the file's, outside of the blocks; what is not in it has the same name.
        block: timm's name within a block to the file's. Several are concatenated.
        ignored: Names that the transformer does not use after its pretraining.
    """

    publisher: str
    blocks: str
    top: Sources = field(default_factory=dict)
    block: Sources = field(default_factory=dict)
    ignored: str = r"(?!)"

    def names_of(self, target: str) -> tuple[str, ...]:
        """The names in the file of what a tensor of timm's is made of."""
        if match := re.fullmatch(r"blocks\.(\d+)\.(.+)", target):
            inner = self.block.get(match[2], (match[2],))
            return tuple(f"{self.blocks}{match[1]}.{name}" for name in inner)
        return self.top.get(target, (target,))

    def renamed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors that the style knows, under timm's names; of several that belong together, any."""
        top = {name: target for target, names in reversed(list(self.top.items())) for name in names}
        block = {name: target for target, names in reversed(list(self.block.items())) for name in names}
        found: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            if match := re.fullmatch(re.escape(self.blocks) + r"(\d+)\.(.+)", name):
                target = block.get(match[2], match[2] if match[2] in _BLOCK and match[2] not in self.block else "")
                if target:
                    found[f"blocks.{match[1]}.{target}"] = tensor
            elif target := top.get(name, name if name in _TOP and name not in self.top else ""):
                found[target] = tensor
        return found


def _pairs(names: Mapping[str, str], kinds: tuple[str, ...] = ("weight", "bias")) -> dict[str, tuple[str, ...]]:
    return {f"{target}.{kind}": (f"{name}.{kind}",) for target, name in names.items() for kind in kinds}


def _qkv(query: str, key: str, value: str, kinds: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    return {f"attn.qkv.{kind}": tuple(f"{name}.{kind}" for name in (query, key, value)) for kind in kinds}


_LAYER_SCALE = {"gamma_1": ("layer_scale1.lambda1",), "gamma_2": ("layer_scale2.lambda1",)}
_LAYER_SCALE_2 = {"ls1.gamma": ("layer_scale1.lambda1",), "ls2.gamma": ("layer_scale2.lambda1",)}
_EMBEDDINGS = {"cls_token": ("embeddings.cls_token",), "reg_token": ("embeddings.register_tokens",)}
_TRANSFORMERS_3: dict[str, tuple[str, ...]] = {
    **_qkv("attention.q_proj", "attention.k_proj", "attention.v_proj", ("weight",)),
    "attn.q_bias": ("attention.q_proj.bias",),
    "attn.v_bias": ("attention.v_proj.bias",),
    **_pairs({"attn.proj": "attention.o_proj", "mlp.fc1": "mlp.up_proj", "mlp.fc2": "mlp.down_proj"}),
    **_pairs({"mlp.fc1_g": "mlp.gate_proj", "mlp.fc1_x": "mlp.up_proj"}),
    **_LAYER_SCALE,
}
_TOP_3 = {**_EMBEDDINGS, **_pairs({"patch_embed.proj": "embeddings.patch_embeddings"})}
_TOP_2 = {
    **_EMBEDDINGS,
    **_pairs({"patch_embed.proj": "embeddings.patch_embeddings.projection", "norm": "layernorm"}),
    "pos_embed": ("embeddings.position_embeddings",),
}
_META_TOP = {"reg_token": ("storage_tokens",)}
_META_BLOCK: dict[str, tuple[str, ...]] = {
    "gamma_1": ("ls1.gamma",),
    "gamma_2": ("ls2.gamma",),
    "attn.q_bias": ("attn.qkv.bias",),
    "attn.v_bias": ("attn.qkv.bias",),
}
_META_GATED = _pairs({"mlp.fc1_g": "mlp.w1", "mlp.fc1_x": "mlp.w2", "mlp.fc2": "mlp.w3"})
_META_IGNORED = r"mask_token|rope_embed\.periods|blocks\.\d+\.attn\.qkv\.bias_mask"
_MASK = r"embeddings\.mask_token"
_KINDS = ("weight", "bias")

STYLES = (
    Style("timm", "blocks."),
    Style("Meta (DINOv3)", "blocks.", _META_TOP, _META_BLOCK, _META_IGNORED),
    Style("Meta (DINOv3, gated)", "blocks.", _META_TOP, {**_META_BLOCK, **_META_GATED}, _META_IGNORED),
    Style("Meta (DINOv2)", "blocks.", top={"reg_token": ("register_tokens",)}, ignored=r"mask_token"),
    *(Style("transformers (DINOv3)", blocks, _TOP_3, _TRANSFORMERS_3, _MASK) for blocks in ("model.layer.", "layer.")),
    Style(
        "transformers (DINOv2)",
        "encoder.layer.",
        top=_TOP_2,
        block={
            **_qkv("attention.q_proj", "attention.k_proj", "attention.v_proj", _KINDS),
            **_pairs({"attn.proj": "attention.o_proj"}),
            **_LAYER_SCALE_2,
        },
        ignored=_MASK,
    ),
    Style(
        "transformers before 5 (DINOv2)",
        "encoder.layer.",
        top=_TOP_2,
        block={
            **_qkv("attention.attention.query", "attention.attention.key", "attention.attention.value", _KINDS),
            **_pairs({"attn.proj": "attention.output.dense"}),
            **_LAYER_SCALE_2,
        },
        ignored=_MASK,
    ),
)

_TOP = {
    "cls_token", "reg_token", "pos_embed", "norm.weight", "norm.bias", "patch_embed.proj.weight", "patch_embed.proj.bias",
}  # fmt: skip
_BLOCK = {
    *(
        f"{part}.{kind}"
        for part in ("norm1", "norm2", "attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
        for kind in _KINDS
    ),
    *(f"mlp.{part}.{kind}" for part in ("fc1_g", "fc1_x") for kind in _KINDS),
    *("gamma_1", "gamma_2", "ls1.gamma", "ls2.gamma", "attn.q_bias", "attn.v_bias"),
}


def read_backbone(
    path: Path, stated: Mapping[str, Any] | None = None, named: Architecture | None = None
) -> tuple[Architecture, dict[str, Tensor]]:
    """A transformer's architecture and tensors, float32, under timm's names.

    Biases of DINOv3's queries and values that are all 0, as those of the released S, B, L and H+ are, are left out, so that
    the layer ``attn.qkv`` can have adapters; they are kept where the named architecture has them.

    A file without its last blocks is a complete file of a shallower transformer. So what is neither named nor stated must be as
    in one of ``BACKBONES``.

    Args:
        path: A safetensors file.
        stated: Fields of ``Architecture`` that it must have; of the number of heads, which no file states, also what it has,
            which else is one for each 64 values of a token.
        named: What it must be, the number of heads included; None takes any of ``BACKBONES``, but for what is stated.

    Raises:
        ValueError: It is no safetensors file or none of such a transformer, lacks a tensor, has one too many, one of another
            shape or one whose values are no finite floating-point numbers, or is not what it must be.
    """
    stated = stated or {}
    tensors = _read(path)
    style = max(STYLES, key=lambda s: (_known(s, tensors), -STYLES.index(s)))
    if _known(style, tensors) < len(tensors) / 2 or not tensors:
        raise ValueError(
            f"{path} holds no DINOv3 or DINOv2 vision transformer under the names of timm, Meta or transformers; its first "
            f"tensors are: {', '.join(list(tensors)[:5]) or 'none'}."
        )
    where = f"{path}, read as a file of {style.publisher},"
    renamed = style.renamed(tensors)
    asked = stated if named is None else dataclasses.asdict(named)
    found = read_architecture(renamed)
    found = dataclasses.replace(found, num_heads=asked.get("num_heads", found.num_heads))
    _check_is(found, asked, path)
    with torch.device("meta"):
        full = {name: tuple(t.shape) for name, t in make_vit(found).state_dict().items()}
    kept = {name: t for name, t in tensors.items() if not re.fullmatch(style.ignored, name)}
    check_names(_expected(full, style, found), {name: tuple(t.shape) for name, t in kept.items()}, where)
    if named is None:
        _check_published(found, stated, where)
    check_numbers(kept, where)
    kept = {name: tensor.float() for name, tensor in kept.items()}
    made = {target: _made(target, style, found, kept) for target in full}
    if found.qkv_bias and not (named and named.qkv_bias):
        biases = [name for name in made if name.endswith((".attn.q_bias", ".attn.v_bias"))]
        if not any(made[name].any() for name in biases):
            made = {name: t for name, t in made.items() if name not in biases}
            found = dataclasses.replace(found, qkv_bias=False)
        elif named is not None:
            raise ValueError(f"{where} has query and value biases that are not 0; name the backbone with _qkvb.")
    return found, made


def _check_is(found: Architecture, asked: Mapping[str, Any], path: Path) -> None:
    have = dataclasses.asdict(found)
    for name, value in asked.items():
        extra_bias = name == "qkv_bias" and have[name] and not value  # told when it is known whether it is 0
        if have[name] != value and not extra_bias:
            raise ValueError(
                f"{path} holds a transformer with {name}={have[name]!r}, and {name}={value!r} was asked for."
            )


def _check_published(found: Architecture, stated: Mapping[str, Any], where: str) -> None:
    """See that a transformer is one of the published, but for what is stated."""
    plain = dataclasses.replace(
        found, qkv_bias=False
    )  # timm has each with and without; a file without them computes as it is
    if any(plain == dataclasses.replace(known, qkv_bias=False, **stated) for known in BACKBONES.values()):
        return
    have = dataclasses.asdict(found)
    sizes = [f"{n}={have[n]}" for n in ("embed_dim", "depth", "num_heads", "patch_size", "registers", "grid")]
    raise ValueError(
        f"{where} holds a transformer with {', '.join(sizes)}, which no published {found.family} has: blocks or registers are "
        "missing, or model.embed_dim, depth, num_heads, patch_size or grid must state what is not as published."
    )


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(str(path), device="cpu")
    except (SafetensorError, OSError) as error:
        with Path(path).open("rb") as file:
            start = file.read(4)
        if start.startswith((b"PK\x03\x04", b"\x80")):
            raise ValueError(
                f"{path} is a pickle, which is never loaded here; convert it once, outside of gasdet: the README says how."
            ) from None
        raise ValueError(f"{path} is no safetensors file: {error}.") from None


def _known(style: Style, tensors: Mapping[str, Tensor]) -> int:
    """How many of a file's names a style has a use for, or says to be of none."""
    ignored = sum(re.fullmatch(style.ignored, name) is not None for name in tensors)
    names = {name for target in style.renamed(tensors) for name in style.names_of(target)}
    return ignored + sum(name in names for name in tensors)


def _expected(
    full: Mapping[str, tuple[int, ...]], style: Style, architecture: Architecture
) -> dict[str, tuple[int, ...]]:
    """Names and shapes that a file must have."""
    expected: dict[str, tuple[int, ...]] = {}
    for target, shape in full.items():
        names = style.names_of(target)
        for name in names:
            own = (shape[0] // len(names), *shape[1:]) if len(names) > 1 else shape
            if name.endswith(".attn.qkv.bias") and target.endswith("_bias"):
                own = (3 * shape[0],)
            if target == "pos_embed" and _positions_include_cls(style, architecture):
                own = (1, shape[1] + 1, shape[2])
            expected[name] = own
    return expected


def _made(target: str, style: Style, architecture: Architecture, tensors: Mapping[str, Tensor]) -> Tensor:
    """A tensor of timm's, of those in a file that was checked."""
    parts = [tensors[name] for name in style.names_of(target)]
    if style.names_of(target)[0].endswith(".attn.qkv.bias") and target.endswith("_bias"):
        return parts[0].chunk(3)[0 if target.endswith("q_bias") else 2].clone()
    if _positions_include_cls(style, architecture):
        # timm adds positions to patches only where there are registers; the class token's own goes into the token
        if target == "pos_embed":
            return parts[0][:, 1:].clone()
        if target == "cls_token":
            return parts[0] + tensors[style.names_of("pos_embed")[0]][:, :1]
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def _positions_include_cls(style: Style, architecture: Architecture) -> bool:
    return architecture.family == DINOV2 and architecture.registers > 0 and style.publisher != "timm"
