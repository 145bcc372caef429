"""The supervised objective: a weighted sum of registered losses."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gasdet.errors import PluginError, UsageError
from gasdet.registry import load_registry, load_target
from gasdet.training.interfaces import Batch, ModelOutput
from gasdet.training.recipe import Recipe

Input = Literal["logits", "embeddings", "outputs"]
"""What a loss is a function of, which the name of its first parameter says; logits where that is another name."""


@dataclass(frozen=True, slots=True)
class LossTerm:
    """One loss of the sum.

    Attributes:
        name: As registered.
        weight: In the sum.
        function: Called with logits, embeddings or all outputs, labels, and weights where it takes them.
        takes: Which of the three it takes.
        takes_weights: Whether it takes the samples' weights.
        module: The same, where it is a module with a state.
    """

    name: str
    weight: float
    function: Callable[..., Tensor]
    takes: Input
    takes_weights: bool
    module: nn.Module | None

    def __call__(self, output: ModelOutput, labels: Tensor, weights: Tensor) -> Tensor:
        """The loss of a batch, unweighted."""
        given: Any = output.logits
        if self.takes == "embeddings":
            given = output.embeddings
        elif self.takes == "outputs":
            given = _Outputs(output.outputs, self.name)
        return self.function(given, labels, weights) if self.takes_weights else self.function(given, labels)


class SupervisedObjective:
    """Sum of the recipe's losses, each times its weight.

    Attributes:
        needs_embeddings: Whether one of them takes embeddings.
        needs_outputs: Whether one of them takes all outputs, or the module the targets.
        terms: The losses.
    """

    def __init__(self, recipe: Recipe, embedding_dim: int | None = None, *, offers_outputs: bool = True) -> None:
        """Load the losses.

        Args:
            recipe: With ``losses`` and ``loss_options``.
            embedding_dim: D of the model's embeddings, where it offers any.
            offers_outputs: Whether the model gives all its outputs by name.

        Raises:
            UsageError: A loss or an option is unknown or unusable, or a loss needs embeddings or outputs that the model does
                not offer.
            PluginError: A loss cannot be imported.
        """
        if not recipe.losses:
            raise UsageError(
                "losses of a training recipe names no loss; name one with its weight, e.g. cross_entropy: 1."
            )
        unused = sorted(set(recipe.loss_options) - set(recipe.losses))
        if unused:
            raise UsageError(f"loss_options has options of {', '.join(unused)}, which losses does not name.")
        self.terms = tuple(
            _load_term(name, float(weight), recipe.loss_options.get(name, {}), embedding_dim)
            for name, weight in recipe.losses.items()
        )
        self._device = torch.device("cpu")
        self.needs_embeddings = any(term.takes == "embeddings" for term in self.terms)
        on_outputs = [f"the loss {term.name} works" for term in self.terms if term.takes == "outputs"]
        on_outputs += [f"targets = {recipe.targets!r} works"] if recipe.uses_targets else []
        self.needs_outputs = bool(on_outputs)
        if on_outputs and not offers_outputs:
            raise UsageError(
                f"{on_outputs[0]} on a model's outputs by name, and this model offers no forward_with_outputs (or, where "
                "features are cached, no classify_with_outputs); leave it out."
            )

    def to(self, device: torch.device | str) -> None:
        """Move the losses' own parameters and buffers to a device."""
        self._device = torch.device(device)
        for term in self.terms:
            if term.module is not None:
                term.module.to(device)

    def parameters(self) -> Iterable[nn.Parameter]:
        """The losses' own trained parameters, e.g. the centres of a center loss."""
        return [parameter for parameters, _ in self.parameter_factors() for parameter in parameters]

    def parameter_factors(self) -> list[tuple[list[nn.Parameter], float]]:
        """The same by loss, each with the factor of its learning rate (the loss's ``learning_rate_factor``, or 1)."""
        return [
            (found, float(getattr(term.module, "learning_rate_factor", 1.0)))
            for term in self.terms
            if term.module is not None and (found := [p for p in term.module.parameters() if p.requires_grad])
        ]

    def __call__(self, output: ModelOutput, batch: Batch, progress: float) -> tuple[Tensor, dict[str, float]]:
        """The weighted sum, and each loss by name without its weight."""
        total: Tensor | None = None
        parts: dict[str, float] = {}
        for term in self.terms:
            loss = term(output, batch.labels, batch.weights)
            weighted = loss if term.weight == 1 else loss * term.weight
            total = weighted if total is None else total + weighted
            if len(self.terms) > 1:
                parts[term.name] = loss.item()
        assert total is not None, "a recipe has at least one loss"
        return total, parts

    def validation_loss(self, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor | None:
        """The part of the sum that logits alone decide, on all of a validation split; None where there is none.

        A loss with a state of its own computes where that is. The result is on the CPU.
        """
        found = [
            term.weight * self._where_it_is(term, logits, labels, weights)
            for term in self.terms
            if term.takes == "logits"
        ]
        return torch.stack(found).sum() if found else None

    def _where_it_is(self, term: LossTerm, *given: Tensor) -> Tensor:
        device = given[0].device if term.module is None else self._device
        logits, labels, weights = (tensor.to(device) for tensor in given)
        return term(ModelOutput(logits), labels, weights).cpu()

    def state_dict(self) -> dict[str, Tensor]:
        """Parameters and buffers of the losses, as ``loss.tensor``."""
        return {
            f"{term.name}.{name}": tensor.detach()
            for term in self.terms
            if term.module is not None
            for name, tensor in term.module.state_dict().items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what ``state_dict`` gave."""
        for term in self.terms:
            if term.module is not None:
                prefix = f"{term.name}."
                term.module.load_state_dict(
                    {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
                )


class _Outputs(dict[str, Tensor]):
    """Outputs for a loss, which asks for some of them."""

    def __init__(self, found: Mapping[str, Tensor], loss: str) -> None:
        super().__init__(found)
        self._loss = loss

    def __missing__(self, name: str) -> Tensor:
        raise UsageError(
            f"the loss {self._loss} takes the output {name!r}, which this model does not give here; it gives "
            f"{', '.join(sorted(self))}."
        )


def _load_term(name: str, weight: float, own: Mapping[str, Any], embedding_dim: int | None) -> LossTerm:
    spec = load_registry().component("loss", name).spec
    target = load_target(spec.target)
    options = {**spec.options, **own}
    module: nn.Module | None = None
    function: Callable[..., Tensor]
    if isinstance(target, type):
        if "embedding_dim" in inspect.signature(target).parameters:
            if embedding_dim is None:
                raise UsageError(_no_embeddings(name))
            options["embedding_dim"] = embedding_dim
        _check_options(name, target, options, positional=0)
        module = _made(name, target, options)
        function, signature = module, inspect.signature(module.forward)
    else:
        _check_options(name, target, options, positional=2)
        function, signature = partial(target, **options), inspect.signature(target)
    first = next(iter(signature.parameters), "")
    takes: Input = first if first in ("embeddings", "outputs") else "logits"  # type: ignore[assignment]
    if takes == "embeddings" and embedding_dim is None:
        raise UsageError(_no_embeddings(name))
    term = LossTerm(name, weight, function, takes, "weights" in signature.parameters, module)
    if module is None and takes != "outputs":  # which outputs there are is known when there is a batch
        _try(term, embedding_dim)
    return term


def _check_options(name: str, target: Any, options: Mapping[str, Any], *, positional: int) -> None:
    signature = inspect.signature(target)
    try:
        signature.bind(*[None] * positional, **options)
    except TypeError:
        inputs = ("logits", "embeddings", "outputs", "labels", "weights", "embedding_dim")
        known = ", ".join(p for p in signature.parameters if p not in inputs) or "none"
        raise UsageError(
            f"loss_options.{name}: the loss does not take {', '.join(sorted(options))}; its options: {known}."
        ) from None


def _made(name: str, target: Any, options: Mapping[str, Any]) -> nn.Module:
    try:
        module = target(**options)
    except (ValueError, TypeError) as error:
        raise UsageError(f"loss_options.{name}: {error}") from None
    if not isinstance(module, nn.Module):
        raise PluginError(f"the loss {name} is a class, but not a torch.nn.Module.")
    return module


@torch.no_grad()
def _try(term: LossTerm, embedding_dim: int | None) -> None:
    """One call on four zero vectors: a value that the loss refuses is told before an hour of decoding, not after it."""
    embeddings = torch.zeros(4, embedding_dim) if embedding_dim is not None else None
    try:
        term(ModelOutput(torch.zeros(4, 2), embeddings), torch.tensor([0, 1, 0, 1]), torch.ones(4))
    except (ValueError, TypeError) as error:
        raise UsageError(f"loss_options.{term.name}: {error}") from None


def _no_embeddings(name: str) -> str:
    return f"the loss {name} works on embeddings, which this model does not offer; leave it out of losses."
