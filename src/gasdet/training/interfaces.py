"""What the parts of a training hand to each other: batches, model outputs, samplers, objectives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gasdet.types import Sample

Rows = npt.NDArray[np.int64]
"""int64 ``[N]``: positions in the samples of some ``TrainingInputs``."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples that go through the model together.

    Attributes:
        inputs: What the model takes: pixels uint8 ``[B, 3, H, W]`` or ``[B, T, 3, H, W]``, waveforms float32 ``[B, N]``, or
            features float32 ``[B, F]`` of a frozen backbone.
        labels: int64 ``[B]``, 0 real and 1 synthetic.
        weights: float32 ``[B]``, the samples' weights in the loss.
        rows: int64 ``[B]``, positions in the samples that the batch was made from.
        targets: ``[B, ...]``, what ``Recipe.targets`` made of each sample, floating-point ones float32; None where the recipe
            has none, and in validation.
    """

    inputs: Tensor
    labels: Tensor
    weights: Tensor
    rows: Tensor
    targets: Tensor | None = None

    def to(self, device: torch.device | str) -> Batch:
        """The batch with its tensors on a device."""
        columns = (self.inputs.to(device), self.labels.to(device), self.weights.to(device), self.rows.to(device))
        return Batch(*columns, targets=None if self.targets is None else self.targets.to(device))


class TrainingInputs(Protocol):
    """Samples as a model's input, in memory, on disk, or decoded as needed."""

    samples: Sequence[Sample]
    """N samples, all of them usable and labelled."""

    from_features: bool
    """Whether ``Batch.inputs`` are features, for the model's ``classify``, and not its ``forward``."""

    def batches(self, batches: Sequence[Sequence[int]], *, epoch: int, augment: bool) -> Iterator[Batch]:
        """One batch for each list of rows, in their order, on the CPU, prepared ahead.

        Args:
            batches: Rows of each batch.
            epoch: Number of the pass, from 1. With seed and sample it decides the augmentation.
            augment: Whether to augment at all.
        """
        ...


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """What a model says of a batch.

    Attributes:
        logits: float32 ``[B, 2]`` or ``[B, 3]``, (real, synthetic[, semisynthetic]).
        embeddings: float32 ``[B, D]`` where an objective asked for them.
        outputs: Everything that ``forward_with_outputs`` gave, by name, where an objective asked for it; floating-point ones
            float32.
    """

    logits: Tensor
    embeddings: Tensor | None = None
    outputs: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, found: Mapping[str, Tensor]) -> ModelOutput:
        """From what a module gave by name, in float32 whatever the precision of the forward pass was."""
        outputs = {name: value.float() if value.is_floating_point() else value for name, value in found.items()}
        return cls(outputs["logits"], outputs.get("embeddings"), outputs)


class Sampler(Protocol):
    """Which samples an epoch sees, and in which order."""

    def epoch_rows(self, epoch: int) -> Rows:
        """Rows of an epoch (from 1), in order. A pure function of the seed, the epoch and ``state``."""
        ...

    def update(self, validation_losses: Mapping[str, float]) -> None:
        """Told of each dataset's mean loss on the validation part, after every validation."""
        ...

    def state(self) -> dict[str, Any]:
        """What ``update`` has changed so far, in types that JSON has."""
        ...

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state`` gave."""
        ...


class Objective(Protocol):
    """What a stage of the training makes small."""

    needs_embeddings: bool
    needs_outputs: bool
    """Whether it takes all of what ``forward_with_outputs`` gives."""

    def parameters(self) -> Iterable[nn.Parameter]:
        """Parameters of its own that are trained too, e.g. the centres of a center loss."""
        ...

    def __call__(self, output: ModelOutput, batch: Batch, progress: float) -> tuple[Tensor, dict[str, float]]:
        """The value to make small, a scalar tensor, and its parts for the log.

        Args:
            output: Of the model in training, for this batch.
            batch: On the model's device.
            progress: How far the stage is, 0 to 1.
        """
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that a resumed training needs of it."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what ``state_dict`` gave."""
        ...
