"""Choosing some of the samples so that a smaller choice is always part of a larger one."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, TypeVar

from gasdet.types import Modality, Sample

Mode = Literal["debug", "small", "full"]
MODE_CAPS: dict[Mode, int | None] = {"debug": 20, "small": 200, "full": None}
"""The most samples that a mode takes of each data set."""

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Totals:
    """How many samples a catalogue is to give in all, for each mode and modality.

    Attributes:
        stated: By mode and modality; None as modality for every modality that has no number of its own.
    """

    stated: Mapping[tuple[Mode, Modality | None], int] = field(default_factory=dict)

    def of(self, mode: Mode, modality: Modality | None) -> int | None:
        """The total of a modality in a mode, or None where the catalogue states none."""
        return self.stated.get((mode, modality), self.stated.get((mode, None)))

    def states(self, mode: Mode) -> bool:
        """Whether the catalogue has a total for that very mode."""
        return any(stated == mode for stated, _ in self.stated)


def quotas(
    sizes: Mapping[Key, int],
    limit: int,
    shares: Mapping[Key, Fraction] | None = None,
    floors: Mapping[Key, int] | None = None,
) -> dict[Key, int]:
    """How many to take of each cell so that the sum is ``limit`` (or everything there is).

    Seats go out one at a time, and the limit only says how many: so the quotas of a limit are never above those of a larger
    limit, cell by cell, and their sum is never above the limit. First every cell gets up to its floor, the cell with the
    fewest seats first. Then the next seat goes to the cell with the least ``(seats + 1/2) / share`` of those that have more
    (the method of Sainte-Lague and Webster). Ties go by name, and not by size: how much of a data set is here may depend on
    the mode. All of it is exact arithmetic.

    Args:
        sizes: How many each cell has.
        limit: At least 0.
        shares: The cells' shares, above 0; 1 for those not named.
        floors: The cells' floors; 0 for those not named. One above the cell's size is the size.
    """
    least = {cell: min((floors or {}).get(cell, 0), size) for cell, size in sizes.items()}
    if 0 < limit < sum(least.values()):
        return quotas(least, limit)
    by_name = sorted(sizes, key=repr)
    costs = _costs({cell: (shares or {}).get(cell, Fraction(1)) for cell in sizes})

    def seats(cell: Key, price: int) -> int:
        """What a cell has when everything is sold that costs no more: its s-th seat costs (2 s - 1) times its cost."""
        return max(least[cell] if limit else 0, min(sizes[cell], (price // costs[cell] + 1) // 2))

    low, high = 0, max((2 * size * costs[cell] for cell, size in sizes.items()), default=0)
    while low < high:  # the highest price at which no more than the limit is sold
        price = (low + high + 1) // 2
        if sum(seats(cell, price) for cell in sizes) <= limit:
            low = price
        else:
            high = price - 1
    taken = {cell: seats(cell, low) for cell in sizes}
    left = limit - sum(taken.values())
    for cell in [cell for cell in by_name if seats(cell, low + 1) > taken[cell]][:left]:
        taken[cell] += 1
    return taken


def _costs(shares: Mapping[Key, Fraction]) -> dict[Key, int]:
    """Whole numbers in inverse proportion to the shares."""
    whole = math.lcm(*(share.denominator for share in shares.values()))
    weights = {cell: int(share * whole) for cell, share in shares.items()}
    common = math.lcm(*weights.values())
    return {cell: common // weight for cell, weight in weights.items()}


def select(samples: Sequence[Sample], limit: int, seed: int) -> list[Sample]:
    """At most ``limit`` samples in their original order, spread evenly over the cells of (data set, label).

    Within a cell, samples come in the order of a hash of seed and sample id: who is chosen does not depend on order or
    number of the others' names, and a smaller limit chooses a subset of a larger one's.
    """
    if len(samples) <= limit:
        return list(samples)
    cells: dict[tuple[str, int | None], list[int]] = defaultdict(list)
    for index, sample in enumerate(samples):
        cells[sample.dataset, sample.label].append(index)
    taken = quotas({cell: len(indices) for cell, indices in cells.items()}, limit)
    prefix = f"{seed}\0".encode()

    def rank(index: int) -> bytes:
        return hashlib.blake2b(prefix + samples[index].sample_id.encode(), digest_size=16).digest()

    chosen: list[int] = []
    for cell, indices in cells.items():
        chosen += sorted(indices, key=rank)[: taken[cell]]
    return [samples[index] for index in sorted(chosen)]


def select_per(samples: Iterable[Sample], key: Callable[[Sample], Hashable], cap: int, seed: int) -> list[Sample]:
    """At most ``cap`` samples of each key, spread evenly over (data set, label); keys in the order of their first sample."""
    by_key: dict[Hashable, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_key[key(sample)].append(sample)
    return [sample for members in by_key.values() for sample in select(members, cap, seed)]


def select_per_dataset(samples: Iterable[Sample], cap: int, seed: int) -> list[Sample]:
    """At most ``cap`` samples of each data set, spread evenly over its labels; data sets in the order of their first sample."""
    return select_per(samples, lambda sample: sample.dataset, cap, seed)


def select_nested(samples: Sequence[Sample], limit: int, seed: int, first: Collection[str] | None) -> list[Sample]:
    """As ``select``, of one data set, with some samples chosen before the others.

    A smaller mode that fetched ``first`` alone chose up to its cap among them; those are chosen first here, and the rest among
    all others.

    Args:
        samples: Of one data set.
        limit: At most so many.
        seed: As for ``select``.
        first: Ids; None for no such part.
    """
    head = [] if first is None else [sample for sample in samples if sample.sample_id in first]
    if len(samples) <= limit or len(head) in (0, len(samples)):
        return select(samples, limit, seed)
    chosen = {sample.sample_id for sample in select(head, min(limit, MODE_CAPS["small"] or limit), seed)}
    others = [sample for sample in samples if sample.sample_id not in chosen]
    chosen |= {sample.sample_id for sample in select(others, limit - len(chosen), seed)}
    return [sample for sample in samples if sample.sample_id in chosen]


def select_total(
    samples: Sequence[Sample],
    total: int,
    seed: int,
    shares: Mapping[str, Fraction] | None = None,
    floors: Mapping[str, int] | None = None,
    caps: Mapping[str, int] | None = None,
    first: Mapping[str, Collection[str]] | None = None,
) -> list[Sample]:
    """At most ``total`` samples in their original order, shared out among the data sets; within one evenly over its labels.

    Args:
        samples: Of any number of data sets.
        total: Of all together; never exceeded, also where the floors alone would.
        seed: As for ``select``.
        shares: By data set; 1 where not named.
        floors: By data set; 0 where not named.
        caps: By data set, none where not named. They cut what the total gives and give nobody more, so that samples under
            lower caps are part of those under higher ones.
        first: By data set, ids that are chosen before others; see ``select_nested``.
    """
    taken = quotas(Counter(sample.dataset for sample in samples), total, shares, floors)
    for name, cap in (caps or {}).items():
        taken[name] = min(taken.get(name, 0), cap)
    return _so_many_of_each(samples, taken, seed, first)


def select_limit(
    samples: Sequence[Sample],
    everything: Sequence[Sample],
    limit: int,
    seed: int,
    first: Mapping[str, Collection[str]] | None = None,
) -> list[Sample]:
    """Those of some samples that are among ``limit`` of everything, spread evenly over (data set, label).

    Whom a limit takes follows from everything there is, as if nothing had been left out before: so what a smaller mode leaves
    under a limit is part of what a larger mode does. They may be fewer than the limit.

    Args:
        samples: What modes and totals left, as ``select_total`` does.
        everything: These, and those that were left out.
        limit: At most so many.
        seed: As for ``select``.
        first: By data set, ids that are chosen before others; see ``select_nested``.
    """
    taken: Counter[str] = Counter()
    for (dataset, _), seats in quotas(Counter((s.dataset, s.label) for s in everything), limit).items():
        taken[dataset] += seats
    chosen = {sample.sample_id for sample in _so_many_of_each(everything, taken, seed, first)}
    return [sample for sample in samples if sample.sample_id in chosen]


def _so_many_of_each(
    samples: Sequence[Sample], taken: Mapping[str, int], seed: int, first: Mapping[str, Collection[str]] | None
) -> list[Sample]:
    """At most so many samples of each data set, in their original order."""
    by_dataset: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_dataset[sample.dataset].append(sample)
    chosen = {
        id(sample)
        for name, members in by_dataset.items()
        for sample in select_nested(members, taken[name], seed, (first or {}).get(name))
    }
    return [sample for sample in samples if id(sample) in chosen]
