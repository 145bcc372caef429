"""What a detector's recipe names, and what its training reaches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from gasdet.progress import Silent
from gasdet.testing import samples
from gasdet.testing.detectors.plugin_checks import SUITE
from gasdet.testing.detectors.subject import DetectorSubject
from gasdet.testing.suite import Failed
from gasdet.training.building import preprocessing_of
from gasdet.training.checkpoint import own_random_numbers
from gasdet.training.dependence import tell_progress
from gasdet.training.distributed import autocast
from gasdet.training.interfaces import Batch, ModelOutput, Rows
from gasdet.training.objectives import check_stages, objective_for
from gasdet.training.optimisation import make_optimiser, objective_groups
from gasdet.training.recipe import Recipe
from gasdet.training.targets import Targets
from gasdet.training.trainable import ModelCaller, make_trainable, set_training_mode
from gasdet.types import Locator, MediaType, Sample

_CPU = torch.device("cpu")
_STEPS = 10
"""Steps in which a gradient must have reached a parameter once. Layer drop and the like leave parts out at random, and behind a
layer that begins at 0 (low-rank adapters, zero-initialised residuals) nothing arrives before that layer has moved."""
_BATCH = 4


@SUITE.check(
    "recipe",
    "its recipe builds a module, and everything that its stages name is installed and fits",
    "see the error; gasdet list --hooks shows the losses and metrics.",
)
def _recipe(subject: DetectorSubject) -> str:
    recipe = subject.recipe
    check_stages(recipe, subject.build(), subject.modality, _CPU)
    return f"{recipe.stage_count} {'stage' if recipe.stage_count == 1 else 'stages'} on the demo data"


@SUITE.check(
    "gradient",
    "in every stage, the recipe's own losses give a gradient other than 0 to all that it trains, and leave the rest as it was",
    "no torch.no_grad(), .detach(), .data or factor of 0 between the losses and what is trained; name the head's tensors in "
    "Recipe.head.",
    needs=("recipe",),
)
def _gradient(subject: DetectorSubject) -> str:
    recipe = subject.recipe
    with own_random_numbers(_CPU):
        return ", then ".join(_stage_reaches(subject, recipe.stage(number)) for number in range(recipe.stage_count))


def _stage_reaches(subject: DetectorSubject, stage: Recipe) -> str:
    """A few steps of a stage as a training makes them: what they give a gradient to."""
    torch.manual_seed(0)
    module, inputs = subject.build(), _Inputs(subject, stage)
    # a reward stage's reference would be calibrated on data; any line will do here
    objective, _ = objective_for(stage, module, inputs, line=(1.0, 0.0), device=_CPU, progress=Silent())
    module, groups = make_trainable(module, stage)
    caller = ModelCaller(
        module, from_features=False, with_embeddings=objective.needs_embeddings, with_outputs=objective.needs_outputs
    )
    optimiser = make_optimiser([*groups, *objective_groups(objective, stage)], stage)
    trained = {name for name, p in module.named_parameters() if p.requires_grad}
    frozen = {name: p.detach().clone() for name, p in module.named_parameters() if name not in trained}
    set_training_mode(module, stage)
    connected: set[str] = set()
    reached: set[str] = set()
    for step in range(_STEPS):
        torch.manual_seed(step)
        progress = step / (_STEPS - 1)
        tell_progress(module, progress)
        batch = inputs.batch(range(_BATCH), seed=step)
        with autocast(_CPU, stage.precision):
            outputs = caller(batch.inputs, batch.targets)
        loss, _ = objective(ModelOutput.of(outputs), batch, progress)
        if not loss.requires_grad:
            raise Failed(f"The loss ({', '.join(stage.losses)}) depends on nothing that is trained.")
        if not torch.isfinite(loss):
            raise Failed(f"In step {step + 1} the loss ({', '.join(stage.losses)}) is {loss.item()}.")
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        given = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
        if broken := [name for name, gradient in given.items() if not torch.isfinite(gradient).all()]:
            raise Failed(f"In step {step + 1} the gradient of {', '.join(broken[:4])} is not finite.")
        connected |= set(given)
        reached |= {name for name, gradient in given.items() if gradient.count_nonzero()}
        if reached >= trained:
            break
        optimiser.step()
    # a single number may have no effect at all: a softmax's weight of the only layer there is in a small demo network
    reached |= {name for name, p in module.named_parameters() if name in connected and p.numel() == 1}
    _judge(trained, connected, reached)
    if any(not torch.equal(p, frozen[name]) for name, p in module.named_parameters() if name in frozen):
        raise Failed("A step changes parameters that are frozen.")
    return f"{len(trained)} tensors ({stage.trainable})"


def _judge(trained: set[str], connected: set[str], reached: set[str]) -> None:
    parts = {
        "none reaches": trained - connected,
        "only zeros reach": (trained & connected) - reached,
        "one reaches the frozen": connected - trained,
    }
    said = [f"{what} {', '.join(sorted(names)[:4])}" for what, names in parts.items() if names]
    if said:
        raise Failed(f"Of {len(trained)} trained tensors: {'; '.join(said)}.")


class _Inputs:
    """Made samples as ``TrainingInputs``, with the targets that the recipe makes of them."""

    from_features = False

    def __init__(self, subject: DetectorSubject, stage: Recipe) -> None:
        self._preprocessing = preprocessing_of(subject.spec, stage)
        self._targets = Targets(stage.targets, self._preprocessing) if stage.uses_targets else None
        kinds = (MediaType.REAL, MediaType.SYNTHETIC)
        self.samples: Sequence[Sample] = [
            Sample(f"{i:032x}", "check", str(i), Locator("file", str(i)), subject.modality, kinds[i % 2])
            for i in range(_BATCH)
        ]

    def batches(self, batches: Sequence[Sequence[int]], *, epoch: int, augment: bool) -> Iterator[Batch]:
        """One batch for each list of rows."""
        del augment
        return (self.batch(rows, seed=epoch) for rows in batches)

    def batch(self, rows: Sequence[int], seed: int) -> Batch:
        """These rows, with content that the seed decides."""
        arrays, labels = samples.batch(self._preprocessing, _BATCH, seed)
        chosen: Rows = np.asarray(rows, dtype=np.int64)
        targets = None
        if self._targets is not None:
            targets = self._targets.batch([arrays[i] for i in rows], [self.samples[i] for i in rows])
        return Batch(
            torch.from_numpy(arrays[chosen]),
            torch.from_numpy(labels[chosen]),
            torch.ones(len(rows)),
            torch.from_numpy(chosen),
            targets,
        )
