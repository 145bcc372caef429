"""Folders of a cache: bounded, never taken from under a user, usable by several processes."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gasdet.cache.folders import USED, CacheFolder, folders_below, hold, prune, remove_unused
from gasdet.errors import RunError

HOLDS = """
import sys
from pathlib import Path
from gasdet.cache.folders import CacheFolder
folder = CacheFolder(Path(sys.argv[1]), {"n": 2})
print("held", flush=True)
sys.stdin.read()
"""

MEETS = """
import sys
from pathlib import Path
from gasdet.cache.folders import CacheFolder
print("ready", flush=True)
for line in sys.stdin:  # all of them begin with a new key at the same time
    try:
        folder = CacheFolder(Path(sys.argv[1]), {"n": int(line)})
        print("ok", flush=True)
    except Exception as error:
        print(repr(error), flush=True)
"""


def filled(root: Path, number: int, size: int = 1000) -> Path:
    """A folder that nobody uses, used last at second ``number``."""
    path = CacheFolder(root, {"n": number}).path
    (path / "data").write_bytes(b"x" * size)
    os.utime(path / ".used", (number, number))
    return path


def test_the_longest_unused_go_until_the_others_fit(tmp_path: Path) -> None:
    folders = [filled(tmp_path, n) for n in (3, 1, 2, 4)]
    assert prune(tmp_path, 10_000) == []
    each = sum(path.stat().st_size for path in folders[0].iterdir())
    assert prune(tmp_path, 2 * each) == [folders[1], folders[2]]
    assert [path.exists() for path in folders] == [True, False, False, True]
    assert sorted(prune(tmp_path, 0)) == sorted([folders[0], folders[3]])
    assert list(tmp_path.iterdir()) == []


def test_no_folder_is_removed_while_this_process_uses_it(tmp_path: Path) -> None:
    old = filled(tmp_path, 1)
    again = CacheFolder(tmp_path, {"n": 1})
    assert again.path == old
    assert prune(tmp_path, 0) == []
    del again
    assert prune(tmp_path, 0) == [old]


def test_no_folder_is_removed_while_another_process_uses_it(tmp_path: Path) -> None:
    held, free = filled(tmp_path, 2), filled(tmp_path, 3)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "held"
        assert prune(tmp_path, 0) == [free]
        assert held.exists()
        process.kill()
    assert prune(tmp_path, 0) == [held]


def test_several_processes_begin_with_a_new_key_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MEETS, str(tmp_path)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) for _ in range(4)
    ]
    said = []
    for turn in ["", *map(str, range(60))]:
        for process in processes if turn else ():
            assert process.stdin is not None
            process.stdin.write(f"{turn}\n")
        said += [process.stdout.readline().strip() for process in processes if process.stdout is not None]
    for process in processes:
        process.communicate()
    assert said == ["ready"] * 4 + ["ok"] * 240
    assert sorted(json.loads(path.read_text())["n"] for path in tmp_path.glob("*/key.json")) == list(range(60))
    assert list(tmp_path.rglob("*.pending")) == []


def test_what_cannot_be_held_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that was left behind once made the next call in the same process wait for ever."""
    before = len(os.listdir("/proc/self/fd"))

    def refused(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    for _ in range(3):
        with pytest.raises(PermissionError):
            hold(tmp_path / "folder", refused)
    with monkeypatch.context() as patch:
        patch.setattr(os, "utime", lambda *_, **__: refused(tmp_path))
        with pytest.raises(RunError, match=r"the cache cannot be used \(Permission denied\)"):
            CacheFolder(tmp_path, {})
    assert len(os.listdir("/proc/self/fd")) == before
    descriptor = os.open(tmp_path / "folder" / USED, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)
    os.close(hold(tmp_path / "folder"))


def test_use_makes_a_folder_the_last_to_go(tmp_path: Path) -> None:
    one, two = filled(tmp_path, 1), filled(tmp_path, 2)
    CacheFolder(tmp_path, {"n": 1})
    assert prune(tmp_path, sum(path.stat().st_size for path in one.iterdir())) == [two]


def test_what_an_interrupted_writer_left_goes_when_nobody_else_is_at_work(tmp_path: Path) -> None:
    user = CacheFolder(tmp_path, {})
    pending = user.path / "part.parquet.pending"
    pending.write_bytes(b"half")
    other = CacheFolder(tmp_path, {})
    assert pending.exists()  # it may be that of the first
    del user, other
    CacheFolder(tmp_path, {})
    assert not pending.exists()


def test_a_root_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert prune(tmp_path / "none", 0) == []


def test_a_removal_that_stops_half_way_leaves_no_half_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = filled(tmp_path, 1)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)  # killed, or refused by the disk
        assert remove_unused(folder)
    assert not folder.exists()
    assert folders_below(tmp_path) == []
    assert CacheFolder(tmp_path, {"n": 1}).path == folder  # a new one
    assert [path.name for path in folder.iterdir() if path.name == "data"] == []
    prune(tmp_path, 10_000)
    assert list(tmp_path.iterdir()) == [folder]
