"""Damage in pictures that decoders pass over without a word."""

from __future__ import annotations

import io
import zlib

from gasdet.media.jpeg import jpeg_warning
from gasdet.media.properties.parts import png_chunks


def picture_damage(data: bytes) -> str:
    """What is damaged in a picture that can be decoded all the same, in a few words; empty where nothing is known to be.

    Of a JPEG, what libjpeg warns of; of a PNG, the first chunk whose checksum is wrong (Pillow checks those before the pixels
    only). Other formats have nothing to tell by, or their decoders refuse what is damaged.

    Args:
        data: The file.
    """
    if data.startswith(b"\xff\xd8"):
        warning = jpeg_warning(data)
        return f"libjpeg warns of {warning}" if warning else ""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _wrong_checksum(data)
    return ""


def _wrong_checksum(data: bytes) -> str:
    view = memoryview(data)
    for kind, start, length in png_chunks(io.BytesIO(data)):
        end = start + length
        if zlib.crc32(view[start - 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            return f"the checksum of its {kind.decode('latin-1')} chunk is wrong"
        if kind == b"IEND":
            break
    return ""
