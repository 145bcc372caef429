"""Near copies: known by one name, whatever the order, and told apart from exact copies."""

from __future__ import annotations

import numpy as np

from gasdet.inspection.auditing import Verdict, measure
from gasdet.inspection.auditing.copies import with_near_copies
from gasdet.inspection.checking.sounds import fingerprint
from gasdet.types import Modality

from .tables import table


def hashes(seed: int, count: int, flipped: int) -> list[bytes]:
    """A random hash, and others that differ from it in so many bits."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2, 256, dtype=np.uint8)
    found = [np.packbits(bits).tobytes()]
    for _ in range(count - 1):
        other = bits.copy()
        other[rng.choice(256, flipped, replace=False)] ^= 1
        found.append(np.packbits(other).tobytes())
    return found


def test_near_pictures_are_known_by_one_name() -> None:
    prints = [*hashes(0, 3, 12), *hashes(1, 1, 0), *hashes(2, 2, 120), b"", b""]
    contents = [f"c{i}".encode() for i in range(len(prints))]
    known, near = with_near_copies(Modality.IMAGE, contents, prints)
    assert known == [b"c0"] * 3 + contents[3:]
    assert near == (True,) * 3 + (False,) * 5


def test_exact_copies_stay_known_by_their_content_and_are_no_near_copies() -> None:
    prints = [*hashes(0, 1, 0) * 2, *hashes(1, 2, 9)]
    known, near = with_near_copies(Modality.IMAGE, [b"a", b"a", b"b", b"c"], prints)
    assert known == [b"a", b"a", b"b", b"b"]
    assert near == (False, False, True, True)


def test_near_recordings_are_known_by_one_name() -> None:
    rng = np.random.default_rng(0)
    sounds = [rng.standard_normal(16000 * 4).astype(np.float32) for _ in range(3)]
    sounds.insert(1, sounds[0] + 0.01 * rng.standard_normal(16000 * 4).astype(np.float32))
    prints = [fingerprint(sound, 16000).tobytes() for sound in sounds]
    known, near = with_near_copies(Modality.AUDIO, [b"a", b"b", b"c", b"d"], prints)
    assert known == [b"a", b"a", b"c", b"d"]
    assert near == (True, True, False, False)


def test_near_copies_of_clips_are_not_looked_for() -> None:
    assert with_near_copies(Modality.VIDEO, [b"a", None], [b"", b""]) == ([b"a", None], None)


def test_near_copies_lie_in_one_fold_in_any_order() -> None:
    """Bytes that are nearly the same, as copies have them, are no sizes that recur."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 60).tolist()
    sizes = (np.repeat(rng.integers(10_000, 90_000, 24), 5) + rng.integers(0, 20, 120)).astype(float).tolist()
    prints = [one for source in range(24) for one in hashes(source, 5, 10)]
    contents = [f"c{i}".encode() for i in range(120)]
    apart = measure(table(labels, {"file_bytes": sizes}, contents=contents))
    assert apart.worst.reaches(Verdict.STRONG)
    one, other = (
        table(labels, {"file_bytes": sizes}, contents=contents, prints=prints, order=order)
        for order in (None, rng.permutation(120).tolist())
    )
    assert one.groups == other.groups
    found = measure(one)
    assert found.counts["near_copies"] == 120
    assert (found.counts["real_groups"], found.counts["synthetic_groups"]) == (12, 12)
    assert not found.worst.reaches(Verdict.WEAK)


def test_each_data_set_counts_its_own() -> None:
    prints = [*hashes(0, 2, 9), *hashes(1, 1, 0), *hashes(2, 1, 0)]
    part = table([0, 0, 1, 1], {"x": [1, 2, 3, 4]}, prints=prints, contents=[b"a", b"b", b"c", b"d"]).take(
        np.array([1, 2])
    )
    assert part.near == (True, False)
