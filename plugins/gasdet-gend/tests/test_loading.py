"""Our own weights files: strict and complete, and they tell their architecture."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from gasdet_gend.model import ENCODERS, GenD, load_model

Tensors = dict[str, torch.Tensor]
Clips = Callable[..., torch.Tensor]
Detectors = Callable[..., GenD]


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


@pytest.mark.parametrize(
    "arguments",
    [
        {"encoder": "clip"},
        {"encoder": "pe", "temporal": False},
        {"encoder": "dinov3", "pooling": "cls_patches", "temporal_dim": 128, "temporal_layers": 1},
        {"encoder": "dinov3", "qkv_bias": True},
        {"encoder": "dinov2", "num_heads": 4, "depth": 3, "mlp_ratio": 2.0, "patch_size": 16},
    ],
)
def test_a_file_tells_its_own_architecture(
    arguments: dict[str, Any], tmp_path: Path, random_detector: Detectors, moving_clip: Clips
) -> None:
    model, clip = scrambled(random_detector(**{**arguments, "frame_seconds": 0.25})), moving_clip(8, batch=2)
    path = written(tmp_path, dict(model.state_dict()))
    for stated in ({}, arguments):
        loaded = load_model(str(path), **stated)
        assert torch.equal(loaded(clip), model(clip))
        assert not loaded.training
        assert not any(p.requires_grad for p in loaded.parameters())
        assert not any(t.is_meta for t in (*loaded.parameters(), *loaded.buffers()))
    if arguments.get("temporal", True):
        assert load_model(str(path)).temporal.frame_seconds.item() == 0.25
        other = load_model(str(path), frame_seconds=0.5)
        assert (other.temporal.frame_seconds.item(), other.temporal.seconds().item()) == (0.25, 0.5)
        assert not torch.equal(other(clip), model(clip))
    assert load_model(str(path), control="shuffle").control == "shuffle"


@pytest.mark.parametrize(
    "other",
    [
        {"encoder": "pe"},
        {"temporal": False},
        {"pooling": "cls_patches"},
        {"depth": 3},
        {"temporal_layers": 3},
        {"img_size": 64},
    ],
)
def test_another_architecture_than_the_files_is_refused(
    other: dict[str, Any], tmp_path: Path, random_detector: Detectors
) -> None:
    path = written(tmp_path, dict(random_detector().state_dict()))
    with pytest.raises(ValueError, match="contradicts"):
        load_model(str(path), **other)


def test_every_problem_is_listed(tmp_path: Path, random_detector: Detectors) -> None:
    tensors = dict(random_detector().state_dict())
    del tensors["encoder.blocks.1.norm2.bias"]
    tensors["temporal.cls"] = torch.zeros(1, 1, 60)
    tensors["extra"] = torch.zeros(1)
    with pytest.raises(ValueError, match=r"w\.safetensors does not fit the model") as caught:
        load_model(str(written(tmp_path, tensors)))
    for part in (
        "1 missing: encoder.blocks.1.norm2.bias",
        "1 unexpected: extra",
        "1 misshapen: temporal.cls [1, 1, 60] instead of [1, 1, 64]",
    ):
        assert part in str(caught.value)


def test_another_networks_file_is_refused_and_not_guessed_at(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"missing: .*encoder\.cls_token.*1 unexpected: weight"):
        load_model(str(written(tmp_path, {"weight": torch.zeros(3)})))


@pytest.mark.parametrize(
    "gone", ["encoder.blocks.1.", "temporal.blocks.1.", "temporal.", "encoder_", "temporal_layers"]
)
@pytest.mark.parametrize("encoder", list(ENCODERS))
def test_a_file_without_its_last_block_is_refused(
    encoder: str, gone: str, tmp_path: Path, random_detector: Detectors
) -> None:
    tensors = dict(random_detector(encoder).state_dict())
    short = {name: tensor for name, tensor in tensors.items() if not name.startswith(gone)}
    assert len(short) < len(tensors)
    with pytest.raises(ValueError, match=rf"missing: {re.escape(gone)}"):
        load_model(str(written(tmp_path, short)))
    load_model(str(written(tmp_path, tensors)))


def test_the_demo_file_without_its_last_block_is_refused(tmp_path: Path) -> None:
    tensors = load_file(str(files("gasdet_gend").joinpath("demo.safetensors")))
    for gone in ("encoder.blocks.1.", "temporal.blocks.1."):
        short = {name: tensor for name, tensor in tensors.items() if not name.startswith(gone)}
        with pytest.raises(ValueError, match=rf"12 missing: {re.escape(gone)}"):
            load_model(str(written(tmp_path, short)))


def test_integers_and_numbers_that_are_not_finite_are_refused(tmp_path: Path, random_detector: Detectors) -> None:
    tensors = dict(random_detector().state_dict())
    for name in ("encoder.norm.weight", "head.weight", "temporal.out.bias", "temporal.frame_seconds"):
        integers = {**tensors, name: tensors[name].to(torch.int64)}
        with pytest.raises(ValueError, match=rf"1 not of floating point: {re.escape(name)} \(torch\.int64\)"):
            load_model(str(written(tmp_path, integers)))
        for value in (math.nan, math.inf):
            odd = tensors[name].detach().clone()
            odd.view(-1)[-1] = value
            with pytest.raises(ValueError, match=rf"1 with numbers that are not finite: {re.escape(name)}"):
                load_model(str(written(tmp_path, {**tensors, name: odd})))
    halves = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
    assert load_model(str(written(tmp_path, halves))).head.weight.dtype == torch.float32


@pytest.mark.parametrize("temporal", [True, False])
def test_seconds_between_frames_are_above_0(temporal: bool, tmp_path: Path, random_detector: Detectors) -> None:
    tensors = dict(random_detector(temporal=temporal).state_dict())
    path = str(written(tmp_path, tensors))
    for seconds in (0.0, -0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match="frame_seconds must be above 0"):
            load_model(path, frame_seconds=seconds)
    if temporal:
        wrong = written(tmp_path, {**tensors, "temporal.frame_seconds": torch.tensor(-1.0)}, "wrong.safetensors")
        with pytest.raises(ValueError, match=r"frame_seconds of \S+ must be above 0"):
            load_model(str(wrong))


def test_two_classes_only(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 classes"):
        load_model(str(tmp_path / "none.safetensors"), num_classes=3)


def test_importing_the_model_needs_neither_timm_nor_gasdet() -> None:
    code = "import sys, gasdet_gend.model; assert not {'timm', 'gasdet.types', 'gasdet_gend.losses'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
