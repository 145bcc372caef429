"""The parts that a file is made of, in their order: PNG chunks, RIFF chunks, ISO boxes, FLAC blocks.

Only the parts' heads are read. Each walk ends at the first head that makes no sense, and after many parts: a file that is
damaged or hostile has the parts that were found until there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

_MOST_PARTS = 100_000
_LONGEST = 40
"""Names in a structure; what comes after them is left out."""

Part = tuple[bytes, int, int]
"""Kind, where the body starts in the file, and its length."""


def png_chunks(file: BinaryIO) -> Iterator[Part]:
    """The chunks of a PNG (length, type, body, checksum)."""
    at = 8
    for _ in range(_MOST_PARTS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        length = int.from_bytes(head[:4], "big")
        yield head[4:], at + 8, length
        at += 12 + length


def riff_chunks(file: BinaryIO, start: int = 12) -> Iterator[Part]:
    """The chunks at the top level of a RIFF file (WAV, WebP, AVI), bodies padded to an even length."""
    at = start
    for _ in range(_MOST_PARTS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        length = int.from_bytes(head[4:], "little")
        yield head[:4], at + 8, length
        at += 8 + length + length % 2


def boxes(file: BinaryIO, start: int, end: int) -> Iterator[Part]:
    """The boxes of an ISO base media file (MP4, QuickTime, AVIF, HEIC) within a range (ISO/IEC 14496-12, 4.2)."""
    at = start
    for _ in range(_MOST_PARTS):
        if at + 8 > end:
            return
        file.seek(at)
        head = file.read(16)
        length, body = int.from_bytes(head[:4], "big"), at + 8
        if length == 1 and len(head) == 16:
            length, body = int.from_bytes(head[8:], "big"), at + 16
        elif length == 0:  # to the end
            length = end - at
        if len(head) < 8 or at + length < body:
            return
        yield head[4:8], body, at + length - body
        at += length


def flac_blocks(file: BinaryIO) -> Iterator[Part]:
    """The metadata blocks of a FLAC file (RFC 9639, 8.1), by their number."""
    at = 4
    for _ in range(_MOST_PARTS):
        file.seek(at)
        head = file.read(4)
        if len(head) < 4:
            return
        length = int.from_bytes(head[1:], "big")
        yield str(head[0] & 0x7F).encode(), at + 4, length
        if head[0] & 0x80:
            return
        at += 4 + length


def structure(parts: Iterator[Part] | list[Part]) -> str | None:
    """The parts' kinds in their order, several of a kind in a row as one; None where there are none."""
    names: list[str] = []
    for kind, _, _ in parts:
        name = kind.decode("latin-1").strip().replace(" ", "_")
        name = name if name.isprintable() else kind.hex()
        if names[-1:] != [name]:
            names.append(name)
        if len(names) == _LONGEST:
            break
    return " ".join(names) or None


def body_of(file: BinaryIO, part: Part, most: int = 1 << 16) -> bytes:
    """A part's body, at most so many bytes of it."""
    file.seek(part[1])
    return file.read(min(part[2], most))


C2PA_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
"""The user type of the ``uuid`` box that holds content credentials in ISO base media files (C2PA specification, A.5)."""


def has_c2pa_box(file: BinaryIO, parts: list[Part]) -> bool:
    """Whether one of the boxes holds content credentials."""
    return any(kind == b"uuid" and body_of(file, (kind, at, 16)) == C2PA_BOX for kind, at, _ in parts)
