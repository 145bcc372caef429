"""Side outputs on their way through the scorer: each sample its own, at the cost of no score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from gasdet.evaluation.inference import Scorer
from gasdet.types import Reason


class Told(torch.nn.Module):
    """Logits (0, pixel - 100); beside them the pixel. `deeds` happen only where details are asked for."""

    def __init__(self, **deeds: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.deeds = {int(name.removeprefix("at_")): deed for name, deed in deeds.items()}
        self.passes: list[tuple[str, int]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.passes.append(("plain", len(x)))
        pixels = x[:, 0, 0, 0]
        return torch.stack([torch.zeros_like(pixels), pixels - 100], 1)

    def forward_with_details(self, x: torch.Tensor) -> Any:
        logits = self.forward(x)
        self.passes[-1] = ("details", len(x))
        for pixel in x[:, 0, 0, 0].int().tolist():
            if pixel in self.deeds:
                logits = self.deeds[pixel](logits)
        return logits, {"pixel": x[:, 0, 0, 0], "place": x[:, 0, :2, :2]}


def batch(*values: int) -> np.ndarray:
    return np.stack([np.full((3, 4, 4), v, dtype=np.uint8) for v in values])


def fail(message: str) -> Callable[[torch.Tensor], Any]:
    def deed(logits: torch.Tensor) -> Any:
        raise RuntimeError(message)

    return deed


VALUES = [90, 95, 100, 105, 110, 115, 120]


def test_each_sample_has_its_own_and_the_same_score(make_detector: Callable[..., Any]) -> None:
    plain = Scorer(make_detector(Told())).score(batch(*VALUES), 0)
    found = Scorer(make_detector(Told()), details=True).score(batch(*VALUES), 0)
    assert [s.p_synthetic for s in found] == [s.p_synthetic for s in plain]
    assert [dict(s.details) for s in plain] == [{}] * 7
    assert [float(s.details["pixel"]) for s in found] == VALUES
    assert all(s.details["place"].shape == (2, 2) and (s.details["place"] == s.details["pixel"]).all() for s in found)


def test_an_evaluation_does_not_ask_for_them(make_detector: Callable[..., Any]) -> None:
    module = Told()
    Scorer(make_detector(module)).score(batch(*VALUES), 0)
    assert module.passes == [("plain", 1), ("plain", 7)]


def test_out_of_memory_halves_with_them_too(make_detector: Callable[..., Any]) -> None:
    module = Told()
    whole = module.forward_with_details

    def narrow(x: torch.Tensor) -> Any:
        if len(x) > 2:
            raise RuntimeError("CUDA out of memory")
        return whole(x)

    module.forward_with_details = narrow  # type: ignore[method-assign]
    found = Scorer(make_detector(module), details=True).score(batch(*VALUES), 0)
    assert [float(s.details["pixel"]) for s in found] == VALUES
    assert [s.logit_synthetic for s in found] == [v - 100 for v in VALUES]


@pytest.mark.parametrize("message", ["no place", "CUDA out of memory"])
@pytest.mark.parametrize("bad", [90, 105])
def test_a_pass_that_fails_for_its_details_costs_only_them(
    make_detector: Callable[..., Any], bad: int, message: str
) -> None:
    module = Told(**{f"at_{bad}": fail(message)})
    found = Scorer(make_detector(module), details=True).score(batch(*VALUES), 0)
    assert [s.logit_synthetic for s in found] == [v - 100 for v in VALUES]
    assert [bool(s.details) for s in found] == [v != bad for v in VALUES]
    assert [s.notes for s in found] == [
        (f"the model's details are left out: RuntimeError: {message}",) if v == bad else () for v in VALUES
    ]


def test_a_sample_that_fails_either_way_says_why_it_failed_first(make_detector: Callable[..., Any]) -> None:
    module = Told()
    inner = module.forward

    def forward(x: torch.Tensor) -> torch.Tensor:
        if (x == 100).all(dim=3).any():
            raise ValueError("a hundred")
        return inner(x)

    module.forward = forward  # type: ignore[method-assign]
    found = Scorer(make_detector(module), details=True).score(batch(*VALUES), 0)
    assert [s.reason for s in found] == [Reason.MODEL_ERROR if v == 100 else None for v in VALUES]
    assert found[2].message == "ValueError: a hundred"
    assert (dict(found[2].details), found[2].notes) == ({}, ())


def test_a_pass_that_gives_other_logits_with_details_is_not_taken(make_detector: Callable[..., Any]) -> None:
    module = Told(at_90=lambda logits: logits + torch.tensor([0.0, 0.1]))
    found = Scorer(make_detector(module), details=True).score(batch(*VALUES), 0)
    assert [s.logit_synthetic for s in found] == [v - 100 for v in VALUES]
    assert all(not s.details for s in found)
    assert {s.notes for s in found} == {
        ("the model's details are left out: with them it gives other logits than without",)
    }


class Rounds(Told):
    """Its side outputs cost a rounding of the logits."""

    def forward_with_details(self, x: torch.Tensor) -> Any:
        logits, found = super().forward_with_details(x)
        return logits + torch.tensor([0.0, 3e-5]), found


def test_the_score_is_that_of_forward_to_the_last_bit(make_detector: Callable[..., Any]) -> None:
    plain = Scorer(make_detector(Rounds())).score(batch(*VALUES), 0)
    module = Rounds()
    found = Scorer(make_detector(module), details=True).score(batch(*VALUES), 0)
    assert [s.logit_synthetic for s in found] == [s.logit_synthetic for s in plain]
    assert [float(s.details["pixel"]) for s in found] == VALUES
    assert module.passes == [("plain", 1), ("details", 1), ("plain", 7), ("details", 7)]


def test_a_model_with_the_same_logits_runs_once(make_detector: Callable[..., Any]) -> None:
    module = Told()
    Scorer(make_detector(module), details=True).score(batch(*VALUES), 0)
    assert module.passes == [("plain", 1), ("details", 1), ("details", 7)]


def test_memory_that_lacks_for_side_outputs_changes_no_batch_of_the_score(make_detector: Callable[..., Any]) -> None:
    class Batched(Told):
        """Logits tell how many samples were in the pass."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * 0 + torch.tensor([0.0, 1e-6]) * len(x)

        def forward_with_details(self, x: torch.Tensor) -> Any:
            if len(x) > 2:
                raise RuntimeError("CUDA out of memory")
            return super().forward_with_details(x)

    found = Scorer(make_detector(Batched()), details=True).score(batch(*VALUES), 0)
    assert [s.logit_synthetic for s in found] == pytest.approx([7e-6] * 7, rel=1e-5)
    assert [float(s.details["pixel"]) for s in found] == VALUES


def test_a_wrong_one_is_left_out_and_noted(make_detector: Callable[..., Any]) -> None:
    module = Told()
    module.forward_with_details = lambda x: (module.forward(x), {"a": torch.zeros(99), "b": x[:, 0, 0, 0]})  # type: ignore[method-assign]
    found = Scorer(make_detector(module), details=True).score(batch(1, 2), 0)
    assert [list(s.details) for s in found] == [["b"]] * 2
    assert found[0].notes == (
        "the model's detail 'a' is left out: its shape is [99], and its first dimension should be the batch's 2",
    )
