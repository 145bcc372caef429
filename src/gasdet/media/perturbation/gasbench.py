"""GASBench's robustness pass, a fixed chain, at the size of the array that is given."""

from __future__ import annotations

import numpy as np

from gasdet.media.decoded import Array
from gasdet.media.perturbation.compression import h264, jpeg, webp
from gasdet.media.perturbation.geometric import resized

_LEAST = 256
"""Pixels below which no side is made smaller."""


def gasbench(array: Array, rng: np.random.Generator) -> Array:
    """An image through half size and back, JPEG 55, WebP 75 and JPEG 80; a clip through half size and H.264 at CRF 23.

    Halving takes OpenCV's area kernel, enlarging the bilinear one; JPEG is 4:2:0. Nothing is halved where a half side is
    shorter than 256 pixels and that leaves the side as it is, so nothing at a model's usual 224. GASBench does this before
    it resizes to the model's size.

    Args:
        array: uint8 ``[(T,) 3, H, W]``.
        rng: Not used.
    """
    size = array.shape[-2:]
    height, width = (max(_LEAST, round(side / 2)) for side in size)
    small = resized(array, (height, width), "area") if height < size[0] and width < size[1] else array
    if array.ndim == 4:
        return resized(h264(small, rng, crf=23, fps=25.0), size, "bilinear")
    image = jpeg(resized(small, size, "bilinear"), rng, quality=55, subsampling="420")
    return jpeg(webp(image, rng, quality=75), rng, quality=80, subsampling="420")
