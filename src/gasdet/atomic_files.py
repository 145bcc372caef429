"""Files that are either complete or absent, whatever interrupts their writing; and the lock on a run's folder."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from gasdet.errors import RunError

_PENDING = ".pending"
"""Suffix of a file that is being written. One that is found later was interrupted and means nothing."""


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file beside its place, bring it to the disk, put it in place, and bring that to the disk too.

    For one writer of a file at a time: where several may come at once, the caller holds a lock.

    Raises:
        RunError: It cannot be written. What was there before is untouched.
    """
    pending = path.with_name(path.name + _PENDING)
    try:
        with open(pending, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(pending, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        with suppress(OSError):
            pending.unlink()
        raise RunError(
            f"{path}: cannot be written ({error.strerror or error}); once it can be, the same command goes on from here."
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically: UTF-8, indented, and strict (a NaN is a ValueError, since JSON has none)."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))


def remove_pending(folder: Path) -> None:
    """Remove what an interrupted writer left."""
    for path in folder.glob(f"*{_PENDING}"):
        path.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run's folder against other processes. The system lets go of it when its holder dies, however it dies.

    Raises:
        RunError: Another process holds it.
    """
    with open(folder / ".lock", "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise RunError(
                f"{folder}: {holder} is working on this run; wait for it, or choose another folder."
            ) from None
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()} on {os.uname().nodename}")
        file.flush()
        yield
