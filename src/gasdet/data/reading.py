"""A sample's bytes. Called in decode workers: open archives and Parquet files are kept for the next sample."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gasdet.data.archives import MAX_MEMBER_BYTES, ArchiveReader, open_archive
from gasdet.data.frames import frames_in_archive, frames_in_folder
from gasdet.data.names import ArchiveKind, archive_kind
from gasdet.data.parquet_cursor import ParquetCursor
from gasdet.errors import MediaError
from gasdet.media import FrameSequence, Source
from gasdet.types import Locator, Reason

_MAX_OPEN = 4


def read_source(locator: Locator) -> Source:
    """Where a sample's bytes are, as ``gasdet.media.decode`` takes them.

    Args:
        locator: The sample's.

    Returns:
        The path of a file, which exists and is not empty; the bytes of an archive's member or a Parquet row; or the frames of
        a clip, by their paths (which may turn out to be unreadable) or, from an archive, by their bytes.

    Raises:
        MediaError: The file is missing, empty, not readable or no regular file, its symbolic link never ends, or the
            archive is damaged or its member refused. The reason says which.
    """
    if locator.kind == "file":
        _check_file(locator.path)
        return Path(locator.path)
    if locator.kind == "frames":
        return _read_frames(locator)
    content = _read(locator, None)
    if not content:
        raise MediaError(Reason.FILE_EMPTY, f"{_kind(locator)} is empty")
    if len(content) > MAX_MEMBER_BYTES:
        raise MediaError(Reason.TOO_LARGE, f"{_kind(locator)} has {len(content):,} bytes, over {MAX_MEMBER_BYTES:,}")
    return content


def read_head(locator: Locator, count: int = 4096) -> bytes:
    """The first bytes of a sample, at most ``count``; empty where it is empty. Of frames, those of the first.

    Raises:
        MediaError: As ``read_source``.
    """
    if locator.kind == "frames":
        first = _read_frames(locator).frames[0]
        return first[:count] if isinstance(first, bytes) else read_head(Locator("file", str(first)), count)
    if locator.kind != "file":
        return _read(locator, count)[:count]
    _check_file(locator.path, empty_allowed=True)
    try:
        with open(locator.path, "rb") as file:
            return file.read(count)
    except OSError as error:
        raise _file_error(locator.path, error) from error


# No message names a path: the record has the member, says the same on every machine, and may belong to a private holdout.


def _kind(locator: Locator) -> str:
    return "the Parquet row" if locator.kind == "parquet" else f"the {locator.kind} archive's member"


def _check_file(path: str, *, empty_allowed: bool = False) -> None:
    """Raise for what cannot be opened as a file; opening a pipe would wait for ever."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise _file_error(path, error) from error
    if not stat.S_ISREG(status.st_mode):
        raise MediaError(Reason.UNSUPPORTED, "this is no regular file")
    if not os.access(path, os.R_OK):
        raise MediaError(Reason.FILE_UNREADABLE, "the file may not be read (permission denied)")
    if status.st_size == 0 and not empty_allowed:
        raise MediaError(Reason.FILE_EMPTY, "the file is empty")


def _file_error(path: str, error: OSError | ValueError) -> MediaError:
    code = getattr(error, "errno", None)
    if code == errno.ELOOP:
        return MediaError(Reason.SYMLINK_LOOP, "the symbolic link never ends")
    if code in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG) or isinstance(error, ValueError):
        what = "the symbolic link points to nothing" if os.path.islink(path) else "there is no such file"
        return MediaError(Reason.FILE_MISSING, what)
    why = getattr(error, "strerror", None) or type(error).__name__
    return MediaError(Reason.FILE_UNREADABLE, f"the file cannot be read ({why})")


class _OpenFiles:
    """The archives and Parquet columns that this process has open, the least recently used closed first."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._open: OrderedDict[tuple[str, ...], tuple[tuple[int, ...], Any]] = OrderedDict()

    def get(self, key: tuple[str, ...], path: str, opener: Callable[[], Any]) -> Any:
        """The open file of that key; opened again where the file on disk is another by now."""
        try:
            status = os.stat(path)
        except (OSError, ValueError) as error:
            raise _file_error(path, error) from error
        state = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
        known = self._open.pop(key, None)
        if known is not None and known[0] != state:
            known[1].close()
            known = None
        if known is None:
            while len(self._open) >= _MAX_OPEN:
                self._open.popitem(last=False)[1][1].close()
            known = (state, opener())
        self._open[key] = known
        return known[1]


_files = _OpenFiles()


def _forget_after_fork() -> None:
    """A child shares its parent's file positions: it must open its own, and its lock may have been held elsewhere."""
    global _files
    _files = _OpenFiles()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


def _read(locator: Locator, count: int | None) -> bytes:
    """All bytes of a member or row, or its first ``count`` where that saves work."""
    path, kind = locator.path, locator.kind
    with _files.lock:
        if kind == "parquet":
            column = locator.column
            cursor: ParquetCursor = _files.get((kind, path, column), path, lambda: ParquetCursor(path, column))
            return cursor.read(locator.row)
        assert kind in ("zip", "tar")
        return _archive(kind, path).read(locator.member, count)


def _archive(kind: ArchiveKind, path: str) -> ArchiveReader:
    """An open archive; asked for with the lock held."""
    archive: ArchiveReader = _files.get((kind, path), path, lambda: open_archive(kind, path))
    return archive


def _read_frames(locator: Locator) -> FrameSequence:
    """The frames of a clip, from a folder or an archive."""
    path = locator.path
    try:
        is_folder = stat.S_ISDIR(os.stat(path).st_mode)
        if is_folder:
            return frames_in_folder(path)
    except (OSError, ValueError) as error:
        raise _folder_error(path, error) from error
    kind = archive_kind(path)
    if kind is None:
        raise MediaError(Reason.UNSUPPORTED, "the clip's frames lie in no folder and in no archive")
    with _files.lock:
        return frames_in_archive(_archive(kind, path), locator.member)


def _folder_error(path: str, error: OSError | ValueError) -> MediaError:
    found = _file_error(path, error)
    if found.reason is Reason.FILE_MISSING:
        return MediaError(found.reason, "the clip's folder of frames is not there")
    return found
