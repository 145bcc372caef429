"""Weights: strict and complete, with the choices that they were trained with; calibrators."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gasdet_dinov3.model import BACKBONES, DINOV2, DINOV3, Architecture, DINOv3, load_model

SMALL = Architecture(DINOV3, embed_dim=32, depth=2, num_heads=4, patch_size=8)
CHOICES = {
    "cls": (SMALL, {"head": "cls"}),
    "concat, gated": (dataclasses.replace(SMALL, swiglu=True), {"head": "concat"}),
    "attention, qkvb": (dataclasses.replace(SMALL, qkv_bias=True), {"head": "attention"}),
    "topk": (SMALL, {"head": "patch", "pooling": "topk", "share": 0.3}),
    "lse, dinov2": (
        Architecture(DINOV2, 32, 1, 2, 14, 0, grid=3),
        {"head": "patch", "pooling": "lse", "temperature": 0.7},
    ),
    "dinov2 reg4": (Architecture(DINOV2, 32, 1, 2, 14, 4, grid=3), {"head": "cls"}),
}


def made(choice: str) -> DINOv3:
    torch.manual_seed(0)
    architecture, options = CHOICES[choice]
    model = DINOv3(architecture, **options)  # type: ignore[arg-type]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "bias" in name or "gamma" in name:
                torch.nn.init.normal_(parameter)
    return model.eval()


def saved(module: torch.nn.Module, path: Path, **more: torch.Tensor) -> Path:
    save_file({k: v.contiguous() for k, v in {**module.state_dict(), **more}.items()}, str(path))
    return path


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randint(0, 256, (5, 3, 56, 112), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("choice", CHOICES)
def test_a_file_tells_all_of_its_own_choices(choice: str, tmp_path: Path, pixels: torch.Tensor) -> None:
    model = made(choice)
    path = saved(model, tmp_path / "w.safetensors")
    architecture, options = CHOICES[choice]
    size = {name: getattr(architecture, name) for name in ("embed_dim", "depth", "num_heads", "patch_size", "grid")}
    for stated in ({}, {**size, **options}):
        loaded = load_model(str(path), **stated)  # type: ignore[arg-type]
        assert loaded.architecture == architecture
        assert torch.equal(loaded(pixels), model(pixels))
        assert not loaded.training
        assert not any(p.requires_grad for p in loaded.parameters())
        assert not any(t.is_meta for t in (*loaded.parameters(), *loaded.buffers()))
        assert set(loaded.state_dict()) == set(load_file(str(path)))


@pytest.mark.parametrize(
    "other",
    [
        {"head": "cls"},
        {"pooling": "lse"},
        {"share": 0.5},
        {"embed_dim": 64},
        {"depth": 3},
        {"num_heads": 2},
        {"patch_size": 16},
        {"backbone": "vit_base_patch16_dinov3"},
        {"backbone": "resnet50"},
    ],
)
def test_another_choice_than_the_files_is_refused(other: dict[str, object], tmp_path: Path) -> None:
    path = saved(made("topk"), tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"contradicts|must be one of"):
        load_model(str(path), **other)  # type: ignore[arg-type]


def test_a_stated_backbone_means_its_pixels_too(tmp_path: Path) -> None:
    path = saved(made("topk"), tmp_path / "w.safetensors")
    size = {"embed_dim": 32, "depth": 2, "num_heads": 4, "patch_size": 8}
    load_model(str(path), backbone="vit_small_patch16_dinov3.lvd1689m", **size)
    with pytest.raises(ValueError, match="trained with mean="):
        load_model(str(path), backbone="vit_large_patch16_dinov3.sat493m", **size)


def test_other_pixel_statistics_stay_with_the_weights(tmp_path: Path, pixels: torch.Tensor) -> None:
    torch.manual_seed(0)
    model = DINOv3(SMALL, mean=(0.43, 0.411, 0.296), std=(0.213, 0.156, 0.143)).eval()
    loaded = load_model(str(saved(model, tmp_path / "w.safetensors")))
    assert torch.equal(loaded(pixels), model(pixels))


def test_every_problem_is_listed(tmp_path: Path) -> None:
    tensors = dict(made("cls").state_dict())
    del tensors["backbone.blocks.1.norm2.bias"]
    tensors["head.linear.weight"] = torch.zeros(2, 31)
    tensors["extra"] = torch.zeros(1)
    save_file(tensors, str(tmp_path / "bad.safetensors"))
    with pytest.raises(ValueError, match=r"bad\.safetensors does not fit the model") as caught:
        load_model(str(tmp_path / "bad.safetensors"))
    for part in (
        "1 missing: backbone.blocks.1.norm2.bias",
        "1 unexpected: extra",
        "1 misshapen: head.linear.weight [2, 31] instead of [2, 32]",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "num_heads",
        "depth",
        "registers",
        "qkv_bias",
        "scale.mean",
        "backbone.reg_token",
        "backbone.cls_token",
        "head.share",
    ],
)
def test_no_tensor_can_be_missing(name: str, tmp_path: Path) -> None:
    tensors = dict(made("topk").state_dict())
    del tensors[name]
    save_file(tensors, str(tmp_path / "bad.safetensors"))
    with pytest.raises(ValueError, match=f"1 missing: {name}"):
        load_model(str(tmp_path / "bad.safetensors"))


@pytest.mark.parametrize("choice", CHOICES)
def test_a_file_without_its_last_block_is_no_shallower_model(choice: str, tmp_path: Path) -> None:
    tensors = dict(made(choice).state_dict())
    last = CHOICES[choice][0].depth - 1
    rest = {name: tensor for name, tensor in tensors.items() if not name.startswith(f"backbone.blocks.{last}.")}
    save_file(rest, str(tmp_path / "bad.safetensors"))
    with pytest.raises(ValueError, match=rf"{len(tensors) - len(rest)} missing: backbone\.blocks\.{last}\."):
        load_model(str(tmp_path / "bad.safetensors"))


def test_two_of_four_registers_are_not_enough(tmp_path: Path) -> None:
    tensors = dict(made("cls").state_dict())
    tensors["backbone.reg_token"] = tensors["backbone.reg_token"][:, :2].clone()
    save_file(tensors, str(tmp_path / "bad.safetensors"))
    with pytest.raises(ValueError, match=r"backbone\.reg_token \[1, 2, 32\] instead of \[1, 4, 32\]"):
        load_model(str(tmp_path / "bad.safetensors"))


def test_query_and_value_biases_cannot_all_be_missing(tmp_path: Path) -> None:
    tensors = dict(made("attention, qkvb").state_dict())
    rest = {name: tensor for name, tensor in tensors.items() if not name.endswith((".q_bias", ".v_bias"))}
    save_file(rest, str(tmp_path / "bad.safetensors"))
    with pytest.raises(ValueError, match=r"4 missing: backbone\.blocks\.0\.attn\.q_bias"):
        load_model(str(tmp_path / "bad.safetensors"))


@pytest.mark.parametrize(("name", "value", "message"), [("depth", 10**9, "at most 200"), ("depth", -1, "at least 1")])
def test_a_depth_that_no_transformer_has_is_refused_before_it_is_built(
    name: str, value: int, message: str, tmp_path: Path
) -> None:
    path = saved(made("cls"), tmp_path / "bad.safetensors", **{name: torch.tensor(value)})
    with pytest.raises(ValueError, match=message):
        load_model(str(path))


@pytest.mark.parametrize("name", ["backbone.blocks.0.norm1.weight", "head.linear.weight", "scale.std"])
def test_weights_that_are_no_numbers_are_refused(name: str, tmp_path: Path) -> None:
    tensors = dict(made("cls").state_dict())
    path = tmp_path / "bad.safetensors"
    save_file({**tensors, name: tensors[name].to(torch.int8)}, str(path))
    with pytest.raises(ValueError, match=f"1 that are no floating-point numbers: {name} int8"):
        load_model(str(path))
    save_file({**tensors, name: torch.full_like(tensors[name], float("nan"))}, str(path))
    with pytest.raises(ValueError, match=f"1 with values that are not finite: {name}"):
        load_model(str(path))


@pytest.mark.parametrize(
    ("choice", "other", "message"),
    [
        ("cls", {"share": 0.2}, "head=cls, which has no share"),
        ("cls", {"pooling": "topk"}, "head=cls, which has no pooling"),
        ("topk", {"temperature": 1.0}, "head=patch and pooling=topk, which has no temperature"),
        ("lse, dinov2", {"share": 0.1}, "head=patch and pooling=lse, which has no share"),
    ],
)
def test_a_choice_that_the_files_head_does_not_have_is_refused(
    choice: str, other: dict[str, object], message: str, tmp_path: Path
) -> None:
    path = saved(made(choice), tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=f"was trained with {message}"):
        load_model(str(path), **other)  # type: ignore[arg-type]


def test_another_networks_file_is_refused_and_not_guessed_at(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, str(tmp_path / "other.safetensors"))
    with pytest.raises(ValueError, match=r"missing: num_heads.*1 unexpected: weight"):
        load_model(str(tmp_path / "other.safetensors"))


def test_two_classes_only(tmp_path: Path) -> None:
    path = saved(made("cls"), tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="2 classes"):
        load_model(str(path), num_classes=3)


def test_the_rotary_frequencies_are_those_of_a_model_that_was_made_at_once(tmp_path: Path) -> None:
    """They are in no file, and the model is made without content."""
    with torch.device("meta"):
        full = DINOv3(BACKBONES["vit_small_patch16_dinov3"]).backbone.rope.periods
    loaded = load_model(str(saved(made("cls"), tmp_path / "w.safetensors"))).backbone.rope.periods
    assert full.is_meta
    dim = 32 // 4 // 4
    expected = 100.0 ** (2 * torch.arange(dim) / (32 // 4 // 2))
    torch.testing.assert_close(loaded, expected)


# --- Calibrators ------------------------------------------------------------------------------------------------------


def margins(model: torch.nn.Module, pixels: torch.Tensor) -> np.ndarray:
    logits = model(pixels).detach().double().numpy()
    return np.asarray(logits[:, 1] - logits[:, 0])


@pytest.mark.parametrize("choice", ["cls", "topk"])
def test_calibrators(choice: str, tmp_path: Path, pixels: torch.Tensor) -> None:
    raw = made(choice)
    z = margins(raw, pixels)
    s = 1 / (1 + np.exp(-z))
    x, y = np.array([z.mean() - 1, z.mean(), z.mean() + 2], dtype=np.float32), [-2.0, 0.5, 3.0]
    expected = {
        "affine": ([1.5, -0.25], 1.5 * z - 0.25),
        "beta": ([0.7, 1.3, 0.2], 0.7 * np.log(s) - 1.3 * np.log(1 - s) + 0.2),
        "knots": ([x.tolist(), y], np.interp(z, x, y)),
    }
    for kind, (values, calibrated) in expected.items():
        path = saved(raw, tmp_path / f"{kind}.safetensors", **{f"calibration.{kind}": torch.tensor(values)})
        model = load_model(str(path))
        assert set(model.state_dict()) == set(load_file(str(path)))
        np.testing.assert_allclose(margins(model, pixels), calibrated, rtol=1e-3, atol=1e-3)
        assert model.to(torch.bfloat16).calibration.get_buffer(kind).dtype == torch.float32


def test_the_heat_map_is_calibrated_too(tmp_path: Path, pixels: torch.Tensor) -> None:
    raw = made("topk")
    path = saved(raw, tmp_path / "c.safetensors", **{"calibration.affine": torch.tensor([2.0, -1.0])})
    plain, found = (m.forward_with_details(pixels)[1]["heatmap"] for m in (raw, load_model(str(path))))
    torch.testing.assert_close(torch.logit(found), 2 * torch.logit(plain) - 1, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("name", "shape"), [("affine", (3,)), ("beta", (2,)), ("knots", (3, 4)), ("spline", (2,))])
def test_unknown_calibrators_are_refused(name: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    path = saved(made("cls"), tmp_path / "c.safetensors", **{f"calibration.{name}": torch.zeros(shape)})
    with pytest.raises(ValueError, match=f"calibration.{name}"):
        load_model(str(path))
