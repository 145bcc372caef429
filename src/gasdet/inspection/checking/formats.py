"""Whether a file's extension and its content say the same format."""

from __future__ import annotations

import re

from gasdet.media import sniff
from gasdet.types import Modality

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF8", "gif"),
    (b"BM", "bmp"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),
    (b"MM\x00+", "tiff"),
    (b"\x00\x00\x00\x0cjP  ", "jpeg 2000"),
    (b"\xff\x4f\xff\x51", "jpeg 2000"),
    (b"\x00\x00\x01\x00", "ico"),
    (b"qoif", "qoi"),
    (b"\x1a\x45\xdf\xa3", "matroska"),
    (b"FLV\x01", "flv"),
    (b"\x00\x00\x01\xba", "mpeg"),
    (b"\x00\x00\x01\xb3", "mpeg"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (b"OggS", "ogg"),
    (b"fLaC", "flac"),
    (b"ID3", "mpeg audio"),
    (b".snd", "au"),
    (b"NIST_1A\n", "sphere"),
    (b"caff", "caf"),
    (b"#!AMR", "amr"),
    (b"\x0b\x77", "ac3"),
    (b"riff\x2e\x91\xcf\x11", "wave64"),
)
_RIFF = {b"WEBP": "webp", b"AVI ": "avi", b"WAVE": "wav"}
_EXTENSIONS = {
    "jpeg": "jpg jpeg jpe jfif mpo",
    "png": "png apng",
    "gif": "gif",
    "bmp": "bmp dib",
    "tiff": "tif tiff",
    "jpeg 2000": "jp2 j2k jpx jpf jpc",
    "heif": "heic heif avif hif",
    "ico": "ico",
    "qoi": "qoi",
    "pnm": "ppm pgm pbm pnm pfm",
    "webp": "webp",
    "avi": "avi",
    "wav": "wav wave rf64 bwf",
    "mp4": "mp4 m4v mov qt m4a m4b 3gp 3g2 f4v",
    "matroska": "mkv webm mka weba",
    "flv": "flv",
    "mpeg": "mpg mpeg mpe m2v vob",
    "mpeg-ts": "ts mts m2ts",
    "asf": "wmv asf wma",
    "ogg": "ogg oga ogv opus spx",
    "flac": "flac",
    "mpeg audio": "mp3 mp2 mpga",
    "adts": "aac adts",
    "aiff": "aif aiff aifc",
    "au": "au snd",
    "sphere": "sph nist",
    "caf": "caf",
    "amr": "amr",
    "ac3": "ac3",
    "wave64": "w64",
}
_BY_EXTENSION = {extension: name for name, extensions in _EXTENSIONS.items() for extension in extensions.split()}
_TAGGED = {"flac", "adts"}
"""Formats whose files may begin with an ID3 tag, which is otherwise the mark of MP3."""


def format_of(head: bytes) -> str:
    """The format that a file's first bytes tell; empty where none is known.

    Formats that share a container count as one: "mp4" is MP4, QuickTime and M4A, "matroska" also WebM.

    Args:
        head: At least the first 64 bytes; 600 tell an MPEG transport stream.
    """
    if head[:4] in (b"RIFF", b"RF64", b"BW64"):
        return _RIFF.get(head[8:12], "")
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    modality = sniff(head)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"moof"):
        return "heif" if modality is Modality.IMAGE else "mp4"
    if re.match(rb"P[1-7Ff]\s", head):
        return "pnm"
    for magic, name in _MAGIC:
        if head.startswith(magic):
            # Two letters are no proof: a text may begin with them.
            return name if modality is not None else ""
    if modality is Modality.AUDIO and head[:1] == b"\xff":
        return "adts" if head[1] & 0xF6 == 0xF0 else "mpeg audio"
    is_transport = modality is Modality.VIDEO and 0x47 in (head[0], head[4])
    return "mpeg-ts" if is_transport else ""


def format_of_name(name: str) -> str:
    """The format that a file's extension stands for; empty where it stands for none that is known here."""
    base = name.rpartition("/")[2]
    stem, _, extension = base.rpartition(".")
    return _BY_EXTENSION.get(extension.lower(), "") if stem else ""


def contradiction(name: str, found: str) -> str:
    """What is wrong with a file's extension, in words; empty where nothing is, or where either side says nothing.

    Args:
        name: Of the file.
        found: The format of its content, as :func:`format_of` tells.
    """
    claimed = format_of_name(name)
    if not claimed or not found or claimed == found or (found == "mpeg audio" and claimed in _TAGGED):
        return ""
    return f"The extension says {claimed}, the content is {found}"
