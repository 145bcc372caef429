"""A store of entries under names made from hashes: whole or absent, checked when read, bounded, for many processes at once.

An entry is written to a file of its own and then renamed, so that a process that is killed at any moment leaves no half of it.
It begins with a frame that readers of zstd skip (RFC 8878, 3.1.2) and that holds a checksum over name and content: an entry
that the disk has damaged, or that lies under another's name, counts as absent and is made again. Nothing is brought to the disk
at once, for the same reason: what a loss of power tears is found out.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import struct
import weakref
from pathlib import Path

from gasdet.cache.bound import Bound
from gasdet.errors import RunError

_NAME = re.compile(r"[0-9a-f]{32,}(\.[a-z0-9]+)*")
_FRAME = struct.Struct("<II")
_SKIPPABLE = 0x184D2A5D
_DIGEST_BYTES = 16
HEADER_BYTES = _FRAME.size + _DIGEST_BYTES
"""What an entry takes beyond its content."""

_FORMAT = 1
"""In the checksum: entries of another layout count as absent."""


class Store:
    """Entries in a folder. Every method may be called by any number of processes at the same time.

    Args:
        root: The store's folder; made if need be.
        max_bytes: What the entries may take together. The longest unused make room for new ones; what was used since the
            oldest running job began stays, and then the new one is not kept.

    Raises:
        RunError: The folder cannot be made.
    """

    def __init__(self, root: Path, max_bytes: int) -> None:
        self.root = root
        try:
            self._bound = Bound(root, max_bytes)
        except OSError as error:
            raise _unusable(root, error) from error

    def begin_job(self) -> Job:
        """Keep what is used from now on until the job is closed, or this process ends.

        Raises:
            RunError: The folder cannot be written.
        """
        try:
            return Job(self._bound.begin_job())
        except OSError as error:
            raise _unusable(self.root, error) from error

    def get(self, name: str) -> bytes | None:
        """An entry's content, which counts as a use of it; None where there is no such entry, or it is damaged."""
        path = self._path(name)
        with contextlib.suppress(OSError):  # before it is read, so that it is not removed meanwhile
            os.utime(path)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        content = data[HEADER_BYTES:]
        if data[:HEADER_BYTES] == _header(name, content):
            return content
        with contextlib.suppress(OSError):
            path.unlink()  # the next scan counts it out: reading waits for no lock
        return None

    def put(self, name: str, content: bytes) -> bool:
        """Keep an entry, unless there is one of that name.

        Returns:
            Whether there is one now; False where there is no room for it, or the disk refuses.
        """
        path = self._path(name)
        size = HEADER_BYTES + len(content)
        try:
            if path.exists():
                return True
            place = self._bound.reserve(size)
            if place is None:
                return False
            pending, descriptor = place
            try:
                _write(pending, descriptor, path, _header(name, content), content)
            except BaseException:
                self._bound.give_back(pending, descriptor, size)
                raise
            os.close(descriptor)
        except OSError:
            return False
        return True

    def total_bytes(self) -> int:
        """What the entries take on the disk; a little more than that after a writer was killed, until the next eviction."""
        return self._bound.total()

    def evict(self, max_bytes: int, *, dry_run: bool = False) -> int:
        """Remove what was used longest ago, and not by a running job, until the rest takes at most ``max_bytes``.

        Args:
            max_bytes: What may stay.
            dry_run: Remove nothing.

        Returns:
            Bytes that were removed, or would be.
        """
        return self._bound.evict(max_bytes, dry_run=dry_run)

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of an entry: hex digits, then suffixes")
        return self.root / "entries" / name[:2] / name


class Job:
    """A use of a store over a longer time; ends when it is closed, forgotten, or its process ends.

    Args:
        descriptor: An open file whose lock is held for as long.
    """

    def __init__(self, descriptor: int) -> None:
        self._end = weakref.finalize(self, os.close, descriptor)

    def close(self) -> None:
        """End it. Safe to call twice."""
        self._end()


def _write(pending: Path, descriptor: int, path: Path, *parts: bytes) -> None:
    """Write an entry to the file that is open for it, and put it in its place."""
    with open(descriptor, "wb", closefd=False) as file:
        for part in parts:
            file.write(part)
    path.parent.mkdir(exist_ok=True)
    os.rename(pending, path)


def _header(name: str, content: bytes) -> bytes:
    digest = hashlib.blake2b(f"{_FORMAT}\0{name}\0".encode(), digest_size=_DIGEST_BYTES)
    digest.update(content)
    return _FRAME.pack(_SKIPPABLE, _DIGEST_BYTES) + digest.digest()


def _unusable(root: Path, error: OSError) -> RunError:
    return RunError(
        f"{root}: the cache cannot be used ({error.strerror or error}); choose a folder that can be written."
    )
