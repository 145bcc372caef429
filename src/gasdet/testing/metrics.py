"""What a metric is held to: one float from labels, scores and weights, whatever the order of the samples."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from gasdet.registry import PluginInfo, load_target
from gasdet.testing.plugins import add_plugin_checks
from gasdet.testing.suite import Failed, NotApplicable, Suite
from gasdet.types import ComponentSpec

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_TOLERANCE = 1e-9
"""Two orders of a sum may differ by rounding, and by no more."""

SUITE: Suite[MetricSubject] = Suite("metric")
add_plugin_checks(SUITE)


@dataclass(frozen=True, slots=True)
class MetricSubject:
    """A metric under test."""

    spec: ComponentSpec
    plugin: PluginInfo | None = None

    @property
    def function(self) -> Callable[..., Any]:
        """The metric with its default options, as an evaluation calls it."""
        return partial(load_target(self.spec.target), **self.spec.options)

    def value(self, labels: Integers, scores: Floats, weights: Floats | None = None) -> float:
        """What it returns, as a float."""
        return float(self.function(labels, scores, weights))


def _data(seed: int, count: int = 60, levels: int = 0) -> tuple[Integers, Floats, Floats]:
    """Labels, scores that say something of them, whole weights 0 to 3; scores of so many ``levels`` have ties."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([[0, 1], rng.integers(0, 2, count - 2)]).astype(np.int64)
    scores = np.clip(rng.normal(0.35 + 0.3 * labels, 0.2), 0.0, 1.0)
    if levels:
        scores = np.round(scores * levels) / levels
    weights = rng.integers(0, 4, count).astype(np.float64)
    weights[:2] = 1.0  # both classes stay
    return labels, scores, weights


def _same(one: float, other: float) -> bool:
    return (math.isnan(one) and math.isnan(other)) or abs(one - other) <= _TOLERANCE * max(1.0, abs(one))


@SUITE.check(
    "imports",
    "its target imports and is a function of (labels, scores, weights=None) and its options",
    "write def metric(labels, scores, weights=None, **options) and name it in the ComponentSpec's target.",
)
def _imports(subject: MetricSubject) -> None:
    target = load_target(subject.spec.target)
    if not callable(target):
        raise Failed(f"{subject.spec.target} is a {type(target).__name__}, which cannot be called.")
    try:
        inspect.signature(target).bind(None, None, None, **subject.spec.options)
        inspect.signature(target).bind(None, None, **subject.spec.options)
    except TypeError as error:
        raise Failed(f"It cannot be called with (labels, scores[, weights]) and its options: {error}.") from None
    except ValueError:  # a builtin without a signature
        return


@SUITE.check(
    "one-number",
    "it returns one finite float on labels of both classes",
    "return float(value); leave arrays, tuples and None to others.",
)
def _one_number(subject: MetricSubject) -> str:
    shown = []
    for seed in range(3):
        labels, scores, _ = _data(seed)
        value = subject.function(labels, scores, None)
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.floating | np.integer):
            raise Failed(f"It returns a {type(value).__name__}, not a float.")
        if not math.isfinite(float(value)):
            raise Failed(f"It returns {value} on {labels.size} samples of both classes.")
        shown.append(f"{float(value):.4g}")
    return f"on three random sets: {', '.join(shown)}"


@SUITE.check(
    "range",
    "it stays within the bounds that its spec declares",
    "state the right ComponentSpec.bounds, or mend the formula.",
)
def _range(subject: MetricSubject) -> None:
    bounds = subject.spec.bounds
    if bounds is None:
        raise NotApplicable("its spec declares no bounds")
    low, high = bounds
    for labels, scores in _extremes():
        value = subject.value(labels, scores)
        if not math.isnan(value) and not low - _TOLERANCE <= value <= high + _TOLERANCE:
            raise Failed(f"It returns {value:.6g}, outside of [{low:g}, {high:g}].")


def _extremes() -> list[tuple[Integers, Floats]]:
    labels, scores, _ = _data(5)
    right, wrong = labels.astype(np.float64), 1.0 - labels
    constant = [np.full(labels.size, value) for value in (0.0, 0.5, 1.0)]
    random = [np.random.default_rng(seed).random(labels.size) for seed in range(20)]
    return [(labels, s) for s in (right, wrong, scores, *constant, *random)]


@SUITE.check(
    "direction",
    "no detector is better than a perfect one, as higher_is_better says, and not all are equal",
    "set ComponentSpec.higher_is_better, or turn the sign or the class round: label 1 and a high score mean synthetic.",
)
def _direction(subject: MetricSubject) -> str:
    better = subject.spec.higher_is_better
    if better is None:
        raise NotApplicable("its spec says that neither direction is better")
    labels, _, _ = _data(1, count=200)
    right = np.where(labels == 1, 0.98, 0.02)
    random = np.random.default_rng(0).random(labels.size)
    values = [subject.value(labels, scores) for scores in (right, random, 1.0 - right)]
    ordered = values if better else [-v for v in values]
    shown = "{:.4g} right, {:.4g} random, {:.4g} wrong".format(*values)
    if ordered[0] < max(ordered) or min(ordered) == ordered[0]:
        raise Failed(f"higher_is_better is {better}, and it gives {shown}.")
    return shown


