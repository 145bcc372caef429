"""How far one property alone separates real from synthetic, on samples that had no part in how it was read.

A property is read in one of these ways:

* *higher*, *lower*: the number itself is the score, or its negative. Missing values stand at one end.
* *levels*: the score is the share of synthetic samples among others with the same value (of a number: in the same one of at
  most 32 ranges). Missing is a value. The only way of categories and flags; of numbers only where it is better by far.

For each of five folds, the way (and the shares) come from the other four; which way is better there is itself judged on
samples that had no part in the shares. The fold's own pairs of a real and a synthetic sample are then compared. The result is
the share of such pairs, over all folds, in which the synthetic sample has the higher score: an AUROC that is 0.5 on average for
a property that says nothing, however few samples there are. The usual folding, max(a, 1 - a), is 0.57 on average for 20 real
and 20 synthetic samples of pure chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gasdet.inspection.auditing.folds import Frame
from gasdet.inspection.auditing.table import Column, FloatArray, IntArray

MAX_RANGES = 32
"""Ranges of a number that are read as levels."""

MAX_LEVELS = 64
"""A category's rarer values count as one."""

LEVELS_MARGIN = 0.1
"""By how much of AUROC levels must be better than the number itself, on other samples, to be taken instead: where certain
values are one class's (8 and 44.1 kHz against 16), not where a distribution is a little wider. The model sees that too."""

_PRIOR = 2.0
"""Samples' worth of the overall share of synthetic ones that is added to each level's own."""

_CELLS = 1 << 21
"""Array elements that are worked on at once."""


@dataclass(frozen=True)
class Reading:
    """What of a property, in the order of a frame, does not depend on the labels.

    Attributes:
        ranks: One array [N] for each way to place missing values: mid-ranks within the fold; empty for categories.
        levels: int64 [N]: which level each sample has.
        count: Number of levels.
        occupied: int64 [C]: fold times ``count`` plus level, of those that occur, ascending.
        by_cell: int64 [N]: an order of the samples in which those of one (fold, level) stand together, as in ``occupied``.
        starts: int64 [C]: where each begins in that order.
    """

    ranks: tuple[FloatArray, ...]
    levels: IntArray
    count: int
    occupied: IntArray
    by_cell: IntArray
    starts: IntArray


@dataclass(frozen=True)
class Separation:
    """The result for one property and several labellings of the same samples.

    Attributes:
        auroc: float64 [R].
        way: int64 [R, folds]: index among (higher, lower) for each of ``Reading.ranks``, and after these levels; -1 where the
            other folds are undecided.
        shares: float64 [R, folds, levels]: the scores of the levels in each fold.
    """

    auroc: FloatArray
    way: IntArray
    shares: FloatArray


def read(column: Column, frame: Frame) -> Reading:
    """Prepare a property for ``separate``."""
    values = column.values[frame.order]
    missing = np.isnan(values)
    levels, count = _ranges(values) if column.is_number else _frequent(values)
    fold = np.zeros(values.size, dtype=np.int64)
    for number, block in enumerate(frame.blocks):
        fold[block] = number
    cell = fold * count + levels
    by_cell = np.argsort(cell, kind="stable")
    occupied, starts = np.unique(cell[by_cell], return_index=True)
    ends: tuple[float, ...] = ()
    if column.is_number:
        ends = (-np.inf, np.inf) if missing.any() else (-np.inf,)
    ranks = tuple(_mid_ranks(np.where(missing, end, values), frame) for end in ends)
    return Reading(ranks, levels, count, occupied, by_cell, starts)


def separate(reading: Reading, frame: Frame, labels: IntArray) -> Separation:
    """The separation under one or more labellings.

    Args:
        reading: Of the property.
        frame: The folds.
        labels: [R, N], 0 or 1, in the frame's order.
    """
    rows = max(1, _CELLS // max(labels.shape[1], reading.count**2 * len(frame.blocks)))
    parts = [_separate(reading, frame, labels[at : at + rows]) for at in range(0, len(labels), rows)]
    return Separation(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("auroc", "way", "shares")))


