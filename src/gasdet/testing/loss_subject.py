"""A loss under test: how it is made and called, and input for it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gasdet.registry import PluginInfo, load_target
from gasdet.testing.suite import Failed, NotApplicable
from gasdet.types import ComponentSpec

BATCH = 12
_DIM = 8
_WARMING = 3
"""Steps that a loss with parameters takes before it is looked at; centres that begin at the origin say nothing there."""

Given = Tensor | dict[str, Tensor]
"""What a loss is a function of: logits ``[B, 2]``, embeddings ``[B, D]``, or outputs by name."""


@dataclass(frozen=True, slots=True)
class LossSubject:
    """A loss under test."""

    spec: ComponentSpec
    plugin: PluginInfo | None = None

    def made(self) -> Callable[..., Tensor]:
        """The function, or a new module of the class, with its default options."""
        target = load_target(self.spec.target)
        options = dict(self.spec.options)
        if not isinstance(target, type):
            return _WithOptions(target, options)
        if "embedding_dim" in inspect.signature(target).parameters:
            options["embedding_dim"] = _DIM
        torch.manual_seed(0)
        made = target(**options)
        if not isinstance(made, nn.Module):
            raise Failed(f"{self.spec.target} is a class, but not one of torch.nn.Module.")
        return made

    @property
    def parameters(self) -> list[str]:
        """Names of what it is called with."""
        target = load_target(self.spec.target)
        called = target.forward if isinstance(target, type) else target  # type: ignore[attr-defined]
        names = inspect.signature(called).parameters
        return list(names)[isinstance(target, type) :]  # without self

    @property
    def takes(self) -> str:
        """``logits``, ``embeddings`` or ``outputs``."""
        first = next(iter(self.parameters), "")
        return first if first in ("embeddings", "outputs") else "logits"

    def warmed(self) -> Callable[..., Tensor]:
        """As ``made``, after a few steps where it has parameters or a state; in float64."""
        loss = self.made()
        if not isinstance(loss, nn.Module):
            return loss
        loss.double()
        labels = make_labels()
        given = self.given(labels, seed=7)
        own = list(loss.parameters())
        for _ in range(_WARMING):
            with torch.enable_grad():
                value = self._called(loss, given, labels, None)
            if not own or not value.requires_grad:
                continue
            gradients = torch.autograd.grad(value, own, allow_unused=True)
            with torch.no_grad():
                for parameter, gradient in zip(own, gradients, strict=True):
                    parameter.sub_(torch.zeros_like(parameter) if gradient is None else 0.1 * gradient)
        return loss

    def value(
        self,
        given: Given,
        labels: Tensor,
        weights: Tensor | None = None,
        *,
        warm: bool = False,
    ) -> Tensor:
        """The loss of a batch, by a fresh module where it is one; ``warm`` for one as ``warmed`` gives.

        That one is made anew as well, not copied: a module may keep a tensor with a graph, which cannot be copied.
        """
        loss = self.warmed() if warm else self.made()
        if isinstance(loss, nn.Module):
            loss.to(next(iter(given.values())).dtype if isinstance(given, dict) else given.dtype)
        return self._called(loss, given, labels, weights)

    def _called(self, loss: Callable[..., Tensor], given: Given, labels: Tensor, weights: Tensor | None) -> Tensor:
        if "weights" in self.parameters:
            return loss(given, labels, torch.ones(len(labels), dtype=torch.float64) if weights is None else weights)
        return loss(given, labels)

    def number(
        self,
        given: Given,
        labels: Tensor,
        weights: Tensor | None = None,
        *,
        warm: bool = False,
    ) -> float:
        """The same without a gradient."""
        with torch.no_grad():
            return float(self.value(given, labels, weights, warm=warm))

    def given(self, labels: Tensor, seed: int = 0) -> Given:
        """A random input for these labels, float64.

        Raises:
            NotApplicable: The loss takes outputs, of which only its plugin knows what they are.
        """
        if self.spec.example:
            made = load_target(self.spec.example)(labels, seed)
            return as_double(made)
        if self.takes == "outputs":
            raise NotApplicable("it takes a model's outputs, and its spec names no example of them")
        generator = torch.Generator().manual_seed(seed)
        width = 2 if self.takes == "logits" else _DIM
        return torch.randn(len(labels), width, generator=generator, dtype=torch.float64)


@dataclass(frozen=True, slots=True)
class _WithOptions:
    function: Callable[..., Tensor]
    options: Mapping[str, Any]

    def __call__(self, *given: Any) -> Tensor:
        return self.function(*given, **self.options)


def as_double(given: Any) -> Given:
    """It in float64; whole numbers stay."""
    if isinstance(given, Mapping):
        return {k: v.double() if torch.is_tensor(v) and v.is_floating_point() else v for k, v in given.items()}
    return torch.as_tensor(given).double()


def make_labels(pattern: str = "mixed", count: int = BATCH) -> Tensor:
    """Labels of both classes in turn, or of one (``real``, ``synthetic``)."""
    if pattern == "mixed":
        return torch.arange(count) % 2
    return torch.full((count,), int(pattern == "synthetic"), dtype=torch.long)


def tensors_of(given: Given) -> list[Tensor]:
    """The tensors of an input."""
    values = list(given.values()) if isinstance(given, dict) else [given]
    return [value for value in values if torch.is_tensor(value)]


def leaves_of(given: Given) -> list[Tensor]:
    """The floating-point tensors of an input, made to collect gradients."""
    found = [tensor for tensor in tensors_of(given) if tensor.is_floating_point()]
    for tensor in found:
        tensor.requires_grad_(True)
    return found
