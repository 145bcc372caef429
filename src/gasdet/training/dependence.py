"""What the objective of a stage depends on, found out before the first step, for several processes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gasdet.errors import UsageError
from gasdet.training.checkpoint import own_random_numbers
from gasdet.training.distributed import uses_all_parameters
from gasdet.training.interfaces import ModelOutput, Objective, TrainingInputs
from gasdet.training.recipe import Recipe
from gasdet.training.trainable import ModelCaller, load_tensors, set_training_mode

_MOMENTS = (0.0, 0.5, 1.0)
"""Progress at which a module that is told of it is tried."""


def uses_all(caller: ModelCaller, inputs: TrainingInputs, device: torch.device) -> bool:
    """Whether what a module gives without targets depends on all of its parameters that are trained.

    The module is left in eval mode.
    """
    batch = next(iter(inputs.batches([[0]], epoch=1, augment=False)))
    return uses_all_parameters(caller, caller.eval()(batch.inputs.to(device)))


def settle_outputs(
    caller: ModelCaller, objective: Objective, recipe: Recipe, train: TrainingInputs, device: torch.device
) -> bool:
    """Let ``caller`` detach the outputs that the objective does not read, and tell whether the others depend on all.

    Gradients of several processes are awaited for every parameter that some output depends on; one that only an unread output
    depends on would never have any. A module with ``set_progress`` is tried at the beginning, in the middle and at the end.
    Module, objective and random numbers are left as they were, the module in training mode.

    Args:
        caller: Gives all outputs.
        objective: Its gradient tells which ones it reads.
        recipe: Of the stage.
        train: Two samples of each class are tried.
        device: Where the stage computes.

    Raises:
        UsageError: The objective reads nothing that depends on what is trained.
    """
    module = caller.module
    labels = [sample.label for sample in train.samples]
    rows = sorted(row for label in (0, 1) for row in [r for r, own in enumerate(labels) if own == label][:2])
    batch = next(iter(train.batches([rows], epoch=1, augment=False))).to(device)
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    state = {name: tensor.clone() for name, tensor in objective.state_dict().items()}
    whole, read = True, set[str]()
    with own_random_numbers(device):
        set_training_mode(module, recipe)
        for progress in _MOMENTS if hasattr(module, "set_progress") else _MOMENTS[:1]:
            tell_progress(module, progress)
            outputs: dict[str, Tensor] = caller(batch.inputs, batch.targets)
            loss, _ = objective(ModelOutput.of(outputs), batch, progress)
            found = _read(loss, outputs)
            whole = whole and uses_all_parameters(caller, {name: outputs[name] for name in found})
            read |= found
    if not read:
        raise nothing_to_learn(recipe)
    load_tensors(dict(module.named_buffers()), buffers)
    objective.load_state_dict(state)
    caller.kept = frozenset(read)
    return whole


def nothing_to_learn(recipe: Recipe) -> UsageError:
    """The error of a stage whose objective no trained parameter of the module can change."""
    return UsageError(
        f"the loss of a stage ({', '.join(recipe.losses)}) depends on nothing that it trains (trainable = {recipe.trainable}); "
        "choose other losses, or another part of the model."
    )


def tell_progress(module: nn.Module, progress: float) -> None:
    """Tell a module that asks for it how far its stage is, 0 to 1."""
    if hasattr(module, "set_progress"):
        module.set_progress(progress)  # type: ignore[operator]


def _read(loss: Tensor, outputs: dict[str, Tensor]) -> set[str]:
    """Names of the outputs that a loss depends on."""
    names: Sequence[str] = [name for name, output in outputs.items() if output.requires_grad]
    if not (names and loss.requires_grad):
        return set()
    gradients = torch.autograd.grad(loss, [outputs[name] for name in names], allow_unused=True, retain_graph=True)
    return {name for name, gradient in zip(names, gradients, strict=True) if gradient is not None}
