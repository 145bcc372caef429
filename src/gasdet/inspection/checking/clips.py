"""Near duplicates among clips: those of which at least half of the hashed frames are near to a frame of the other's.

Which clips are compared at all follows from the rarer half of each one's frames. Where at most half of a clip's frames are
shared with none of another, any choice of more than half of them has one that is: so it suffices to look up that many, and
the rarest are looked up. A title in thousands of clips is then looked up for none of them, and no pair is missed (the prefix
filter of set similarity joins: S. Chaudhuri, V. Ganti, R. Kaushik, "A Primitive Operator for Similarity Joins in Data
Cleaning", ICDE 2006).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from gasdet.inspection.checking.bits import popcount
from gasdet.inspection.checking.hamming import Positions, near_pairs, spread
from gasdet.inspection.checking.near import Sets, distinct_hashes
from gasdet.inspection.checking.pictures import HASH_BYTES

MIN_SHARED_FRAMES = 0.5
"""Share of the frame hashes of the clip with fewer of them that the other clip must have too."""

_KEPT_PAIRS = 1 << 22
"""So many pairs of near frames are kept between the two times that they are gone through; of more, the search is repeated."""

Pairs = tuple[Positions, Positions]


def near_clips(hashes: Sequence[bytes], radius: int, told: Callable[[], None] = lambda: None) -> Sets:
    """Clips of which at least half of the hashed frames are near to a frame of the other's.

    Clips that are in one set already are not compared: of three copies, two distances are measured.

    Args:
        hashes: Of each clip's frames, 32 bytes each, joined.
        radius: In bits.
        told: Called 16 times on the way.

    Returns:
        The sets; distances are the share of frames that are not shared, 0 to 0.5.
    """
    search = _Search(hashes, radius)
    frames = [[clip[i : i + HASH_BYTES] for i in range(0, len(clip), HASH_BYTES)] for clip in hashes]
    distinct, owners = distinct_hashes(frames)
    # Chains of copies first, so that most of what follows is settled.
    search.compare_all(sorted({pair for ones in owners for pair in itertools.pairwise(ones)}))

    kept: list[Pairs] | None = []
    everywhere = _Owners(owners)
    common = everywhere.counts.copy()
    for left, right, _ in near_pairs(distinct, radius, told):
        np.add.at(common, left, everywhere.counts[right])
        np.add.at(common, right, everywhere.counts[left])
        if kept is not None:
            kept.append((left, right))
            kept = kept if sum(len(some) for some, _ in kept) <= _KEPT_PAIRS else None

    rarely = _Owners(_rarer_half(frames, distinct, common))
    every = np.arange(len(owners), dtype=np.int64)
    search.compare_owners(rarely, every, everywhere, every)
    again = ((left, right) for left, right, _ in near_pairs(distinct, radius))
    for left, right in _joined(kept) if kept is not None else again:
        search.compare_owners(rarely, left, everywhere, right)
        search.compare_owners(rarely, right, everywhere, left)
    return search.sets


def _joined(pairs: Sequence[Pairs]) -> Iterator[Pairs]:
    if pairs:
        yield np.concatenate([left for left, _ in pairs]), np.concatenate([right for _, right in pairs])


def _rarer_half(
    frames: Sequence[Sequence[bytes]], distinct: npt.NDArray[np.uint8], common: Positions
) -> list[list[int]]:
    """For each distinct hash, those clips that have it among the rarer half of their frames, and one frame more.

    Args:
        frames: Each clip's.
        distinct: All of them, once.
        common: Of each distinct one, how many clips have it or one near to it, about.
    """
    places = {content.tobytes(): place for place, content in enumerate(distinct)}
    owners: list[list[int]] = [[] for _ in places]
    for clip, own in enumerate(frames):
        ranked = sorted((places[content] for content in own), key=lambda place: (common[place], place))
        needed = int(len(ranked) * (1 - MIN_SHARED_FRAMES)) + 1
        for place in dict.fromkeys(ranked[:needed]):
            owners[place].append(clip)
    return owners


class _Owners:
    """Which clips have each of the distinct hashes, in two arrays.

    Attributes:
        clips: int64, those of the first hash, of the second, ...
        begin: int64, where those of each hash begin.
        counts: int64, how many there are of each.
    """

    def __init__(self, owners: Sequence[Sequence[int]]) -> None:
        self.counts = np.array([len(ones) for ones in owners], np.int64)
        self.begin = np.cumsum(self.counts) - self.counts
        self.clips = np.fromiter(itertools.chain.from_iterable(owners), np.int64, int(self.counts.sum()))

    def of(self, hashes: Positions) -> Iterator[Pairs]:
        """For hashes, in batches of bounded size: positions in ``hashes``, and a clip that has the one there."""
        for sources, places in spread(self.counts[hashes], self.begin[hashes]):
            yield sources, self.clips[places]


class _Search:
    """Compares clips, each two at most once and none that are in one set already."""

    def __init__(self, hashes: Sequence[bytes], radius: int) -> None:
        self.sets = Sets(len(hashes))
        self._hashes = hashes
        self._radius = radius
        self._compared: set[tuple[int, int]] = set()

    def compare_owners(self, some: _Owners, left: Positions, others: _Owners, right: Positions) -> None:
        """Compare the clips that have ``left[i]`` with those that have ``right[i]``, for each ``i``."""
        for pairs, ones in some.of(left):
            for places, clips in others.of(right[pairs]):
                both = np.sort(np.stack([ones[places], clips], axis=1), axis=1)
                both = np.unique(both[both[:, 0] != both[:, 1]], axis=0)
                self.compare_all(self.sets.apart(both[:, 0], both[:, 1]))

    def compare_all(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Put those of the pairs into one set that are near."""
        for one, other in pairs:
            if (one, other) in self._compared or self.sets.root(one) == self.sets.root(other):
                continue
            self._compared.add((one, other))
            missing = 1 - shared_frames(self._hashes[one], self._hashes[other], self._radius)
            if missing <= 1 - MIN_SHARED_FRAMES:
                self.sets.add(one, other, missing)


def shared_frames(one: bytes, other: bytes, radius: int) -> float:
    """Share of the frames of the clip with fewer hashes (of the first, where they have equally many) that are near to a frame
    of the other.
    """  # noqa: D205
    if len(one) > len(other):
        one, other = other, one
    few = np.frombuffer(one, np.uint64).reshape(-1, 1, HASH_BYTES // 8)
    many = np.frombuffer(other, np.uint64).reshape(1, -1, HASH_BYTES // 8)
    distances = popcount(few ^ many).sum(axis=2, dtype=np.int64)
    return float((distances.min(axis=1) <= radius).mean())
