"""Images made equal: upright, the centre square, shrunk by one kernel to one side, and JPEG at one quality."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gasdet.media.decoded import Decoded, MediaLimits
from gasdet.media.equalising.equalised import Equalised
from gasdet.media.image import decode_image, pillow
from gasdet.types import Modality, Preprocessing


def equalised_picture(source: Path | bytes, numbers: Mapping[str, int | float], limits: MediaLimits) -> Equalised:
    """An image as a baseline JPEG with 4:2:0 chroma and no metadata.

    Args:
        source: The file or its bytes.
        numbers: ``side`` in pixels and ``quality`` on libjpeg's scale.
        limits: Bounds of decoding.

    Raises:
        MediaError: With the reason.
    """
    from PIL import Image

    decoded = decode_image(source, square(Modality.IMAGE, int(numbers["side"])), limits)
    file = io.BytesIO()
    pixels = np.ascontiguousarray(decoded.array.transpose(1, 2, 0))
    Image.fromarray(pixels).save(file, "JPEG", quality=int(numbers["quality"]), subsampling="4:2:0")
    return Equalised(
        file.getvalue(),
        f"{decoded.decoder} > pillow {pillow().__version__} jpeg",
        width=decoded.width,
        height=decoded.height,
        notes=(*decoded.notes, *enlarged(decoded, int(numbers["side"]))),
    )


def square(modality: Modality, side: int, **others: float | int | str) -> Preprocessing:
    """What brings a picture to its centre square of one side: Pillow's bicubic kernel, widened where it shrinks."""
    keys = {"resize": side, "resize_mode": "crop", "interpolation": "bicubic", "antialias": True}
    return Preprocessing.from_mapping(modality, {**keys, "exif_orientation": True, **others})


def enlarged(decoded: Decoded, side: int) -> list[str]:
    """A note where the source was smaller than the square: that it was enlarged still shows in its pixels."""
    width, height = decoded.width, decoded.height
    if width is None or height is None or min(width, height) >= side:
        return []
    return [f"enlarged from {width} x {height} pixels to equalise"]
