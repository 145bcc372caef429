"""A store of checked entries: whole or absent, bounded, whoever is killed and whatever the disk does."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import zstandard

from gasdet.cache import bound
from gasdet.cache.store import HEADER_BYTES, Store
from gasdet.errors import RunError

MIB = 2**20
WRITER = """
import hashlib, os, sys
from pathlib import Path
from gasdet.cache.store import Store

store, seed = Store(Path(sys.argv[1]), int(sys.argv[2])), int(sys.argv[3])
job = store.begin_job() if sys.argv[4] == "job" else None
print("ready", flush=True)
number = 0
while True:
    name = hashlib.sha256(str(number % 40).encode()).hexdigest()
    content = store.get(name)
    if content is not None and hashlib.sha256(content[32:]).digest() != content[:32]:
        print("TORN", flush=True)
        os._exit(3)
    body = bytes([number % 251]) * (20_000 + 997 * (number % 40))
    store.put(name, hashlib.sha256(body).digest() + body)
    number += seed
"""


def name_of(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def fill(store: Store, numbers: range, size: int = 40_000) -> list[bool]:
    return [store.put(name_of(number), bytes([number % 256]) * size) for number in numbers]


def files(root: Path) -> list[Path]:
    return sorted(path for path in (root / "entries").rglob("*") if path.is_file())


def sizes(root: Path) -> int:
    total = 0
    for path in files(root):
        with contextlib.suppress(FileNotFoundError):  # another process has just removed it
            total += bound.on_disk(path.stat().st_size)
    return total


def older(root: Path, seconds: float) -> None:
    """Have all entries been used that much earlier."""
    for path in files(root):
        before = path.stat().st_mtime - seconds
        os.utime(path, (before, before))


def test_what_was_put_is_there_for_every_process(tmp_path: Path) -> None:
    store = Store(tmp_path, MIB)
    assert store.get(name_of(1)) is None
    assert store.put(name_of(1), b"content")
    assert store.put(name_of(1), b"content")
    assert store.put(name_of(2), b"")
    code = (
        "from gasdet.cache.store import Store; from pathlib import Path;"
        f"print(Store(Path({str(tmp_path)!r}), 9).get({name_of(1)!r}))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "b'content'"
    assert store.get(name_of(2)) == b""
    assert len(files(tmp_path)) == 2


def test_a_compressed_entry_opens_with_zstd_itself(tmp_path: Path) -> None:
    Store(tmp_path, MIB).put(name_of(1) + ".zst", zstandard.ZstdCompressor().compress(b"pixels" * 100))
    with (
        open(files(tmp_path)[0], "rb") as file,
        zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as reader,
    ):
        assert reader.read() == b"pixels" * 100


@pytest.mark.parametrize("name", ["short", "../" + "a" * 64, "A" * 64, "a" * 64 + "/x", "a" * 64 + "."])
def test_a_name_that_is_no_hash_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no name of an entry"):
        Store(tmp_path, MIB).put(name, b"")


@pytest.mark.parametrize("place", [0, 4, 9, HEADER_BYTES, HEADER_BYTES + 500, HEADER_BYTES + 999])
def test_any_flipped_bit_makes_an_entry_absent_and_it_is_made_again(tmp_path: Path, place: int) -> None:
    store = Store(tmp_path, MIB)
    store.put(name_of(1), bytes(range(250)) * 4)
    (file,) = files(tmp_path)
    data = bytearray(file.read_bytes())
    data[place] ^= 1 << place % 8
    file.write_bytes(data)
    assert store.get(name_of(1)) is None
    assert files(tmp_path) == []
    assert store.put(name_of(1), b"again")
    assert store.get(name_of(1)) == b"again"


@pytest.mark.parametrize("kept", [0, 3, HEADER_BYTES - 1, HEADER_BYTES, 700])
def test_a_torn_entry_is_absent(tmp_path: Path, kept: int) -> None:
    store = Store(tmp_path, MIB)
    store.put(name_of(1), b"x" * 1000)
    os.truncate(files(tmp_path)[0], kept)
    assert store.get(name_of(1)) is None


def test_an_entry_under_another_name_is_absent(tmp_path: Path) -> None:
    store = Store(tmp_path, MIB)
    store.put(name_of(1), b"one")
    (file,) = files(tmp_path)
    other = tmp_path / "entries" / name_of(2)[:2] / name_of(2)
    other.parent.mkdir(exist_ok=True)
    file.rename(other)
    assert store.get(name_of(2)) is None


def test_the_longest_unused_make_room(tmp_path: Path) -> None:
    store = Store(tmp_path, 10 * 40_960)
    assert all(fill(store, range(10)))
    older(tmp_path, 60)
    assert store.get(name_of(0)) is not None  # used now
    assert all(fill(store, range(10, 13)))
    there = {number for number in range(13) if store.get(name_of(number)) is not None}
    assert {0, 10, 11, 12} <= there
    assert sizes(tmp_path) == store.total_bytes() <= 10 * 40_960


def test_what_a_running_job_used_stays_and_the_newcomer_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path, 10 * 40_960)
    fill(store, range(10))
    older(tmp_path, 60)
    job = store.begin_job()
    for number in range(7):
        assert store.get(name_of(number)) is not None
    other = Store(tmp_path, 10 * 40_960)
    kept = fill(other, range(10, 20))
    assert kept.count(True) == 3  # in the place of those that the job did not use
    assert all(store.get(name_of(number)) is not None for number in range(7))
    assert sizes(tmp_path) <= 10 * 40_960
    job.close()
    older(tmp_path, 60)
    other.begin_job().close()  # the next job looks again at once
    assert all(fill(other, range(20, 25)))


def test_a_full_store_is_not_scanned_for_every_newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path, 10 * 40_960)
    job = store.begin_job()
    fill(store, range(10))
    scans = []
    scan = bound.Bound._scan
    monkeypatch.setattr(bound.Bound, "_scan", lambda self: scans.append(1) or scan(self))
    assert not any(fill(store, range(10, 60)))
    assert len(scans) == 1
    job.close()


def test_writing_scans_the_tree_only_when_room_must_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path, 100 * 4096)
    scans = []
    scan = bound.Bound._scan
    monkeypatch.setattr(bound.Bound, "_scan", lambda self: scans.append(1) or scan(self))
    for number in range(300):
        assert store.put(name_of(number), b"x" * 4000)
        assert store.total_bytes() <= 100 * 4096
    # 100 fit; each time room is made for a tenth of the bound
    assert len(scans) <= 2 + 200 / 9
    assert sizes(tmp_path) == store.total_bytes()


def test_a_killed_job_holds_nothing(tmp_path: Path) -> None:
    with writer(tmp_path, MIB, 1, "job") as process:
        time.sleep(0.3)
        process.kill()
        process.wait()
    store = Store(tmp_path, MIB)
    older(tmp_path, 60)
    assert store.evict(0) > 0
    assert files(tmp_path) == []
    assert list((tmp_path / "jobs").iterdir()) == []


class writer:
    """A process that reads and writes entries until it is ended."""

    def __init__(self, root: Path, max_bytes: int, seed: int, role: str) -> None:
        self._arguments = [sys.executable, "-c", WRITER, str(root), str(max_bytes), str(seed), role]

    def __enter__(self) -> subprocess.Popen[str]:
        self._process = subprocess.Popen(self._arguments, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def test_writers_killed_at_random_leave_only_whole_entries(tmp_path: Path) -> None:
    """Four writers at a time on a store that is too small for them, killed at random moments."""
    chance = random.Random(5)
    limit = 12 * 40_960
    for _ in range(6):
        with writer(tmp_path, limit, 1, "job") as one, writer(tmp_path, limit, 7, "no") as two:
            for process in (one, two):
                time.sleep(chance.uniform(0.01, 0.15))
                assert process.poll() is None, process.communicate()
                process.send_signal(signal.SIGKILL)
                process.wait()
    store = Store(tmp_path, limit)
    whole = 0
    for path in files(tmp_path):
        content = store.get(path.name)
        assert content is not None, "an entry with its final name is whole"
        assert hashlib.sha256(content[32:]).digest() == content[:32]
        whole += 1
    assert whole > 3
    assert sizes(tmp_path) <= store.total_bytes() <= limit
    store.begin_job().close()
    assert list((tmp_path / "writing").iterdir()) == []
    store.evict(limit)
    assert store.total_bytes() == sizes(tmp_path)


def test_eight_processes_at_once(tmp_path: Path) -> None:
    limit = 15 * 40_960
    started = [writer(tmp_path, limit, 2 * n + 1, "job" if n % 2 else "no") for n in range(8)]
    processes = [one.__enter__() for one in started]
    deadline = time.monotonic() + 0.8
    while time.monotonic() < deadline:
        assert all(process.poll() is None for process in processes)
        time.sleep(0.05)
    for one in started:
        one.__exit__()
    store = Store(tmp_path, limit)
    assert sizes(tmp_path) <= store.total_bytes() <= limit  # what was being written when others made room counts too
    assert all(store.get(path.name) is not None for path in files(tmp_path))


def test_a_lost_count_is_found_again(tmp_path: Path) -> None:
    store = Store(tmp_path, MIB)
    fill(store, range(4))
    for damage in (b"", b"\0" * 20, b"gar"):
        (tmp_path / "usage").write_bytes(damage)
        assert store.total_bytes() == 4 * 40_960 == sizes(tmp_path)


def test_too_large_an_entry_and_a_full_disk_are_no_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path, 50_000)
    assert not store.put(name_of(1), b"x" * 60_000)
    monkeypatch.setattr(bound, "KEEP_FREE", 2**62)
    assert not store.put(name_of(2), b"x")
    assert files(tmp_path) == []
    assert store.total_bytes() == 0


def test_an_entry_that_cannot_be_written_gives_its_room_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    store = Store(tmp_path, MIB)
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", full)
        assert not store.put(name_of(1), b"x")
    assert store.total_bytes() == 0
    assert list((tmp_path / "writing").iterdir()) == []
    assert store.put(name_of(1), b"x")


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RunError, match=r"file/cache: the cache cannot be used \(Not a directory\)"):
        Store(tmp_path / "file" / "cache", MIB)


@pytest.fixture(autouse=True)
def _no_room_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bound, "KEEP_FREE", 0)
