"""What kind of media a file is, by its first bytes and by its name."""

from __future__ import annotations

import re

from gasdet.media.matroska import track_kinds
from gasdet.types import Modality

_IMAGE, _VIDEO, _AUDIO = Modality.IMAGE, Modality.VIDEO, Modality.AUDIO

_MAGIC: tuple[tuple[bytes, Modality], ...] = (
    (b"\xff\xd8\xff", _IMAGE),  # JPEG
    (b"\x89PNG\r\n\x1a\n", _IMAGE),
    (b"\x8aMNG\r\n\x1a\n", _VIDEO),
    (b"GIF87a", _IMAGE),
    (b"GIF89a", _IMAGE),
    (b"II*\x00", _IMAGE),  # TIFF
    (b"MM\x00*", _IMAGE),
    (b"II+\x00", _IMAGE),  # BigTIFF
    (b"MM\x00+", _IMAGE),
    (b"\x00\x00\x00\x0cjP  ", _IMAGE),  # JPEG 2000
    (b"\xff\x4f\xff\x51", _IMAGE),
    (b"\xff\x0a", _IMAGE),  # JPEG XL
    (b"\x00\x00\x00\x0cJXL ", _IMAGE),
    (b"8BPS", _IMAGE),  # Photoshop
    (b"qoif", _IMAGE),
    (b"DDS ", _IMAGE),
    (b"icns", _IMAGE),
    (b"\x00\x00\x01\x00", _IMAGE),  # ICO
    (b"\x76\x2f\x31\x01", _IMAGE),  # OpenEXR
    (b"FLV\x01", _VIDEO),
    (b"\x00\x00\x01\xba", _VIDEO),  # MPEG program stream
    (b"\x00\x00\x01\xb3", _VIDEO),  # MPEG video
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", _VIDEO),  # ASF: WMV, and WMA which the head rarely tells apart
    (b"YUV4MPEG2", _VIDEO),
    (b"DKIF", _VIDEO),  # IVF
    (b".RMF", _VIDEO),
    (b"\x06\x0e\x2b\x34\x02\x05\x01\x01", _VIDEO),  # MXF
    (b"fLaC", _AUDIO),
    (b"ID3", _AUDIO),
    (b".snd", _AUDIO),
    (b"NIST_1A\n", _AUDIO),
    (b"caff", _AUDIO),
    (b"#!AMR", _AUDIO),
    (b"\x0b\x77", _AUDIO),  # AC-3
    (b"Creative Voice File", _AUDIO),
    (b"wvpk", _AUDIO),
    (b"MAC ", _AUDIO),
    (b"TTA1", _AUDIO),
    (b"riff\x2e\x91\xcf\x11", _AUDIO),  # Wave64
)
_RIFF = {b"WEBP": _IMAGE, b"AVI ": _VIDEO, b"WAVE": _AUDIO}
_FORM = {b"AIFF": _AUDIO, b"AIFC": _AUDIO, b"8SVX": _AUDIO, b"ILBM": _IMAGE}
_IMAGE_BRANDS = {b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"jxl "}
_AUDIO_BRANDS = {b"M4A ", b"M4B ", b"M4P ", b"F4A ", b"F4B "}
_MOVIE_BOXES = {b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp", b"moof"}
_OGG_VIDEO = (b"\x80theora", b"BBCD", b"OVP80", b"\x01video")


def sniff(head: bytes) -> Modality | None:
    """The modality that a file's first bytes tell, or None where they tell none (text, archives, an empty file).

    Containers that may hold either video or audio are decided by what their head shows: the brand of an MP4 (M4A is
    audio), the codec of an Ogg's first stream, the tracks of a Matroska file where the head reaches them; VIDEO otherwise.

    Args:
        head: At least the first 64 bytes; with 4,096 Matroska and MPEG transport streams are told reliably.
    """
    for magic, modality in _MAGIC:
        if head.startswith(magic):
            return modality
    if head[:4] in (b"RIFF", b"RF64", b"BW64"):
        return _RIFF.get(head[8:12])
    if head[:4] == b"FORM":
        return _FORM.get(head[8:12])
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        return _IMAGE if brand in _IMAGE_BRANDS else _AUDIO if brand in _AUDIO_BRANDS else _VIDEO
    if head[4:8] in _MOVIE_BOXES:
        return _VIDEO
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return _AUDIO if track_kinds(head) == {"audio"} else _VIDEO
    if head[:4] == b"OggS":
        return _VIDEO if any(mark in head for mark in _OGG_VIDEO) else _AUDIO
    if head[:2] == b"BM" and len(head) >= 18 and head[6:10] == bytes(4):
        return _IMAGE
    if re.match(rb"P[1-7f]\s", head):
        return _IMAGE
    if _is_transport_stream(head):
        return _VIDEO
    return _AUDIO if _is_mpeg_audio(head) else None


def _is_transport_stream(head: bytes) -> bool:
    """Whether the sync byte recurs every 188 bytes, or every 192 after a 4-byte time stamp (M2TS)."""
    for start, stride in ((0, 188), (4, 192)):
        marks = head[start::stride]
        if len(marks) >= 3 and set(marks) == {0x47}:
            return True
    return False


def _is_mpeg_audio(head: bytes) -> bool:
    """Whether the head is a frame header of MPEG audio layer II or III, or of ADTS (AAC)."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    if head[1] & 0xF6 == 0xF0:  # ADTS: layer bits are 0
        return head[2] >> 2 & 0xF <= 12
    version, layer, bitrate, rate = head[1] >> 3 & 3, head[1] >> 1 & 3, head[2] >> 4, head[2] >> 2 & 3
    return version != 1 and layer in (1, 2) and bitrate not in (0, 15) and rate != 3


# pt: the waveforms that GASBench keeps, see gasdet.evaluation.waveforms
_SUFFIXES: dict[Modality, str] = {
    _IMAGE: "jpg jpeg jpe jfif png webp avif heic heif gif bmp dib tif tiff jp2 j2k jpx ppm pgm pbm pnm tga ico qoi jxl",
    _VIDEO: "mp4 m4v mov qt mkv webm avi wmv asf flv f4v mpg mpeg mpe m2v ts mts m2ts 3gp 3g2 ogv mxf ivf y4m vob",
    _AUDIO: "wav wave flac mp3 ogg oga opus m4a m4b aac wma aif aiff aifc au snd sph caf amr w64 rf64 ac3 mka weba mp2 pt",
}
_BY_SUFFIX = {suffix: modality for modality, names in _SUFFIXES.items() for suffix in names.split()}


def modality_of_name(name: str) -> Modality | None:
    """The modality that a file's extension stands for, or None; only the last extension counts, in any case."""
    base = re.split(r"[/\\]", name)[-1]
    stem, dot, suffix = base.rpartition(".")
    return _BY_SUFFIX.get(suffix.lower()) if dot and stem else None
