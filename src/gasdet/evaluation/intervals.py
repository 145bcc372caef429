"""95 % intervals of the metrics: a percentile bootstrap over groups.

* What is drawn is groups, with replacement, as many as there are: samples of one origin (a source video, a speaker) are no
  independent evidence. A group drawn twice counts its samples twice.
* Where every group is of one class, real and synthetic groups are drawn separately, so that each resample keeps the data's
  numbers of both: balance is a choice of whoever made the data, not chance. Where some group has both classes, all groups
  are drawn together.
* A resample on which a metric is undefined is left out of that metric's percentiles; where more than 5 % are, there is no
  interval.
* Fewer than ten groups of a class that the data has: no interval (simulated coverage is 72 to 88 % with five).
* The result depends on the seed and on the data, not on the order of the samples. Equal seeds and groups draw equal
  resamples, so that detectors are compared on the same ones.

Known weakness, shared by every percentile bootstrap: a metric that is perfect on all samples gets an interval of width 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gasdet.builtin.metrics import Metric, checked
from gasdet.builtin.tally import VECTORISED, FloatArray, IntArray, Tally
from gasdet.errors import MetricError

LEVEL = 0.95
MIN_GROUPS = 10
MAX_UNDEFINED = 0.05
_BLOCK = 1 << 16
"""Resamples times samples that are worked on at once: a few arrays of half a MiB, which the processor's cache holds."""


@dataclass(frozen=True, slots=True)
class Interval:
    """The central 95 % of a metric's bootstrap values."""

    low: float
    high: float


def bootstrap(
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    groups: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    *,
    metrics: Sequence[str] = tuple(VECTORISED),
    extra: Mapping[str, Metric] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Interval | None]:
    """Intervals of built-in metrics, and of others, from the same resamples.

    Args:
        labels: [N], 0 or 1.
        scores: [N], P(synthetic).
        groups: [N], strings or integers; samples with equal values share a group.
        weights: [N], as the metrics take them.
        metrics: Names of built-in metrics.
        extra: Metrics from plugins, name to function. Each is called once a resample, which takes its time.
        resamples: How many; 0 for no intervals.
        seed: At least 0.

    Returns:
        Name to interval, or to None where there is none by the rules above.

    Raises:
        MetricError: As the metrics raise it.
    """
    drawn = resampled(labels, scores, groups, weights, metrics=metrics, extra=extra, resamples=resamples, seed=seed)
    if drawn is None:
        return dict.fromkeys((*metrics, *(extra or {})))
    return {name: percentiles(values) for name, values in drawn.items()}


def resampled(
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    groups: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    *,
    metrics: Sequence[str] = tuple(VECTORISED),
    extra: Mapping[str, Metric] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    stream: int = 0,
) -> dict[str, FloatArray] | None:
    """The values behind the intervals: each metric's on every resample, nan where it is undefined there.

    Takes what ``bootstrap`` takes, and ``stream``: another one draws independently of this one under the same seed, for parts
    of the data that share no group.

    Returns:
        Name to float64 [resamples]; None where there are no intervals by the rules above.

    Raises:
        MetricError: As the metrics raise it.
    """
    extra = extra or {}
    y, p, w = checked(labels, scores, weights)
    names = np.asarray(groups)
    if names.shape != np.shape(labels):
        raise MetricError(f"There must be one group a sample, not groups of shape {names.shape}.")
    if weights is not None:
        names = names[np.asarray(weights, dtype=np.float64) > 0.0]
    members, group = np.unique(names, return_inverse=True)
    strata = _strata(y, group, members.size)
    if resamples < 1 or not y.size or not _enough(y, group):
        return None

    # Equal samples are interchangeable, so that this order makes the sums below the same for every order of the input.
    order = np.lexsort((w, group, y, p))
    y, p, w, group = y[order], p[order], w[order], group[order]
    compute = _computer(y, p, w, metrics, extra)
    values: dict[str, list[FloatArray]] = {name: [] for name in (*metrics, *extra)}
    for times in _draws(strata, members.size, resamples, (seed, stream), max(1, _BLOCK // y.size)):
        for name, row in compute(times[:, group] * w).items():
            values[name].append(row)
    return {name: np.concatenate(rows) for name, rows in values.items()}


def _strata(labels: IntArray, group: IntArray, count: int) -> list[IntArray]:
    """The groups that are drawn separately: real and synthetic ones, or all together where some group has both classes."""
    synthetic = np.bincount(group, weights=labels, minlength=count) > 0
    real = np.bincount(group, weights=1 - labels, minlength=count) > 0
    if (synthetic & real).any():
        return [np.arange(count)]
    return [np.flatnonzero(part) for part in (real, synthetic) if part.any()]


def _enough(labels: IntArray, group: IntArray) -> bool:
    return all(np.unique(group[labels == label]).size >= MIN_GROUPS for label in np.unique(labels))


def _draws(
    strata: list[IntArray], groups: int, resamples: int, source: tuple[int, int], block: int
) -> Iterator[FloatArray]:
    """How often each group is drawn, [up to ``block``, groups] at a time; the draws do not depend on ``block``.

    ``source`` is seed and stream.
    """
    seed, stream = source
    own = [stream] if stream else []
    generators = [np.random.default_rng([seed, number, *own]) for number in range(len(strata))]
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        times = np.zeros((rows, groups))
        for stratum, generator in zip(strata, generators, strict=True):
            drawn = generator.integers(0, stratum.size, size=(rows, stratum.size))
            drawn += stratum.size * np.arange(rows)[:, None]
            counts = np.bincount(drawn.ravel(), minlength=rows * stratum.size)
            times[:, stratum] = counts.reshape(rows, stratum.size)
        yield times


def _computer(
    labels: IntArray, scores: FloatArray, weights: FloatArray, metrics: Sequence[str], extra: Mapping[str, Metric]
) -> Callable[[FloatArray], dict[str, FloatArray]]:
    """A function of weightings [R, N] that returns each metric's values [R]; the samples must be sorted by score."""
    starts = np.flatnonzero(np.diff(scores, prepend=-1.0))
    distinct = scores[starts]
    is_synthetic = labels.astype(np.float64)

    def per_score(values: FloatArray) -> FloatArray:
        return values if starts.size == scores.size else np.add.reduceat(values, starts, axis=-1)

    def compute(weightings: FloatArray) -> dict[str, FloatArray]:
        synthetic = weightings * is_synthetic
        tally = Tally(distinct, per_score(synthetic), per_score(weightings - synthetic))
        result = {name: VECTORISED[name](tally) for name in metrics}
        for name, metric in extra.items():
            rows = ((row, row > 0.0) for row in weightings)
            result[name] = np.array([metric(labels[drawn], scores[drawn], row[drawn]) for row, drawn in rows])
        return result

    return compute


def percentiles(values: FloatArray) -> Interval | None:
    """The central 95 % of a metric's values [resamples]; None where it is undefined on more than 5 % of the resamples."""
    defined = values[np.isfinite(values)]
    if defined.size < (1.0 - MAX_UNDEFINED) * values.size:
        return None
    tail = 50.0 * (1.0 - LEVEL)
    low, high = np.percentile(defined, [tail, 100.0 - tail])
    return Interval(float(low), float(high))
