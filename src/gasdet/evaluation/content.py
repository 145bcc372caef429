"""What a sample's content is known by, wherever it lies and whatever it is called."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from gasdet.media.frames import Source


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits.

    Raises:
        OSError: It cannot be read.
    """
    with open(path, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_sha256(source: Source, of_file: Callable[[Path], str] = file_sha256) -> str:
    """64 hex digits that are equal where contents are.

    Of a file or its bytes their SHA-256; of a clip's frames one over those of the frames in their order, and the frame rate.

    Args:
        source: What ``gasdet.data.read_source`` gives.
        of_file: How a file's SHA-256 is had.

    Raises:
        OSError: A file cannot be read.
    """
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    if isinstance(source, Path):
        return of_file(source)
    parts = [content_sha256(frame, of_file) for frame in source.frames]
    return hashlib.sha256("\n".join([f"frames at {source.frame_rate!r}", *parts]).encode()).hexdigest()
