"""What a stage's objective depends on, as several processes find it out; test_engine.py has two that train together."""

from __future__ import annotations

from typing import Any

import engine_job as job
import pytest
import torch

from gasdet.errors import UsageError
from gasdet.training.dependence import settle_outputs
from gasdet.training.interfaces import Batch, ModelOutput
from gasdet.training.recipe import Recipe
from gasdet.training.trainable import ModelCaller


class Of:
    """An objective of one output, or of none, with a parameter of its own."""

    def __init__(self, name: str) -> None:
        self.name, self.own = name, torch.nn.Parameter(torch.ones(()))

    def __call__(self, output: ModelOutput, batch: Batch, progress: float) -> tuple[torch.Tensor, dict[str, float]]:
        return (self.own * output.outputs[self.name]).sum(), {}

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {}

    def load_state_dict(self, state: Any) -> None:
        assert not state


def settled(objective: Any) -> tuple[bool, Any]:
    x, y = job.pictures(8, 0)
    caller = ModelCaller(job.TellingNet(), from_features=False, with_outputs=True)
    inputs: Any = job.ArrayInputs(x, y, targets=torch.ones(8, 2))
    recipe = Recipe(builder="engine_job:Net", head=("head",), trainable="all", losses={"told": 1.0})
    return settle_outputs(caller, objective, recipe, inputs, torch.device("cpu")), caller.kept


def test_outputs_that_are_read_are_kept() -> None:
    assert settled(Of("told")) == (False, {"told", "embeddings"}), "what is told is made from these"


@pytest.mark.parametrize("own", [True, False], ids=["of its own parameters", "of nothing"])
def test_an_objective_of_nothing_that_is_trained_is_one_sentence(own: bool) -> None:
    """``wanted`` is the target that the model hands on."""
    objective = Of("wanted")
    objective.own.requires_grad_(own)
    with pytest.raises(
        UsageError, match=r"^the loss of a stage \(told\) depends on nothing .*another part of the model\.$"
    ):
        settled(objective)
