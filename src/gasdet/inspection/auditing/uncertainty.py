"""Intervals, and what chance alone reaches: so that small data do not cry wolf.

Intervals are 95 % and come from a Bayesian bootstrap over groups (Rubin, The Bayesian Bootstrap, Annals of Statistics 1981):
each group gets a weight drawn from the exponential distribution, and the figure is computed with these weights. No resample
lacks a class, whatever the groups are. A bootstrap's interval around a perfect figure has width 0; so none is narrower than
Newcombe's for as many independent samples as there are groups (Statistics in Medicine 2006, 25:559, method 5).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gasdet.builtin.tally import VECTORISED, Tally
from gasdet.inspection.auditing.folds import Frame
from gasdet.inspection.auditing.separation import Reading, separate
from gasdet.inspection.auditing.table import FloatArray, IntArray
from gasdet.inspection.auditing.verdicts import WEAK

WORSE = 1 - WEAK
"""A model whose AUROC has an interval that ends below this is wrong for a reason: as far from 0.5 as verdicts begin."""

RESAMPLES = 1000
SHUFFLES = 200
_WORK = 50_000_000
"""Resamples (or shuffles) times samples: very large data get fewer, down to the numbers below; their figures vary little."""

_FEWEST = {RESAMPLES: 200, SHUFFLES: 100}
_BLOCK = 1 << 16
_Z = 1.959963984540054
"""97.5 % point of the normal distribution."""


def held_out_auroc(scores: FloatArray, frame: Frame, weights: FloatArray | None = None) -> FloatArray:
    """The share of pairs within folds in which the synthetic sample has the higher score, equal scores counting half.

    Args:
        scores: float64 [N], in the frame's order, comparable within a fold.
        frame: The folds.
        weights: float64 [R, N]; None for ones.

    Returns:
        float64 [R].
    """
    return _Blocks(scores, frame).auroc(np.ones((1, scores.size)) if weights is None else weights)


def intervals(scores: Sequence[FloatArray], frame: Frame, *, seed: int = 0) -> list[tuple[float, float]]:
    """The 95 % interval of the AUROC of each of several scores, all from the same resamples; never below 0.5."""
    if not scores:
        return []
    results = []
    for one, values in zip(scores, _resampled(scores, frame, seed), strict=True):
        low, high = np.percentile(values, [2.5, 97.5])
        # A figure under 0.5 is one of chance: what it can be is no less than around 0.5.
        value = max(0.5, float(held_out_auroc(one, frame)[0]))
        least, most = newcombe(value, *frame.class_groups)
        results.append((max(0.5, min(float(low), least)), min(1.0, max(float(high), most))))
    return results


def below_chance(scores: FloatArray, frame: Frame, *, seed: int = 0) -> float | None:
    """The AUROC of scores that are wrong too often to be chance: its interval ends below ``WORSE``. Else None.

    Nothing that says nothing is wrong so often. It comes of samples that belong together and lie in different folds: what is
    learned from one of a pair is the other's class turned round.
    """
    value = float(held_out_auroc(scores, frame)[0])
    if value >= WORSE:
        return None
    high = float(np.percentile(_resampled([scores], frame, seed)[0], 97.5))
    return value if max(high, newcombe(value, *frame.class_groups)[1]) < WORSE else None


def _resampled(scores: Sequence[FloatArray], frame: Frame, seed: int) -> list[FloatArray]:
    """The AUROCs of each of several scores in resamples of the groups, the same resamples for all."""
    size = frame.labels.size
    count = _times(RESAMPLES, size)
    prepared = [_Blocks(one, frame) for one in scores]
    values: list[list[FloatArray]] = [[] for _ in scores]
    random = np.random.default_rng([seed, 0])
    rows = max(1, _BLOCK // size)
    for start in range(0, count, rows):
        weights = random.standard_exponential((min(rows, count - start), frame.groups))[:, frame.group]
        for one, kept in zip(prepared, values, strict=True):
            kept.append(one.auroc(weights))
    return [np.concatenate(kept) for kept in values]


def newcombe(auroc: float, real: int, synthetic: int) -> tuple[float, float]:
    """Newcombe's 95 % interval of an AUROC from so many independent real and synthetic samples."""
    star = (real + synthetic) / 2 - 1

    def off(value: float) -> float:
        """How far the figure is from ``value``, in standard errors that ``value`` has, minus the 97.5 % point."""
        spread = 1 + star * (1 - value) / (2 - value) + star * value / (1 + value)
        error = np.sqrt(max(value * (1 - value) * spread / (real * synthetic), 1e-300))
        return float(abs(auroc - value) / error - _Z)

    def edge(outside: float) -> float:
        inside = auroc
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if off(middle) < 0 else (inside, middle)
        return inside

    return edge(0.0), edge(1.0)


