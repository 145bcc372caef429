"""Near duplicates: images and recordings that are the same but for their encoding, size or a slight retouching.

Each kind has its measure and its limit; who is near to whom is then closed over chains: where A is near to B and B to C,
the three are one set, even where A and C differ by more than the limit.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from gasdet.inspection.checking.hamming import PARTS, Positions, near_pairs
from gasdet.inspection.checking.pictures import HASH_BYTES
from gasdet.inspection.checking.sounds import near_sounds
from gasdet.ties import Ties

STEPS = 2 * PARTS
"""How often the search for images and clips reports that it has come further."""


class Sets:
    """Items that belong together, and of each the distance to the nearest other that it was found near to.

    Attributes:
        nearest: float64 ``[count]``; infinite for an item that is near to none.
    """

    def __init__(self, count: int) -> None:
        self._ties = Ties(count)
        self.nearest: npt.NDArray[np.float64] = np.full(count, np.inf)

    def add(self, one: int, other: int, distance: float) -> None:
        """Put two items into one set."""
        for item in (one, other):
            self.nearest[item] = min(self.nearest[item], distance)
        self._ties.join(one, other)

    def add_all(self, left: Positions, right: Positions, distances: npt.NDArray[np.int64]) -> None:
        """The same for many pairs."""
        for side in (left, right):
            np.minimum.at(self.nearest, side, distances)
        for one, other in self.apart(left, right):
            self._ties.join(one, other)

    def apart(self, left: Positions, right: Positions) -> list[tuple[int, int]]:
        """Those of many pairs that may not be in one set yet: 100,000 copies of one picture are five billion pairs."""
        if len(left) > len(self._ties):  # so that looking up everybody's set costs less than it saves
            roots = np.array([self.root(item) for item in range(len(self._ties))], np.int64)
            other = roots[left] != roots[right]
            left, right = left[other], right[other]
        return list(zip(left.tolist(), right.tolist(), strict=True))

    def root(self, item: int) -> int:
        """The first item of an item's set."""
        return self._ties.first(item)

    def together(self) -> list[list[int]]:
        """The sets of two and more, each in ascending order, by their first item."""
        found: dict[int, list[int]] = defaultdict(list)
        for item in range(len(self._ties)):
            found[self.root(item)].append(item)
        return [items for items in found.values() if len(items) > 1]


def near_images(hashes: Sequence[bytes], radius: int, told: Callable[[], None] = lambda: None) -> Sets:
    """Images whose PDQ hashes differ in at most ``radius`` bits.

    Args:
        hashes: One an image, 32 bytes; empty where there is none.
        radius: In bits.
        told: Called 16 times on the way.
    """
    sets = Sets(len(hashes))
    distinct, owners = distinct_hashes([[content] if content else [] for content in hashes])
    for ones in owners:
        for one, other in itertools.pairwise(ones):
            sets.add(one, other, 0)
    first = np.array([ones[0] for ones in owners], np.int64)
    for left, right, distances in near_pairs(distinct, radius, told):
        sets.add_all(first[left], first[right], distances)
    return sets


def near_recordings(prints: Sequence[bytes]) -> Sets:
    """Recordings whose fingerprints agree where they overlap; distances are bit error rates."""
    sets = Sets(len(prints))
    for one, other, rate in near_sounds([np.frombuffer(content, np.uint32) for content in prints]):
        sets.add(one, other, rate)
    return sets


def distinct_hashes(hashes: Sequence[Sequence[bytes]]) -> tuple[npt.NDArray[np.uint8], list[list[int]]]:
    """The distinct ones of the items' hashes, uint8 ``[n, 32]``, and which items have each, ascending."""
    owners: dict[bytes, list[int]] = {}
    for item, own in enumerate(hashes):
        for content in dict.fromkeys(own):
            owners.setdefault(content, []).append(item)
    joined = np.frombuffer(b"".join(owners), np.uint8).reshape(-1, HASH_BYTES)
    return joined, list(owners.values())
