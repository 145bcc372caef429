"""How a store keeps to its size: what it holds in one number, which jobs are at work, what may go.

``usage`` is the number, changed under a lock. Room is reserved before an entry is written, so that a killed writer leaves the
number too high and never too low; a scan, which happens only when room must be made, puts it right.

A job is a process that uses the store over a longer time: a file in ``jobs`` that it holds locked, whose time is that of its
beginning. An entry that was used since the oldest running job began stays. The system lets go of the lock however the job ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import struct
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_RECORD = struct.Struct("<Qd")
_CHECK = struct.Struct("<I")
_BLOCK = 4096
_JOB = re.compile(r"[0-9a-f]{32}")
_COMING = re.compile(r"[0-9a-f]{32}\.([0-9]+)")
"""Names of the files that are made here. Systems and people put others beside them, which mean nothing and are left alone."""

KEEP_FREE = 256 * 2**20
"""Bytes that a store leaves free on its disk, whatever its bound."""

AFTER_EVICTION = 0.9
"""Share that is left when room has been made, so that the next scan is some way off: of the bound, or, on a full disk, of what
the store had."""

_RETRY_S = 30.0
"""After a scan that found nothing to remove, so long nothing is stored, rather than scan for every entry."""


@dataclass
class Usage:
    """What the usage file says.

    Attributes:
        total: Bytes of all entries, on the disk.
        full_since: When a scan last found too little to remove (``time.time``); 0 where room was made.
    """

    total: int
    full_since: float = 0.0


@dataclass(frozen=True, slots=True)
class _Found:
    """An entry as a scan finds it."""

    path: str
    size: int
    used_ns: int


def on_disk(size: int) -> int:
    """Bytes that a file of ``size`` bytes takes, in whole blocks."""
    return -(-size // _BLOCK) * _BLOCK


class Bound:
    """The bookkeeping of one store's folder.

    Args:
        root: The store's folder, which exists.
        max_bytes: What its entries may take together.
    """

    def __init__(self, root: Path, max_bytes: int) -> None:
        self._root, self._max_bytes = root, max_bytes
        self._entries, self._jobs, self.writing = root / "entries", root / "jobs", root / "writing"
        for folder in (self._entries, self._jobs, self.writing):
            folder.mkdir(parents=True, exist_ok=True)

    def begin_job(self) -> int:
        """Say that a job begins; what was left by dead ones is removed.

        Returns:
            A descriptor: the job lasts until it is closed.
        """
        with contextlib.ExitStack() as undo:
            with self._locked() as usage:
                self._remove_dead()
                usage.full_since = 0.0  # the jobs that were in the way may be over
                descriptor = _made(self._jobs / uuid.uuid4().hex, undo)
                fcntl.flock(descriptor, fcntl.LOCK_SH)
            undo.pop_all()  # not before the lock is given back: with a disk that is full, that fails
            return descriptor

    def reserve(self, size: int) -> tuple[Path, int] | None:
        """Count a coming entry in, after making room for it where need be.

        Returns:
            A file to write it to, with its descriptor, which is held for as long as it is open; None where there is no room.
        """
        size = on_disk(size)
        if size > self._max_bytes:
            return None
        with contextlib.ExitStack() as undo:
            with self._locked() as usage:
                if not self._has_room(usage, size):
                    return None
                # Its size is in its name: a scan counts what others are about to write.
                path = self.writing / f"{uuid.uuid4().hex}.{size}"
                descriptor = _made(path, undo)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                usage.total += size
            undo.pop_all()
            return path, descriptor

    def give_back(self, path: Path, descriptor: int, size: int) -> None:
        """Undo ``reserve``: an entry was not written after all.

        The file goes under the usage's lock, and its size with it: a scan finds both or neither, and takes nothing off twice.
        Where the file was renamed before, the entry is there, and counts.
        """
        try:
            with self._locked() as usage, contextlib.suppress(OSError):
                path.unlink()
                usage.total = max(0, usage.total - on_disk(size))
        finally:
            os.close(descriptor)

    def _has_room(self, usage: Usage, size: int) -> bool:
        """Whether bound and disk have room for an entry, after making it where need be."""
        over, lacking = self._beyond(usage, size)
        if max(over, lacking) <= 0:
            return True
        if 0 <= time.time() - usage.full_since < _RETRY_S:
            return False
        if lacking <= usage.total:  # else the disk would have no room with all of it gone
            goals = [int(AFTER_EVICTION * self._max_bytes) - size] if over > 0 else []
            goals += [int(AFTER_EVICTION * usage.total) - lacking] if lacking > 0 else []
            self._evict(usage, min(goals))
        has_room = max(self._beyond(usage, size)) <= 0
        usage.full_since = 0.0 if has_room else time.time()
        return has_room

    def _beyond(self, usage: Usage, size: int) -> tuple[int, int]:
        """By how many bytes an entry is too large for the bound, and for the disk; at most 0 where it fits."""
        return usage.total + size - self._max_bytes, size + KEEP_FREE - _free_bytes(self._root)

    def total(self) -> int:
        """Bytes that the entries take, or a little more after a writer was killed."""
        with self._locked() as usage:
            return usage.total

    def evict(self, max_bytes: int, *, dry_run: bool = False) -> int:
        """Remove what was used longest ago until the rest fits, and say how many bytes went (or would go)."""
        with self._locked() as usage:
            if dry_run:
                return self._evict(Usage(usage.total), max_bytes, dry_run=True)
            self._remove_dead()
            return self._evict(usage, max_bytes)

    def _evict(self, usage: Usage, goal: int, *, dry_run: bool = False) -> int:
        if not dry_run:
            self._remove_dead()
        coming = self._coming()  # before the entries: what is renamed meanwhile counts twice rather than not at all
        found = sorted(self._scan(), key=lambda entry: (entry.used_ns, entry.path))
        total = before = coming + sum(entry.size for entry in found)
        in_use_from = self._oldest_job()
        for entry in found:
            if total <= goal or (in_use_from is not None and entry.used_ns >= in_use_from):
                break
            with contextlib.suppress(OSError):
                if os.stat(entry.path).st_mtime_ns == entry.used_ns:  # not used since the scan came by
                    if not dry_run:
                        os.unlink(entry.path)
                    total -= entry.size
        usage.total = total
        return before - total

    def _scan(self) -> Iterator[_Found]:
        for shard in _listed(self._entries):
            for entry in _listed(shard.path):
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    yield _Found(entry.path, on_disk(status.st_size), status.st_mtime_ns)

    def _coming(self) -> int:
        """Bytes of the entries that are being written."""
        found = (_COMING.fullmatch(entry.name) for entry in _listed(self.writing))
        return sum(int(name[1]) for name in found if name is not None)

    def _oldest_job(self) -> int | None:
        """When the running job that began first did so; None without one."""
        begun = []
        for entry in _listed(self._jobs):
            if _JOB.fullmatch(entry.name) and not _is_dead(entry.path):
                with contextlib.suppress(OSError):
                    begun.append(entry.stat().st_mtime_ns)
        return min(begun, default=None)

    def _remove_dead(self) -> None:
        """Remove the files of jobs and writers that are dead. They are made and locked under the lock under which this runs."""
        for folder, name in ((self._jobs, _JOB), (self.writing, _COMING)):
            for entry in _listed(folder):
                if name.fullmatch(entry.name) and _is_dead(entry.path):
                    with contextlib.suppress(OSError):
                        os.unlink(entry.path)

    @contextmanager
    def _locked(self) -> Iterator[Usage]:
        """The usage, to be read and changed by nobody else meanwhile."""
        descriptor = os.open(self._root / "usage", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            usage = _unpacked(os.pread(descriptor, _RECORD.size + _CHECK.size, 0))
            if usage is None:  # a new store, or one whose disk lost power in the wrong moment
                usage = Usage(self._coming() + sum(entry.size for entry in self._scan()))
            yield usage
            record = _RECORD.pack(usage.total, usage.full_since)
            os.pwrite(descriptor, record + _CHECK.pack(zlib.crc32(record)), 0)
        finally:
            os.close(descriptor)


def _unpacked(data: bytes) -> Usage | None:
    record, check = data[: _RECORD.size], data[_RECORD.size :]
    if len(check) != _CHECK.size or _CHECK.unpack(check)[0] != zlib.crc32(record):
        return None
    return Usage(*_RECORD.unpack(record))


def _made(path: Path, undo: contextlib.ExitStack) -> int:
    """A new file, open; closed again by ``undo``, and then removed as that of a dead process."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    undo.callback(os.close, descriptor)
    return descriptor


def _free_bytes(root: Path) -> int:
    status = os.statvfs(root)
    return status.f_bavail * status.f_frsize


def _listed(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _is_dead(path: str) -> bool:
    """Whether nobody holds a file's lock any more."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