def scores(reading: Reading, frame: Frame, found: Separation) -> FloatArray:
    """float64 [N]: the score of every sample, comparable within its fold, of the first labelling."""
    result = np.zeros(frame.labels.size)
    for number, block in enumerate(frame.blocks):
        way = int(found.way[0, number])
        if way == 2 * len(reading.ranks):
            result[block] = found.shares[0, number, reading.levels[block]]
        elif way >= 0:
            result[block] = reading.ranks[way // 2][block] * (-1.0 if way % 2 else 1.0)
    return result


def _separate(reading: Reading, frame: Frame, labels: IntArray) -> Separation:
    count, folds = len(labels), len(frame.blocks)
    synthetic = np.stack([labels[:, block].sum(axis=1) for block in frame.blocks], axis=1).astype(np.float64)
    sizes = np.array([block.stop - block.start for block in frame.blocks], dtype=np.float64)
    pairs = synthetic * (sizes - synthetic)
    # [ways, R, folds]: what each way gains over chance in each fold, in pairs; and in the folds other than it.
    own, others = [], []
    for ranks in reading.ranks:
        gain = np.stack([labels[:, block] @ ranks[block] for block in frame.blocks], axis=1)
        gain -= synthetic * (synthetic + 1) / 2 + pairs / 2
        elsewhere = gain.sum(axis=1, keepdims=True) - gain
        own += [gain, -gain]
        others += [elsewhere, -elsewhere]
    cells = np.zeros((2, count, folds * reading.count))
    cells[0][:, reading.occupied] = np.add.reduceat(labels[:, reading.by_cell], reading.starts, axis=1)
    totals = np.bincount(reading.occupied, np.diff(reading.starts, append=labels.shape[1]), folds * reading.count)
    cells[1] = totals - cells[0]
    by_level = cells.reshape(2, count, folds, reading.count)
    shares, gain, elsewhere = _levels(by_level, nested=bool(reading.ranks))
    own.append(gain)
    others.append(
        elsewhere - LEVELS_MARGIN * (pairs.sum(axis=1, keepdims=True) - pairs) if reading.ranks else elsewhere
    )
    judged = np.stack(others)
    # A category has one way; a number's ways that are all at chance on the other folds say nothing here.
    way = judged.argmax(axis=0) if reading.ranks else np.zeros((count, folds), dtype=np.int64)
    way = np.where((judged.max(axis=0) > 0) | (not reading.ranks), way, -1)
    chosen = np.take_along_axis(np.stack(own), np.maximum(way, 0)[None], axis=0)[0]
    total = pairs.sum(axis=1)
    gained = np.where(way >= 0, chosen, 0.0).sum(axis=1)
    auroc = 0.5 + np.divide(gained, total, out=np.zeros(count), where=total > 0)
    return Separation(auroc, way, shares)


def _levels(cells: FloatArray, *, nested: bool) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Levels read by their shares in other folds.

    Args:
        cells: [2, R, folds, L]: numbers of synthetic and of real samples.
        nested: Whether the third result is wanted.

    Returns:
        Shares [R, folds, L] from the other folds; the gain [R, folds] in each fold by them; and the gain in the folds other
        than it, each by shares from neither.
    """
    synthetic, real = cells
    folds = synthetic.shape[1]
    all_synthetic, all_real = synthetic.sum(axis=1), real.sum(axis=1)
    shares = np.zeros_like(synthetic)
    own = np.zeros(synthetic.shape[:2])
    elsewhere = np.zeros_like(own)
    for out in range(folds):
        rest_synthetic, rest_real = all_synthetic - synthetic[:, out], all_real - real[:, out]
        shares[:, out] = _shares(rest_synthetic, rest_real)
        own[:, out] = _gain(shares[:, out], synthetic[:, out], real[:, out])
        for other in range(folds) if nested else ():
            if other != out:
                inner = _shares(rest_synthetic - synthetic[:, other], rest_real - real[:, other])
                elsewhere[:, out] += _gain(inner, synthetic[:, other], real[:, other])
    return shares, own, elsewhere


def _shares(synthetic: FloatArray, real: FloatArray) -> FloatArray:
    """[R, L]: the share of synthetic samples in each level, drawn towards the overall share where there are few."""
    n_synthetic, n_real = synthetic.sum(axis=1, keepdims=True), real.sum(axis=1, keepdims=True)
    overall = n_synthetic / np.maximum(n_synthetic + n_real, 1.0)
    result: FloatArray = (synthetic + _PRIOR * overall) / (synthetic + real + _PRIOR)
    return result


def _gain(shares: FloatArray, synthetic: FloatArray, real: FloatArray) -> FloatArray:
    """[R]: pairs won by the synthetic sample, minus half of all pairs; everything else [R, L]."""
    ahead = np.sign(shares[:, :, None] - shares[:, None, :])
    ahead *= real[:, None, :]
    result: FloatArray = 0.5 * (ahead.sum(axis=2) * synthetic).sum(axis=1)
    return result


def _mid_ranks(values: FloatArray, frame: Frame) -> FloatArray:
    """[N]: ranks from 1 within each fold, equal values sharing the mean of theirs."""
    result = np.zeros(values.size)
    for block in frame.blocks:
        _, place, times = np.unique(values[block], return_inverse=True, return_counts=True)
        result[block] = (np.cumsum(times) - (times - 1) / 2)[place]
    return result


def _ranges(values: FloatArray) -> tuple[IntArray, int]:
    """Levels of a number: ranges of about equally many samples; a value that fills one alone is a level of its own."""
    missing = np.isnan(values)
    distinct, place, times = np.unique(values[~missing], return_inverse=True, return_counts=True)
    wanted = values.size / int(np.clip(values.size // 20, 2, MAX_RANGES))
    level_of = np.zeros(distinct.size, dtype=np.int64)
    level, held = 0, 0
    for index, count in enumerate(times.tolist()):
        if held and (count >= wanted or held >= wanted):
            level, held = level + 1, 0
        level_of[index] = level
        held = held + count if count < wanted else int(wanted) + 1
    codes = np.full(values.size, level + 1, dtype=np.int64)
    codes[~missing] = level_of[place]
    return codes, level + 2


def _frequent(values: FloatArray) -> tuple[IntArray, int]:
    """Levels of a category: its most frequent values, one for all others, and one for missing."""
    missing = np.isnan(values)
    distinct, place, times = np.unique(values[~missing], return_inverse=True, return_counts=True)
    kept = np.arange(distinct.size)
    if distinct.size > MAX_LEVELS:
        # Of equally frequent values all are kept or none: which of them come first in the alphabet means nothing.
        kept = np.flatnonzero(times > np.sort(times)[-MAX_LEVELS])
    level_of = np.full(distinct.size, kept.size, dtype=np.int64)
    level_of[kept] = np.arange(kept.size)
    count = kept.size + int(kept.size < distinct.size)
    codes = np.full(values.size, count, dtype=np.int64)
    codes[~missing] = level_of[place]
    return codes, count + 1
