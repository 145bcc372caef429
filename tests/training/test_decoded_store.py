"""Decoding once: what is in the store is what decoding gives, whatever happened on the way."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gasdet.data import load_data, read_source
from gasdet.errors import DataError, RunError
from gasdet.evaluation import pipeline
from gasdet.evaluation.pipeline import DecodePool
from gasdet.media import decode
from gasdet.media.digest import digest
from gasdet.training import decoded_index, decoded_store
from gasdet.training.decoded_store import DecodedSet, decode_to_store
from gasdet.types import Modality, Preprocessing, Reason, Sample

PREPROCESSING = Preprocessing.from_mapping(Modality.IMAGE, {"resize": [16, 16]})
AS_IT_IS = Preprocessing.from_mapping(Modality.IMAGE, {"resize_mode": "none"})
ARRAY_BYTES = 3 * 16 * 16

MakeSamples = Callable[..., list[Sample]]


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with DecodePool(workers=1, timeout=20.0) as started:
        yield started


class Notes:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.total = self.done = self.errors = self.finished = 0

    def start(self, label: str, total: int) -> None:
        self.total = total

    def advance(self, done: int, errors: int) -> None:
        self.done += done
        self.errors += errors

    def finish(self) -> None:
        self.finished += 1

    def note(self, line: str) -> None:
        self.notes.append(line)


def own(sample: Sample, preprocessing: Preprocessing) -> np.ndarray:
    return decode(read_source(sample.locator), preprocessing).array


def assert_right(found: DecodedSet, preprocessing: Preprocessing = PREPROCESSING) -> None:
    """Every sample's array and digest are those of decoding its file here and now."""
    assert len(found.samples) == len(found.digests) == len(found.rows)
    for sample, content, row in zip(found.samples, found.digests, found.rows, strict=True):
        expected = own(sample, preprocessing)
        assert content == digest(expected)
        if found.store is not None:
            array = found.store.array(int(row))
            assert array.dtype == expected.dtype
            np.testing.assert_array_equal(array, expected)


def test_arrays_digests_and_failures(tiny_samples: MakeSamples, pool: DecodePool, tmp_path: Path) -> None:
    samples = tiny_samples(20)
    Path(samples[0].locator.path).unlink()
    Path(samples[7].locator.path).write_bytes(b"")
    Path(samples[8].locator.path).write_bytes(b"no picture at all, but long enough to be looked at" * 10)
    Path(samples[11].locator.path).write_bytes(Path(samples[12].locator.path).read_bytes())
    told = Notes()
    found = decode_to_store(samples, PREPROCESSING, pool=pool, root=tmp_path / "store", progress=told)
    assert [f.sample.member for f in found.failures] == ["000.png", "007.png", "008.png"]
    assert [f.reason for f in found.failures] == [Reason.FILE_MISSING, Reason.FILE_EMPTY, Reason.UNKNOWN_FORMAT]
    assert all(f.message for f in found.failures)
    assert [s.member for s in found.samples] == [s.member for i, s in enumerate(samples) if i not in (0, 7, 8)]
    assert found.store is not None
    assert_right(found)
    assert found.decoded == 20
    assert (told.total, told.done, told.errors, told.finished) == (20, 20, 3, 1)
    members = [s.member for s in found.samples]
    same = [i for i, content in enumerate(found.digests) if found.digests.count(content) > 1]
    assert [members[i] for i in same] == ["011.png", "012.png"]
    np.testing.assert_array_equal(found.labels, [s.label for s in found.samples])
    np.testing.assert_array_equal(
        found.store.gather(np.array([5, 0, 5])), np.stack([own(found.samples[i], PREPROCESSING) for i in (5, 0, 5)])
    )


