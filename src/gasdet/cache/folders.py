"""Folders of a cache, one for each key: held while in use, and removed, the longest unused first, when they grow too many."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gasdet.atomic_files import remove_pending, write_json
from gasdet.errors import RunError

USED = ".used"
"""Held, shared, by every process that uses a folder; its time of change is that of the last use."""
_WRITING = ".writing"
_REMOVING = ".removing-"
_TRIES = 100
"""Of making a folder that others keep removing."""


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
            descriptor = hold(self.path, remove_pending)
        except OSError as error:
            raise RunError(f"{self.path}: the cache cannot be used ({error.strerror or error}).") from error
        self._release = weakref.finalize(self, os.close, descriptor)
        try:
            with self.writing():  # of several processes that begin with a new key at once, one writes it
                if not (self.path / "key.json").exists():
                    write_json(self.path / "key.json", dict(key))
        except OSError as error:
            raise RunError(f"{self.path}: the cache cannot be used ({error.strerror or error}).") from error

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only process that writes here; waits for another that does."""
        descriptor = os.open(self.path / _WRITING, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def hold(folder: Path, when_alone: Callable[[Path], None] | None = None) -> int:
    """Make a folder if need be, and hold it against removal.

    Args:
        folder: Its ``.used`` file is locked, shared; its time of change becomes that of this use.
        when_alone: Called with the folder before, where nobody else holds it.

    Returns:
        The descriptor of the lock, which lasts until that is closed.

    Raises:
        OSError: The folder cannot be made or written.
    """
    for attempt in range(_TRIES):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder / USED, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # removed between the two
            if attempt == _TRIES - 1:
                raise
            continue
        try:
            if when_alone is not None:
                with suppress(BlockingIOError):
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    when_alone(folder)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if is_lock_of(folder, descriptor):  # not removed between opening and locking
                os.utime(folder / USED)
                return descriptor
        except BaseException:  # with the lock left behind, this very process would wait for itself
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise FileNotFoundError(errno.ENOENT, "it is removed again and again", str(folder))


def is_lock_of(folder: Path, descriptor: int) -> bool:
    """Whether a descriptor is that of the folder's lock, and not of one that is gone."""
    try:
        return os.stat(folder / USED).st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


@contextmanager
def unused(folder: Path) -> Iterator[bool]:
    """Whether nobody holds a folder; where so, nobody begins to while this lasts."""
    try:
        descriptor = os.open(folder / USED, os.O_RDWR)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield is_lock_of(folder, descriptor)
    finally:
        os.close(descriptor)


def remove_unused(folder: Path) -> bool:
    """Remove a folder unless somebody holds it.

    It gets another name first: whoever wants it meanwhile gets a new one, never one that is half gone.

    Returns:
        False where somebody holds it, or it cannot be removed.
    """
    with unused(folder) as free:
        if not free:
            return False
        away = folder.with_name(f"{_REMOVING}{folder.name}-{uuid.uuid4().hex[:8]}")
        try:
            os.rename(folder, away)
        except OSError:
            return False
    shutil.rmtree(away, ignore_errors=True)
    return True


def finish_removals(root: Path) -> None:
    """Remove what an interrupted removal left."""
    for left in root.glob(f"{_REMOVING}*"):
        shutil.rmtree(left, ignore_errors=True)


def folders_below(root: Path) -> list[Path]:
    """The folders of a root that their users hold, or held, sorted."""
    found = [lock.parent for lock in root.glob(f"*/{USED}")] if root.is_dir() else []
    return sorted(folder for folder in found if not folder.name.startswith(_REMOVING))


def prune(root: Path, max_bytes: int) -> list[Path]:
    """Remove the folders of a cache that were used longest ago, until the others fit. One in use is never removed.

    Args:
        root: Folder of all keys.
        max_bytes: What may stay; 0 clears the cache.

    Returns:
        The folders that were removed.
    """
    finish_removals(root)
    folders = folders_below(root)
    sizes = {folder: _size(folder) for folder in folders}
    total = sum(sizes.values())
    removed = []
    for folder in sorted(folders, key=_last_use):
        if total <= max_bytes:
            break
        if remove_unused(folder):
            removed.append(folder)
            total -= sizes[folder]
    return removed


def _last_use(folder: Path) -> float:
    try:
        return (folder / USED).stat().st_mtime
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
