"""Images: decoded by Pillow, RGB as its ``convert("RGB")`` gives it, then cropped and resized.

Beyond ``convert("RGB")``: 16-bit grayscale is scaled to 8 bits by its high byte, where Pillow would clip it to white (a
16-bit RGB PNG comes from Pillow scaled in the same way). Of an animation or a multi-page file the first frame counts.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gasdet.errors import MediaError
from gasdet.media.completeness import check_complete
from gasdet.media.decoded import MIB, Array, Decoded, MediaLimits
from gasdet.media.geometry import Box, fit, fit_region, planar, source_box
from gasdet.media.jpeg import decode_jpeg
from gasdet.media.region import FindRegions, crop_image
from gasdet.media.sniffing import sniff
from gasdet.media.source import open_source, read_all
from gasdet.types import Modality, Preprocessing, Reason

if TYPE_CHECKING:
    from PIL.Image import Image

_ORIENTATION_TAG = 0x0112
_BAND_PIXELS = 1 << 21
"""Pixels that are converted to an array at once: the rest of the image stays in Pillow's own memory meanwhile."""

_BYTES_PER_PIXEL = {"JPEG": 8, "MPO": 8, "PNG": 9, "WEBP": 23, "AVIF": 24, "JPEG2000": 32}
"""Memory of one decode per pixel: the decoder's own, Pillow's image (4) and the array (3). Measured, rounded up."""
_PROGRESSIVE_BYTES_PER_PIXEL = 13  # libjpeg holds every coefficient of a progressive JPEG
_OTHER_BYTES_PER_PIXEL = 16
_REGION_BYTES_PER_PIXEL = 3  # what finds a region wants its rows one after the other, which a turned image's are not


def decode_image(
    source: Path | bytes, preprocessing: Preprocessing, limits: MediaLimits, find: FindRegions | None = None
) -> Decoded:
    """Decode an image to uint8 ``[3, H, W]`` RGB; ``find`` finds the region, where the preprocessing asks for one.

    Raises:
        MediaError: With the reason.
    """
    file, size = open_source(source, limits)
    with file:
        check_complete(file, size)  # Pillow fills what an AVIF file that was cut off lacks
        data = read_all(file)
    with warnings.catch_warnings():
        # Pillow warns of large images and of odd metadata: the first has its own check here, the second no bearing.
        warnings.simplefilter("ignore")
        with open_image(data) as image:
            return _decode(image, data, preprocessing, limits, find)


def _decode(
    image: Image, data: bytes, preprocessing: Preprocessing, limits: MediaLimits, find: FindRegions | None
) -> Decoded:
    _check_size(image, len(data), limits, region=find is not None)
    notes: list[str] = []
    pixels = decode_jpeg(image, data)
    if pixels is not None:
        if preprocessing.exif_orientation:
            pixels = _upright(pixels, _orientation(image))
        height, width = pixels.shape[:2]
        decoder = _fast_decoder_name()
    else:
        upright = _loaded(image, turned=preprocessing.exif_orientation)
        width, height = upright.size
        if upright.mode == "F":
            notes.append("floating-point pixels clipped to 0..255")
        if find is None:  # no more of it than the model sees becomes an array
            fitted = fit_region(_rgb(upright, source_box(height, width, preprocessing)), preprocessing)
        else:
            pixels = _rgb(upright, (0, 0, height, width))
        if _is_animated(image):
            notes.append("first frame of an animation")
        decoder = _decoder_name()
    if pixels is not None:
        fitted = fit(pixels if find is None else crop_image(pixels, preprocessing, find, notes), preprocessing)
    return Decoded(planar(fitted), decoder, width=width, height=height, notes=tuple(notes))


def open_image(data: bytes) -> Image:
    """An image with its header read.

    Args:
        data: The file.

    Raises:
        MediaError: It is no image, or its header is damaged, with the reason.
    """
    from PIL import Image, UnidentifiedImageError

    pillow()
    try:
        return Image.open(io.BytesIO(data))
    except Image.DecompressionBombError:
        raise MediaError(Reason.TOO_LARGE, "The image has more pixels than Pillow agrees to open.") from None
    except UnidentifiedImageError:
        raise _unidentified(data[:4096]) from None
    except Exception as error:
        raise _failed(error) from None


