"""Near clips: every pair that the definition names, found without comparing each with each."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from gasdet.inspection.checking import clips
from gasdet.inspection.checking.clips import near_clips, shared_frames

RADIUS = 31


def near(content: bytes, bits: int, rng: np.random.Generator) -> bytes:
    """A hash so many bits from another."""
    own = np.unpackbits(np.frombuffer(content, np.uint8))
    own[rng.choice(256, bits, replace=False)] ^= 1
    return np.packbits(own).tobytes()


def by_comparing_all(hashes: list[bytes]) -> list[list[int]]:
    """The sets by the definition alone: each clip compared with each, and chains closed by scipy."""
    pairs = [
        (a, b)
        for a, b in itertools.combinations(range(len(hashes)), 2)
        if hashes[a] and hashes[b] and shared_frames(hashes[a], hashes[b], RADIUS) >= 0.5
    ]
    rows, columns = zip(*pairs, strict=True) if pairs else ((), ())
    graph = coo_array((np.ones(len(pairs)), (rows, columns)), shape=(len(hashes), len(hashes)))
    _, names = connected_components(graph, directed=False)
    sets = [np.flatnonzero(names == name).tolist() for name in dict.fromkeys(names.tolist())]
    return [items for items in sets if len(items) > 1]


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, bytes]]:
    """The pairs of clips that are compared frame by frame."""
    seen: list[tuple[bytes, bytes]] = []

    def counting(one: bytes, other: bytes, radius: int) -> float:
        seen.append((one, other))
        return shared_frames(one, other, radius)

    monkeypatch.setattr(clips, "shared_frames", counting)
    return seen


@given(st.integers(0, 10**6), st.integers(2, 25), st.integers(1, 12), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_the_sets_are_those_of_the_definition(seed: int, count: int, scenes: int, most: int) -> None:
    """Clips of a few frames from few scenes, some re-encoded, so that frames are shared by many and by chance."""
    rng = np.random.default_rng(seed)
    pool = [rng.bytes(32) for _ in range(scenes)]
    made = []
    for _ in range(count):
        frames = [pool[n] for n in rng.integers(0, scenes, rng.integers(0, most + 1))]
        frames += [rng.bytes(32) for _ in range(rng.integers(0, 3))]
        order = rng.permutation(len(frames)).tolist()
        made.append(b"".join(near(frames[n], int(rng.choice([0, 0, 3, 15])), rng) for n in order))
    assert near_clips(made, RADIUS).together() == by_comparing_all(made)


@pytest.mark.parametrize("kept", [0, 1 << 22])
def test_a_title_that_differs_in_a_few_bits_makes_no_comparisons(
    kept: int, compared: list[tuple[bytes, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """200 clips with a nearly equal title are 19,900 pairs; only copies have more in common, and only they are compared."""
    monkeypatch.setattr(clips, "_KEPT_PAIRS", kept)
    rng = np.random.default_rng(0)
    title = rng.bytes(32)
    made = [near(title, 4, rng) + rng.bytes(9 * 32) for _ in range(200)]
    copies = [b"".join(near(made[n][i : i + 32], 2, rng) for i in range(0, 320, 32)) for n in range(0, 200, 20)]
    sets = near_clips([*made, *copies], RADIUS)
    assert sets.together() == [[20 * n, 200 + n] for n in range(10)]
    assert len(compared) == 10


def test_one_title_in_all_clips_costs_their_number_and_no_more(compared: list[tuple[bytes, bytes]]) -> None:
    rng = np.random.default_rng(0)
    title = rng.bytes(32)
    made = [title + rng.bytes(9 * 32) for _ in range(300)]
    assert near_clips(made, RADIUS).together() == []
    assert len(compared) < 300


def test_copies_far_apart_with_strangers_between_are_found() -> None:
    """Every frame of the two lies in a stranger between them, too, of which none shares half."""
    rng = np.random.default_rng(1)
    frames = [rng.bytes(32) for _ in range(6)]
    strangers = [near(frame, 1, rng) + rng.bytes(5 * 32) for frame in frames for _ in range(3)]
    made = [b"".join(frames), *strangers, b"".join(near(frame, 2, rng) for frame in frames)]
    assert near_clips(made, RADIUS).together() == [[0, len(made) - 1]]


def test_near_copies_of_one_clip_are_compared_once_each(compared: list[tuple[bytes, bytes]]) -> None:
    rng = np.random.default_rng(2)
    frames = [rng.bytes(32) for _ in range(8)]
    made = [b"".join(near(frame, 5, rng) for frame in frames) for _ in range(100)]
    assert near_clips(made, RADIUS).together() == [list(range(100))]
    assert len(compared) < 200
    assert len(set(compared)) == len(compared)


def test_nothing_has_no_copies() -> None:
    assert near_clips([], RADIUS).together() == []
    assert near_clips([b"", b""], RADIUS).together() == []
