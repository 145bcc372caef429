"""Near duplicates: images, clips and recordings that are the same but for their encoding, size or a slight retouching.

Each kind has its measure and its limit; who is near to whom is then closed over chains: where A is near to B and B to C,
the three are one set, even where A and C differ by more than the limit.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from gasdet.inspection.checking.bits import popcount
from gasdet.inspection.checking.hamming import PARTS, Positions, near_pairs
from gasdet.inspection.checking.pictures import HASH_BYTES
from gasdet.inspection.checking.sounds import near_sounds

MIN_SHARED_FRAMES = 0.5
"""Share of the frame hashes of the clip with fewer of them that the other clip must have too."""

STEPS = 2 * PARTS
"""How often the search for images and clips reports that it has come further."""


class Sets:
    """Items that belong together, and of each the distance to the nearest other that it was found near to.

    Attributes:
        nearest: float64 ``[count]``; infinite for an item that is near to none.
    """

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))
        self.nearest: npt.NDArray[np.float64] = np.full(count, np.inf)

    def add(self, one: int, other: int, distance: float) -> None:
        """Put two items into one set."""
        for item in (one, other):
            self.nearest[item] = min(self.nearest[item], distance)
        self._join(one, other)

    def add_all(self, left: Positions, right: Positions, distances: npt.NDArray[np.int64]) -> None:
        """The same for many pairs."""
        for side in (left, right):
            np.minimum.at(self.nearest, side, distances)
        for one, other in self.apart(left, right):
            self._join(one, other)

    def apart(self, left: Positions, right: Positions) -> list[tuple[int, int]]:
        """Those of many pairs that may not be in one set yet: 100,000 copies of one picture are five billion pairs."""
        if len(left) > len(self._parents):  # so that looking up everybody's set costs less than it saves
            roots = np.array([self.root(item) for item in range(len(self._parents))], np.int64)
            other = roots[left] != roots[right]
            left, right = left[other], right[other]
        return list(zip(left.tolist(), right.tolist(), strict=True))

    def _join(self, one: int, other: int) -> None:
        one, other = self.root(one), self.root(other)
        # The smaller number stays, so that the order in which pairs come has no bearing.
        self._parents[max(one, other)] = min(one, other)

    def root(self, item: int) -> int:
        """The first item of an item's set."""
        parents = self._parents
        while parents[item] != item:
            parents[item] = parents[parents[item]]
            item = parents[item]
        return item

    def together(self) -> list[list[int]]:
        """The sets of two and more, each in ascending order, by their first item."""
        found: dict[int, list[int]] = defaultdict(list)
        for item in range(len(self._parents)):
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
    distinct, owners = _distinct([[content] if content else [] for content in hashes])
    for ones in owners:
        for one, other in itertools.pairwise(ones):
            sets.add(one, other, 0)
    first = np.array([ones[0] for ones in owners], np.int64)
    for left, right, distances in near_pairs(distinct, radius, told):
        sets.add_all(first[left], first[right], distances)
    return sets


def near_clips(hashes: Sequence[bytes], radius: int, told: Callable[[], None] = lambda: None) -> Sets:
    """Clips of which at least half of the hashed frames are near to a frame of the other's.

    Only clips with a frame in common are compared, and of those that share one and the same frame only neighbours, so
    that a title shared by thousands of clips does not make each of them be compared with each. Nor are clips compared that
    are in one set already: of three copies, two distances are measured.

    Args:
        hashes: Of each clip's frames, 32 bytes each, joined.
        radius: In bits.
        told: Called 16 times on the way.

    Returns:
        The sets; distances are the share of frames that are not shared, 0 to 0.5.
    """
    sets = Sets(len(hashes))

    def compare(one: int, other: int) -> None:
        if sets.root(one) == sets.root(other):
            return
        missing = 1 - _shared_frames(hashes[one], hashes[other], radius)
        if missing <= 1 - MIN_SHARED_FRAMES:
            sets.add(one, other, missing)

    frames = [[clip[i : i + HASH_BYTES] for i in range(0, len(clip), HASH_BYTES)] for clip in hashes]
    distinct, owners = _distinct(frames)
    for one, other in sorted({pair for ones in owners for pair in itertools.pairwise(ones)}):
        compare(one, other)
    first = np.array([ones[0] for ones in owners], np.int64)
    for left, right, _ in near_pairs(distinct, radius, told):
        pairs = np.sort(np.stack([first[left], first[right]], axis=1), axis=1)
        pairs = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
        for one, other in sets.apart(pairs[:, 0], pairs[:, 1]):
            compare(one, other)
    return sets


def near_recordings(prints: Sequence[bytes]) -> Sets:
    """Recordings whose fingerprints agree where they overlap; distances are bit error rates."""
    sets = Sets(len(prints))
    for one, other, rate in near_sounds([np.frombuffer(content, np.uint32) for content in prints]):
        sets.add(one, other, rate)
    return sets


def _distinct(hashes: Sequence[Sequence[bytes]]) -> tuple[npt.NDArray[np.uint8], list[list[int]]]:
    """The distinct hashes, uint8 ``[n, 32]``, and which items have each, ascending."""
    owners: dict[bytes, list[int]] = {}
    for item, own in enumerate(hashes):
        for content in own:
            owners.setdefault(content, []).append(item)
    joined = np.frombuffer(b"".join(owners), np.uint8).reshape(-1, HASH_BYTES)
    return joined, list(owners.values())


def _shared_frames(one: bytes, other: bytes, radius: int) -> float:
    """Share of the frames of the clip with fewer hashes that are near to a frame of the other."""
    if len(one) > len(other):
        one, other = other, one
    few = np.frombuffer(one, np.uint64).reshape(-1, 1, HASH_BYTES // 8)
    many = np.frombuffer(other, np.uint64).reshape(1, -1, HASH_BYTES // 8)
    distances = popcount(few ^ many).sum(axis=2, dtype=np.int64)
    return float((distances.min(axis=1) <= radius).mean())
