"""A JPEG's segments up to its first scan (ITU-T T.81, Annex B): tables, sampling, and which segments there are."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

from gasdet.media.decoded import Array

_START_OF_SCAN, _END = 0xDA, 0xD9
_QUANTISATION, _HUFFMAN, _RESTART, _COMMENT = 0xDB, 0xC4, 0xDD, 0xFE
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
_FRAMES = {*range(0xC0, 0xD0)} - {_HUFFMAN, 0xC8, 0xCC}
_NAMES = {
    _START_OF_SCAN: "SOS",
    _END: "EOI",
    _QUANTISATION: "DQT",
    _HUFFMAN: "DHT",
    _RESTART: "DRI",
    _COMMENT: "COM",
    0xCC: "DAC",
}
_APPLICATIONS = (
    (b"JFIF\0", "JFIF"),
    (b"JFXX\0", "JFXX"),
    (b"Exif\0", "Exif"),
    (b"http://ns.adobe.com/xap/", "XMP"),
    (b"http://ns.adobe.com/xmp/", "XMP"),
    (b"ICC_PROFILE\0", "ICC"),
    (b"MPF\0", "MPF"),
    (b"Photoshop 3.0\0", "Photoshop"),
    (b"Adobe", "Adobe"),
    (b"Ducky", "Ducky"),
    (b"JP", "JUMBF"),
)
_TYPICAL_HUFFMAN = frozenset({"2f66814c", "602f734c", "13f90e3c", "a6283a08"})
"""Hashes of tables K.3 to K.6: direct and alternating current, luminance and chrominance."""


@dataclass(slots=True)
class JpegHeader:
    """What stands before the first scan.

    Attributes:
        frame: Number of the start-of-frame marker less 0xC0: 0 baseline, 1 extended, 2 progressive, 3 lossless, 9 and up
            arithmetic coding; -1 where there is none.
        precision: Bits a sample; 0 where there is no frame.
        sampling: Horizontal and vertical sampling factor of every component, with the number of its quantisation table.
        tables: Quantisation tables by number, ``[64]`` in zigzag order.
        huffman: Short hashes of the Huffman tables.
        restart: Blocks between restart markers; 0 for none.
        segments: Names of the segments in their order; ``APP1:Exif`` and its like once for several in a row.
        c2pa: Whether a JUMBF segment holds content credentials.
    """

    frame: int = -1
    precision: int = 0
    sampling: list[tuple[int, int, int]] = field(default_factory=list)
    tables: dict[int, Array] = field(default_factory=dict)
    huffman: set[str] = field(default_factory=set)
    restart: int = 0
    segments: list[str] = field(default_factory=list)
    c2pa: bool = False

    @property
    def ordered_tables(self) -> list[Array]:
        """The components' tables, in the order of the components."""
        return [self.tables[number] for _, _, number in self.sampling if number in self.tables]

    @property
    def chrominance(self) -> Array | None:
        """The second component's table where it is another than the first's, as of chrominance: of CMYK and RGB it is not."""
        if len(self.sampling) < 2 or self.sampling[1][2] == self.sampling[0][2]:
            return None
        return self.tables.get(self.sampling[1][2])

    @property
    def optimised(self) -> bool:
        """Whether a Huffman table is there that is none of the specification's typical ones (T.81, Annex K.3)."""
        return bool(self.huffman - _TYPICAL_HUFFMAN)

    @property
    def subsampling(self) -> str | None:
        """4:2:0 and its like; the factors of all components where they are none of the usual ones."""
        if not self.sampling:
            return None
        if len(self.sampling) == 1:
            return "4:0:0"
        factors = [(h, v) for h, v, _ in self.sampling]
        rest = set(factors[1:3])
        if len(rest) == 1:
            across, down = rest.pop()
            name = _SUBSAMPLINGS.get((factors[0][0] / max(across, 1), factors[0][1] / max(down, 1)))
            if name:
                return name
        return " ".join(f"{h}x{v}" for h, v in factors)


_SUBSAMPLINGS: dict[tuple[float, float], str] = {
    (1, 1): "4:4:4",
    (2, 1): "4:2:2",
    (2, 2): "4:2:0",
    (1, 2): "4:4:0",
    (4, 1): "4:1:1",
    (4, 2): "4:1:0",
}
"""How much more often luminance is sampled than chrominance, across and down, to the usual name."""


def read_jpeg_header(file: BinaryIO) -> JpegHeader:
    """Walk through the segments up to the first scan. What is damaged ends the walk; what was found until there counts.

    Args:
        file: Seekable, a JPEG.
    """
    header = JpegHeader()
    file.seek(2)
    while (marker := _next_marker(file)) not in (None, _START_OF_SCAN, _END):
        assert marker is not None
        if marker in _WITHOUT_LENGTH:
            continue
        length = int.from_bytes(file.read(2), "big") - 2
        if length < 0:
            break
        data = file.read(length)
        if len(data) < length:
            break
        _take(header, marker, data)
    if marker is not None:
        header.segments.append(_NAMES.get(marker, ""))
    return header


def _next_marker(file: BinaryIO) -> int | None:
    """The code of the marker that comes next (a marker may be led by any number of 0xFF); None where none does."""
    if file.read(1) != b"\xff":
        return None
    code = file.read(1)
    while code == b"\xff":
        code = file.read(1)
    return code[0] if code and code != b"\0" else None


def _take(header: JpegHeader, marker: int, data: bytes) -> None:
    """Note what one segment says."""
    name = _segment_name(marker, data)
    if not (marker & 0xF0 == 0xE0 and header.segments[-1:] == [name]):
        header.segments.append(name)
    if marker == _QUANTISATION:
        _take_tables(header, data)
    elif marker == _HUFFMAN:
        _take_huffman(header, data)
    elif marker == _RESTART and len(data) >= 2:
        header.restart = int.from_bytes(data[:2], "big")
    elif marker in _FRAMES and header.frame < 0 and len(data) >= 6:
        header.frame, header.precision = marker - 0xC0, data[0]
        parts = [data[at : at + 3] for at in range(6, 6 + 3 * data[5], 3)]
        header.sampling = [(part[1] >> 4, part[1] & 15, part[2]) for part in parts if len(part) == 3]
    elif name == "APP11:JUMBF":
        header.c2pa = header.c2pa or b"c2pa" in data


def _segment_name(marker: int, data: bytes) -> str:
    if marker & 0xF0 == 0xE0:
        kind = next((kind for head, kind in _APPLICATIONS if data.startswith(head)), "")
        return f"APP{marker & 15}:{kind}" if kind else f"APP{marker & 15}"
    return f"SOF{marker - 0xC0}" if marker in _FRAMES else _NAMES.get(marker, f"{marker:02X}")


def _take_tables(header: JpegHeader, data: bytes) -> None:
    """The quantisation tables of one segment: 64 entries of 8 or 16 bits each (T.81, B.2.4.1)."""
    at = 0
    while at < len(data):
        wide, number = data[at] >> 4, data[at] & 15
        size = 128 if wide else 64
        entries = np.frombuffer(data[at + 1 : at + 1 + size], ">u2" if wide else np.uint8)
        if entries.size < 64:
            return
        header.tables[number] = entries.astype(np.int32)
        at += 1 + size


def _take_huffman(header: JpegHeader, data: bytes) -> None:
    """The Huffman tables of one segment: class and number, 16 counts, and as many values (T.81, B.2.4.2)."""
    at = 0
    while at + 17 <= len(data):
        end = at + 17 + sum(data[at + 1 : at + 17])
        header.huffman.add(hashlib.sha256(data[at + 1 : end]).hexdigest()[:8])
        at = end
