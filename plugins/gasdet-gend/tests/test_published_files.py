"""Files under others' names: the authors' of both transformers generations, and backbones for the training."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from gasdet_gend.model import ENCODERS, GenD, load_model
from gasdet_gend.training import build, start_with_dct

Tensors = dict[str, torch.Tensor]
Clips = Callable[..., torch.Tensor]
Detectors = Callable[..., GenD]
MEAN = {name: torch.tensor(kind.mean).view(3, 1, 1) for name, kind in ENCODERS.items()}
STD = {name: torch.tensor(kind.std).view(3, 1, 1) for name, kind in ENCODERS.items()}


def written(folder: Path, tensors: Tensors, name: str = "w.safetensors") -> Path:
    save_file({key: t.detach().clone().contiguous() for key, t in tensors.items()}, str(folder / name))
    return folder / name


def scrambled(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module with RANDOM numbers in all its parameters, LayerNorms and biases too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


# --- The authors' files -------------------------------------------------------------------------------------------------


class Released:
    """What an authors' file holds, made RANDOM and small with transformers' (or timm's) own class, and its features."""

    def __init__(self, kind: str, generation: int) -> None:
        torch.manual_seed(0)
        self.kind, self.head = kind, nn.Linear(64, 2)
        self.sizes: dict[str, Any] = {"embed_dim": 64, "depth": 2} | ({"patch_size": 8} if kind == "pe" else {})
        tensors: Tensors
        if kind == "clip":
            from transformers import CLIPVisionConfig, CLIPVisionModel

            sizes = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 1, "num_hidden_layers": 2}
            self.module: Any = scrambled(CLIPVisionModel(CLIPVisionConfig(**sizes, image_size=28, patch_size=14)))
            assert self.module.config.hidden_act == "quick_gelu"
            bare = {n.removeprefix("vision_model."): t for n, t in self.module.state_dict().items()}
            inner = "vision_model.vision_model." if generation == 4 else "vision_model."
            tensors = {f"feature_extractor.{inner if n else ''}{n}": t for n, t in bare.items()}
            tensors["feature_extractor.visual_projection.weight"] = torch.randn(48, 64)
            if generation == 4:
                tensors = {n.replace("vision_model.vision_model.", "vision_model."): t for n, t in tensors.items()}
            else:
                tensors = {n.replace(".vision_model.", "."): t for n, t in tensors.items()}
        elif kind == "dinov3":
            from transformers import DINOv3ViTConfig, DINOv3ViTModel

            sizes = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 1, "num_hidden_layers": 2}
            self.module = scrambled(DINOv3ViTModel(DINOv3ViTConfig(**sizes, image_size=32, num_register_tokens=4)))
            bare = {n.replace("model.layer.", "layer."): t for n, t in self.module.state_dict().items()}
            if generation == 5:
                bare = {
                    n.replace("layer.", "model.layer.") if n.startswith("layer.") else n: t for n, t in bare.items()
                }
            tensors = {f"feature_extractor.backbone.{n}": t for n, t in bare.items()}
        else:
            small = {"embed_dim": 64, "depth": 2, "patch_size": 8, "img_size": 32}
            self.module = scrambled(GenD("pe", **small, scratch=True).encoder)
            tensors = {f"feature_extractor.backbone.{n}": t for n, t in self.module.state_dict().items()}
        self.tensors = {**tensors, "model.linear.weight": self.head.weight, "model.linear.bias": self.head.bias}

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """The authors' forward pass: pooled feature, unit length, linear layer; (real, fake)."""
        x = (pixels.float() / 255 - MEAN[self.kind]) / STD[self.kind]
        with torch.no_grad():
            if self.kind == "clip":
                z = self.module(x).pooler_output
            elif self.kind == "dinov3":
                z = self.module(x).last_hidden_state[:, 0]
            else:
                z = self.module(x)
            return self.head(nn.functional.normalize(z, p=2, dim=1))


RELEASES = pytest.mark.parametrize(
    ("kind", "generation"), [("clip", 4), ("clip", 5), ("dinov3", 4), ("dinov3", 5), ("pe", 4)]
)


