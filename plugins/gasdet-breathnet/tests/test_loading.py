"""Weights: strict and complete, with the architecture that they were trained with; calibrators. Weights are RANDOM."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gasdet_breathnet.model import BreathNet, load_model

Make = Callable[..., BreathNet]
Speech = Callable[..., torch.Tensor]


def saved(module: torch.nn.Module, path: Path, **more: torch.Tensor) -> Path:
    save_file({k: v.contiguous() for k, v in {**module.state_dict(), **more}.items()}, str(path))
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"normalize": False, "frequency": "lfcc", "channels": (4,), "bands": 2, "num_heads": 4},
        {"frequency": "sinc", "n_fft": 512, "window": 8_000, "num_layers": 1, "fused_dim": 6, "pos_groups": 2},
        {"n_fft": 1024, "channels": (3, 4, 5), "embed_dim": 24, "ffn_dim": 8, "conv_dim": 4, "pos_kernel": 5},
    ],
)
def test_a_file_tells_its_own_architecture(
    arguments: dict[str, object], tmp_path: Path, tiny: Make, speech: Speech, sizes: dict[str, Any]
) -> None:
    model, x = tiny(**arguments), speech()
    path = saved(model, tmp_path / "w.safetensors")
    for stated in ({}, {**sizes, **arguments}, {**sizes, **arguments, "channels": None}):
        loaded = load_model(str(path), **stated)
        assert torch.equal(loaded(x), model(x))
        assert loaded.window == model.window
        assert not loaded.training
        assert not any(p.requires_grad for p in loaded.parameters())


@pytest.mark.parametrize(
    "other",
    [
        {"embed_dim": 32},
        {"num_layers": 3},
        {"num_heads": 4},
        {"normalize": False},
        {"frequency": "sinc"},
        {"n_fft": 512},
        {"channels": [4]},
        {"bands": 4},
        {"window": 16_000},
    ],
)
def test_another_architecture_than_the_files_is_refused(other: dict[str, object], tmp_path: Path, tiny: Make) -> None:
    path = saved(tiny(), tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="contradicts"):
        load_model(str(path), **other)


def test_every_problem_is_listed(tmp_path: Path, tiny: Make) -> None:
    tensors = dict(tiny().state_dict())
    del tensors["head.classifier.bias"]
    tensors["breath.w1.weight"] = torch.zeros(4, 16)
    tensors["extra"] = torch.zeros(1)
    save_file(tensors, str(tmp_path / "bad.safetensors"))
    with pytest.raises(ValueError, match=r"bad\.safetensors does not fit the model") as caught:
        load_model(str(tmp_path / "bad.safetensors"))
    for part in (
        "1 missing: head.classifier.bias",
        "1 unexpected: extra",
        "1 misshapen: breath.w1.weight [4, 16] instead of [4, 17]",
    ):
        assert part in str(caught.value)


def test_other_files_are_refused_and_not_guessed_at(tmp_path: Path, tiny: Make) -> None:
    save_file({"weight": torch.zeros(3)}, str(tmp_path / "other.safetensors"))
    with pytest.raises(ValueError, match="no file of this model; it lacks backbone"):
        load_model(str(tmp_path / "other.safetensors"))
    model = tiny()
    path = saved(model, tmp_path / "w.safetensors", settings=torch.tensor([2, 1, 9, 400, 64_600]))
    with pytest.raises(ValueError, match="settings"):
        load_model(str(path))
    with pytest.raises(ValueError, match="2 classes"):
        load_model(str(saved(model, path)), num_classes=3)
    with pytest.raises(ValueError, match="knows no argument 'depth'"):
        load_model(str(path), depth=3)


def test_importing_and_loading_needs_no_transformers_and_no_gasdet(tmp_path: Path, tiny: Make) -> None:
    path = saved(tiny(), tmp_path / "w.safetensors")
    code = (
        "import sys; sys.modules['transformers'] = None; from gasdet_breathnet.model import load_model;"
        "load_model(sys.argv[1]); assert not any(m.startswith('gasdet.') for m in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)


# --- Calibrators ------------------------------------------------------------------------------------------------------


def _margins(model: torch.nn.Module, x: torch.Tensor) -> np.ndarray:
    logits = model(x).detach().double().numpy()
    return np.asarray(logits[:, 1] - logits[:, 0])


@pytest.mark.parametrize("kind", ["affine", "beta", "knots"])
def test_calibrators(kind: str, tmp_path: Path, tiny: Make, speech: Speech) -> None:
    raw, x = tiny(), speech(batch=5)
    z = _margins(raw, x)
    s = 1 / (1 + np.exp(-z))
    knots = np.array([np.sort(z)[[1, 2, 3]], [-2.0, 0.5, 3.0]])
    tensor, expected = {
        "affine": ([1.5, -0.25], 1.5 * z - 0.25),
        "beta": ([0.7, 1.3, 0.2], 0.7 * np.log(s) - 1.3 * np.log(1 - s) + 0.2),
        "knots": (knots.tolist(), np.interp(z, *knots)),
    }[kind]
    path = saved(raw, tmp_path / "c.safetensors", **{f"calibration.{kind}": torch.tensor(tensor)})
    model = load_model(str(path))
    assert set(model.state_dict()) == set(load_file(str(path)))
    np.testing.assert_allclose(_margins(model, x), expected, rtol=1e-3, atol=1e-3)
    assert model.bfloat16().calibration.get_buffer(kind).dtype == torch.float32


@pytest.mark.parametrize(("name", "shape"), [("affine", (3,)), ("beta", (2,)), ("knots", (3, 4)), ("spline", (2,))])
def test_unknown_calibrators_are_refused(name: str, shape: tuple[int, ...], tmp_path: Path, tiny: Make) -> None:
    path = saved(tiny(), tmp_path / "c.safetensors", **{f"calibration.{name}": torch.zeros(shape)})
    with pytest.raises(ValueError, match=f"calibration.{name}"):
        load_model(str(path))


def test_two_calibrators_are_refused(tmp_path: Path, tiny: Make) -> None:
    two = {"calibration.affine": torch.ones(2), "calibration.beta": torch.ones(3)}
    with pytest.raises(ValueError, match="unexpected: calibration"):
        load_model(str(saved(tiny(), tmp_path / "c.safetensors", **two)))
