"""What tells cheaply that an archive or a Parquet file is another than before: its size and its own index."""

from __future__ import annotations

import hashlib
import os
from typing import IO

from gasdet.data.names import archive_kind
from gasdet.types import LocatorKind

TAIL_BYTES = 64 * 2**10 + 256
"""The end of a zip: its closing record with the longest comment, and the records of zip64 before it."""
_CHUNK_BYTES = 2**20


def container_state(kind: LocatorKind, path: str) -> str:
    """The size of a Parquet file, zip or tar and a hash of its index, which stands at its end; "absent" without the file.

    The index is a Parquet file's footer (sizes, places and statistics of all pages), and a zip's central directory (sizes
    and checksums of all members). A tar has none: its last 64 KiB are taken, in which gzip and bzip2 keep a checksum, and
    xz the sizes, of everything before. The cost is that of reading the index, whatever the size of the file.

    Args:
        kind: "parquet", "zip", "tar" or "frames". A folder of frames has as its state the names and sizes of the files in it.
        path: The file or folder. Its name is no part of the answer.
    """
    try:
        if kind == "frames":
            if os.path.isdir(path):
                return _folder_state(path)
            kind = archive_kind(path) or kind
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            tail = _tail(file, size)
            length = {"parquet": _footer, "zip": _directory}.get(kind, len)(tail)
            return f"{size} {_hash_from(file, max(size - length, 0))}"
    except OSError:  # that a sample lacks its file is told where it is read
        return "absent"


def zip_directory_bytes(file: IO[bytes]) -> int:
    """Bytes from where a zip's central directory says that it begins to the end of the file; at most 64 KiB for no zip.

    Raises:
        OSError: The file cannot be read.
    """
    return _directory(_tail(file, file.seek(0, os.SEEK_END)))


def _folder_state(path: str) -> str:
    """How many files a folder holds, and a hash of their names and sizes."""
    with os.scandir(path) as listed:
        found = sorted((os.fsencode(item.name), _size_of(item)) for item in listed)
    digest = hashlib.sha256()
    for name, size in found:
        digest.update(name + f"\0{size}\n".encode())
    return f"{len(found)} {digest.hexdigest()}"


def _size_of(item: os.DirEntry[str]) -> int:
    try:
        return item.stat().st_size
    except OSError:  # a link that points to nothing
        return -1


def _tail(file: IO[bytes], size: int) -> bytes:
    file.seek(max(size - TAIL_BYTES, 0))
    return file.read(TAIL_BYTES)


def _hash_from(file: IO[bytes], start: int) -> str:
    digest = hashlib.sha256()
    file.seek(start)
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _footer(tail: bytes) -> int:
    """Bytes from the start of a Parquet file's footer to its end: footer, its length in four bytes, ``PAR1``."""
    return int.from_bytes(tail[-8:-4], "little") + 8 if tail.endswith(b"PAR1") else len(tail)


def _directory(tail: bytes) -> int:
    """Bytes from the start of a zip's central directory to the end of the file (APPNOTE.TXT 4.3.14 and 4.3.16)."""
    end = tail.rfind(b"PK\x05\x06")
    if end < 0:
        return len(tail)
    size = int.from_bytes(tail[end + 12 : end + 16], "little")
    large = tail.rfind(b"PK\x06\x06", 0, end)
    if size == 0xFFFFFFFF and large >= 0:
        end, size = large, int.from_bytes(tail[large + 40 : large + 48], "little")
    return len(tail) - end + size