@RELEASES
def test_released_files_give_the_authors_logits(kind: str, generation: int, tmp_path: Path, moving_clip: Clips) -> None:
    release = Released(kind, generation)
    model = load_model(str(written(tmp_path, release.tensors)), **release.sizes)
    assert model.temporal is None
    clip = moving_clip(8, batch=2, side=28 if kind == "clip" else 32)
    expected = torch.stack([release.logits(clip[:, t]) for t in range(8)], 1)
    torch.testing.assert_close(model(clip[:, 0]), expected[:, 0], rtol=1e-4, atol=1e-5)
    assert expected[:, 0].std() > 1e-3
    torch.testing.assert_close(model(clip).softmax(-1), expected.softmax(-1).mean(1), rtol=1e-4, atol=1e-5)


def _drop(tensors: Tensors, end: str) -> str:
    name = next(name for name in tensors if name.endswith(end))
    del tensors[name]
    return name


@RELEASES
def test_released_files_are_checked_strictly(kind: str, generation: int, tmp_path: Path) -> None:
    release = Released(kind, generation)
    whole, sizes = release.tensors, release.sizes
    for end, told in {
        "clip": {"1.layer_norm2.bias": "blocks.1.norm2.bias", "0.self_attn.k_proj.weight": "blocks.0.attn.k.weight"},
        "dinov3": {
            "layer.1.norm2.bias": "blocks.1.norm2.bias",
            "layer.0.attention.v_proj.bias": "blocks.0.attn.v.bias",
        },
        "pe": {"blocks.1.norm2.bias": "blocks.1.norm2.bias", "attn_pool.latent": "attn_pool.latent"},
    }[kind].items():
        tensors = dict(whole)
        _drop(tensors, end)
        with pytest.raises(ValueError, match=rf"missing: \S*{told}"):
            load_model(str(written(tmp_path, tensors)), **sizes)
    tensors = dict(whole)
    _drop(tensors, "model.linear.bias")
    with pytest.raises(ValueError, match=r"1 missing: head\.bias"):
        load_model(str(written(tmp_path, tensors)), **sizes)
    tensors = {**whole, "feature_extractor.backbone.extra.weight": torch.zeros(2)}
    with pytest.raises(ValueError, match=r"1 unexpected: encoder\.extra\.weight"):
        load_model(str(written(tmp_path, tensors)), **sizes)
    end = {
        "clip": "0.self_attn.q_proj.weight",
        "dinov3": "layer.0.attention.q_proj.weight",
        "pe": "blocks.0.attn.qkv.weight",
    }
    tensors = dict(whole)
    name = _drop(tensors, end[kind])
    tensors[name] = torch.zeros(65, 64)
    with pytest.raises(ValueError, match=r"1 misshapen: \S*blocks\.0\.attn\.q"):
        load_model(str(written(tmp_path, tensors)), **sizes)


@RELEASES
def test_a_released_file_without_its_last_block_is_refused(kind: str, generation: int, tmp_path: Path) -> None:
    release = Released(kind, generation)
    short = {n: t for n, t in release.tensors.items() if not re.search(r"(layers|layer|blocks)\.1\.", n)}
    assert len(short) < len(release.tensors)
    with pytest.raises(ValueError, match=r"missing: .*encoder\.blocks\.1\.norm1\.weight"):
        load_model(str(written(tmp_path, short)), **release.sizes)
    # without a stated depth there must be the published 24 blocks: a file of two is not taken for a whole one
    del release.sizes["depth"]
    with pytest.raises(ValueError, match=r"missing: .*encoder\.blocks\.2\.norm1\.weight"):
        load_model(str(written(tmp_path, release.tensors)), **release.sizes)
    with pytest.raises(ValueError, match=r"embed_dim=64 where the published \w+ encoder has 1024; state"):
        load_model(str(written(tmp_path, release.tensors)))


@pytest.mark.parametrize("registers", [0, 3])
def test_released_dinov3_has_four_registers(registers: int, tmp_path: Path) -> None:
    release = Released("dinov3", 5)
    name = "feature_extractor.backbone.embeddings.register_tokens"
    tensors = {**release.tensors, name: release.tensors[name][:, :registers]}
    if not registers:
        del tensors[name]
    with pytest.raises(ValueError, match=r"(1 missing|1 misshapen): encoder\.reg_token"):
        load_model(str(written(tmp_path, tensors)), **release.sizes)


