"""Side outputs: what is right comes through as numpy, what is wrong is left out with a note, and never costs the logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gasdet.bundle import Detector, OutputError, WeightsInfo
from gasdet.bundle.details import MAX_VALUES, details_of
from gasdet.types import Modality, Preprocessing


class Said(nn.Module):
    """Mean pixel as the logit, and what it is told to say beside it."""

    def __init__(self, said: Any = None) -> None:
        super().__init__()
        self.said = said
        self.calls: list[str] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.append("forward")
        mean = x.flatten(1).float().mean(1)
        return torch.stack([-mean, mean], dim=1)


class WithDetails(Said):
    def forward_with_details(self, x: torch.Tensor) -> Any:
        self.calls.append("details")
        self.in_inference_mode = torch.is_inference_mode_enabled()
        logits = Said.forward(self, x)
        return self.said(logits) if callable(self.said) else (logits, self.said)


def detector(module: nn.Module) -> Detector:
    return Detector(
        name="probe",
        modality=Modality.IMAGE,
        preprocessing=Preprocessing(Modality.IMAGE),
        module=module.eval(),
        num_classes=2,
        dtype="float32",
        input_dtype="float32",
        weights=WeightsInfo("w", "file", Path("w.safetensors"), "0" * 64),
        origin="the tests",
        model_sha256="1" * 64,
    )


BATCH = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 4), dtype=np.uint8)


def test_logits_and_details_are_of_one_pass() -> None:
    module = WithDetails({"map": torch.arange(8.0).reshape(2, 2, 2)})
    one = detector(module)
    assert one.has_details
    logits, details = one.logits_with_details(BATCH)
    assert module.calls == ["details", "forward"]
    assert module.in_inference_mode
    np.testing.assert_array_equal(logits, detector(Said()).logits(BATCH))
    np.testing.assert_array_equal(details["map"], np.arange(8.0).reshape(2, 2, 2))
    assert details.notes == ()


def test_a_module_without_them_says_nothing() -> None:
    module = Said()
    logits, details = detector(module).logits_with_details(BATCH)
    assert not detector(module).has_details
    assert (module.calls, dict(details), details.notes) == (["forward"], {}, ())
    assert logits.shape == (2, 2)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (lambda logits: logits, "returned a Tensor"),
        (lambda logits: (logits, {}, 1), "returned a tuple of 3"),
        (lambda logits: (logits, [1]), "returned a tuple of 2"),
        (lambda logits: (logits[:1], {}), r"should return logits \[2, 2\], but its output has the shape \[1, 2\]"),
    ],
)
def test_what_is_no_pair_of_logits_and_details_is_an_output_error(said: Any, expected: str) -> None:
    with pytest.raises(OutputError, match=expected):
        detector(WithDetails(said)).logits_with_details(BATCH)


@pytest.mark.parametrize(
    ("tensor", "dtype"),
    [
        (torch.tensor([1.5, 2.5], dtype=torch.bfloat16), np.float32),
        (torch.tensor([1.5, 2.5], dtype=torch.float16), np.float32),
        (torch.tensor([1.5, 2.5], dtype=torch.float64), np.float64),
        (torch.tensor([1, 2]), np.int64),
        (torch.tensor([True, False]), np.uint8),
        (torch.tensor([np.nan, np.inf]), np.float32),
    ],
)
def test_every_kind_of_number_comes_through(tensor: torch.Tensor, dtype: Any) -> None:
    details = details_of({"x": tensor}, batch=2)
    assert details["x"].dtype == dtype
    np.testing.assert_array_equal(details["x"], np.array(tensor.tolist()))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("x", torch.zeros(3, 4), "its shape is [3, 4], and its first dimension should be the batch's 2"),
        ("x", torch.tensor(1.0), "its shape is []"),
        ("x", [1.0, 2.0], "it is a list, not a tensor"),
        ("x", None, "it is a NoneType"),
        ("x", torch.zeros(2, dtype=torch.complex64), "no plain real numbers"),
        ("x", torch.zeros(2, 3).to_sparse(), "no plain real numbers"),
        ("x", torch.zeros(2, 1).expand(2, MAX_VALUES + 1), "1,000,001 values a sample, over the bound of 1,000,000"),
        (7, torch.zeros(2), "its name is no text"),
        ("windows", torch.zeros(2), "the name is taken"),
        ("heatmap", torch.zeros(2, 4), "a heat map has the shape [B, height, width]"),
        ("heatmap", torch.zeros(2, 0, 4), "a heat map has the shape"),
        ("heatmap", torch.full((2, 2, 2), 1.5), "0 to 1, not 1.5 to 1.5"),
        ("heatmap", torch.full((2, 2, 2), -0.1), "0 to 1, not -0.1 to -0.1"),
    ],
)
def test_one_that_is_wrong_is_left_out_with_a_note(name: Any, value: Any, expected: str) -> None:
    details = details_of({name: value, "good": torch.ones(2)}, batch=2)
    assert list(details) == ["good"]
    (note,) = details.notes
    assert note.startswith(f"the model's detail {name!r} is left out: ")
    assert expected in note


def test_the_bound_is_a_samples_and_a_heat_map_may_have_holes() -> None:
    details = details_of(
        {"x": torch.zeros(2, 1).expand(2, MAX_VALUES), "heatmap": torch.tensor([[[np.nan, 1.0]], [[0.0, 0.5]]])},
        batch=2,
    )
    assert set(details) == {"x", "heatmap"}
    assert details["x"].shape == (2, MAX_VALUES)


def test_the_arrays_are_their_own_memory() -> None:
    tensor = torch.zeros(2, 3)
    details = details_of({"x": tensor}, batch=2)
    tensor.fill_(9)
    assert (details["x"] == 0).all()
