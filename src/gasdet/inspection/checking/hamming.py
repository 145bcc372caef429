"""All pairs of 256-bit hashes that differ in few bits, without comparing each with each.

Multi-index hashing (M. Norouzi, A. Punjani, D. J. Fleet, "Fast Search in Hamming Space with Multi-Index Hashing", CVPR 2012):
hashes are cut into 16 parts of 16 bits. Two hashes that differ in at most ``r`` bits have a part in which they differ
in at most ``r // 16``; so, for 31 bits, only hashes with a part in common, or one that is off by one bit, are compared. That is
exact, and compares 1 pair in 240 of hashes that are random (16 * 17 / 2**16).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from gasdet.inspection.checking.bits import popcount

PARTS = 16
PART_BITS = 16
MAX_RADIUS = 47
"""Beyond it two bits of a part may differ and more, and the search is hardly better than comparing each with each."""

_BATCH = 1 << 20

Positions = npt.NDArray[np.int64]
Near = tuple[Positions, Positions, npt.NDArray[np.int64]]


def near_pairs(hashes: npt.NDArray[np.uint8], radius: int, told: Callable[[], None] = lambda: None) -> Iterator[Near]:
    """Every pair of hashes at most so many bits apart, once.

    Args:
        hashes: uint8 ``[n, 32]``.
        radius: Most bits that may differ, 0 to ``MAX_RADIUS``.
        told: Called after each of the ``PARTS`` parts.

    Yields:
        In batches: positions of the ones (int64 ``[k]``), of the others, and how many bits differ.
    """
    if not 0 <= radius <= MAX_RADIUS:
        raise ValueError(f"radius must be 0 to {MAX_RADIUS}, not {radius}")
    parts = np.ascontiguousarray(hashes).view(np.uint16)  # [n, 16]
    words = np.ascontiguousarray(hashes).view(np.uint64)  # [n, 4]
    halves = np.ascontiguousarray(words[:, :2]), np.ascontiguousarray(words[:, 2:])
    off = radius // PARTS
    for part in range(PARTS):
        for one, other in _sharing(parts[:, part], off):
            distance = popcount(halves[0][one] ^ halves[0][other]).sum(axis=1, dtype=np.int64)
            close = distance <= radius
            one, other, distance = one[close], other[close], distance[close]
            distance += popcount(halves[1][one] ^ halves[1][other]).sum(axis=1, dtype=np.int64)
            close = distance <= radius
            one, other, distance = one[close], other[close], distance[close]
            # A pair may qualify by several parts: it counts by the first.
            earlier = popcount(parts[one, :part] ^ parts[other, :part]) <= off
            first = ~earlier.any(axis=1)
            if first.any():
                yield np.minimum(one, other)[first], np.maximum(one, other)[first], distance[first]
        told()


def _sharing(values: npt.NDArray[np.uint16], off: int) -> Iterator[tuple[Positions, Positions]]:
    """Every pair of positions whose 16-bit values differ in at most ``off`` bits, once, in batches."""
    order = np.argsort(values, kind="stable").astype(np.int64)
    ordered = values[order]
    starts = np.searchsorted(ordered, np.arange((1 << PART_BITS) + 1))
    places = np.arange(len(order), dtype=np.int64)
    for bits in range(off + 1):
        for chosen in itertools.combinations(range(PART_BITS), bits):
            mask = np.uint16(sum(1 << bit for bit in chosen))
            partner = ordered ^ mask
            begin, end = starts[partner], starts[partner.astype(np.int64) + 1]
            begin = places + 1 if not mask else begin
            counts = np.where((partner > ordered) | (not mask), end - begin, 0)
            for left, right in spread(counts, begin):
                yield order[left], order[right]


def spread(counts: Positions, begin: Positions) -> Iterator[tuple[Positions, Positions]]:
    """Each place ``i`` with ``begin[i]``, ``begin[i] + 1``, ... ``begin[i] + counts[i] - 1``, in batches of bounded size."""
    sources = np.flatnonzero(counts)
    ends = np.cumsum(counts[sources])
    at, done = 0, 0
    while at < len(sources):
        stop = max(at + 1, int(np.searchsorted(ends, done + _BATCH, side="right")))
        some = sources[at:stop]
        left = np.repeat(some, counts[some])
        offsets = np.arange(len(left)) - np.repeat(ends[at:stop] - counts[some] - done, counts[some])
        yield left, np.repeat(begin[some], counts[some]) + offsets
        at, done = stop, int(ends[stop - 1])
