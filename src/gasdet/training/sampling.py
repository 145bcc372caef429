"""Which samples an epoch draws, and in which order. docs/splits.md says when to use which."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from gasdet.errors import DataError, MetricError, UsageError
from gasdet.training.interfaces import Rows, Sampler
from gasdet.training.recipe import Recipe
from gasdet.types import LABEL_REAL, Sample

DEFAULT_STEP = 1.0
"""Of ``worst_dataset``: a data set whose loss is larger by 1 has its weight multiplied by e at each validation."""
DEFAULT_FLOOR = 0.1
"""Of ``worst_dataset``: no data set has less than a tenth of an equal share."""

Cell = tuple[str, int]
"""A data set's name and a class."""


def make_sampler(recipe: Recipe, samples: Sequence[Sample]) -> Sampler:
    """The sampler that a recipe asks for: ``recipe.sampling`` with ``recipe.sampling_options``, ``batch_size`` and ``seed``.

    Every sampler but ``uniform`` and ``paired`` divides the samples into cells, draws so many of each as the cell's share
    says (rounded at random so that the expectation is exact), and no sample of a cell a second time before all of the cell
    were drawn. An epoch has ``samples`` rows: by default as many as there are samples (with ``paired``: as its pairs need).

    * ``uniform``: a permutation; with ``samples`` the beginning of one, or several.
    * ``class_balanced``: each class equally likely, each sample of a class equally likely.
    * ``dataset_balanced``: each data set equally likely, each class that it holds equally likely, each sample of them equally
      likely. A data set of one class draws from that class only, so the classes are balanced over all only where the data
      sets' own shares are.
    * ``weighted``: data sets in proportion to ``weights`` (a mapping of names or patterns; the first that fits counts), each
      sample of a data set equally likely.
    * ``worst_dataset``: as ``dataset_balanced``, but data set d is drawn with probability q_d. All q are equal at first; each
      validation multiplies q_d by exp(step * loss_d) and divides by the sum (the ascent of group DRO: Sagawa et al. 2020,
      algorithm 1, with a validation in the place of a batch), then q_d = (1 - floor) * q_d + floor / D.
    * ``paired``: every synthetic sample whose pair has a real sample comes right after one of them, in the same batch (and in
      full batches in the same of their ``accumulate`` parts); what has no partner comes alone.

    Args:
        recipe: Of one stage.
        samples: Of the training part, labelled; ``Sampler.epoch_rows`` are positions in it.

    Raises:
        UsageError: ``weights`` are absent or 0, or ``paired`` meets an odd batch size.
        DataError: A class or all pairs are missing, or ``weights`` do not fit the data sets.
    """
    if not samples:
        raise DataError("there are no samples to draw from.")
    if unlabelled := next((sample for sample in samples if sample.label is None), None):
        raise DataError(f"{unlabelled.member} has no label, so it cannot be drawn for training.")
    options, name = recipe.sampling_options, recipe.sampling
    count = options.get("samples")
    if name == "uniform":
        return _Uniform(recipe.seed, len(samples), count or len(samples))
    if name == "paired":
        return _Paired(recipe.seed, samples, count, recipe.batch_size // recipe.accumulate)
    cells = _cells(samples)
    total = count or len(samples)
    if name == "class_balanced":
        return _Cells(recipe.seed, cells, _class_shares(cells), total)
    if name == "dataset_balanced":
        return _Cells(recipe.seed, cells, _dataset_shares(cells, dict.fromkeys(_datasets(cells), 1.0)), total)
    if name == "weighted":
        return _Cells(recipe.seed, cells, _weighted_shares(cells, options.get("weights")), total)
    if name == "worst_dataset":
        step, floor = options.get("step", DEFAULT_STEP), options.get("floor", DEFAULT_FLOOR)
        return _WorstDataset(recipe.seed, cells, total, step=step, floor=floor)
    raise UsageError(f"there is no sampling called {name!r}.")


def check_sampling(recipe: Recipe, train: Sequence[Sample], validation: Sequence[Sample]) -> None:
    """Find a ``worst_dataset`` whose weights no validation could ever change.

    Raises:
        UsageError: Fewer than two of the data sets that are trained on have validation samples.
    """
    if recipe.sampling != "worst_dataset":
        return
    ours, theirs = ({sample.dataset for sample in part} for part in (train, validation))
    both = len(ours & theirs)
    if both < 2:
        raise UsageError(
            "sampling=worst_dataset compares the validation losses of the data sets that are trained on, and "
            f"{both or 'none'} of these ({_shown(sorted(ours))}) {'is' if both == 1 else 'are'} in the validation part "
            f"({_shown(sorted(theirs))}); give two of them validation samples of the same data set name, or choose another "
            "sampling."
        )


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


class _Stateless:
    """A sampler that validations do not change."""

    def update(self, validation_losses: Mapping[str, float]) -> None:
        """Nothing to learn from them."""

    def state(self) -> dict[str, Any]:
        """Nothing changes."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Nothing to load."""


class _Uniform(_Stateless):
    """Permutations of everything, one after the other, as far as the epoch goes."""

    def __init__(self, seed: int, size: int, total: int) -> None:
        self._seed, self._size, self._total = seed, size, total

    def epoch_rows(self, epoch: int) -> Rows:
        rng = _generator(self._seed, epoch)
        passes = [rng.permutation(self._size) for _ in range(math.ceil(self._total / self._size))]
        return np.concatenate(passes)[: self._total].astype(np.int64)


class _Cells(_Stateless):
    """So many samples of each cell as its share says, in random order."""

    def __init__(self, seed: int, cells: Mapping[Cell, Rows], shares: Mapping[Cell, float], total: int) -> None:
        self._seed, self._cells, self._shares, self._total = seed, cells, shares, total

    def epoch_rows(self, epoch: int) -> Rows:
        rng = _generator(self._seed, epoch)
        names = list(self._cells)
        counts = _rounded(rng, np.array([self._shares[name] for name in names]) * self._total, self._total)
        drawn = [_drawn(rng, self._cells[name], int(count)) for name, count in zip(names, counts, strict=True)]
        return rng.permutation(np.concatenate(drawn)).astype(np.int64)


class _WorstDataset:
    """Data sets by exponentiated weights on their validation losses."""

    def __init__(self, seed: int, cells: Mapping[Cell, Rows], total: int, *, step: float, floor: float) -> None:
        self._seed, self._cells, self._total = seed, cells, total
        self._step, self._floor = step, floor
        names = _datasets(cells)
        self._weights = dict.fromkeys(names, 1.0 / len(names))

    def epoch_rows(self, epoch: int) -> Rows:
        shares = _dataset_shares(self._cells, self._weights)
        return _Cells(self._seed, self._cells, shares, self._total).epoch_rows(epoch)

    def update(self, validation_losses: Mapping[str, float]) -> None:
        known = {name: loss for name, loss in validation_losses.items() if name in self._weights}
        for name, loss in known.items():
            if not math.isfinite(loss):
                raise MetricError(
                    f"the validation loss of the data set {name} is {loss}, so no sampling weight follows."
                )
        if not known:
            return
        # A data set without validation samples keeps its share relative to the average of the others
        mean = math.fsum(known.values()) / len(known)
        names = list(self._weights)
        losses = np.array([known.get(name, mean) for name in names])
        with np.errstate(divide="ignore"):  # without a floor a weight may have become 0
            logs = np.log([self._weights[name] for name in names]) + self._step * losses
        grown = np.exp(logs - logs.max())
        weights = (1 - self._floor) * grown / grown.sum() + self._floor / len(names)
        self._weights = dict(zip(names, weights.tolist(), strict=True))

    def state(self) -> dict[str, Any]:
        """The weight of each data set."""
        return {"weights": dict(self._weights)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        if set(state["weights"]) != set(self._weights):
            raise DataError("the sampler's state is of other data sets than those trained on; start over.")
        self._weights = {name: float(state["weights"][name]) for name in self._weights}


class _Paired(_Stateless):
    """Couples of rows: a real sample and a synthetic one of its pair, or any two without a partner in this epoch."""

    def __init__(self, seed: int, samples: Sequence[Sample], total: int | None, part_size: int) -> None:
        if part_size % 2:
            raise UsageError(
                f"sampling=paired keeps pairs in one batch, so batch_size / accumulate must be even, not {part_size}."
            )
        if total is not None and total % 2:
            raise UsageError(f"sampling=paired needs an even sampling_options.samples, not {total}.")
        self._seed, self._total = seed, total
        numbers: dict[str, int] = {}
        pair = np.array([numbers.setdefault(s.pair, len(numbers)) if s.pair else -1 for s in samples], np.int64)
        real = np.array([s.label == LABEL_REAL for s in samples])
        has_both = np.intersect1d(pair[real & (pair >= 0)], pair[~real & (pair >= 0)])
        if not len(has_both):
            raise DataError(
                "sampling=paired needs pair ids: none of the training samples has one that a real and a synthetic sample "
                "share; give a table a column pair, or choose another sampling."
            )
        coupled = np.isin(pair, has_both)
        self._pair = pair
        self._real, self._synthetic = np.flatnonzero(coupled & real), np.flatnonzero(coupled & ~real)
        self._alone = np.flatnonzero(~coupled)

    def epoch_rows(self, epoch: int) -> Rows:
        rng = _generator(self._seed, epoch)
        couples = self._couples(rng)
        if self._total is None:
            return couples.reshape(-1)
        while 2 * len(couples) < self._total:
            couples = np.concatenate([couples, self._couples(rng)])
        return couples.reshape(-1)[: self._total]

    def _couples(self, rng: np.random.Generator) -> Rows:
        """int64 ``[K, 2]``: every synthetic sample with a partner once, and every other sample at least once."""
        partners, unused = self._partners(rng)
        alone = rng.permutation(np.concatenate([self._alone, unused]))
        if len(alone) % 2:  # a real sample once more, so that the couples after it stay in one batch
            alone = np.append(alone, rng.choice(self._real))
        couples = np.concatenate([np.stack([partners, self._synthetic], axis=1), alone.reshape(-1, 2)])
        return rng.permutation(couples, axis=0).astype(np.int64)

    def _partners(self, rng: np.random.Generator) -> tuple[Rows, Rows]:
        """A real sample for each of ``_synthetic``, taking turns within a pair, and the real samples that got none.

        Both sides are put into a random order and then by pair; the k-th synthetic of a pair gets its (k mod R)-th real.
        """
        real = rng.permutation(self._real)
        real = real[np.argsort(self._pair[real], kind="stable")]
        order = rng.permutation(len(self._synthetic))
        order = order[np.argsort(self._pair[self._synthetic[order]], kind="stable")]
        pairs_of_real, pairs = self._pair[real], self._pair[self._synthetic[order]]
        first = np.searchsorted(pairs_of_real, pairs, side="left")
        size = np.searchsorted(pairs_of_real, pairs, side="right") - first
        turn = np.arange(len(pairs)) - np.searchsorted(pairs, pairs, side="left")
        taken = first + turn % size
        partners = np.empty(len(order), np.int64)
        partners[order] = real[taken]
        return partners, np.delete(real, np.unique(taken))


def _generator(seed: int, epoch: int) -> np.random.Generator:
    return np.random.default_rng([seed, epoch])


def _cells(samples: Sequence[Sample]) -> dict[Cell, Rows]:
    """The rows of each data set's classes, both sorted by name."""
    rows: dict[Cell, list[int]] = defaultdict(list)
    for row, sample in enumerate(samples):
        assert sample.label is not None
        rows[sample.dataset, sample.label].append(row)
    return {cell: np.array(rows[cell], np.int64) for cell in sorted(rows)}


def _datasets(cells: Mapping[Cell, Rows]) -> list[str]:
    return list(dict.fromkeys(dataset for dataset, _ in cells))


def _class_shares(cells: Mapping[Cell, Rows]) -> dict[Cell, float]:
    sizes: dict[int, int] = defaultdict(int)
    for (_, label), rows in cells.items():
        sizes[label] += len(rows)
    if len(sizes) < 2:
        raise DataError(
            "sampling=class_balanced needs real and synthetic samples; the training part has one class only."
        )
    return {cell: len(rows) / sizes[cell[1]] / len(sizes) for cell, rows in cells.items()}


def _dataset_shares(cells: Mapping[Cell, Rows], weights: Mapping[str, float]) -> dict[Cell, float]:
    """Data sets in proportion to the weights, each with its classes alike."""
    total = math.fsum(weights.values())
    classes: dict[str, int] = defaultdict(int)
    for dataset, _ in cells:
        classes[dataset] += 1
    return {cell: weights[cell[0]] / total / classes[cell[0]] for cell in cells}


def _weighted_shares(cells: Mapping[Cell, Rows], given: object) -> dict[Cell, float]:
    """Data sets in proportion to the given weights, each sample of one alike."""
    names = _datasets(cells)
    shown = _shown(names)
    if not isinstance(given, Mapping) or not given:
        raise UsageError(
            "sampling=weighted needs sampling_options.weights, a mapping of data sets (or patterns) to weights; the data "
            f"sets are {shown}."
        )
    patterns = {str(pattern): float(weight) for pattern, weight in given.items()}
    found = {name: next((p for p in patterns if fnmatchcase(name.casefold(), p.casefold())), None) for name in names}
    lacking = [name for name, pattern in found.items() if pattern is None]
    idle = [p for p in patterns if not any(fnmatchcase(name.casefold(), p.casefold()) for name in names)]
    if lacking or idle:
        what = f"name no {lacking[0]}" if lacking else f"name {idle[0]}, which fits none of the data sets"
        raise DataError(
            f"sampling_options.weights {what}; the data sets are {shown} (the pattern '*' stands for the rest)."
        )
    weights = {name: patterns[pattern] for name, pattern in found.items() if pattern is not None}
    if not any(weights.values()):
        raise UsageError("all of sampling_options.weights are 0; one at least must be above.")
    sizes: dict[str, int] = defaultdict(int)
    for (dataset, _), rows in cells.items():
        sizes[dataset] += len(rows)
    total = math.fsum(weights.values())
    return {cell: weights[cell[0]] / total * len(rows) / sizes[cell[0]] for cell, rows in cells.items()}


def _rounded(rng: np.random.Generator, expected: np.ndarray, total: int) -> Rows:
    """Whole numbers that add up to ``total``, each within 1 of what is expected and equal to it on average.

    Systematic sampling: the cells are lined up in a random order, and points at distance 1 from a random start are counted.
    """
    order = rng.permutation(len(expected))
    ends = np.round(np.cumsum(expected[order]), 9)  # so that a cell of share 0 gets nothing from rounding errors
    ends[-1] = total
    counted = np.floor(ends + rng.random())
    counts = np.empty(len(expected), np.int64)
    counts[order] = np.diff(counted, prepend=0.0).astype(np.int64)
    return counts


def _drawn(rng: np.random.Generator, members: Rows, count: int) -> Rows:
    """That many of the members: all of them as often as they go into it, and a random choice of them once more."""
    often, once = divmod(count, len(members))
    return np.concatenate([np.tile(members, often), rng.permutation(members)[:once]])
