"""What a training loss is held to: one finite number with the right gradient, on every kind of batch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gasdet.registry import load_target
from gasdet.testing.suite import Failed, NotApplicable, Suite
from gasdet.types import ComponentSpec

_BATCH = 12
_DIM = 8
_STEP = 1e-6
"""Of the central differences, in float64."""

SUITE: Suite[LossSubject] = Suite("loss")

Given = Tensor | dict[str, Tensor]
"""What a loss is a function of: logits ``[B, 2]``, embeddings ``[B, D]``, or outputs by name."""


@dataclass(frozen=True, slots=True)
class LossSubject:
    """A loss under test."""

    spec: ComponentSpec

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
        return list(inspect.signature(self.made().forward if isinstance(target, type) else target).parameters)  # type: ignore[attr-defined]

    @property
    def takes(self) -> str:
        """``logits``, ``embeddings`` or ``outputs``."""
        first = next(iter(self.parameters), "")
        return first if first in ("embeddings", "outputs") else "logits"

    def value(self, given: Given, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """The loss of a batch, by a fresh module where it is one."""
        loss = self.made()
        if isinstance(loss, nn.Module):
            loss.to(next(iter(given.values())).dtype if isinstance(given, dict) else given.dtype)
        if "weights" in self.parameters:
            return loss(given, labels, torch.ones(len(labels), dtype=torch.float64) if weights is None else weights)
        return loss(given, labels)

    def number(self, given: Given, labels: Tensor, weights: Tensor | None = None) -> float:
        """The same without a gradient."""
        with torch.no_grad():
            return float(self.value(given, labels, weights))

    def given(self, labels: Tensor, seed: int = 0) -> Given:
        """A random input for these labels, float64.

        Raises:
            NotApplicable: The loss takes outputs, of which only its plugin knows what they are.
        """
        if self.spec.example:
            made = load_target(self.spec.example)(labels, seed)
            return _double(made)
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


def _double(given: Any) -> Given:
    if isinstance(given, Mapping):
        return {k: v.double() if torch.is_tensor(v) and v.is_floating_point() else v for k, v in given.items()}
    return torch.as_tensor(given).double()


def _labels(pattern: str = "mixed", count: int = _BATCH) -> Tensor:
    if pattern == "mixed":
        return torch.arange(count) % 2
    return torch.full((count,), int(pattern == "synthetic"), dtype=torch.long)


def _tensors(given: Given) -> list[Tensor]:
    values = list(given.values()) if isinstance(given, dict) else [given]
    return [value for value in values if torch.is_tensor(value)]


def _leaves(given: Given) -> list[Tensor]:
    """The floating-point tensors of an input, made to collect gradients."""
    found = [tensor for tensor in _tensors(given) if tensor.is_floating_point()]
    for tensor in found:
        tensor.requires_grad_(True)
    return found


def _checked(value: Any) -> Tensor:
    if not torch.is_tensor(value) or value.ndim or not value.is_floating_point():
        what = f"a tensor of shape {list(value.shape)}" if torch.is_tensor(value) else f"a {type(value).__name__}"
        raise Failed(f"It returns {what}, not a floating-point tensor without dimensions.")
    return value


@SUITE.check(
    "imports",
    "its target imports and takes (logits | embeddings | outputs, labels[, weights]) and its options",
    "write def loss(logits, labels, weights=None, **options) or such a torch.nn.Module.",
)
def _imports(subject: LossSubject) -> str:
    names = subject.parameters
    if len(names) < 2:
        raise Failed(f"It takes ({', '.join(names)}), and a loss takes at least what it judges, and labels.")
    subject.made()
    return f"takes {subject.takes}"


@SUITE.check(
    "scalar",
    "it returns one floating-point number as a tensor",
    "end with .mean() or a weighted mean over the batch.",
)
def _scalar(subject: LossSubject) -> str:
    labels = _labels()
    return f"{_checked(subject.value(subject.given(labels), labels)).item():.4g} on random input"


@SUITE.check(
    "finite",
    "it and its gradient are finite on ordinary and on extreme input",
    "use log_softmax, logsigmoid, logaddexp or a clamp where a logarithm, a root or a division can meet 0 or infinity.",
)
def _finite(subject: LossSubject) -> None:
    labels = _labels()
    for scale in (0.0, 1e-3, 1.0, 50.0, 1e4):
        given = subject.given(labels)
        if isinstance(given, dict) and scale not in (1.0,):
            continue  # outputs have ranges of their own
        if not isinstance(given, dict):
            given = given * scale
        leaves = _leaves(given)
        value = _checked(subject.value(given, labels))
        if not torch.isfinite(value):
            raise Failed(f"It is {value.item()} on input of scale {scale:g}.")
        if value.requires_grad:
            torch.autograd.backward(value)
        if any(t.grad is not None and not torch.isfinite(t.grad).all() for t in leaves):
            raise Failed(f"Its gradient is not finite on input of scale {scale:g}.")


@SUITE.check(
    "gradient",
    "its gradient is that of its value, by central differences in float64",
    "let every step be differentiable: no .item(), .detach(), numpy, rounding or hard decision on the way.",
)
def _gradient(subject: LossSubject) -> str:
    labels = _labels()
    given = subject.given(labels, seed=1)
    leaves = _leaves(given)
    value = _checked(subject.value(given, labels))
    if not value.requires_grad:
        raise Failed("It has no gradient with respect to what it judges.")
    gradients = torch.autograd.grad(value, leaves, allow_unused=True)
    largest, moved = 0.0, 0.0
    for leaf, gradient in zip(leaves, gradients, strict=True):
        found = torch.zeros_like(leaf) if gradient is None else gradient
        moved = max(moved, float(found.abs().max()))
        for index in _some(leaf.numel()):
            expected = _difference(subject, given, labels, leaf, index)
            got = found.reshape(-1)[index].item()
            largest = max(largest, abs(got - expected) / max(1e-3, abs(expected)))
            if abs(got - expected) > 1e-4 * max(1e-1, abs(expected)):
                raise Failed(f"A derivative is {got:.6g} by autograd and {expected:.6g} by differences.")
    if moved == 0.0:
        raise Failed("Its gradient is 0 everywhere on random input.")
    return f"largest relative difference {largest:.1g}"


def _some(count: int) -> list[int]:
    return list(range(count)) if count <= 48 else [round(i * (count - 1) / 47) for i in range(48)]


def _difference(subject: LossSubject, given: Given, labels: Tensor, leaf: Tensor, index: int) -> float:
    flat = leaf.detach().reshape(-1)
    before = flat[index].item()
    with torch.no_grad():
        values = []
        for step in (_STEP, -_STEP):
            flat[index] = before + step
            values.append(subject.number(given, labels))
        flat[index] = before
    return (values[0] - values[1]) / (2 * _STEP)


@SUITE.check(
    "minimal-when-right",
    "for a loss of logits: confident right logits cost less than random ones, and these less than wrong ones",
    "look at the order (real, synthetic), and at the sign.",
)
def _minimal(subject: LossSubject) -> str:
    if subject.takes != "logits":
        raise NotApplicable(f"it takes {subject.takes}")
    labels = _labels(count=64)
    right = torch.nn.functional.one_hot(labels, 2).double() * 12 - 6
    random = torch.randn(64, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    costs = [subject.number(logits, labels) for logits in (right, random, -right)]
    shown = "{:.4g} right, {:.4g} random, {:.4g} wrong".format(*costs)
    if not costs[0] < costs[1] < costs[2]:
        raise Failed(f"It costs {shown}.")
    return shown


@SUITE.check(
    "one-class",
    "it is finite on a batch of one class, and on a single sample",
    "return 0 with a gradient of 0 (logits.sum() * 0) where a class that the loss needs is absent.",
)
def _one_class(subject: LossSubject) -> None:
    for pattern, count in (("real", _BATCH), ("synthetic", _BATCH), ("real", 1), ("synthetic", 1)):
        labels = _labels(pattern, count)
        given = subject.given(labels)
        leaves = _leaves(given)
        value = _checked(subject.value(given, labels))
        if not torch.isfinite(value):
            raise Failed(f"It is {value.item()} on {count} {pattern} sample{'s' if count > 1 else ''}.")
        if not value.requires_grad:
            raise Failed(
                f"It has no gradient on {count} {pattern} sample{'s' if count > 1 else ''}: backward() would fail."
            )
        torch.autograd.backward(value)
        if any(t.grad is not None and not torch.isfinite(t.grad).all() for t in leaves):
            raise Failed(f"Its gradient is not finite on {count} {pattern} sample{'s' if count > 1 else ''}.")


@SUITE.check(
    "weights",
    "samples of weight 0 have no effect, and of a loss of logits only the shares of the weights count",
    "divide by the sum of the weights, not by the batch's size; or leave the parameter weights out.",
)
def _weights(subject: LossSubject) -> None:
    if "weights" not in subject.parameters:
        raise NotApplicable("it takes no weights")
    labels = _labels()
    given = subject.given(labels, seed=3)
    weights = torch.rand(_BATCH, generator=torch.Generator().manual_seed(4), dtype=torch.float64) + 0.5
    once, thrice = (subject.number(given, labels, factor * weights) for factor in (1, 3))
    # a contrastive loss may well count a weight of 3 as three copies, of which there are then more to tell apart
    if subject.takes == "logits" and abs(once - thrice) > 1e-6 * max(1.0, abs(once)):
        raise Failed(f"Weights three times as large give {thrice:.6g} instead of {once:.6g}.")
    kept = torch.arange(_BATCH) < _BATCH - 4
    part = (
        {k: v[kept] if torch.is_tensor(v) else v for k, v in given.items()} if isinstance(given, dict) else given[kept]
    )
    masked = subject.number(given, labels, weights * kept)
    alone = subject.number(part, labels[kept], weights[kept])
    if abs(masked - alone) > 1e-6 * max(1.0, abs(alone)):
        raise Failed(f"With four samples of weight 0 it is {masked:.6g}, without these samples {alone:.6g}.")


@SUITE.check(
    "half-precision",
    "it is finite on bfloat16 input, and near its value in float64",
    "compute in float32: logits.float().",
)
def _half(subject: LossSubject) -> str:
    labels = _labels()
    given = subject.given(labels, seed=5)
    low = (
        {k: v.bfloat16() if torch.is_tensor(v) and v.is_floating_point() else v for k, v in given.items()}
        if isinstance(given, dict)
        else given.bfloat16()
    )
    loss = subject.made()
    weighted = (torch.ones(len(labels)),) if "weights" in subject.parameters else ()
    value = _checked(loss(low, labels, *weighted)).item()
    exact = subject.number(_double(low), labels)
    if not abs(value - exact) <= 0.02 * max(1.0, abs(exact)):
        raise Failed(f"It is {value:.6g} on bfloat16 input, and {exact:.6g} on the same numbers in float64.")
    return f"{value:.4g}, exactly {exact:.4g}"


@SUITE.check(
    "pure",
    "it leaves what it was given as it was, and a second call gives the same",
    "work on copies; keep a state in a torch.nn.Module, and draw random numbers from torch's generator only in the model.",
)
def _pure(subject: LossSubject) -> None:
    labels = _labels()
    given = subject.given(labels, seed=6)
    before = [tensor.clone() for tensor in _tensors(given)]
    values = [subject.number(given, labels) for _ in range(2)]
    same = all(torch.equal(one, other) for one, other in zip(before, _tensors(given), strict=True))
    if not same or not torch.equal(labels, _labels()):
        raise Failed("It changes what it was given.")
    if values[0] != values[1]:
        raise Failed(f"The same call gives {values[0]!r} and then {values[1]!r}.")
