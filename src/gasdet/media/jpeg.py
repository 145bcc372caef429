"""A faster JPEG decoder, used only where its pixels are the same bits as Pillow's.

simplejpeg and Pillow both carry libjpeg-turbo; with the accurate DCT and smooth upsampling their pixels are equal, which
the tests show over subsamplings, progressive scans, grayscale and odd sizes. Whatever makes libjpeg warn is left to
Pillow, so that damaged files have Pillow's outcome.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from gasdet.media.decoded import Array

if TYPE_CHECKING:
    from PIL.Image import Image


def decode_jpeg(image: Image, data: bytes) -> Array | None:
    """Decode a JPEG that Pillow has opened.

    Args:
        image: As opened by Pillow, not loaded: its format and mode decide.
        data: The file.

    Returns:
        uint8 ``[H, W, 3]`` RGB, or None where Pillow must decode: simplejpeg is absent, the colours are not plain RGB or
        grayscale, or the decoder warned.
    """
    simplejpeg = _simplejpeg()
    if simplejpeg is None or image.format not in ("JPEG", "MPO") or image.mode not in ("RGB", "L"):
        return None
    try:
        pixels: Array = simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=False, strict=True)
    except (ValueError, RuntimeError):
        return None
    return pixels if pixels.shape == (image.height, image.width, 3) else None


def jpeg_warning(data: bytes) -> str:
    """What libjpeg warns of in a JPEG that it decodes all the same; empty where nothing, or where simplejpeg is absent.

    Decoders fill what such damage took from a picture with grey or with a smear, without a word. A JPEG has no checksum:
    damage that happens to read as other coefficients, and ends where the scan ends, makes nobody warn.

    Args:
        data: The file.
    """
    simplejpeg = _simplejpeg()
    if simplejpeg is None or not data.startswith(b"\xff\xd8"):
        return ""
    try:
        simplejpeg.decode_jpeg(data, "Gray", fastdct=True, strict=False)
    except (ValueError, RuntimeError):  # not of its kind, such as CMYK; or what the decoder has refused already
        return ""
    try:
        simplejpeg.decode_jpeg(data, "Gray", fastdct=True, strict=True)
    except (ValueError, RuntimeError) as error:
        return " ".join(str(error).split()).rstrip(".")
    return ""


@cache
def _simplejpeg() -> Any:
    try:
        import simplejpeg
    except ImportError:
        return None
    return simplejpeg
