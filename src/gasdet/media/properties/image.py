"""Properties of images: from Pillow's header, and from the segments, chunks or boxes that Pillow does not report."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gasdet.media.completeness import check_complete
from gasdet.media.decoded import MediaLimits
from gasdet.media.image import open_image
from gasdet.media.properties.ijg import estimate_quality
from gasdet.media.properties.jpeg_header import JpegHeader, read_jpeg_header
from gasdet.media.properties.parts import Part, body_of, boxes, has_c2pa_box, png_chunks, riff_chunks, structure
from gasdet.media.properties.spec import Value
from gasdet.media.properties.text import clean, maker_of
from gasdet.media.source import open_source, read_all

if TYPE_CHECKING:
    from PIL.Image import Image

_MAKE, _MODEL, _SOFTWARE, _ORIENTATION, _EXIF_FOLDER = 0x010F, 0x0110, 0x0131, 0x0112, 0x8769
_DEPTHS = {"1": 1, "I": 32, "F": 32}
_XMP_TEXT = "XML:com.adobe.xmp"
_EXIF_TEXTS = {"Raw profile type exif", "Raw profile type APP1"}


def image_properties(source: Path | bytes, limits: MediaLimits) -> dict[str, Value]:
    """Properties of an image; its pixels are not decoded.

    Raises:
        MediaError: It cannot be opened, with the reason.
    """
    file, size = open_source(source, limits)
    with file:
        check_complete(file, size)
        data = read_all(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata, as where images are decoded
        with open_image(data) as image:
            found = _of_pillow(image, data)
            found |= _of_parts(image, data)
            found["animated"] = _is_animated(image)  # last: looking for further frames moves some readers on
    found["file_bytes"] = size
    found["bytes_per_pixel"] = size / max(1, image.width * image.height)
    return found


def _of_pillow(image: Image, data: bytes) -> dict[str, Value]:
    width, height = image.size
    info = image.info
    exif = _exif(image, data)
    orientation = exif.get(_ORIENTATION)
    profile = info.get("icc_profile")
    return {
        "container": (image.format or "").lower(),
        "codec": _codec(image),
        "width": width,
        "height": height,
        "aspect": width / max(1, height),
        "megapixels": width * height / 1e6,
        "orientation": str(orientation) if isinstance(orientation, int) else None,
        "colour_mode": image.mode,
        "bit_depth": 16 if image.mode.startswith("I;16") else _DEPTHS.get(image.mode, 8),
        "alpha": "transparency" in info or image.mode in ("RGBA", "RGBa", "LA", "La", "PA"),
        # A TIFF's own tags are what Pillow gives as EXIF; only the folder of camera tags makes it that.
        "exif": _EXIF_FOLDER in exif if image.format == "TIFF" else bool(info.get("exif")),
        "icc": bool(profile),
        "xmp": "xmp" in info or _XMP_TEXT in info,
        "c2pa": False,
        "maker": maker_of(exif.get(_MAKE), exif.get(_MODEL)),
        "software": clean(exif.get(_SOFTWARE)) or clean(info.get("Software")),
        "icc_profile": hashlib.sha256(profile).hexdigest()[:12] if isinstance(profile, bytes) and profile else None,
        "text": "comment" if info.get("comment") else None,
        "density": _density(info.get("dpi")),
    }


def _exif(image: Image, data: bytes) -> Mapping[int, Any]:
    if image.format == "PNG":  # Pillow would decode the pixels to see whether a block follows them
        file = io.BytesIO(data)
        block = next((body_of(file, chunk) for chunk in png_chunks(file) if chunk[0] == b"eXIf"), b"")
        if not block and not _EXIF_TEXTS & image.info.keys():
            return {}
        image.info.setdefault("exif", block)
    try:
        return dict(image.getexif())
    except Exception:  # a damaged block; that there is one is known from the file's parts
        return {}


def _codec(image: Image) -> str:
    """How the pixels are coded, where Pillow's header or the format itself tells."""
    if image.format == "TIFF":
        return str(image.info.get("compression", "raw"))
    return {"PNG": "deflate", "GIF": "lzw", "AVIF": "av1"}.get(image.format or "", (image.format or "").lower())


def _density(dpi: Any) -> str | None:
    try:
        across, down = (round(float(value)) for value in dpi)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        return None
    return f"{across} x {down}"