@SUITE.check(
    "ties",
    "the order of the samples has no effect, with equal scores too",
    "handle equal scores together: a sort breaks ties by the order of the rows (scikit-learn's functions do it right).",
)
def _ties(subject: MetricSubject) -> None:
    for levels in (0, 4, 1):
        labels, scores, weights = _data(2, levels=levels)
        expected = subject.value(labels, scores, weights)
        orders = [np.argsort(labels, kind="stable"), np.argsort(-labels, kind="stable")]
        orders += [np.random.default_rng(seed).permutation(labels.size) for seed in range(5)]
        for order in orders:
            value = subject.value(labels[order], scores[order], weights[order])
            if not _same(value, expected):
                raise Failed(f"The same samples in another order give {value:.9g} instead of {expected:.9g}.")


@SUITE.check(
    "weights-are-repeats",
    "a weight of k counts like k copies of the sample, 0 like its absence, no weights like ones, and parts of a weight add up",
    "use the weights as they are, without rounding, in every count and mean, and leave out samples of weight 0.",
)
def _weights(subject: MetricSubject) -> None:
    for seed in range(3):
        labels, scores, weights = _data(10 + seed, levels=10)
        times = weights.astype(np.int64)
        expected = subject.value(np.repeat(labels, times), np.repeat(scores, times))
        value = subject.value(labels, scores, weights)
        if not _same(value, expected):
            raise Failed(f"Weights give {value:.9g}, and copies of the samples {expected:.9g}.")
        plain, ones = subject.value(labels, scores), subject.value(labels, scores, np.ones(labels.size))
        if not _same(plain, ones):
            raise Failed(f"Without weights it gives {plain:.9g}, with weights of 1 {ones:.9g}.")
        # quarters are exact in floating point, so that bins of equal weight end where they did
        halved = np.concatenate([0.25 * weights, 0.75 * weights])
        split = subject.value(np.tile(labels, 2), np.tile(scores, 2), halved)
        if not _same(value, split):
            raise Failed(
                f"Samples in two parts of a quarter and three quarters of their weight give {split:.9g}, not {value:.9g}."
            )


@SUITE.check(
    "one-class",
    "samples of one class give a float, nan where the metric is undefined, and no exception",
    "return float('nan') where a class is absent and the metric needs both.",
)
def _one_class(subject: MetricSubject) -> str:
    shown = []
    for label, name in ((0, "real"), (1, "synthetic")):
        scores = np.linspace(0.05, 0.95, 12)
        shown.append(f"only {name}: {subject.value(np.full(12, label, np.int64), scores):.4g}")
    return ", ".join(shown)


@SUITE.check(
    "nan-refused",
    "scores that are NaN or no probability raise an error",
    "raise gasdet.GasdetError or ValueError where a score is not in [0, 1]; a comparison with NaN is false and lets it pass.",
)
def _nan_refused(subject: MetricSubject) -> None:
    labels, scores, _ = _data(3)
    for bad in (math.nan, math.inf, -0.5, 1.5):
        given = scores.copy()
        given[7] = bad
        try:
            value = subject.function(labels, given, None)
        except (ValueError, ArithmeticError):
            continue
        except Exception as error:
            from gasdet.errors import GasdetError

            if isinstance(error, GasdetError):
                continue
            raise
        raise Failed(f"A score of {bad} is accepted and gives {value}.")


@SUITE.check(
    "pure",
    "a second call gives the same value, and the arrays that it was given stay as they were",
    "copy before you sort or clip in place, and keep nothing between calls.",
)
def _pure(subject: MetricSubject) -> None:
    labels, scores, weights = _data(4)
    given_labels, given_scores, given_weights = labels.copy(), scores.copy(), weights.copy()
    first = subject.value(given_labels, given_scores, given_weights)
    pairs = {"labels": (given_labels, labels), "scores": (given_scores, scores), "weights": (given_weights, weights)}
    for name, (after, before) in pairs.items():
        if not np.array_equal(after, before):
            raise Failed(f"It changes the {name} that it was given.")
    subject.value(*_data(6)[:2])
    again = subject.value(labels, scores, weights)
    if first != again and not (math.isnan(first) and math.isnan(again)):
        raise Failed(f"The same call gives {first!r} and then {again!r}.")


@SUITE.check(
    "reference",
    "it agrees with the function that its spec names as its reference",
    "mend whichever of the two is wrong.",
)
def _reference(subject: MetricSubject) -> str:
    if not subject.spec.agrees_with:
        raise NotApplicable("its spec names no function in agrees_with")
    reference = load_target(subject.spec.agrees_with)
    largest = 0.0
    for seed in range(10):
        labels, scores, weights = _data(20 + seed, levels=(0, 10)[seed % 2])
        value, expected = subject.value(labels, scores, weights), float(reference(labels, scores, weights))
        if not _same(value, expected) and abs(value - expected) > 1e-7:
            raise Failed(f"It gives {value:.9g} where {subject.spec.agrees_with} gives {expected:.9g}.")
        largest = max(largest, abs(value - expected))
    return f"largest difference {largest:.2g} on ten random sets"
