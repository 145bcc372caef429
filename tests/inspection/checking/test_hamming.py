"""The search for near hashes against comparing each with each."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest

from gasdet.inspection.checking import bits, hamming
from gasdet.inspection.checking.hamming import near_pairs

Found = dict[tuple[int, int], int]


def clustered(count: int, seed: int) -> npt.NDArray[np.uint8]:
    """Hashes around few centres, at 0 to 60 bits from them; bits that are off are often in one part."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 256, (count // 6, 32), dtype=np.uint8)
    hashes = []
    for number in range(count):
        own = np.unpackbits(centres[number % len(centres)])
        off = rng.choice([*[0] * 12, *[1] * 4, *range(2, 61)])
        width = rng.choice([32, 64, 256])
        start = rng.integers(0, 257 - width)
        own[start + rng.choice(width, min(off, width), replace=False)] ^= 1
        hashes.append(np.packbits(own))
    return np.array(hashes)


def brute_force(hashes: npt.NDArray[np.uint8], radius: int) -> Found:
    unpacked = np.unpackbits(hashes, axis=1).astype(np.int64)
    found = {}
    for i in range(len(hashes)):
        for j, distance in enumerate(np.abs(unpacked[i + 1 :] - unpacked[i]).sum(axis=1), start=i + 1):
            if distance <= radius:
                found[i, j] = int(distance)
    return found


def searched(hashes: npt.NDArray[np.uint8], radius: int) -> Found:
    found: Found = {}
    for left, right, distances in near_pairs(hashes, radius):
        for i, j, distance in zip(left.tolist(), right.tolist(), distances.tolist(), strict=True):
            assert (i, j) not in found, "a pair came twice"
            found[i, j] = distance
    return found


@pytest.mark.parametrize("radius", [0, 1, 15, 16, 31, 32, 47])
def test_every_near_pair_is_found_once_and_no_other(radius: int) -> None:
    hashes = clustered(600, seed=radius)
    expected = brute_force(hashes, radius)
    assert searched(hashes, radius) == expected
    assert len(expected) > 5


def test_pairs_at_the_very_limit_are_found_wherever_their_bits_are() -> None:
    one = np.zeros((1, 32), np.uint8)
    spread = np.zeros(256, np.uint8)
    spread[[*range(0, 256, 16), *range(1, 240, 16)]] = 1  # two bits off in 15 parts, one in the last: 31
    too_far = spread.copy()
    too_far[255] = 1
    hashes = np.concatenate([one, np.packbits(spread)[None], np.packbits(too_far)[None]])
    assert searched(hashes, 31) == {(0, 1): 31, (1, 2): 1}


def test_equal_hashes_are_pairs_and_batches_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = np.repeat(clustered(60, seed=3), 3, axis=0)
    expected = brute_force(hashes, 31)
    assert sum(1 for distance in expected.values() if distance == 0) >= 60 * 3
    assert searched(hashes, 31) == expected
    monkeypatch.setattr(hamming, "_BATCH", 7)
    assert searched(hashes, 31) == expected


@pytest.mark.parametrize("count", [0, 1])
def test_few_hashes(count: int) -> None:
    told = []
    assert list(near_pairs(np.zeros((count, 32), np.uint8), 31, lambda: told.append(1))) == []
    assert len(told) == hamming.PARTS


@pytest.mark.parametrize("radius", [-1, 48])
def test_a_radius_beyond_the_method_is_refused(radius: int) -> None:
    with pytest.raises(ValueError, match="0 to 47"):
        list(near_pairs(np.zeros((2, 32), np.uint8), radius))


@pytest.mark.parametrize("kind", [np.uint16, np.uint32, np.uint64])
def test_set_bits_are_counted_the_same_with_and_without_numpy_2(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    words = np.random.default_rng(0).integers(0, np.iinfo(kind).max, (50, 3), dtype=kind, endpoint=True)
    expected = [[int(word).bit_count() for word in row] for row in words]
    assert bits.popcount(words).tolist() == expected
    assert bits.by_table(words).tolist() == expected
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert bits.popcount(words[:, 0]).tolist() == [row[0] for row in expected]


def test_the_work_is_a_fraction_of_comparing_each_with_each() -> None:
    count = 20_000
    hashes = np.random.default_rng(1).integers(0, 256, (count, 32), dtype=np.uint8)
    parts = np.ascontiguousarray(hashes).view(np.uint16)
    compared = sum(len(left) for part in range(16) for left, _ in hamming._sharing(parts[:, part], 1))
    assert compared < count * (count - 1) / 2 / 200
    assert list(itertools.chain.from_iterable(near_pairs(hashes, 31))) == []
