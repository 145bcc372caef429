"""The entrance to the training engine: one stage, from a module and its inputs to the weights to keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gasdet.errors import RunError
from gasdet.evaluation.inference import is_out_of_memory
from gasdet.progress import ProgressSink, Silent
from gasdet.training.checkpoint import Checkpoints, own_random_numbers
from gasdet.training.distributed import Processes
from gasdet.training.interfaces import Objective, Sampler, TrainingInputs
from gasdet.training.judge import Line
from gasdet.training.recipe import Recipe
from gasdet.training.stage import Position, Stage
from gasdet.training.trainable import load_tensors, make_trainable, merge, trained_tensors

CHECKPOINT_NAME = "checkpoint"
_STAGE_SEED = 1_000_003


@dataclass(frozen=True, slots=True)
class StageResult:
    """What a stage came to.

    Attributes:
        best: The validation whose weights were kept, as its line in metrics.jsonl.
        epochs: How many passes were begun.
        steps: How many steps were made.
        stopped: ``finished``, or ``early`` where ``patience`` ended it.
    """

    best: Line
    epochs: int
    steps: int
    stopped: str


def run_stage(
    module: nn.Module,
    recipe: Recipe,
    *,
    train: TrainingInputs,
    validation: TrainingInputs,
    sampler: Sampler,
    objective: Objective,
    folder: Path,
    stage: int = 0,
    device: str = "auto",
    identity: Mapping[str, Any],
    save_every: float = 300.0,
    progress: ProgressSink | None = None,
) -> StageResult:
    """Train a module for one stage, and leave it with the weights to keep: on the CPU, in eval mode, nothing trainable.

    The weights to keep are those with the best ``recipe.selection`` on the validation part (the moving average's, where the
    recipe has one); a reward stage also considers the weights that it starts from. Low-rank adapters are merged.

    Called again with the same arguments after it was killed, it goes on from ``folder/checkpoint/stage-N`` and ends with the
    same weights, to the bit on a CPU with the same number of threads. Called again after it finished, it only loads them.
    Standardisation of features, if any, is set by the caller before.

    With several processes (torchrun) each takes its share of every batch; gradients are those of the whole batch as long as
    the objective is a mean over samples. BatchNorm then sees each share alone.

    Args:
        module: As the recipe's builder made it, or as the stage before left it.
        recipe: Of this stage, see ``Recipe.stage``.
        train: What it is trained on.
        validation: What chooses the weights; both classes.
        sampler: Which rows of ``train`` an epoch draws, in which order.
        objective: What is made small.
        folder: Of the whole training: ``metrics.jsonl``, ``tensorboard``, ``checkpoint``.
        stage: Number of the stage, from 0.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        identity: What else decides the result (data, start weights), in types that JSON has.
        save_every: Seconds between two checkpoints at most; one is also written after a validation and on Ctrl-C.
        progress: Told of the steps and, now and then, of a validation.

    Raises:
        RunError: The checkpoint belongs to another training or is damaged, the loss or a logit is no finite number, or the
            memory does not suffice.
        UsageError: The recipe asks for something that the module, the device or the installed components do not have.
        PluginError: The module does not offer what the recipe needs.
    """
    recipe = recipe.stage(stage) if recipe.stages else recipe
    processes = Processes(device, recipe.precision)
    own = {"stage": stage, "processes": processes.count, "device": processes.device.type, "recipe": recipe.to_mapping()}
    checkpoints = Checkpoints(folder / CHECKPOINT_NAME / f"stage-{stage}", {**own, **identity})
    saved = checkpoints.read()
    single = train.from_features and processes.count == 1 and processes.device.type == "cpu"
    with (
        own_random_numbers(processes.device),
        _one_thread() if single else nullcontext(),
        _memory_needed(f"stage {stage}", recipe, processes.device),
    ):
        seed = (recipe.seed + _STAGE_SEED * stage) % 2**63
        torch.manual_seed(seed)
        module.to(processes.device)
        module, groups = make_trainable(module, recipe)
        if saved is not None and saved.values["position"]["stopped"]:
            position = Position(**saved.values["position"])
        else:
            torch.manual_seed((seed + processes.rank) % 2**63)  # other dropout for each share of a batch
            run = Stage(module, groups, recipe, train, validation, sampler, objective, processes, checkpoints)
            position = run.run(folder, stage, saved, save_every, progress or Silent())
            processes.barrier()  # the first process has written what all now read
        best = position.best
        assert best is not None, "a stage ends with a validation"
        load_tensors(trained_tensors(module, recipe), checkpoints.read_best(int(best["step"] or 0)))
    merge(module).to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    module.requires_grad_(False).eval()
    begun = position.epoch if position.batch else position.epoch - 1
    return StageResult(best, begun, position.step, position.stopped)


@contextmanager
def _memory_needed(what: str, recipe: Recipe, device: torch.device) -> Iterator[None]:
    """Say what to do where the memory does not suffice."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise RunError(
            f"the memory of {device} does not suffice for {what} with batch_size={recipe.batch_size} and "
            f"accumulate={recipe.accumulate}; set accumulate higher, so that a batch goes through in more parts, or batch_size "
            "lower, and begin again (--restart)."
        ) from error


@contextmanager
def _one_thread() -> Iterator[None]:
    """Steps of some microseconds are slower on several threads, and their sums depend on how many there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
