"""The bookkeeping of a store: what it counts, what it removes, and what it leaves alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gasdet.cache import bound
from gasdet.cache.bound import Bound
from gasdet.cache.store import Store

ENTRY = 40_960
NAMES = [f"{number:032x}" for number in range(40)]


def filled(root: Path, count: int, max_bytes: int = 1000 * ENTRY) -> Store:
    """A store with entries of ``ENTRY`` bytes on the disk, the first used longest ago; no job is at work."""
    store = Store(root, max_bytes)
    for number, name in enumerate(NAMES[:count]):
        assert store.put(name, b"x" * (ENTRY - 100))
        os.utime(store._path(name), (1000 + number, 1000 + number))
    return store


def kept(store: Store) -> list[int]:
    return [number for number, name in enumerate(NAMES) if store._path(name).exists()]


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Free bytes of the disk beside what stores keep free: the first number, and what entries give back when they go."""
    free = [10**12]
    unlink = os.unlink

    def unlinked(path: str) -> None:
        size = bound.on_disk(os.stat(path).st_size)
        unlink(path)
        free[0] += size

    monkeypatch.setattr(bound, "_free_bytes", lambda _: bound.KEEP_FREE + free[0])
    monkeypatch.setattr(os, "unlink", unlinked)
    return free


def test_on_a_full_disk_the_longest_unused_make_room(tmp_path: Path, disk: list[int]) -> None:
    store = filled(tmp_path, 20)
    disk[0] = 0
    assert store.put(NAMES[30], b"y" * (ENTRY - 100))
    # what is lacking, and a tenth of the store, so that the next ones find room
    assert kept(store) == [*range(3, 20), 30]
    assert store.total_bytes() == 18 * ENTRY


def test_on_a_full_disk_what_a_job_uses_stays_and_is_not_looked_at_each_time(
    tmp_path: Path, disk: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path, 4)
    job = store.begin_job()
    for name in NAMES[:4]:
        assert store.get(name) is not None
    disk[0] = 0
    scans = []
    scan = Bound._scan
    monkeypatch.setattr(Bound, "_scan", lambda self: scans.append(1) or scan(self))
    assert [store.put(name, b"y" * 1000) for name in NAMES[10:20]] == [False] * 10
    assert len(scans) == 1
    assert kept(store) == [0, 1, 2, 3]
    disk[0] = ENTRY  # somebody else made room: no scan is needed to see that
    assert store.put(NAMES[10], b"y" * 1000)
    job.close()


def test_what_cannot_help_a_full_disk_stays(tmp_path: Path, disk: list[int]) -> None:
    store = filled(tmp_path, 4)
    disk[0] = -4 * ENTRY
    assert not store.put(NAMES[30], b"y" * (ENTRY - 100))
    assert kept(store) == [0, 1, 2, 3]


def test_where_both_are_too_small_the_larger_lack_counts(tmp_path: Path, disk: list[int]) -> None:
    store = filled(tmp_path, 20, max_bytes=20 * ENTRY)
    disk[0] = -5 * ENTRY
    assert store.put(NAMES[30], b"y" * (ENTRY - 100))
    assert kept(store) == [*range(8, 20), 30]  # 6 for the disk, and a tenth of 20


def test_strangers_among_its_files_are_left_alone(tmp_path: Path) -> None:
    """As .DS_Store, .nfs0001 and the like, which once were an error, or a job that never ended."""
    store = filled(tmp_path, 3)
    strangers = [
        tmp_path / "writing" / ".DS_Store",
        tmp_path / "writing" / "notes.txt",
        tmp_path / "writing" / "notes.12",
        tmp_path / "writing" / f"{'a' * 32}.-5",
        tmp_path / "jobs" / ".nfs0000000001",
        tmp_path / "entries" / ".DS_Store",
    ]
    for path in strangers:
        path.touch()
        os.utime(path, (1, 1))
    (tmp_path / "jobs" / "folder").mkdir()
    os.utime(tmp_path / "jobs" / "folder", (1, 1))
    (tmp_path / "usage").unlink()
    assert store.put(NAMES[30], b"z")
    assert store.total_bytes() == 3 * ENTRY + 4096
    store.begin_job().close()
    assert store.evict(ENTRY) == 3 * ENTRY
    assert kept(store) == [30]
    assert all(path.exists() for path in strangers)


def test_dead_jobs_and_writers_go(tmp_path: Path) -> None:
    store = Store(tmp_path, 10 * ENTRY)
    dead = [tmp_path / "jobs" / ("0" * 32), tmp_path / "writing" / f"{'0' * 32}.4096"]
    for path in dead:
        path.touch()
    job = store.begin_job()
    assert not any(path.exists() for path in dead)
    assert len(list((tmp_path / "jobs").iterdir())) == 1
    job.close()


def test_a_scan_between_a_failure_and_its_undoing_takes_nothing_off_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The total was once too low by the entry, and the bound exceeded by as much."""
    store, other = filled(tmp_path, 5), Bound(tmp_path, 1000 * ENTRY)
    give_back = Bound.give_back

    def scanned_before(self: Bound, *arguments: object) -> None:
        other.evict(1000 * ENTRY)
        give_back(self, *arguments)

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Bound, "give_back", scanned_before)
    monkeypatch.setattr(os, "rename", fails)
    assert not store.put(NAMES[30], b"y" * (ENTRY - 100))
    assert store.total_bytes() == 5 * ENTRY
    assert list((tmp_path / "writing").iterdir()) == []


def test_what_was_renamed_before_a_failure_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path, 10 * ENTRY)
    rename = os.rename

    def interrupted(*arguments: object) -> None:
        rename(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.put(NAMES[0], b"x" * (ENTRY - 100))
    assert store.get(NAMES[0]) is not None
    assert store.total_bytes() == ENTRY


def test_a_count_that_cannot_be_written_leaves_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(tmp_path, 1)

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fails)
        assert not store.put(NAMES[30], b"y")
    assert len(os.listdir("/proc/self/fd")) == before
    store.begin_job().close()
    assert list((tmp_path / "writing").iterdir()) == []
    assert store.total_bytes() == ENTRY