def noise(readings: Sequence[Reading], frame: Frame, *, seed: int = 0) -> float:
    """What the best of these properties reaches by chance: the 95 % point of the largest AUROC among shuffled labels.

    Groups of one class keep one class when labels are shuffled; where a group has both, they are shuffled within it.
    """
    if not readings:
        return 0.5
    best: list[FloatArray] = []
    size = frame.labels.size
    for labels in _shuffled(frame, _times(SHUFFLES, size), max(1, (1 << 22) // size), seed):
        best.append(np.max([separate(reading, frame, labels).auroc for reading in readings], axis=0))
    return max(0.5, float(np.percentile(np.concatenate(best), 95)))


def _times(wanted: int, size: int) -> int:
    return int(np.clip(_WORK // size, _FEWEST[wanted], wanted))


def _shuffled(frame: Frame, count: int, block: int, seed: int) -> Iterator[IntArray]:
    """[up to ``block``, N] labels at a time."""
    random = np.random.default_rng([seed, 1])
    mixed = frame.mixed
    pure = np.flatnonzero(~mixed)
    of_group = np.zeros(frame.groups, dtype=np.int64)
    of_group[frame.group] = frame.labels
    within = np.flatnonzero(mixed[frame.group])
    within = within[np.argsort(frame.group[within], kind="stable")]
    for start in range(0, count, block):
        rows = min(block, count - start)
        labels = np.empty((rows, frame.labels.size), dtype=np.int64)
        for row in labels:
            shuffled = of_group.copy()
            shuffled[pure] = random.permutation(of_group[pure])
            row[:] = shuffled[frame.group]
            # Sorting by group first and chance second keeps each group's own labels in its places.
            row[within] = frame.labels[within][np.lexsort((random.random(within.size), frame.group[within]))]
        yield labels


class _Blocks:
    """Scores sorted within each fold, ready for any weights."""

    def __init__(self, scores: FloatArray, frame: Frame) -> None:
        self._folds = []
        for block in frame.blocks:
            own = scores[block]
            order = np.argsort(own, kind="stable")
            starts = np.flatnonzero(np.diff(own[order], prepend=np.nan) != 0)
            self._folds.append((block.start + order, frame.labels[block][order].astype(np.float64), starts))

    def auroc(self, weights: FloatArray) -> FloatArray:
        """float64 [R] for weights [R, N]; 0.5 where no fold has both classes."""
        won = np.zeros(len(weights))
        pairs = np.zeros(len(weights))
        for order, synthetic, starts in self._folds:
            own = weights[:, order]
            of_synthetic = np.add.reduceat(own * synthetic, starts, axis=1)
            tally = Tally(starts.astype(np.float64), of_synthetic, np.add.reduceat(own, starts, axis=1) - of_synthetic)
            these = tally.n_synthetic * tally.n_real
            won += np.nan_to_num(VECTORISED["auroc"](tally), nan=0.0) * these
            pairs += these
        result: FloatArray = np.divide(won, pairs, out=np.full(len(weights), 0.5), where=pairs > 0)
        return result
