from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gasdet.bundle import Detector, OutputError, WeightsInfo
from gasdet.errors import BundleError, UsageError
from gasdet.types import Modality, Preprocessing


class Probe(nn.Module):
    """Keeps what it was given and returns the mean pixel as the synthetic logit."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.seen: list[torch.Tensor] = []
        self.in_inference_mode = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x)
        self.in_inference_mode = torch.is_inference_mode_enabled()
        mean = x.flatten(1).float().mean(1)
        return torch.stack([torch.zeros_like(mean), mean], dim=1)


def make(module: nn.Module | None = None, modality: Modality = Modality.IMAGE, **changes: Any) -> Detector:
    values: dict[str, Any] = {
        "name": "probe",
        "modality": modality,
        "preprocessing": Preprocessing(modality),
        "module": (module or Probe()).eval(),
        "num_classes": 2,
        "dtype": "float32",
        "input_dtype": "float32",
        "weights": WeightsInfo("demo", "demo", Path("/w.safetensors"), "0" * 64, "MIT", "package:demo.safetensors"),
        "origin": "probe 1.0",
        "model_sha256": "1" * 64,
        **changes,
    }
    return Detector(**values)


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(
    ("modality", "batch", "input_dtype"),
    [
        (Modality.IMAGE, pixels(2, 3, 5, 4), "float32"),
        (Modality.IMAGE, pixels(2, 3, 5, 4), "uint8"),
        (Modality.VIDEO, pixels(2, 6, 3, 5, 4), "float32"),
        (Modality.AUDIO, np.linspace(-1, 1, 200, dtype=np.float32).reshape(2, 100), "float32"),
    ],
)
def test_forward_gets_the_values_as_they_are_in_the_stated_dtype(
    modality: Modality, batch: np.ndarray, input_dtype: str
) -> None:
    probe = Probe()
    logits = make(probe, modality, input_dtype=input_dtype).logits(batch)
    (seen,) = probe.seen
    assert seen.dtype == getattr(torch, input_dtype)
    np.testing.assert_array_equal(seen.numpy(), batch)
    assert probe.in_inference_mode
    np.testing.assert_allclose(logits[:, 1], batch.reshape(2, -1).astype(np.float64).mean(1), rtol=1e-5, atol=1e-6)
    assert logits.dtype == np.float32


class InPlace(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x.zero_()
        return x.flatten(1)[:, :2].float()


@pytest.mark.parametrize("input_dtype", ["float32", "uint8"])
def test_a_model_that_works_in_place_does_not_change_the_batch_of_the_next_detector(input_dtype: str) -> None:
    batch = pixels(2, 3, 4, 4)
    before = batch.copy()
    make(InPlace(), input_dtype=input_dtype).logits(batch)
    np.testing.assert_array_equal(batch, before)
    sound = np.ones((2, 50), dtype=np.float32)
    make(InPlace(), Modality.AUDIO).logits(sound)
    assert (sound == 1).all()


def test_arrays_that_are_read_only_or_not_contiguous() -> None:
    batch = pixels(2, 5, 4, 3).transpose(0, 3, 1, 2)
    batch.flags.writeable = False
    probe = Probe()
    make(probe).logits(batch)
    np.testing.assert_array_equal(probe.seen[0].numpy(), batch)


@pytest.mark.parametrize(
    ("modality", "batch", "expected"),
    [
        (Modality.IMAGE, pixels(3, 5, 4), "uint8 array [B, 3, H, W], not uint8 [3, 5, 4]"),
        (Modality.IMAGE, pixels(1, 5, 4, 3), "not uint8 [1, 5, 4, 3]"),
        (Modality.IMAGE, pixels(1, 3, 4, 4).astype(np.float32), "not float32"),
        (Modality.IMAGE, pixels(0, 3, 4, 4), "non-empty"),
        (Modality.VIDEO, pixels(2, 3, 4, 4), "uint8 array [B, T, 3, H, W]"),
        (Modality.AUDIO, np.zeros(16, np.float32), "float32 array [B, N]"),
        (Modality.AUDIO, np.zeros((1, 16), np.float64), "not float64"),
        (Modality.AUDIO, np.zeros((1, 0), np.float32), "non-empty"),
    ],
)
def test_a_wrong_batch_is_an_error_that_says_what_is_right(
    modality: Modality, batch: np.ndarray, expected: str
) -> None:
    with pytest.raises(BundleError) as caught:
        make(modality=modality).logits(batch)
    assert expected in str(caught.value)
    assert not isinstance(caught.value, OutputError)


class Fixed(nn.Module):
    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: torch.Tensor) -> Any:
        return self.output


def test_outputs_of_another_shape_and_nan() -> None:
    with pytest.raises(
        OutputError, match=r"probe should return logits \[2, 2\], but its output has the shape \[2, 3\]"
    ):
        make(Fixed(torch.zeros(2, 3))).logits(pixels(2, 3, 4, 4))
    assert make(Fixed(torch.zeros(2, 3)), num_classes=3).logits(pixels(2, 3, 4, 4)).shape == (2, 3)
    assert np.isnan(make(Fixed(torch.full((1, 2), torch.nan))).logits(pixels(1, 3, 4, 4))).all()


class Raises(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("CUDA out of memory")


def test_what_the_model_raises_comes_through_unchanged() -> None:
    with pytest.raises(RuntimeError, match=r"^CUDA out of memory$"):
        make(Raises()).logits(pixels(1, 3, 4, 4))


class Prints(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sys.stdout.write("debug\n")
        return torch.zeros(len(x), 2)


def test_what_the_model_prints_does_not_reach_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    make(Prints()).logits(pixels(1, 3, 4, 4))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "debug\n"


def test_to_moves_the_module_and_not_the_input() -> None:
    probe = Probe()
    detector = make(probe)
    assert detector.to("cpu", "bf16") is detector
    assert detector.dtype == "bfloat16"
    assert probe.scale.dtype == torch.bfloat16
    detector.logits(pixels(1, 3, 4, 4))
    assert probe.seen[0].dtype == torch.float32
    assert detector.to("cpu").dtype == "bfloat16"


@pytest.mark.parametrize(("narrow", "other"), [("bfloat16", "float32"), ("float16", "fp32"), ("float16", "bfloat16")])
def test_rounded_weights_are_never_recorded_as_another_dtype(narrow: str, other: str) -> None:
    detector = make().to("cpu", "float32").to("cpu", narrow)
    with pytest.raises(BundleError, match=f"weights of probe are rounded to {narrow}; load it again to run it as"):
        detector.to("cpu", other)
    assert detector.to("cpu").describe()["dtype"] == narrow
    assert detector.to("cpu", narrow).module.scale.dtype == getattr(torch, narrow)


class FailsHalfWay(Probe):
    """Runs out of memory when its second tensor is moved."""

    def __init__(self) -> None:
        super().__init__()
        self.more = Probe()
        self.more._apply = self.refuse  # type: ignore[method-assign]

    def refuse(self, *_: Any, **__: Any) -> Any:
        raise torch.cuda.OutOfMemoryError("out of memory")

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self.scale.data = fn(self.scale.data)
        return super()._apply(fn, recurse)


def test_a_move_that_fails_half_way_has_rounded_too() -> None:
    detector = make(FailsHalfWay())
    with pytest.raises(torch.cuda.OutOfMemoryError):
        detector.to("cpu", "bfloat16")
    assert detector.dtype == "bfloat16"
    with pytest.raises(BundleError, match="rounded to bfloat16"):
        detector.to("cpu", "float32")


def test_a_move_that_fails_at_once_has_rounded_nothing() -> None:
    detector = make()
    with pytest.raises(UsageError):
        detector.to("toaster", "bfloat16")
    assert detector.to("cpu", "float32").dtype == "float32"


def test_to_a_dtype_or_device_that_does_not_exist() -> None:
    with pytest.raises(UsageError, match="dtype must be one of float32"):
        make().to("cpu", "float8")
    with pytest.raises(UsageError, match="cannot be moved to the device 'toaster'"):
        make().to("toaster")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="cannot be moved to the device 'cuda'"):
            make().to("cuda")


def test_describe_is_all_that_a_record_needs_and_json() -> None:
    import datetime

    detector = make(model_kwargs={"width": 4, "when": datetime.date(2024, 1, 2), "nan": float("nan"), "list": (1, 2)})
    said = json.loads(json.dumps(detector.describe(), allow_nan=False))
    assert said["name"] == "probe"
    assert said["modality"] == "image"
    assert said["origin"] == "probe 1.0"
    assert said["weights"] == {
        "name": "demo", "kind": "demo", "path": "/w.safetensors", "sha256": "0" * 64, "licence": "MIT",
        "source": "package:demo.safetensors",
    }  # fmt: skip
    assert said["model_sha256"] == "1" * 64
    assert said["model"] == {"width": 4, "when": "2024-01-02", "nan": "nan", "list": [1, 2]}
    assert said["preprocessing"] == Preprocessing(Modality.IMAGE).to_mapping()
    assert (said["dtype"], said["input_dtype"], said["num_classes"], said["parameters"]) == ("float32", "float32", 2, 1)


def test_nothing_else_writes_to_stdout_afterwards() -> None:
    before = sys.stdout
    make(Prints()).logits(pixels(1, 3, 4, 4))
    assert sys.stdout is before


def test_a_record_names_the_weights_wherever_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert WeightsInfo("w", "file", Path("w.safetensors"), "0" * 64).to_mapping()["path"] == str(
        tmp_path / "w.safetensors"
    )
