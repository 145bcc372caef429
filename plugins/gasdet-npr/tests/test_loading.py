"""Weights: strict and complete, with the architecture that they were trained with; the authors' checkpoint; calibrators."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gasdet_npr.model import NPR, load_model
from gasdet_npr.training import build

README = Path(__file__).resolve().parents[1] / "README.md"


def saved(module: torch.nn.Module, path: Path, **more: torch.Tensor) -> Path:
    save_file({k: v.contiguous() for k, v in {**module.state_dict(), **more}.items()}, str(path))
    return path


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"stem_pool": False, "blocks": (2, 1), "width": 8},
        {"stem_stride": 1, "stem_pool": False, "input": "both", "blocks": (1, 1, 2), "width": 4},
    ],
)
def test_a_file_tells_its_own_architecture(arguments: dict[str, object], tmp_path: Path, pixels: torch.Tensor) -> None:
    torch.manual_seed(0)
    model = NPR(**arguments).eval()  # type: ignore[arg-type]
    path = saved(model, tmp_path / "w.safetensors")
    for stated in ({}, arguments):
        loaded = load_model(str(path), **stated)  # type: ignore[arg-type]
        assert torch.equal(loaded(pixels), model(pixels))
        assert not loaded.training
        assert not any(p.requires_grad for p in loaded.parameters())


@pytest.mark.parametrize(
    "other", [{"stem_stride": 1}, {"stem_pool": False}, {"blocks": [3, 4]}, {"width": 16}, {"input": "both"}]
)
def test_another_architecture_than_the_files_is_refused(other: dict[str, object], tmp_path: Path) -> None:
    path = saved(NPR(blocks=(1, 1), width=8), tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="contradicts"):
        load_model(str(path), **other)  # type: ignore[arg-type]


def test_every_problem_is_listed(tmp_path: Path) -> None:
    tensors = dict(NPR(blocks=(1, 1), width=8).state_dict())
    del tensors["layer2.0.bn2.running_var"]
    tensors["fc1.weight"] = torch.zeros(1, 63)
    tensors["extra"] = torch.zeros(1)
    save_file(tensors, str(tmp_path / "bad.safetensors"))
    with pytest.raises(ValueError, match=r"bad\.safetensors does not fit the model") as caught:
        load_model(str(tmp_path / "bad.safetensors"))
    for part in (
        "1 missing: layer2.0.bn2.running_var",
        "1 unexpected: extra",
        "1 misshapen: fc1.weight [1, 63] instead of [1, 64]",
    ):
        assert part in str(caught.value)


def test_another_networks_file_is_refused_and_not_guessed_at(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, str(tmp_path / "other.safetensors"))
    with pytest.raises(ValueError, match=r"missing: conv1\.weight.*1 unexpected: weight"):
        load_model(str(tmp_path / "other.safetensors"))


def test_two_classes_only(tmp_path: Path) -> None:
    path = saved(NPR(blocks=(1, 1), width=4), tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="2 classes"):
        load_model(str(path), num_classes=3)


def test_importing_and_loading_needs_no_torchvision(tmp_path: Path) -> None:
    path = saved(NPR(blocks=(1, 1), width=4), tmp_path / "w.safetensors")
    code = (
        "import sys; sys.modules['torchvision'] = None; from gasdet_npr.model import load_model; load_model(sys.argv[1]);"
        "assert not any(m == 'timm' or m.startswith('gasdet.') for m in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)


def test_the_trainings_module() -> None:
    assert build(None, width=8, blocks=[1, 1]).conv1.out_channels == 8
    with pytest.raises(ValueError, match="takes no backbone file"):
        build(Path("somewhere"))


# --- The authors' checkpoint ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["plain", "nested", "data_parallel"])
def test_the_readmes_conversion_of_the_published_pickle(form: str, tmp_path: Path, pixels: torch.Tensor) -> None:
    torch.manual_seed(0)
    model = NPR().eval()
    for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.running_mean += torch.randn_like(norm.running_mean) * 0.1
    state: dict[str, object] = dict(model.state_dict())
    if form == "nested":
        state = {"model": state, "total_steps": 3090}
    if form == "data_parallel":
        state = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save(state, tmp_path / "NPR.pth")
    (snippet,) = (
        text
        for text in re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
        if "NPR.pth" in text
    )
    subprocess.run([sys.executable, "-c", snippet], cwd=tmp_path, check=True)
    loaded = load_model(str(tmp_path / "NPR.safetensors"))
    assert torch.equal(loaded(pixels), model(pixels))


# --- Calibrators ------------------------------------------------------------------------------------------------------


def _margins(model: torch.nn.Module, pixels: torch.Tensor) -> np.ndarray:
    logits = model(pixels).detach().double().numpy()
    return np.asarray(logits[:, 1] - logits[:, 0])


def _calibrated(name: str, tensor: list[object], tmp_path: Path, pixels: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    torch.manual_seed(0)
    raw = NPR(blocks=(1, 1), width=8).eval()
    path = saved(raw, tmp_path / "c.safetensors", **{name: torch.tensor(tensor)})
    model = load_model(str(path))
    assert set(model.state_dict()) == set(load_file(str(path)))
    return _margins(raw, pixels), _margins(model, pixels)


def test_affine(tmp_path: Path, pixels: torch.Tensor) -> None:
    z, found = _calibrated("calibration.affine", [1.5, -0.25], tmp_path, pixels)
    np.testing.assert_allclose(found, 1.5 * z - 0.25, rtol=1e-6, atol=1e-6)


def test_beta(tmp_path: Path, pixels: torch.Tensor) -> None:
    z, found = _calibrated("calibration.beta", [0.7, 1.3, 0.2], tmp_path, pixels)
    s = 1 / (1 + np.exp(-z))
    np.testing.assert_allclose(found, 0.7 * np.log(s) - 1.3 * np.log(1 - s) + 0.2, rtol=1e-5, atol=1e-6)


def test_knots(tmp_path: Path, pixels: torch.Tensor) -> None:
    torch.manual_seed(0)
    z = _margins(NPR(blocks=(1, 1), width=8).eval(), pixels)
    inside = np.sort(z)[1:4]  # the smallest and the largest margin lie outside of the knots, one lies on each
    x = np.array([inside[0], (inside[0] + inside[1]) / 2, inside[2]], dtype=np.float32)
    y = [-2.0, 0.5, 3.0]
    _, found = _calibrated("calibration.knots", [x.tolist(), y], tmp_path, pixels)
    np.testing.assert_allclose(found, np.interp(z, x, y), rtol=1e-4, atol=1e-4)
    _, flat = _calibrated("calibration.knots", [[0.0], [0.75]], tmp_path, pixels)
    np.testing.assert_allclose(flat, 0.75)


def test_calibrators_stay_float32_in_a_half_precision_model(tmp_path: Path) -> None:
    path = saved(
        NPR(blocks=(1, 1), width=8),
        tmp_path / "c.safetensors",
        **{"calibration.affine": torch.tensor([1.2345678, 0.1])},
    )
    model = load_model(str(path)).to(torch.bfloat16)
    assert model.calibration.affine.dtype == torch.float32
    assert model.calibration.affine[0] == torch.tensor(1.2345678)


@pytest.mark.parametrize(("name", "shape"), [("affine", (3,)), ("beta", (2,)), ("knots", (3, 4)), ("spline", (2,))])
def test_unknown_calibrators_are_refused(name: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    path = saved(NPR(blocks=(1, 1), width=8), tmp_path / "c.safetensors", **{f"calibration.{name}": torch.zeros(shape)})
    with pytest.raises(ValueError, match=f"calibration.{name}"):
        load_model(str(path))


def test_two_calibrators_are_refused(tmp_path: Path) -> None:
    two = {"calibration.affine": torch.ones(2), "calibration.beta": torch.ones(3)}
    path = saved(NPR(blocks=(1, 1), width=8), tmp_path / "c.safetensors", **two)
    with pytest.raises(ValueError, match="unexpected: calibration"):
        load_model(str(path))
