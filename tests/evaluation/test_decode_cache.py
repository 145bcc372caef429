"""The decode cache: the second run decodes nothing, and gets exactly what the first got."""

from __future__ import annotations

import fcntl
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from PIL import Image

from gasdet.data import load_data
from gasdet.errors import RunError
from gasdet.evaluation import decode_cache
from gasdet.evaluation.decode_cache import (
    CacheCounts,
    CachedDecoding,
    DecodeCache,
    holding,
    packed,
    unpacked,
)
from gasdet.evaluation.pipeline import DecodePool, DecodeResult
from gasdet.media import Decoded, MediaLimits, decode
from gasdet.types import Locator, Modality, Preprocessing, Reason, Sample, sample_id

IMAGE = Preprocessing(Modality.IMAGE, resize=(64, 48))


def make_sample(path: Path, **locator: object) -> Sample:
    place = Locator(**{"kind": "file", "path": str(path), **locator})
    return Sample(sample_id("t", str(place)), "t", path.name, place, Modality.IMAGE, None)


def picture(path: Path, seed: int, size: tuple[int, int] = (90, 70)) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def run(
    samples: Sequence[Sample],
    preprocessing: Preprocessing = IMAGE,
    *,
    cache: DecodeCache | None,
    workers: int = 1,
    limits: MediaLimits | None = None,
) -> list[DecodeResult]:
    with DecodePool(workers=workers, timeout=60, cache=cache, limits=limits) as pool:
        return list(pool.run(samples, preprocessing))


def uses(results: Sequence[DecodeResult]) -> list[str]:
    return [result.cached for result in results]


def assert_same(one: Sequence[DecodeResult], other: Sequence[DecodeResult]) -> None:
    """Every field of every result but the time and where it came from."""
    for a, b in zip(one, other, strict=True):
        assert (a.index, a.reason, a.message) == (b.index, b.reason, b.message)
        assert (a.decoded is None) == (b.decoded is None)
        for field in fields(Decoded) if a.decoded is not None else ():
            left, right = getattr(a.decoded, field.name), getattr(b.decoded, field.name)
            if field.name == "array":
                assert (left.shape, left.dtype) == (right.shape, right.dtype)
                assert left.tobytes() == right.tobytes()
            else:
                assert left == right, field.name
                assert type(left) is type(right)


def entries(cache: DecodeCache) -> list[Path]:
    return sorted((cache.folder / "entries").rglob("*.npy.zst"))


@pytest.fixture
def cache(tmp_path: Path) -> DecodeCache:
    return DecodeCache(tmp_path / "cache", 2**30)


PREPROCESSINGS = {
    "image": Preprocessing(Modality.IMAGE),
    "video": Preprocessing(Modality.VIDEO, num_frames=4, sampling="uniform"),
    "audio": Preprocessing(Modality.AUDIO, sample_rate=8000, duration_seconds=0.0),
}


@pytest.mark.parametrize("modality", list(PREPROCESSINGS))
def test_from_the_cache_as_without_one_on_real_media(shared_media: Path, cache: DecodeCache, modality: str) -> None:
    samples = load_data(shared_media / modality).samples[:40:3]
    assert len(samples) > 5
    preprocessing = PREPROCESSINGS[modality]
    plain = run(samples, preprocessing, cache=None)
    first = run(samples, preprocessing, cache=cache)
    second = run(samples, preprocessing, cache=cache, workers=2)
    assert uses(plain) == [""] * len(samples)
    good = [result.decoded is not None for result in plain]
    assert set(uses(first)) <= {"stored", "hit", ""}
    assert uses(second) == ["hit" if ok else "" for ok in good]
    assert sum(good) > 5
    assert_same(plain, first)
    assert_same(plain, second)
    assert all(result.decoded.array.flags.writeable for result in second if result.decoded is not None)


def test_the_content_counts_and_neither_name_nor_place(tmp_path: Path, cache: DecodeCache) -> None:
    original = picture(tmp_path / "a.png", 1)
    content = original.read_bytes()
    shutil.copy(original, tmp_path / "renamed.jpg")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("deep/b.png", content)
    pq.write_table(pa.table({"image": pa.array([content], pa.binary())}), tmp_path / "rows.parquet")
    samples = [
        make_sample(original),
        make_sample(tmp_path / "renamed.jpg"),
        make_sample(tmp_path / "all.zip", kind="zip", member="deep/b.png"),
        make_sample(tmp_path / "rows.parquet", kind="parquet", row=0, column="image"),
    ]
    results = run(samples, cache=cache)
    assert uses(results) == ["stored", "hit", "hit", "hit"]
    assert_same(results, run(samples, cache=None))
    assert len(entries(cache)) == 1
    picture(original, 2)
    assert uses(run(samples[:1], cache=cache)) == ["stored"]


