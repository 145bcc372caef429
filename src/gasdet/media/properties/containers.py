"""What a container of clips or recordings is called, and what its metadata say."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from gasdet.media.properties.parts import Part, body_of, boxes
from gasdet.media.properties.text import clean

_WEBM = re.compile(rb"\x42\x82.{1,8}webm", re.DOTALL)
"""The element DocType: its id, the length of its text in one to eight bytes, the text."""

_NAMES = {"nistsphere": "sphere", "yuv4mpegpipe": "y4m", "mov": "quicktime"}


def container_name(head: bytes, demuxer: str) -> str:
    """One name for a container: FFmpeg's, but MP4 and QuickTime, and WebM and Matroska, kept apart by what the head says.

    Args:
        head: The file's first bytes.
        demuxer: FFmpeg's name of the format, or names with commas between.
    """
    if head[4:8] == b"ftyp":
        return "quicktime" if head[8:12] == b"qt  " else "3gp" if head[8:10] in (b"3g", b"3G") else "mp4"
    if demuxer.startswith("matroska"):
        return "webm" if _WEBM.search(head[:256]) else "matroska"
    first = demuxer.split(",")[0]
    return _NAMES.get(first, first)


def metadata_of(holders: Iterable[Any]) -> dict[str, str]:
    """The metadata of a container and its streams, keys in lower case; the first holder that has a key counts."""
    found: dict[str, str] = {}
    for holder in holders:
        for key, value in holder.metadata.items():
            found.setdefault(key.lower(), value)
    return found


def metadata_keys(metadata: dict[str, str]) -> str | None:
    """The names of the entries, sorted."""
    return clean(" ".join(sorted(metadata)), 300)


def encoder_of(metadata: dict[str, str]) -> str | None:
    """The program that wrote the file, by the entry that names it."""
    keys = ("encoder", "software", "com.apple.quicktime.software", "encoding_tool", "encoded_by", "writing_library")
    return next((text for key in keys if (text := clean(metadata.get(key)))), None)


def rotation(file: BinaryIO, size: int, parts: list[Part]) -> str:
    """Clockwise degrees by which an MP4's or QuickTime's first picture track is turned (ISO/IEC 14496-12, 8.3.2: tkhd)."""
    for kind, at, length in parts:
        if kind != b"moov":
            continue
        for header in _track_headers(file, at, at + length):
            if len(header) < 84:
                continue
            start = 52 if header[0] else 40  # version 1 has times of 64 bits
            numbers = [int.from_bytes(header[i : i + 4], "big", signed=True) for i in range(start, start + 44, 4)]
            width, height = numbers[9:11]
            if width and height:
                return str(round(math.degrees(math.atan2(numbers[1], numbers[0]))) % 360)
    return "0"


def _track_headers(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    for kind, at, length in list(boxes(file, start, end)):
        if kind == b"trak":
            for inner in list(boxes(file, at, at + length)):
                if inner[0] == b"tkhd":
                    yield body_of(file, inner, 128)