def _is_animated(image: Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # damage after the first frame
        return False


def _of_parts(image: Image, data: bytes) -> dict[str, Value]:
    """What the file's own parts tell, over what Pillow says."""
    file = io.BytesIO(data)
    if image.format in ("JPEG", "MPO"):
        return _of_jpeg(read_jpeg_header(file))
    if image.format == "PNG":
        return _of_png(file, list(png_chunks(file)))
    if image.format == "WEBP":
        return _of_webp(file, list(riff_chunks(file)))
    if data[4:8] == b"ftyp":
        return _of_boxes(file, list(boxes(file, 0, len(data))))
    return {}


def _of_jpeg(header: JpegHeader) -> dict[str, Value]:
    found: dict[str, Value] = {
        "codec": "lossless" if header.frame == 3 else "dct-arithmetic" if header.frame >= 9 else "dct",
        "bit_depth": header.precision or None,
        "chroma_subsampling": header.subsampling,
        "progressive": header.frame in (2, 6, 10, 14),
        "jpeg_restart": header.restart > 0,
        "jpeg_optimised": header.optimised,
        "structure": " ".join(header.segments),
        "c2pa": header.c2pa,
    }
    tables = header.ordered_tables
    if tables:
        joined = b"".join(table.astype(">u2").tobytes() for table in tables)
        found["jpeg_tables"] = hashlib.sha256(joined).hexdigest()[:12]
        quality, distance = estimate_quality(tables[0], header.chrominance)
        found["jpeg_quality"], found["jpeg_fit"] = quality, distance
    # A damaged block, which Pillow passes over, is a block.
    for flag, kind in (("exif", "APP1:Exif"), ("xmp", "APP1:XMP"), ("icc", "APP2:ICC")):
        if kind in header.segments:
            found[flag] = True
    return found


def _of_png(file: io.BytesIO, chunks: list[Part]) -> dict[str, Value]:
    header = next((body_of(file, chunk) for chunk in chunks if chunk[0] == b"IHDR"), b"")
    kinds = {kind for kind, _, _ in chunks}
    texts = {
        body_of(file, chunk, 80).split(b"\0")[0].decode("latin-1")
        for chunk in chunks
        if chunk[0] in (b"tEXt", b"zTXt", b"iTXt")
    }
    found: dict[str, Value] = {
        "structure": structure(chunks),
        "text": clean(", ".join(sorted(texts - {_XMP_TEXT})), 300),
        "c2pa": b"caBX" in kinds,
    }
    if len(header) >= 13:
        found["bit_depth"], found["progressive"] = header[8], header[12] == 1
    if b"eXIf" in kinds or texts & _EXIF_TEXTS:
        found["exif"] = True
    if b"iCCP" in kinds:
        found["icc"] = True
    if _XMP_TEXT in texts:
        found["xmp"] = True
    return found


def _of_webp(file: io.BytesIO, chunks: list[Part]) -> dict[str, Value]:
    kinds = [kind for kind, _, _ in chunks]
    inner = next((chunk for chunk in chunks if chunk[0] == b"ANMF"), None)
    if inner is not None:  # a frame of an animation: 16 bytes of its own, then chunks
        kinds += [kind for kind, at, _ in riff_chunks(file, inner[1] + 16) if at < inner[1] + inner[2]]
    lossless = b"VP8L" in kinds
    return {
        "codec": "vp8l" if lossless else "vp8",
        "chroma_subsampling": None if lossless else "4:2:0",  # RFC 6386, 2: VP8 knows no other
        "structure": structure(chunks),
        "c2pa": b"C2PA" in kinds,
    }


def _of_boxes(file: io.BytesIO, parts: list[Part]) -> dict[str, Value]:
    """Of AVIF: the coding's depth and subsampling by its configuration box (AV1 in ISOBMFF, 2.3.3)."""
    found: dict[str, Value] = {"structure": structure(parts), "c2pa": has_c2pa_box(file, parts)}
    meta = next((body_of(file, part) for part in parts if part[0] == b"meta"), b"")
    at = meta.find(b"av1C")
    if at >= 0 and at + 7 <= len(meta):
        bits = meta[at + 6]
        deep, deeper, grey, across, down = (bool(bits >> shift & 1) for shift in (6, 5, 4, 3, 2))
        found["bit_depth"] = 12 if deep and deeper else 10 if deep else 8
        found["chroma_subsampling"] = (
            "4:0:0" if grey else "4:2:0" if across and down else "4:2:2" if across else "4:4:4"
        )
    return found