@pytest.mark.parametrize("kind", ["clip", "dinov3", "pe"])
def test_two_names_for_one_tensor_are_refused(kind: str, tmp_path: Path) -> None:
    release = Released(kind, 5 if kind == "dinov3" else 4)
    fused = torch.zeros(192, 64)
    inner = "feature_extractor." if kind == "clip" else "feature_extractor.backbone."
    second = {
        "clip": {
            "feature_extractor.backbone.vision_model.post_layernorm.weight": "norm.weight",
            "feature_extractor.vision_model.vision_model.post_layernorm.weight": "post_layernorm.weight",
            "feature_extractor.post_layernorm.weight": "post_layernorm.weight",
            "feature_extractor.vision_model.norm.weight": "norm.weight",
        },
        "dinov3": {
            "feature_extractor.norm.weight": "norm.weight",
            f"{inner}layer.0.norm1.weight": "blocks.0.norm1.weight",
            f"{inner}blocks.0.attn.q_bias": "blocks.0.attn.q_bias",
        },
        "pe": {"feature_extractor.norm.weight": "norm.weight"},
    }[kind]
    second |= {"encoder.norm.weight": "encoder.norm.weight", "head.weight": "head.weight"}
    if kind != "pe":
        second[f"{inner}blocks.0.attn.qkv.weight"] = "blocks.0.attn.qkv.weight"
    for name, told in second.items():
        assert name not in release.tensors
        extra = fused if "qkv" in name else torch.zeros(2, 64) if name == "head.weight" else torch.zeros(64)
        with pytest.raises(ValueError, match=rf"1 under two names: \S*{re.escape(told)}\b"):
            load_model(str(written(tmp_path, {**release.tensors, name: extra})), **release.sizes)


