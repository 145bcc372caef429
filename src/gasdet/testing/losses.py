"""What a training loss is held to: one finite number with the right gradient, on every kind of batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gasdet.registry import load_target
from gasdet.testing.loss_subject import BATCH, LossSubject, as_double, leaves_of, make_labels, tensors_of
from gasdet.testing.plugins import add_plugin_checks
from gasdet.testing.suite import Failed, NotApplicable, Suite

_STEP = 1e-6
"""Of the central differences, in float64."""
_SMALL_STEP = 1e-3
"""How far the one coordinate with the largest gradient moves, to see whether that leads downhill."""
_NOTHING = 1e-9
"""Relative: what is smaller is rounding."""
_SURE = 12.0
"""A margin at which a probability is within 1e-5 of 0 or 1."""
_SAME_COST = 1e-3
"""Of what deciding gains: confidence that costs no more than this is free."""

SUITE: Suite[LossSubject] = Suite("loss")
add_plugin_checks(SUITE)


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
    subject.made()
    names = subject.parameters
    if len(names) < 2:
        raise Failed(f"It takes ({', '.join(names)}), and a loss takes at least what it judges, and labels.")
    return f"takes {subject.takes}"


@SUITE.check(
    "scalar",
    "it returns one floating-point number as a tensor",
    "end with .mean() or a weighted mean over the batch.",
)
def _scalar(subject: LossSubject) -> str:
    labels = make_labels()
    return f"{_checked(subject.value(subject.given(labels), labels)).item():.4g} on random input"


@SUITE.check(
    "finite",
    "it and its gradient are finite on ordinary and on extreme input",
    "use log_softmax, logsigmoid, logaddexp or a clamp where a logarithm, a root or a division can meet 0 or infinity.",
)
def _finite(subject: LossSubject) -> None:
    labels = make_labels()
    for scale in (0.0, 1e-3, 1.0, 50.0, 1e4):
        given = subject.given(labels)
        if isinstance(given, dict) and scale not in (1.0,):
            continue  # outputs have ranges of their own
        if not isinstance(given, dict):
            given = given * scale
        leaves = leaves_of(given)
        value = _checked(subject.value(given, labels))
        if not torch.isfinite(value):
            raise Failed(f"It is {value.item()} on input of scale {scale:g}.")
        if value.requires_grad:
            torch.autograd.backward(value)
        if any(t.grad is not None and not torch.isfinite(t.grad).all() for t in leaves):
            raise Failed(f"Its gradient is not finite on input of scale {scale:g}.")


@SUITE.check(
    "gradient",
    "its gradient is that of its value, by central differences in float64; or leads downhill, where its spec says detaches",
    "let every step be differentiable: no .item(), .detach(), numpy, rounding or hard decision on the way; what is detached on "
    "purpose is said in ComponentSpec.detaches.",
)
def _gradient(subject: LossSubject) -> str:
    labels = make_labels()
    given = subject.given(labels, seed=1)
    leaves = leaves_of(given)
    value = _checked(subject.value(given, labels, warm=True))
    if not value.requires_grad:
        raise Failed("It has no gradient with respect to what it judges.")
    found = torch.autograd.grad(value, leaves, allow_unused=True)
    gradients = [torch.zeros_like(x) if g is None else g for x, g in zip(leaves, found, strict=True)]
    if max(float(gradient.abs().max()) for gradient in gradients) <= _NOTHING:
        raise Failed("Its gradient is 0 everywhere on random input.")
    if subject.spec.detaches:
        return _downhill(leaves, gradients, lambda: subject.number(given, labels, warm=True))
    largest = 0.0
    for leaf, gradient in zip(leaves, gradients, strict=True):
        for index in _some(leaf.numel()):
            expected = _difference(leaf, index, lambda: subject.number(given, labels, warm=True))
            got = gradient.reshape(-1)[index].item()
            largest = max(largest, abs(got - expected) / max(1e-3, abs(expected)))
            if abs(got - expected) > 1e-4 * max(1e-1, abs(expected)):
                raise Failed(f"A derivative is {got:.6g} by autograd and {expected:.6g} by differences.")
    return f"largest relative difference {largest:.1g}"


def _some(count: int) -> list[int]:
    return list(range(count)) if count <= 48 else [round(i * (count - 1) / 47) for i in range(48)]


def _difference(leaf: Tensor, index: int, number: Callable[[], float]) -> float:
    flat = leaf.detach().reshape(-1)
    before = flat[index].item()
    values = []
    for step in (_STEP, -_STEP):
        flat[index] = before + step
        values.append(number())
    flat[index] = before
    return (values[0] - values[1]) / (2 * _STEP)


def _downhill(leaves: list[Tensor], gradients: list[Tensor], number: Callable[[], float]) -> str:
    """Whether a small step against the gradient makes the loss smaller, which a gradient of a part of it does too."""
    before = number()
    step = _SMALL_STEP / max(float(gradient.abs().max()) for gradient in gradients)
    with torch.no_grad():
        for leaf, gradient in zip(leaves, gradients, strict=True):
            leaf -= step * gradient
    after = number()
    if not after < before:
        raise Failed(f"A small step against its gradient takes it from {before:.9g} to {after:.9g}.")
    return f"leads downhill, from {before:.6g} to {after:.6g}"


@SUITE.check(
    "minimal-when-right",
    "for a loss of logits, and samples of each class: right logits cost less than undecided ones, these less than wrong ones, "
    "and none less than those as sure as can be, or as its spec's optimum says",
    "look at the order (real, synthetic), at the sign, at both classes; where confidence is too much on purpose, as with "
    "label smoothing, name the best margin in ComponentSpec.optimum.",
)
def _minimal(subject: LossSubject) -> str:
    if subject.takes != "logits":
        raise NotApplicable(f"it takes {subject.takes}")
    if subject.spec.unsupervised:
        raise NotApplicable("its spec says that it does not look at the labels")
    shown = []
    for label, (name, best) in enumerate(zip(("real", "synthetic"), _optima(subject), strict=True)):
        # a mean over the hardest half sees a class only while the other is right, a ranking only while it is not too much so
        findings = [_misplaced(subject, label, best, others) for others in (0.0, _SURE)]
        if all(findings):
            raise Failed(f"For {name} samples {findings[0]}.")
        shown.append(f"{name} at {'any' if math.isinf(best) else f'a margin of {best:.3g}'}")
    return "; ".join(shown).replace("at any", "the surer the better")


def _optima(subject: LossSubject) -> tuple[float, float]:
    """The margins towards the right class at which real and synthetic samples are to cost least."""
    if not subject.spec.optimum:
        return math.inf, math.inf
    stated: Any = load_target(subject.spec.optimum)(**subject.spec.options)
    try:
        real, synthetic = map(float, (stated, stated) if _is_number(stated) else stated)
    except (TypeError, ValueError):
        raise Failed(
            f"{subject.spec.optimum} gives {stated!r}, which is neither a number nor a pair of numbers."
        ) from None
    if not (real > 0 and synthetic > 0):
        raise Failed(
            f"{subject.spec.optimum} gives {stated!r}, and the best margin towards the right class is above 0."
        )
    return real, synthetic


def _is_number(value: Any) -> bool:
    """Whether it is one, of Python, of NumPy or as a tensor without dimensions."""
    return isinstance(value, int | float) or getattr(value, "ndim", None) == 0


def _misplaced(subject: LossSubject, label: int, best: float, others: float) -> str:
    """What is wrong with the loss as a function of one class's margin, the other's being ``others``; empty if nothing is."""
    labels = make_labels(count=32)

    def cost(margin: float) -> float:
        right = torch.where(labels == label, margin, others).double()
        towards = torch.where(labels == 1, right, -right)
        return subject.number(torch.stack([-towards / 2, towards / 2], dim=1), labels)

    best = min(best, _SURE)
    grid = [_SURE * step / 48 for step in range(-48, 49)]
    costs = {margin: cost(margin) for margin in (*grid, best)}
    lowest = min(costs, key=lambda margin: costs[margin])
    undecided, wrong = costs[0.0], costs[-_SURE]
    gain = undecided - costs[lowest]
    if lowest <= 0.0 or wrong <= undecided or gain <= _NOTHING * max(1.0, abs(undecided)):
        return f"right logits cost {costs[best]:.4g}, undecided ones {undecided:.4g}, wrong ones {wrong:.4g}"
    if costs[best] > costs[lowest] + _SAME_COST * gain:
        return (
            f"it costs least, {costs[lowest]:.4g}, at a margin of {lowest:.3g} towards the right class, "
            f"and {costs[best]:.4g} at {best:.3g}"
        )
    return ""


@SUITE.check(
    "uses-labels",
    "a loss of embeddings gives another value for other labels; one whose spec says unsupervised gives the same",
    "compare samples by their labels; or state ComponentSpec.unsupervised for a loss that is of the embeddings alone.",
)
def _uses_labels(subject: LossSubject) -> None:
    if subject.takes == "outputs":
        raise NotApplicable("it takes outputs, which may hold targets of their own")
    if subject.takes == "logits" and not subject.spec.unsupervised:
        raise NotApplicable("minimal-when-right looks at that")
    labels = make_labels()
    given = subject.given(labels, seed=8)
    # not the two classes exchanged: what pulls each together is the same for both
    values = [subject.number(given, given_labels, warm=True) for given_labels in (labels, labels.sort().values)]
    same = abs(values[0] - values[1]) <= _NOTHING * max(1.0, abs(values[0]))
    if same and not subject.spec.unsupervised:
        raise Failed(f"It is {values[0]:.6g} whatever the labels are.")
    if not same and subject.spec.unsupervised:
        raise Failed(
            f"Its spec says unsupervised, and other labels make it {values[1]:.6g} instead of {values[0]:.6g}."
        )


@SUITE.check(
    "one-class",
    "it is finite on a batch of one class, and on a single sample",
    "return 0 with a gradient of 0 (logits.sum() * 0) where a class that the loss needs is absent.",
)
def _one_class(subject: LossSubject) -> None:
    for pattern, count in (("real", BATCH), ("synthetic", BATCH), ("real", 1), ("synthetic", 1)):
        labels = make_labels(pattern, count)
        given = subject.given(labels)
        leaves = leaves_of(given)
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
    labels = make_labels()
    given = subject.given(labels, seed=3)
    weights = torch.rand(BATCH, generator=torch.Generator().manual_seed(4), dtype=torch.float64) + 0.5
    once, thrice = (subject.number(given, labels, factor * weights) for factor in (1, 3))
    # a contrastive loss may well count a weight of 3 as three copies, of which there are then more to tell apart
    if subject.takes == "logits" and abs(once - thrice) > 1e-6 * max(1.0, abs(once)):
        raise Failed(f"Weights three times as large give {thrice:.6g} instead of {once:.6g}.")
    kept = torch.arange(BATCH) < BATCH - 4
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
    labels = make_labels()
    given = subject.given(labels, seed=5)
    low = (
        {k: v.bfloat16() if torch.is_tensor(v) and v.is_floating_point() else v for k, v in given.items()}
        if isinstance(given, dict)
        else given.bfloat16()
    )
    loss = subject.made()
    weighted = (torch.ones(len(labels)),) if "weights" in subject.parameters else ()
    value = _checked(loss(low, labels, *weighted)).item()
    exact = subject.number(as_double(low), labels)
    if not abs(value - exact) <= 0.02 * max(1.0, abs(exact)):
        raise Failed(f"It is {value:.6g} on bfloat16 input, and {exact:.6g} on the same numbers in float64.")
    return f"{value:.4g}, exactly {exact:.4g}"


@SUITE.check(
    "pure",
    "it leaves what it was given as it was, and a second call gives the same",
    "work on copies; keep a state in a torch.nn.Module, and draw random numbers from torch's generator only in the model.",
)
def _pure(subject: LossSubject) -> None:
    labels = make_labels()
    given = subject.given(labels, seed=6)
    before = [tensor.clone() for tensor in tensors_of(given)]
    values = [subject.number(given, labels) for _ in range(2)]
    same = all(torch.equal(one, other) for one, other in zip(before, tensors_of(given), strict=True))
    if not same or not torch.equal(labels, make_labels()):
        raise Failed("It changes what it was given.")
    if values[0] != values[1]:
        raise Failed(f"The same call gives {values[0]!r} and then {values[1]!r}.")