def test_a_clip_of_frames_is_known_by_its_frames_and_their_order(tmp_path: Path, cache: DecodeCache) -> None:
    video = Preprocessing(Modality.VIDEO, num_frames=3)
    for folder in ("one", "same", "other"):
        (tmp_path / folder).mkdir()
        for number in range(4):
            seed = number if folder != "other" else 3 - number
            picture(tmp_path / folder / f"frame{number}.png", seed)
    samples = [make_sample(tmp_path / name, kind="frames") for name in ("one", "same", "other")]
    samples = [replace(sample, modality=Modality.VIDEO) for sample in samples]
    results = run(samples, video, cache=cache)
    assert uses(results) == ["stored", "hit", "stored"]
    assert_same(results, run(samples, video, cache=None))
    assert_same(results, run(samples, video, cache=cache))


def test_bounds_hold_with_a_cache_that_was_filled_under_wider_ones(tmp_path: Path, cache: DecodeCache) -> None:
    samples = [make_sample(picture(tmp_path / "a.png", 1))]
    assert uses(run(samples, cache=cache)) == ["stored"]
    (result,) = run(samples, cache=cache, limits=MediaLimits(max_pixels=100))
    assert result.reason is Reason.TOO_LARGE


def test_errors_are_not_kept(tmp_path: Path, cache: DecodeCache) -> None:
    good = picture(tmp_path / "good.png", 1)
    content = good.read_bytes()
    (tmp_path / "short.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.png").write_bytes(b"")
    samples = [make_sample(tmp_path / name) for name in ("short.png", "empty.png", "none.png", "good.png")]
    plain = run(samples, cache=None)
    for expected in (["", "", "", "stored"], ["", "", "", "hit"]):
        results = run(samples, cache=cache)
        assert uses(results) == expected
        assert_same(results, plain)
    assert len(entries(cache)) == 1
    (tmp_path / "short.png").write_bytes(content)  # mended
    assert run(samples[:1], cache=cache)[0].cached == "hit"


def test_a_damaged_entry_is_made_again(tmp_path: Path, cache: DecodeCache) -> None:
    samples = [make_sample(picture(tmp_path / f"{n}.png", n)) for n in range(3)]
    plain = run(samples, cache=cache)
    flipped, torn, _ = entries(cache)
    data = bytearray(flipped.read_bytes())
    data[-40] ^= 8
    flipped.write_bytes(data)
    os.truncate(torn, 100)
    again = run(samples, cache=cache)
    assert sorted(uses(again)) == ["hit", "stored", "stored"]
    assert_same(plain, again)
    assert uses(run(samples, cache=cache)) == ["hit"] * 3


