"""What the weights are worth on the validation part, and whether they are better than others."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gasdet.errors import RunError
from gasdet.registry import load_registry, load_target
from gasdet.training.distributed import Processes
from gasdet.training.interfaces import Objective, TrainingInputs
from gasdet.training.recipe import Recipe

Line = dict[str, int | float | None]
"""A line of metrics.jsonl: one validation. None stands for a value that is not defined, e.g. an AUROC of one class."""

_SHOWN = ("combined_score", "accuracy", "auroc", "brier")
_FEATURE_ROWS = 4096
"""Vectors that go through a head together; a validation batch of media is as large as one in training."""


class Judge:
    """Judges a model on a validation part.

    Attributes:
        key: The line's entry that chooses the weights to keep.
    """

    def __init__(self, recipe: Recipe, part: TrainingInputs, objective: Objective, processes: Processes) -> None:
        """Load the metrics.

        Args:
            recipe: With ``selection`` and the batch size.
            part: The validation part.
            objective: Its ``validation_loss``, where it has one, becomes ``val_loss``; otherwise that is cross-entropy.
                Its ``calibrated_logits``, where it has them, are what is judged.
            processes: Each takes its share of the batches.

        Raises:
            UsageError: No metric is called like the recipe's ``selection``.
        """
        self._part, self._processes = part, processes
        self._loss: Callable[..., Tensor | None] = getattr(objective, "validation_loss", lambda *_: None)
        self._calibrated: Callable[[Tensor], Tensor] = getattr(objective, "calibrated_logits", lambda logits: logits)
        self._cross_entropy = _component("loss", "cross_entropy")
        self.key = f"val_{recipe.selection}"
        names = dict.fromkeys((recipe.selection, *_SHOWN))
        self._metrics = {f"val_{name}": _component("metric", name) for name in names}
        higher = load_registry().component("metric", recipe.selection).spec.higher_is_better
        self._sign = -1.0 if higher is False else 1.0
        rows = list(range(len(part.samples)))
        size = (
            _FEATURE_ROWS if part.from_features else max(1, recipe.batch_size // recipe.accumulate // processes.count)
        )
        batches = [rows[at : at + size] for at in range(0, len(rows), size)]
        self._batches = batches[processes.rank :: processes.count]
        self._labels = torch.tensor([sample.label for sample in part.samples])
        self._weights = torch.tensor([sample.weight for sample in part.samples], dtype=torch.float32)
        datasets = np.array([sample.dataset for sample in part.samples])
        self._datasets = {str(name): torch.from_numpy(datasets == name) for name in np.unique(datasets)}

    def __call__(self, model: nn.Module, moment: str) -> Line:
        """The line of a model in eval mode: ``val_loss``, ``val_METRIC``, and with several datasets their losses.

        Args:
            model: Takes a batch's inputs, gives ``logits`` by name.
            moment: When in the training this is, in words, for a message.

        Raises:
            RunError: A logit is no finite number.
        """
        found = self._logits(model)
        broken = int((~torch.isfinite(found)).any(-1).sum())
        if broken:
            raise RunError(
                f"{broken} of the {len(found)} validation samples have logits that are no finite numbers at {moment}; lower "
                "learning_rate, set clip_norm, or compute in another precision (precision=float32)."
            )
        logits = self._calibrated(found)
        scores = logits.double().softmax(-1)[:, 1:].sum(-1).numpy()
        labels = self._labels.numpy()
        weights = None if bool((self._weights == 1).all()) else self._weights.double().numpy()
        values = {name: _or_none(metric(labels, scores, weights)) for name, metric in self._metrics.items()}
        loss = self._loss(logits, self._labels, self._weights)
        if loss is None:
            loss = self._cross_entropy(logits, self._labels, self._weights)
        line: Line = {"val_loss": _or_none(float(loss)), **values}
        if len(self._datasets) > 1:
            line.update({f"val_cross_entropy/{name}": value for name, value in self._by_dataset(logits).items()})
        self.dataset_losses = {n: v for n, v in self._by_dataset(logits).items() if v is not None}
        return line

    def better(self, one: Line, other: Line | None) -> bool:
        """Whether a line's selection metric is better than another's; among equals the lower loss decides."""
        return other is None or self._rank(one) > self._rank(other)

    def _rank(self, line: Line) -> tuple[float, float]:
        value, loss = line[self.key], line["val_loss"]
        return (-math.inf if value is None else self._sign * value, -math.inf if loss is None else -loss)

    def _by_dataset(self, logits: Tensor) -> dict[str, float | None]:
        """Mean cross-entropy of each dataset: it is defined for one class too, whatever the training's loss is."""
        found: dict[str, float | None] = {}
        for name, members in self._datasets.items():
            loss = self._cross_entropy(logits[members], self._labels[members], self._weights[members])
            found[name] = _or_none(float(loss))
        return found

    @torch.no_grad()
    def _logits(self, model: nn.Module) -> Tensor:
        """float32 [N, C] of the whole part, on the CPU, the same in every process."""
        found: Tensor | None = None
        for batch in self._part.batches(self._batches, epoch=1, augment=False):
            with self._processes.autocast():
                logits = model(batch.inputs.to(self._processes.device))["logits"]
            logits = logits.float().cpu()
            if found is None:
                found = torch.zeros(len(self._part.samples), logits.shape[1])
            found[batch.rows] = logits
        if self._processes.count > 1:
            classes = max(self._processes.gather(0 if found is None else found.shape[1]))
            found = torch.zeros(len(self._part.samples), classes) if found is None else found
            found = self._processes.sum_tensor(found)
        assert found is not None, "a validation part has samples"
        return found


def _component(kind: Any, name: str) -> Callable[..., Any]:
    spec = load_registry().component(kind, name).spec
    function = load_target(spec.target)
    return lambda *args: function(*args, **spec.options)


def _or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
