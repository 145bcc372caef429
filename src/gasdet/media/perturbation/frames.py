"""Frames of an image or clip as OpenCV and the image codecs take them, and back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gasdet.media.decoded import Array


def interleaved(array: Array) -> Array:
    """uint8 ``[3, H, W]`` or ``[T, 3, H, W]`` as contiguous frames ``[T, H, W, 3]``, T = 1 for an image."""
    return np.ascontiguousarray(np.moveaxis(array if array.ndim == 4 else array[None], 1, -1))


def per_frame(array: Array, function: Callable[[Array], Array]) -> Array:
    """The same function for every frame.

    Args:
        array: uint8 ``[3, H, W]`` or ``[T, 3, H, W]``.
        function: Takes uint8 ``[H, W, 3]`` and returns uint8 ``[h, w, 3]``, the same size for all frames.

    Returns:
        uint8 ``[(T,) 3, h, w]``, contiguous.
    """
    frames = np.stack([function(frame) for frame in interleaved(array)])
    planes = np.ascontiguousarray(np.moveaxis(frames, -1, 1))
    return planes if array.ndim == 4 else planes[0]


def rounded(values: Array) -> Array:
    """Grey levels as float, to the nearest of 0 to 255, contiguous uint8."""
    return np.ascontiguousarray(np.rint(values).clip(0, 255).astype(np.uint8))