def test_a_large_file_that_changes_is_noticed_though_its_time_is_set_back(
    tmp_path: Path, cache: DecodeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its hash is remembered by its state on the disk; times of change cannot be set back."""
    path = picture(tmp_path / "large.bmp", 1, (800, 600))
    status = path.stat()
    assert status.st_size > 2**20
    monkeypatch.setattr(decode_cache, "_SETTLED_S", -1.0)
    decoding, place = CachedDecoding(cache), make_sample(path).locator
    for use in ("stored", "hit"):
        first = decoding(place, IMAGE, MediaLimits())
        assert decoding.use == use
    assert len(list((cache.folder / "entries").rglob("*.sha256"))) == 1
    picture(path, 2, (800, 600))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    changed = decoding(place, IMAGE, MediaLimits())
    assert decoding.use == "stored"
    assert not np.array_equal(changed.array, first.array)
    np.testing.assert_array_equal(changed.array, decode(path, IMAGE).array)


def test_a_large_file_that_was_changed_just_now_is_read_each_time(tmp_path: Path, cache: DecodeCache) -> None:
    decoding = CachedDecoding(cache)
    decoding(make_sample(picture(tmp_path / "large.bmp", 1, (800, 600))).locator, IMAGE, MediaLimits())
    assert list((cache.folder / "entries").rglob("*.sha256")) == []


def test_a_known_large_file_is_not_read_again(
    tmp_path: Path, cache: DecodeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = picture(tmp_path / "large.bmp", 1, (800, 600))
    monkeypatch.setattr(decode_cache, "_SETTLED_S", -1.0)
    decoding = CachedDecoding(cache)
    place = make_sample(path).locator
    first = decoding(place, IMAGE, MediaLimits())
    monkeypatch.setattr(decode_cache, "file_sha256", lambda _: pytest.fail("read again"))
    second = decoding(place, IMAGE, MediaLimits())
    assert decoding.use == "hit"
    np.testing.assert_array_equal(first.array, second.array)


def test_a_file_that_changes_while_it_is_decoded_is_not_kept(
    tmp_path: Path, cache: DecodeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = picture(tmp_path / "a.png", 1)
    decode_content = decode_cache.decode_content

    def slow(*arguments: object) -> Decoded:
        decoded = decode_content(*arguments)
        picture(path, 2)
        return decoded

    decoding = CachedDecoding(cache)
    with monkeypatch.context() as patch:
        patch.setattr(decode_cache, "decode_content", slow)
        decoding(make_sample(path).locator, IMAGE, MediaLimits())
    assert decoding.use == "changed"
    assert entries(cache) == []


def test_an_entry_opens_without_gasdet(tmp_path: Path, cache: DecodeCache) -> None:
    (result,) = run([make_sample(picture(tmp_path / "a.png", 1))], cache=cache)
    (entry,) = entries(cache)
    with open(entry, "rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        array = np.load(io.BytesIO(reader.read()))
    np.testing.assert_array_equal(array, result.decoded.array)


@pytest.mark.parametrize(
    "decoded",
    [
        Decoded(np.zeros((0,), np.float32), "x 1"),
        Decoded(np.arange(7, dtype=np.float32) / 3, "a+b", duration_s=0.1 + 0.2, notes=("one", "zwei ü")),
        Decoded(np.ones((2, 3, 4, 5), np.uint8), "d", width=5, height=4, frames=2, facts={"a": [1, None, True, "x"]}),
    ],
)
def test_an_entry_gives_back_every_field(decoded: Decoded) -> None:
    entry = packed(decoded)
    assert entry is not None
    found = unpacked(entry)
    assert found is not None
    np.testing.assert_array_equal(found.array, decoded.array)
    assert replace(found, array=None) == replace(decoded, array=None)


def test_what_is_no_entry_is_none() -> None:
    good = packed(Decoded(np.zeros(3, np.float32), "x")) or b""
    assert packed(Decoded(np.zeros(3, np.float32), "x", facts={"bytes": b"x"})) is None
    for content in (b"", b"x" * 7, b"x" * 100, good[:9], good[: len(good) // 2 + 20], good[:8] + b"[" + good[9:]):
        assert unpacked(content) is None


def test_a_cache_that_is_full_of_what_is_in_use_keeps_no_more_and_says_so(tmp_path: Path) -> None:
    samples = [make_sample(picture(tmp_path / f"{n}.png", n)) for n in range(30)]
    small = DecodeCache(tmp_path / "cache", 8 * 12_288)
    with DecodePool(workers=1, timeout=60, cache=small) as pool:
        results = list(pool.run(samples, IMAGE))
        counts = pool.cache_counts
    assert_same(results, run(samples, cache=None))
    assert counts.stored > 3
    assert (counts.samples, counts.stored + counts.no_room, counts.not_kept) == (30, 30, counts.no_room)
    line = counts.line(small)
    assert line.startswith(f"decode cache: 0 of 30 samples taken from it, {counts.stored} stored; ")
    assert f"{counts.no_room} not kept, for {small.folder} (at most {8 * 12_288:,} bytes) is full of what is in" in line
    assert "or its disk is full: give it more with --decode-cache-size, or another disk" in line
    assert sum(path.stat().st_size for path in entries(small)) <= small.max_bytes
    # a run over the same samples finds what was kept, instead of driving it out as it goes
    again = run(samples, cache=small)
    assert uses(again).count("hit") == counts.stored


def test_a_new_run_takes_the_place_of_an_old_one(tmp_path: Path) -> None:
    old = [make_sample(picture(tmp_path / f"{n}.png", n)) for n in range(8)]
    new = [make_sample(picture(tmp_path / f"{n}.png", n)) for n in range(8, 16)]
    small = DecodeCache(tmp_path / "cache", 10 * 12_288)
    assert uses(run(old, cache=small)) == ["stored"] * 8
    time.sleep(0.05)
    assert uses(run(new, cache=small)) == ["stored"] * 8
    assert uses(run(new, cache=small)) == ["hit"] * 8


@pytest.mark.usefixtures("real_processes")
def test_a_run_whose_decode_processes_are_killed_has_the_same_results(tmp_path: Path, cache: DecodeCache) -> None:
    samples = [make_sample(picture(tmp_path / f"{n}.png", n)) for n in range(120)]
    plain = run(samples, cache=None)
    results = []
    with DecodePool(workers=2, timeout=60, cache=cache) as pool:
        for result in pool.run(samples, IMAGE):
            results.append(result)
            if len(results) in (5, 60):
                for worker in pool._workers:
                    os.kill(worker.pid, signal.SIGKILL)
    assert_same(results, plain)
    last = run(samples, cache=cache)
    assert set(uses(last)) == {"hit"}
    assert_same(last, plain)


KILLED = """
import sys, json
from pathlib import Path
from gasdet.data import load_data
from gasdet.evaluation.decode_cache import DecodeCache
from gasdet.evaluation.pipeline import DecodePool
from gasdet.types import Modality, Preprocessing
samples = load_data(sys.argv[1]).samples
with DecodePool(workers=2, timeout=60, cache=DecodeCache(Path(sys.argv[2]), 2**30)) as pool:
    print("ready", flush=True)
    for result in pool.run(samples, Preprocessing(Modality.IMAGE, resize=(64, 48))):
        pass
print(json.dumps([pool.cache_counts.hits, pool.cache_counts.stored]))
"""


def test_runs_killed_at_random_and_several_at_once_share_a_cache(tmp_path: Path, cache: DecodeCache) -> None:
    folder = tmp_path / "data" / "real"
    folder.mkdir(parents=True)
    for number in range(150):
        picture(folder / f"{number}.png", number)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "data"), str(cache.folder)]
    chance = random.Random(1)
    for _ in range(2):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(chance.uniform(0.3, 1.0))
            process.kill()
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told = [json.loads(process.communicate()[0].splitlines()[-1]) for process in running]
    assert all(process.returncode == 0 for process in running)
    assert all(hits + stored == 150 for hits, stored in told)
    samples = load_data(tmp_path / "data").samples
    assert len(entries(cache)) == 150
    last = run(samples, cache=cache)
    assert uses(last) == ["hit"] * 150
    assert_same(last, run(samples, cache=None))


def test_a_cache_that_cannot_be_made_ends_the_run_before_it_begins(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(RunError, match="the cache cannot be used"),
        DecodePool(workers=1, timeout=10, cache=DecodeCache(tmp_path / "file")),
    ):
        pass


def test_inspections_have_no_cache(cache: DecodeCache) -> None:
    with pytest.raises(ValueError, match="another function"):
        DecodePool(workers=1, timeout=10, function="a:b", cache=cache)


def test_making_room_is_not_held_against_the_file(tmp_path: Path, cache: DecodeCache) -> None:
    """Another process holds the store's lock for longer than a file may take."""
    samples = [make_sample(picture(tmp_path / f"{n}.png", n)) for n in range(4)]
    with DecodePool(workers=1, timeout=1.5, cache=cache) as pool:
        descriptor = os.open(cache.folder / "usage", os.O_RDWR)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        threading.Timer(2.5, os.close, (descriptor,)).start()
        results = list(pool.run(samples, IMAGE))
    assert uses(results) == ["stored"] * 4
    assert max(result.decode_ms for result in results) > 1500
    assert_same(results, run(samples, cache=None))


def test_what_goes_wrong_while_storing_costs_no_sample(
    tmp_path: Path, cache: DecodeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise MemoryError

    decoding = CachedDecoding(cache)
    monkeypatch.setattr(decode_cache, "packed", fail)
    decoded = decoding(make_sample(picture(tmp_path / "a.png", 1)).locator, IMAGE, MediaLimits())
    assert (decoding.use, decoded.array.shape) == ("failed", (3, 64, 48))


def test_why_something_was_not_kept_is_told_apart() -> None:
    counts = CacheCounts()
    for use, times in (("hit", 3), ("stored", 2), ("changed", 4), ("failed", 1), ("", 5)):
        for _ in range(times):
            counts.count(use)
    told = counts.line(DecodeCache(Path("dc"))).split("; ")
    assert told == [
        "decode cache: 3 of 15 samples taken from it, 2 stored",
        "4 not kept, for their files changed while they were read",
        "1 not kept, for their entries could not be made",
    ]
    assert counts.not_kept == 5


def test_pools_under_one_job_leave_each_others_entries(tmp_path: Path) -> None:
    samples = [make_sample(picture(tmp_path / f"{n}.png", n)) for n in range(12)]
    other = Preprocessing(Modality.IMAGE, resize=(48, 64))
    small = DecodeCache(tmp_path / "cache", 10 * 12_288)
    with holding(small):
        first = run(samples[:8], cache=small)
        time.sleep(0.05)
        counts = CacheCounts()
        with DecodePool(workers=1, timeout=60, cache=small, counts=counts) as pool:
            list(pool.run(samples, other))
    assert uses(first) == ["stored"] * 8
    assert counts.no_room > 0
    assert uses(run(samples[:8], cache=small)) == ["hit"] * 8


@pytest.mark.usefixtures("real_processes")
def test_the_key_of_holdouts_is_not_given_to_decode_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GASDET_HOLDOUT_KEY", "k" * 40)
    monkeypatch.setenv("SOMETHING_ELSE", "stays")
    with DecodePool(workers=1, timeout=60) as pool:
        list(pool.run([make_sample(picture(tmp_path / "a.png", 1))], IMAGE))
        environments = [psutil.Process(worker.pid).environ() for worker in pool._workers]
    assert environments
    assert all("GASDET_HOLDOUT_KEY" not in one and one["SOMETHING_ELSE"] == "stays" for one in environments)