def test_a_second_training_decodes_nothing_and_gets_the_same(
    tiny_samples: MakeSamples, pool: DecodePool, tmp_path: Path
) -> None:
    samples = tiny_samples(10)
    Path(samples[3].locator.path).write_bytes(b"no picture")
    first = decode_to_store(samples, PREPROCESSING, pool=pool, root=tmp_path / "store")
    second = decode_to_store(samples[::-1], PREPROCESSING, pool=pool, root=tmp_path / "store")
    assert second.decoded == 0
    assert second.samples == first.samples[::-1]
    assert second.digests == first.digests[::-1]
    assert [f.reason for f in second.failures] == [f.reason for f in first.failures]
    assert_right(second)
    ranked = decode_to_store(samples, PREPROCESSING, pool=None, root=tmp_path / "store")  # as rank 1 does
    assert ranked.digests == first.digests
    assert_right(ranked)


def test_without_a_pool_nothing_is_decoded(tiny_samples: MakeSamples, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="4 samples are not decoded yet; rank 0"):
        decode_to_store(tiny_samples(4), PREPROCESSING, pool=None, root=tmp_path / "store")


def test_another_preprocessing_or_another_file_is_decoded_anew(
    tiny_samples: MakeSamples, pool: DecodePool, tmp_path: Path
) -> None:
    samples = tiny_samples(4)
    root = tmp_path / "store"
    decode_to_store(samples, PREPROCESSING, pool=pool, root=root)
    smaller = dataclasses.replace(PREPROCESSING, resize=(8, 8))
    found = decode_to_store(samples, smaller, pool=pool, root=root)
    assert found.decoded == 4
    assert_right(found, smaller)
    for colour in ((1, 2, 3), (200, 100, 50)):  # the second file has the size of the first
        Image.new("RGB", (16, 16), colour).save(samples[2].locator.path, format="BMP")
        assert_right(decode_to_store(samples, PREPROCESSING, pool=pool, root=root))