def test_what_nothing_uses_may_be_there_or_not(tmp_path: Path, moving_clip: Clips) -> None:
    pixels = moving_clip(1, side=28)[:, 0]
    release = Released("clip", 4)
    tensors = dict(release.tensors)
    expected = load_model(str(written(tmp_path, tensors)), **release.sizes)(pixels)
    _drop(tensors, "visual_projection.weight")
    assert torch.equal(load_model(str(written(tmp_path, tensors)), **release.sizes)(pixels), expected)
    tensors["feature_extractor.vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    assert torch.equal(load_model(str(written(tmp_path, tensors)), **release.sizes)(pixels), expected)


def test_dinov3s_biases_of_zero_are_left_out(tmp_path: Path, moving_clip: Clips) -> None:
    release, pixels = Released("dinov3", 5), moving_clip(1)[:, 0]
    with_biases = load_model(str(written(tmp_path, release.tensors)), **release.sizes)
    assert "encoder.blocks.0.attn.q_bias" in with_biases.state_dict()
    with torch.no_grad():
        for name, parameter in release.module.named_parameters():
            if name.endswith(("q_proj.bias", "v_proj.bias")):
                parameter.zero_()
    without = load_model(str(written(tmp_path, release.tensors)), **release.sizes)
    assert "encoder.blocks.0.attn.q_bias" not in without.state_dict()
    torch.testing.assert_close(without(pixels), release.logits(pixels), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(without(pixels), with_biases(pixels), atol=1e-5)


def test_all_names_of_the_full_depth(tmp_path: Path) -> None:
    """24 layers, as the released CLIP file has them: 1 + 1 + 1 + 4 + 24 x 16 tensors, the projection and the head."""
    names = {
        "class_embedding": (64,),
        "patch_embedding.weight": (64, 3, 14, 14),
        "position_embedding.weight": (257, 64),
    }
    shapes = {f"embeddings.{name}": shape for name, shape in names.items()}
    for norm in ("pre_layrnorm", "post_layernorm"):
        shapes |= {f"{norm}.weight": (64,), f"{norm}.bias": (64,)}
    linear = {"self_attn.q_proj": (64, 64), "self_attn.k_proj": (64, 64), "self_attn.v_proj": (64, 64)}
    linear |= {"self_attn.out_proj": (64, 64), "mlp.fc1": (256, 64), "mlp.fc2": (64, 256)}
    for layer in range(24):
        for name, shape in linear.items():
            shapes |= {f"encoder.layers.{layer}.{name}.weight": shape, f"encoder.layers.{layer}.{name}.bias": shape[:1]}
        for norm in ("layer_norm1", "layer_norm2"):
            shapes |= {f"encoder.layers.{layer}.{norm}.{kind}": (64,) for kind in ("weight", "bias")}
    tensors = {f"feature_extractor.vision_model.{name}": torch.randn(shape) for name, shape in shapes.items()}
    assert len(tensors) == 3 + 4 + 24 * 16
    tensors["feature_extractor.visual_projection.weight"] = torch.zeros(48, 64)
    tensors |= {"model.linear.weight": torch.randn(2, 64), "model.linear.bias": torch.zeros(2)}
    model = load_model(str(written(tmp_path, tensors)), embed_dim=64)
    assert len(model.encoder.blocks) == 24
    short = {name: tensor for name, tensor in tensors.items() if ".layers.23." not in name}
    with pytest.raises(ValueError, match=r"12 missing: encoder\.blocks\.23\."):
        load_model(str(written(tmp_path, short, "short.safetensors")), embed_dim=64)
    assert model(torch.zeros(1, 3, 224, 224)).shape == (1, 2)
    third = torch.cat(
        [tensors[f"feature_extractor.vision_model.encoder.layers.3.self_attn.{k}_proj.weight"] for k in "qkv"]
    )
    assert torch.equal(model.encoder.blocks[3].attn.qkv.weight, third)


# --- Backbones for the training -----------------------------------------------------------------------------------------


def backbone_of(kind: str) -> Tensors:
    """A RANDOM encoder under the names of timm's hub, whose CLIP and PE files have a projection as ``head`` too."""
    small = {"embed_dim": 64, "depth": 2, "patch_size": 8, "img_size": 32}
    tensors = dict(scrambled(GenD(kind, **small, scratch=True).encoder).state_dict())
    if kind in ("clip", "pe"):
        tensors |= {"head.weight": torch.zeros(48, 64), "head.bias": torch.zeros(48)}
    return tensors


SIZES: dict[str, Any] = {"embed_dim": 64, "depth": 2, "temporal_dim": 64, "temporal_layers": 1}


@pytest.mark.parametrize("kind", list(ENCODERS))
def test_timms_backbones(kind: str, tmp_path: Path) -> None:
    tensors = backbone_of(kind)
    arguments = {**SIZES, "encoder": kind, "patch_size": 8, "img_size": 32}
    model = build(written(tmp_path, tensors), **arguments)
    state = model.encoder.state_dict()
    assert set(state) == {name for name in tensors if not name.startswith("head.")}
    assert all(torch.equal(state[name], tensors[name]) for name in state)
    assert not any(t.is_meta for t in (*model.parameters(), *model.buffers()))
    assert not model.temporal.out.weight.any()
    for change, message in (
        (lambda t: t.pop("blocks.1.norm1.bias"), r"1 missing: encoder\.blocks\.1\.norm1\.bias"),
        (lambda t: t.update({"norm.extra": torch.zeros(1)}), r"1 unexpected: encoder\.norm\.extra"),
        (lambda t: t.update({"norm.weight": torch.zeros(63)}), r"1 misshapen: encoder\.norm\.weight \[63\]"),
    ):
        changed = dict(tensors)
        change(changed)
        with pytest.raises(ValueError, match=message):
            build(written(tmp_path, changed), **arguments)


@pytest.mark.parametrize("kind", ["clip", "dinov3"])
def test_transformers_backbones(kind: str, tmp_path: Path, moving_clip: Clips) -> None:
    """The whole CLIP, text tower and all, and DINOv3 alone."""
    release = Released(kind, 5)
    if kind == "clip":
        bare = {f"vision_model.{n.removeprefix('vision_model.')}": t for n, t in release.module.state_dict().items()}
        more = {"logit_scale": torch.tensor(1.0), "text_model.final_layer_norm.bias": torch.zeros(3)}
        more |= {f"{side}_projection.weight": torch.zeros(4, 4) for side in ("text", "visual")}
        more |= {"vision_model.embeddings.position_ids": torch.arange(5)[None]}
        tensors, sizes, side = {**bare, **more}, {"patch_size": 14, "img_size": 28}, 28
    else:
        tensors, sizes, side = dict(release.module.state_dict()), {}, 32
    model = build(written(tmp_path, tensors), **SIZES, encoder=kind, **sizes).eval()
    x = moving_clip(1, side=side)[:, 0]
    pixels = (x.float() / 255 - MEAN[kind]) / STD[kind]
    found = release.module(pixels)
    expected = found.pooler_output if kind == "clip" else found.last_hidden_state[:, 0]
    torch.testing.assert_close(model.features(x), expected, rtol=1e-4, atol=1e-4)
    for change, message in (
        (lambda t: _drop(t, "norm1.bias"), "1 missing"),
        (lambda t: t.update({"vision_model.extra" if kind == "clip" else "extra": torch.zeros(1)}), "1 unexpected"),
        (lambda t: t.update({_drop(t, "norm1.weight"): torch.zeros(63)}), "1 misshapen"),
    ):
        changed = dict(tensors)
        change(changed)
        with pytest.raises(ValueError, match=message):
            build(written(tmp_path, changed), **SIZES, encoder=kind, **sizes)


def test_a_detector_of_pictures_as_the_backbone(tmp_path: Path, moving_clip: Clips) -> None:
    """Ours, and the authors': encoder and head are taken, and clips start at the mean of its frames."""
    release, clip = Released("clip", 4), moving_clip(8, side=28)
    model = build(written(tmp_path, release.tensors), **SIZES, patch_size=14, img_size=28).eval()
    p = torch.cat([release.logits(clip[:, t]) for t in range(8)]).softmax(-1).mean(0)
    torch.testing.assert_close(model(clip).softmax(-1)[0], p, rtol=1e-4, atol=1e-5)
    trained = written(tmp_path, dict(model.state_dict()), "clips.safetensors")
    with pytest.raises(ValueError, match="start from it with --weights"):
        build(trained, **SIZES, patch_size=14, img_size=28)


def test_what_is_built_without_a_file() -> None:
    with pytest.raises(ValueError, match="needs its encoder's weights file"):
        build(None)
    with pytest.raises(ValueError, match="for evaluation"):
        build(None, **SIZES, control="shuffle")
    model = build(None, **SIZES, patch_size=8, img_size=32)
    weight = model.encoder.patch_embed.proj.weight
    assert not any(p.is_meta for p in model.parameters())
    luma = weight[:42].sum(1).detach()  # (0.299 + 0.587 + 0.114) times the basis image, scaled
    n = np.arange(8)
    expected = np.outer(np.cos(np.pi * (n + 0.5) * 0 / 8), np.cos(np.pi * (n + 0.5) * 1 / 8))
    cosine = (luma[1].double().numpy() * expected).sum() / np.linalg.norm(luma[1]) / np.linalg.norm(expected)
    assert cosine == pytest.approx(1, abs=1e-6)
    flat = torch.full((1, 3, 8, 8), 0.7)
    colours = (weight[42:].detach() * flat).sum((1, 2, 3))
    assert colours.abs().max() < 1e-4  # grey has no colour
    few = torch.randn(4, 3, 8, 8)
    start_with_dct(few)
    assert torch.isfinite(few).all()


def test_pickles_are_refused(tmp_path: Path) -> None:
    torch.save({"cls_token": torch.zeros(1)}, tmp_path / "clip.pth")
    with pytest.raises(ValueError, match="no safetensors file"):
        build(tmp_path / "clip.pth")


def test_a_backbone_of_another_depth_is_refused(tmp_path: Path, random_detector: Detectors) -> None:
    """A detector of pictures of ours as the backbone, with less blocks than its own number says."""
    whole = written(tmp_path, dict(random_detector(temporal=False).state_dict()))
    sizes = {**SIZES, "patch_size": 8, "img_size": 32}
    assert build(whole, **sizes).temporal_layers == 1
    short = {name: t for name, t in load_file(str(whole)).items() if not name.startswith("encoder.blocks.1.")}
    with pytest.raises(ValueError, match=r"1 of another size: encoder_depth 2 instead of 1"):
        build(written(tmp_path, short), **{**sizes, "depth": 1})


def test_a_backbone_with_numbers_that_are_not_finite_is_refused(tmp_path: Path) -> None:
    backbone = {**backbone_of("clip"), "norm.weight": torch.full((64,), math.nan)}
    with pytest.raises(ValueError, match=r"not finite: encoder\.norm\.weight"):
        build(written(tmp_path, backbone), **SIZES, patch_size=8, img_size=32)
