"""Folders of a cache, one for each key: held while in use, and removed, the longest unused first, when they grow too many."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gasdet.atomic_files import remove_pending, write_json
from gasdet.errors import RunError

_LOCK = ".used"
"""Held, shared, by every process that uses a folder; its time of change is that of the last use."""
_WRITING = ".writing"


class CacheFolder:
    """One key's folder, held against removal for as long as this object lives.

    Args:
        root: Folder of all keys of this kind of cache; made if need be.
        key: Everything that the contents depend on, in types that JSON has. ``key.json`` in the folder says it in words.

    Raises:
        RunError: The folder cannot be made.
    """

    def __init__(self, root: Path, key: Mapping[str, Any]) -> None:
        self.root = root
        self.key = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        self.path = root / self.key
        try:
            descriptor = _hold(self.path)
        except OSError as error:
            raise RunError(f"{self.path}: the cache cannot be used ({error.strerror or error}).") from error
        self._release = weakref.finalize(self, os.close, descriptor)
        if not (self.path / "key.json").exists():
            write_json(self.path / "key.json", dict(key))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only process that writes here; waits for another that does."""
        descriptor = os.open(self.path / _WRITING, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _hold(path: Path) -> int:
    """A descriptor with the shared lock; what an interrupted writer left is removed where nobody else is at work."""
    while True:
        path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_pending(path)
        except BlockingIOError:
            pass
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        try:
            if os.stat(path / _LOCK).st_ino == os.fstat(descriptor).st_ino:  # not removed between opening and locking
                os.utime(path / _LOCK)
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)


def prune(root: Path, max_bytes: int) -> list[Path]:
    """Remove the folders of a cache that were used longest ago, until the others fit. One in use is never removed.

    Args:
        root: Folder of all keys.
        max_bytes: What may stay; 0 clears the cache.

    Returns:
        The folders that were removed.
    """
    folders = [lock.parent for lock in root.glob(f"*/{_LOCK}")] if root.is_dir() else []
    sizes = {folder: _size(folder) for folder in folders}
    total = sum(sizes.values())
    removed = []
    for folder in sorted(folders, key=_last_use):
        if total <= max_bytes:
            break
        if _remove(folder):
            removed.append(folder)
            total -= sizes[folder]
    return removed


def _remove(folder: Path) -> bool:
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        shutil.rmtree(folder, ignore_errors=True)
        return True
    finally:
        os.close(descriptor)


def _last_use(folder: Path) -> float:
    try:
        return (folder / _LOCK).stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size
        except FileNotFoundError:
            continue
    return total