def test_what_may_have_been_bad_luck_is_tried_again(
    tiny_samples: MakeSamples, pool: DecodePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = tiny_samples(4)
    monkeypatch.setattr(pipeline, "DECODE_FUNCTION", "hostile_decoder:decode_slowly")
    (tmp_path / "hostile_decoder.py").write_text("import time\ndef decode_slowly(*a):\n    time.sleep(60)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with DecodePool(workers=1, timeout=0.2) as slow:
        found = decode_to_store(samples[:1], PREPROCESSING, pool=slow, root=tmp_path / "store")
    assert [f.reason for f in found.failures] == [Reason.DECODE_TIMEOUT]
    assert found.samples == ()
    assert found.rows.dtype == np.int64
    again = decode_to_store(samples[:1], PREPROCESSING, pool=pool, root=tmp_path / "store")
    assert again.decoded == 1
    assert_right(again)
    assert not again.failures


def test_what_does_not_fit_is_not_stored(tiny_samples: MakeSamples, pool: DecodePool, tmp_path: Path) -> None:
    samples = tiny_samples(10)
    Path(samples[3].locator.path).write_bytes(b"no picture")
    root = tmp_path / "store"
    told = Notes()
    bound = 10 * ARRAY_BYTES - 1
    streamed = decode_to_store(samples, PREPROCESSING, pool=pool, root=root, progress=told, max_bytes=bound)
    assert streamed.store is None
    assert any("decoded again in every epoch" in note for note in told.notes)
    assert not [path for path in root.rglob("*") if path.is_file() and path.stat().st_size > bound]
    assert_right(streamed)
    again = decode_to_store(samples, PREPROCESSING, pool=pool, root=root, max_bytes=bound)
    assert (again.decoded, again.store) == (0, None)
    assert again.digests == streamed.digests
    whole = decode_to_store(samples, PREPROCESSING, pool=pool, root=root)  # there is more room now
    assert whole.store is not None
    assert whole.digests == streamed.digests
    assert [f.sample for f in whole.failures] == [f.sample for f in streamed.failures]
    assert_right(whole)


def test_sizes_that_are_not_known_beforehand_are_bounded_on_the_way(
    tiny_samples: MakeSamples, pool: DecodePool, tmp_path: Path
) -> None:
    samples = tiny_samples(10)
    told = Notes()
    root = tmp_path / "store"
    found = decode_to_store(samples, AS_IT_IS, pool=pool, root=root, progress=told, max_bytes=4 * ARRAY_BYTES)
    assert found.store is None
    assert len(told.notes) == 1
    assert not list(root.rglob("arrays.bin"))
    assert_right(found, AS_IT_IS)
    again = decode_to_store(samples, AS_IT_IS, pool=pool, root=root, max_bytes=4 * ARRAY_BYTES)
    assert (again.decoded, again.store) == (0, None)


def test_older_stores_make_room(tiny_samples: MakeSamples, pool: DecodePool, tmp_path: Path) -> None:
    root = tmp_path / "store"
    one = tiny_samples(10, seed=1)
    first = decode_to_store(one, PREPROCESSING, pool=pool, root=root, max_bytes=15 * ARRAY_BYTES)
    assert first.store is not None
    del first
    second = decode_to_store(tiny_samples(10, seed=2), PREPROCESSING, pool=pool, root=root, max_bytes=15 * ARRAY_BYTES)
    assert second.store is not None
    assert len(list(root.iterdir())) == 1
    assert decode_to_store(one, PREPROCESSING, pool=pool, root=root).decoded == 10


def test_shapes_may_differ_but_not_within_a_batch(tiny_samples: MakeSamples, pool: DecodePool, tmp_path: Path) -> None:
    samples = tiny_samples(4)
    Image.new("RGB", (9, 5), (200, 100, 50)).save(samples[1].locator.path)
    found = decode_to_store(samples, AS_IT_IS, pool=pool, root=tmp_path / "store")
    assert found.store is not None
    assert_right(found, AS_IT_IS)
    assert found.store.gather(np.array([0, 2])).shape == (2, 3, 16, 16)
    with pytest.raises(DataError, match=r"\[3, 5, 9\] and \[3, 16, 16\]"):
        found.store.gather(np.array([0, 1]))


def test_parts_of_a_set_share_its_store(tiny_samples: MakeSamples, pool: DecodePool, tmp_path: Path) -> None:
    samples = tiny_samples(10)
    Path(samples[3].locator.path).write_bytes(b"no picture")
    Path(samples[4].locator.path).write_bytes(b"no picture")
    found = decode_to_store(samples, PREPROCESSING, pool=pool, root=tmp_path / "store")
    part = found.part([samples[7], samples[3], samples[0]])
    assert part.samples == (samples[7], samples[0])
    assert [f.sample for f in part.failures] == [samples[3]]
    assert part.store is found.store
    assert_right(part)
    assert found.part([]).samples == ()


def test_recordings_and_clips(shared_media: Path, pool: DecodePool, tmp_path: Path) -> None:
    for modality, keys in (
        (Modality.AUDIO, {"duration_seconds": 1.0}),
        (Modality.VIDEO, {"resize": [32, 32], "num_frames": 3}),
    ):
        samples = load_data(shared_media / modality.value, modalities=(modality,), limit=3).samples
        preprocessing = Preprocessing.from_mapping(modality, keys)
        found = decode_to_store(samples, preprocessing, pool=pool, root=tmp_path / "store")
        assert found.store is not None
        assert len(found.samples) >= 2
        assert_right(found, preprocessing)


@pytest.mark.parametrize("damage", ["part", "arrays", "nothing left", "unfinished"])
def test_damage_costs_only_what_is_damaged(
    damage: str, tiny_samples: MakeSamples, pool: DecodePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoded_index, "_PART_ROWS", 4)
    samples = tiny_samples(10)
    root = tmp_path / "store"
    decode_to_store(samples, PREPROCESSING, pool=pool, root=root)
    (folder,) = (path for path in root.iterdir() if path.is_dir())
    parts = sorted(folder.glob("part-*.parquet"))
    assert len(parts) == 3
    arrays = folder / "arrays.bin"
    lost = {"part": 4, "arrays": 3, "nothing left": 10, "unfinished": 0}[damage]
    if damage == "part":
        parts[1].write_bytes(parts[1].read_bytes()[:60])
    elif damage == "arrays":
        os.truncate(arrays, 7 * ARRAY_BYTES + 5)
    elif damage == "nothing left":
        arrays.unlink()
    else:
        arrays.write_bytes(arrays.read_bytes() + b"half an array")
    found = decode_to_store(samples, PREPROCESSING, pool=pool, root=root)
    assert found.decoded == lost
    assert found.store is not None
    assert_right(found)
    assert decode_to_store(samples, PREPROCESSING, pool=pool, root=root).decoded == 0


KILLED = """
    import pickle, sys
    from pathlib import Path
    from gasdet.evaluation.pipeline import DecodePool
    from gasdet.training import decoded_index
    from gasdet.training.decoded_store import decode_to_store

    decoded_index._PART_ROWS = 4
    commit = decoded_index.IndexWriter.commit
    parts = 0

    def told(writer):
        global parts
        commit(writer)
        parts += 1
        print(parts, flush=True)
        if parts == 3:
            writer._file.write(b"x" * 1000)
            writer._file.flush()
            sys.stdin.read()

    decoded_index.IndexWriter.commit = told
    samples, preprocessing = pickle.loads(Path(sys.argv[1]).read_bytes())
    with DecodePool(workers=1, timeout=20.0) as pool:
        decode_to_store(samples, preprocessing, pool=pool, root=Path(sys.argv[2]))
"""


def test_killed_decoding_goes_on_where_its_last_part_ended(
    tiny_samples: MakeSamples, pool: DecodePool, tmp_path: Path
) -> None:
    import pickle

    samples = tiny_samples(20)
    (tmp_path / "job").write_bytes(pickle.dumps((samples, PREPROCESSING)))
    root = tmp_path / "store"
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "job"), str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert [process.stdout.readline().strip() for _ in range(3)] == ["1", "2", "3"]
        process.send_signal(signal.SIGKILL)
    told = Notes()
    found = decode_to_store(samples, PREPROCESSING, pool=pool, root=root, progress=told)
    assert found.decoded == 8
    assert (told.total, told.done) == (20, 20)
    assert found.store is not None
    assert len(found.samples) == 20
    assert_right(found)


def test_interrupted_decoding_keeps_what_it_has(
    tiny_samples: MakeSamples, pool: DecodePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = tiny_samples(10)

    class Interrupts:
        def run(self, asked: Any, preprocessing: Any) -> Iterator[Any]:
            for number, result in enumerate(pool.run(asked, preprocessing)):
                if number == 6:
                    raise KeyboardInterrupt
                yield result

    with pytest.raises(KeyboardInterrupt):
        decode_to_store(samples, PREPROCESSING, pool=Interrupts(), root=tmp_path / "store")  # type: ignore[arg-type]
    assert decode_to_store(samples, PREPROCESSING, pool=pool, root=tmp_path / "store").decoded == 4


def test_rows_of_a_table(shared_cifake: Path, pool: DecodePool, tmp_path: Path) -> None:
    """Real pixels from a Parquet file; digests tell apart what the pixels tell apart."""
    preprocessing = Preprocessing.from_mapping(Modality.IMAGE, {"resize": [32, 32]})
    samples = load_data(shared_cifake / "test.parquet", modalities=(Modality.IMAGE,)).samples[:300]
    start = time.monotonic()
    found = decode_to_store(samples, preprocessing, pool=pool, root=tmp_path / "store")
    assert time.monotonic() - start < 30
    assert found.store is not None
    assert not found.failures
    assert_right(found, preprocessing)
    pixels = found.store.gather(found.rows).reshape(300, -1)
    assert len(np.unique(pixels, axis=0)) == len(set(found.digests))


def test_the_disk_is_not_filled(
    tiny_samples: MakeSamples, pool: DecodePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 9 * ARRAY_BYTES

    monkeypatch.setattr(decoded_store.shutil, "disk_usage", lambda path: Usage)
    told = Notes()
    found = decode_to_store(tiny_samples(10), PREPROCESSING, pool=pool, root=tmp_path / "store", progress=told)
    assert found.store is None
    assert "the disk's free space" in told.notes[0]