def _unidentified(head: bytes) -> MediaError:
    modality = sniff(head)
    if modality is None:
        return MediaError(Reason.UNKNOWN_FORMAT, "The content is no image that can be recognised.")
    if modality is not Modality.IMAGE:
        return MediaError(Reason.UNSUPPORTED, f"The content is {modality}, not an image.")
    if head[4:8] == b"ftyp" or head.startswith((b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")):
        return MediaError(Reason.UNSUPPORTED, "Pillow as installed cannot read this image format.")
    return MediaError(Reason.CORRUPT, "The image's header cannot be read.")


def _check_size(image: Image, file_bytes: int, limits: MediaLimits, *, region: bool) -> None:
    width, height = image.size
    pixels = width * height
    if pixels == 0:
        raise MediaError(Reason.CORRUPT, f"The header says {width} x {height} pixels.")
    if pixels > limits.max_pixels:
        raise MediaError(
            Reason.TOO_LARGE, f"The image has {width} x {height} pixels, over the limit of {limits.max_pixels}."
        )
    needed = file_bytes + pixels * (_bytes_per_pixel(image) + (_REGION_BYTES_PER_PIXEL if region else 0))
    if needed > limits.max_decode_bytes:
        raise MediaError(
            Reason.TOO_LARGE,
            f"Decoding {width} x {height} pixels of {image.format} would take about {needed // MIB} MiB, "
            f"over the limit of {limits.max_decode_bytes // MIB}.",
        )


def _bytes_per_pixel(image: Image) -> int:
    if image.format in ("JPEG", "MPO") and "progressive" in image.info:
        return _PROGRESSIVE_BYTES_PER_PIXEL
    return _BYTES_PER_PIXEL.get(image.format or "", _OTHER_BYTES_PER_PIXEL)


def _orientation(image: Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none or it cannot be read."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # a damaged EXIF block does not make the pixels unreadable
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(pixels: Array, orientation: int) -> Array:
    """Pixels ``[H, W, 3]`` turned as the EXIF orientation says (TIFF 6.0, tag 274)."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _loaded(image: Image, *, turned: bool) -> Image:
    """The image with its pixels decoded by Pillow, and turned as its EXIF orientation says where that is wanted."""
    from PIL import Image as Pillow

    turns = {
        2: Pillow.Transpose.FLIP_LEFT_RIGHT,
        3: Pillow.Transpose.ROTATE_180,
        4: Pillow.Transpose.FLIP_TOP_BOTTOM,
        5: Pillow.Transpose.TRANSPOSE,
        6: Pillow.Transpose.ROTATE_270,
        7: Pillow.Transpose.TRANSVERSE,
        8: Pillow.Transpose.ROTATE_90,
    }
    try:
        image.load()
        # Asked after loading: of a TIFF, Pillow has then applied and removed it.
        orientation = _orientation(image) if turned else 1
        return image if orientation == 1 else image.transpose(turns[orientation])
    except Exception as error:
        raise _failed(error) from None


def _is_animated(image: Image) -> bool:
    """Whether further frames or pages follow. Asked last: looking for them moves some readers on."""
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # damage after the first frame has no bearing on it
        return False


def _rgb(image: Image, box: Box) -> Array:
    """A part of a loaded image as uint8 ``[H, W, 3]``.

    Taken in bands of rows: each pixel's conversion depends on itself alone, and so neither a converted copy of the whole
    image nor its bytes are ever held beside it.
    """
    top, left, height, width = box
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(1, _BAND_PIXELS // width)
    for start in range(0, height, rows):
        stop = min(start + rows, height)
        band = image.crop((left, top + start, left + width, top + stop))
        pixels[start:stop] = _band_rgb(band)
    return pixels


def _band_rgb(band: Image) -> Array:
    if band.mode == "I" or band.mode.startswith("I;16"):
        # Mode I holds what was 16 bits in the file (PGM, TIFF); values beyond them have no place in 8 bits.
        high = np.clip(np.asarray(band).astype(np.int32), 0, 65535) >> 8
        return np.repeat(high.astype(np.uint8)[..., None], 3, axis=2)
    return np.asarray(band if band.mode == "RGB" else band.convert("RGB"))


def _failed(error: Exception) -> MediaError:
    """The reason behind what Pillow raised."""
    from PIL import Image

    said = str(error)
    if isinstance(error, MemoryError):
        return MediaError(Reason.DECODER_OUT_OF_MEMORY, "Decoding the image ran out of memory.")
    if isinstance(error, Image.DecompressionBombError):
        return MediaError(Reason.TOO_LARGE, "The image has more pixels than Pillow agrees to open.")
    if isinstance(error, EOFError) or "truncated" in said.lower():
        return MediaError(Reason.TRUNCATED, f"The image ends early: {_plain(said)}.")
    if isinstance(error, NotImplementedError):
        return MediaError(Reason.UNSUPPORTED, f"Pillow does not read this kind of image: {_plain(said)}.")
    if isinstance(error, OSError | SyntaxError | ValueError | struct.error | zlib.error | LookupError | TypeError):
        return MediaError(Reason.CORRUPT, f"The image is damaged: {_plain(said)}.")
    return MediaError(Reason.DECODE_FAILED, f"Pillow failed with {type(error).__name__}: {_plain(said)}.")


def _plain(text: str) -> str:
    """A library's message on one line, without its full stop."""
    return " ".join(text.split()).rstrip(".") or "no message"


@cache
def pillow() -> Any:
    """Pillow, its AVIF reader told to stay on one thread."""
    import PIL
    from PIL import AvifImagePlugin

    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    return PIL


@cache
def _decoder_name() -> str:
    return f"pillow {pillow().__version__}"


@cache
def _fast_decoder_name() -> str:
    import simplejpeg

    return f"simplejpeg {simplejpeg.__version__}"
