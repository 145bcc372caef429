"""PDQ: a perceptual hash of 256 bits that survives re-encoding, scaling and slight retouching.

Facebook's PDQ (Davis and Rosen, "The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm", 2019), computed by
pdqhash. Its authors recommend to take two pictures for the same at 31 different bits or fewer, and to leave out hashes of
quality under 50: pictures with so little structure that their bits are chance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

HASH_BYTES = 32
MIN_QUALITY = 50
"""Of 100; a hash of less is left out."""

_LARGEST_SIDE = 512
"""Larger pictures are shrunk to this before hashing: PDQ averages over cells of a 64th of the picture anyway."""


def picture_hash(pixels: npt.NDArray[Any]) -> bytes:
    """The PDQ hash of a picture: 32 bytes, or none where the picture has too little structure.

    Args:
        pixels: uint8 ``[H, W, 3]`` RGB, in any memory layout.
    """
    import cv2
    import pdqhash

    height, width = pixels.shape[:2]
    longest = max(height, width)
    if longest > _LARGEST_SIDE:
        size = (max(1, width * _LARGEST_SIDE // longest), max(1, height * _LARGEST_SIDE // longest))
        pixels = cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_AREA)
    bits, quality = pdqhash.compute(np.ascontiguousarray(pixels))
    return np.packbits(np.asarray(bits, dtype=np.uint8)).tobytes() if quality >= MIN_QUALITY else b""
