"""Whether a file is as long as its own header says.

Decoders read a file that was cut off as a shorter one, without a word. Where the container states its length, a file
that is shorter is an error here, whichever part of it is wanted: half a download is not the sample that was planned.
A PNG must have its last chunk (IEND, which the format demands), even where all rows of pixels can be read without it.
Containers that state no length (live recordings, MPEG streams, ADTS) cannot be judged and are not.
"""

from __future__ import annotations

import re
from typing import BinaryIO

from gasdet.errors import MediaError
from gasdet.media.matroska import segment_end
from gasdet.media.properties.parts import png_chunks
from gasdet.types import Reason

SLACK = 256
"""Bytes by which the size of a recording may be off: some writers count the header in."""

_PLACEHOLDER = 0x7FFFF000
"""Sizes from here on are what programs write to a pipe, before they know."""


def check_complete(file: BinaryIO, size: int) -> None:
    """Compare a file's size with what its container states.

    Args:
        file: Seekable; it is left at its start.
        size: Bytes in it.

    Raises:
        MediaError: TRUNCATED.
    """
    file.seek(0)
    head = file.read(4096)
    stated, slack = _stated_end(file, head, size)
    file.seek(0)
    if stated is not None and stated > size + slack:
        raise MediaError(Reason.TRUNCATED, f"The file ends after {size} bytes; its header says at least {stated}.")


def _stated_end(file: BinaryIO, head: bytes, size: int) -> tuple[int | None, int]:
    """Where the content ends by its own statement (None: not stated), and how many bytes that may be off."""
    if head[:4] in (b"RIFF", b"RF64", b"BW64"):
        return _riff_end(file, head, size), 0 if head[8:12] == b"AVI " else SLACK
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return 8 + int.from_bytes(head[4:8], "big"), SLACK
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return segment_end(head), 0
    if head[:4] == b"OggS":
        return _ogg_end(file, size), 0
    if head[:4] == b".snd" and len(head) >= 12:
        offset, length = int.from_bytes(head[4:8], "big"), int.from_bytes(head[8:12], "big")
        return (offset + length if length < _PLACEHOLDER else None), SLACK
    if head[:12] == b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb" and len(head) >= 24:
        return int.from_bytes(head[16:24], "little"), SLACK
    if head[:8] == b"NIST_1A\n":
        return _sphere_end(head), SLACK
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return _png_end(file, size), 0
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip", b"styp"):
        return _movie_end(file, size), 0
    return None, 0


def _png_end(file: BinaryIO, size: int) -> int | None:
    """End of a PNG's last chunk; the least that it can be where the file ends before that (PNG specification, 5.3)."""
    end = 8
    for kind, start, length in png_chunks(file):
        if not kind.isalpha() or length >= 1 << 31:  # no chunk: damage, which the decoder judges
            return None
        end = start + length + 4
        if kind == b"IEND":
            return end
    return end if end > size else end + 12


def _movie_end(file: BinaryIO, size: int) -> int | None:
    """End of the last media or index box at the top level of an MP4 or QuickTime file."""
    at, end = 0, None
    while at + 8 <= size:
        file.seek(at)
        header = file.read(16)
        length, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1 and len(header) == 16:
            length = int.from_bytes(header[8:], "big")
        if length < 8:  # 0: to the end of the file; else no box
            break
        at += length
        if kind in (b"moov", b"mdat", b"moof"):
            end = at
        elif not kind.isalnum():
            break
    return end


def _riff_end(file: BinaryIO, head: bytes, size: int) -> int | None:
    """End of the chunk that holds the samples or frames: "data" of WAVE, the list "movi" of AVI."""
    wide: dict[bytes, int] = {}
    at = 12
    while at + 8 <= size:
        file.seek(at)
        header = file.read(36)
        kind, length = header[:4], int.from_bytes(header[4:8], "little")
        if kind == b"ds64" and len(header) >= 24:
            wide[b"data"] = int.from_bytes(header[16:24], "little")
        is_content = kind == b"data" or (kind == b"LIST" and header[8:12] == b"movi")
        if is_content:
            if length >= _PLACEHOLDER:
                return at + 8 + wide[kind] if kind in wide and head[:4] != b"RIFF" else None
            return at + 8 + length if length else None
        if at + 8 + length > size:  # the content would have to follow
            return at + 8 + length
        at += 8 + length + length % 2
    return None


def _ogg_end(file: BinaryIO, size: int) -> int | None:
    """End of the last page."""
    start = max(0, size - 70_000)  # a page has at most 65,307 bytes
    file.seek(start)
    tail = file.read()
    at = tail.rfind(b"OggS")
    if at < 0:
        return None
    if at + 27 > len(tail):
        return start + at + 27
    count = tail[at + 26]
    lacing = tail[at + 27 : at + 27 + count]
    if len(lacing) < count:
        return start + at + 27 + count
    return start + at + 27 + count + sum(lacing)


def _sphere_end(head: bytes) -> int | None:
    """End of the samples of a NIST SPHERE file that are not compressed."""
    fields = dict(re.findall(rb"^(\w+) -\S+ (\S+)\s*$", head[:1024], re.MULTILINE))
    if fields.get(b"sample_coding", b"pcm") not in (b"pcm", b"ulaw", b"alaw"):
        return None
    try:
        start = int(head[8:16])
        count, width = int(fields[b"sample_count"]), int(fields[b"sample_n_bytes"])
        return start + count * width * int(fields.get(b"channel_count", b"1"))
    except (KeyError, ValueError):
        return None
