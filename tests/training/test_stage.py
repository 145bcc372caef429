"""What a stage does where something is odd: small batches, little memory, broken numbers, a frozen reference."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent / "support"))

import engine_job as job

from gasdet.errors import RunError
from gasdet.progress import Silent
from gasdet.training.feature_inputs import FeatureInputs
from gasdet.training.features import FeatureSet
from gasdet.training.interfaces import Batch
from gasdet.training.objectives import objective_for
from gasdet.training.recipe import Recipe


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Stopped(FeatureInputs):
    """Vectors that are interrupted before some batch."""

    left = -1

    def batches(self, batches: Sequence[Sequence[int]], *, epoch: int, augment: bool) -> Iterator[Batch]:
        for batch in super().batches(batches, epoch=epoch, augment=augment):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            yield batch


def vectors(count: int, width: int, seed: int) -> FeatureSet:
    samples = tuple(job.make_sample(i, i % 2) for i in range(count))
    x = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    x[1::2] += 0.2
    return FeatureSet(samples, x, (), 0)


def test_vectors_in_batches_of_two_go_on_with_the_same_bits(tmp_path: Path) -> None:
    """102 vectors of 21 numbers by tens: the last batch has 2 rows, and a resume begins its chunk with another batch."""

    def trained(folder: Path, stop: int = -1) -> nn.Module:
        torch.manual_seed(0)
        module, inputs = job.VectorNet(21), Stopped(vectors(102, 21, 0))
        inputs.left = stop
        others = {"train": inputs, "validation": FeatureInputs(vectors(30, 21, 1)), "sampler": job.Shuffle(102)}
        job.stage_of(module, {"trainable": "head", "batch_size": 10, "epochs": 2}, folder, **others)
        return module

    whole = trained(tmp_path / "whole")
    for stop in (2, 5, 8):
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / str(stop), stop)
        job.assert_same(whole, trained(tmp_path / str(stop)))


class Normalised(nn.Module):
    """A BatchNorm that refuses a single row."""

    def __init__(self) -> None:
        super().__init__()
        self.bn, self.head = nn.BatchNorm1d(3), nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.bn(x.float().mean((2, 3)) / 255))


def test_a_short_last_batch_has_no_part_of_one_row(tmp_path: Path) -> None:
    inputs = job.ArrayInputs(*job.pictures(11, 0))
    recipe = {"epochs": 1, "batch_size": 8, "accumulate": 2}
    job.stage_of(Normalised(), recipe, tmp_path, train=inputs, sampler=job.Shuffle(11))
    assert [len(rows) for rows in inputs.asked] == [4, 4, 3]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_too_little_memory_says_what_to_do(error: Exception, tmp_path: Path) -> None:
    def fail(*_: Any) -> None:
        raise error

    module = job.Net()
    module.fc.register_forward_pre_hook(fail)
    with pytest.raises(
        RunError, match="cpu does not suffice for stage 1 with batch_size=8 and accumulate=2; set accumulate"
    ):
        job.stage_of(module, {"accumulate": 2}, tmp_path, stage=1)


def test_other_errors_of_a_model_stay_what_they_are(tmp_path: Path) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("shapes do not match")

    module = job.Net()
    module.fc.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        job.stage_of(module, {}, tmp_path)


def test_logits_that_are_no_numbers_in_a_validation_end_the_training(tmp_path: Path) -> None:
    """In eval mode only, so that no training loss tells before."""
    module = job.Net()
    module.head.register_forward_hook(lambda m, i, o: o if module.training else o * float("nan"))
    with pytest.raises(RunError, match=r"20 of the 20 validation samples .* at step 5 of stage 0; lower learning_rate"):
        job.stage_of(module, {}, tmp_path)


class Labels(Silent):
    def __init__(self) -> None:
        self.labels: list[str] = []

    def start(self, label: str, total: int) -> None:
        self.labels.append(label)


def test_stages_are_counted_from_0_everywhere(tmp_path: Path) -> None:
    told = Labels()
    job.stage_of(job.Net(), {"epochs": 1}, tmp_path, progress=told)
    job.stage_of(job.Net(), {"epochs": 1}, tmp_path, stage=1, progress=told)
    assert told.labels == ["training", "training, stage 1"]
    assert {line["stage"] for line in job.lines(tmp_path)} == {0, 1}


@pytest.mark.parametrize(("precision", "channels_last"), [("bfloat16", False), ("float32", True), ("bfloat16", True)])
def test_the_reference_of_a_reward_stage_rounds_as_the_model(
    precision: str, channels_last: bool, tmp_path: Path
) -> None:
    """The divergence of the first step is exactly 0."""
    torch.manual_seed(0)
    module = job.Net(batchnorm=False)
    recipe = {"kind": "reward", "steps": 1, "precision": precision, "channels_last": channels_last, "batch_size": 40}
    validation = job.ArrayInputs(*job.pictures(20, 1))
    stage = Recipe(**{**job.RECIPE, **recipe})
    objective, _ = objective_for(
        stage, module, validation, line=(1.0, 0.0), device=torch.device("cpu"), progress=Silent()
    )
    job.stage_of(module, recipe, tmp_path, objective=objective)
    last = job.lines(tmp_path)[-1]
    assert last["train_kl"] == 0
    assert last["train_skipped"] == 0
