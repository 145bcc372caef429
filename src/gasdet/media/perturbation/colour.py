"""Brightness, contrast, colour jitter and hidden patches. All frames of a clip are changed alike."""

from __future__ import annotations

import numpy as np

from gasdet.media.decoded import Array
from gasdet.media.perturbation.frames import rounded

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_GREY_LEVELS = np.arange(256, dtype=np.float32)


def brightness(array: Array, rng: np.random.Generator, *, factor: float) -> Array:
    """Grey levels times ``factor``, rounded and clipped."""
    return rounded(_GREY_LEVELS * factor)[array]


def contrast(array: Array, rng: np.random.Generator, *, factor: float) -> Array:
    """Distances from the mean luma of the whole image or clip times ``factor``, rounded and clipped."""
    middle = float(luma(array).mean())
    return rounded(middle + factor * (_GREY_LEVELS - middle))[array]


def saturation(array: Array, *, factor: float) -> Array:
    """Distances from each pixel's luma times ``factor``, rounded and clipped; 0 leaves grey."""
    grey = luma(array)
    return rounded(grey + np.float32(factor) * (array - grey))


def colour_jitter(
    array: Array,
    rng: np.random.Generator,
    *,
    brightness_factor: float,
    contrast_factor: float,
    saturation_factor: float,
) -> Array:
    """Brightness, contrast and saturation, in this order."""
    array = brightness(array, rng, factor=brightness_factor)
    array = contrast(array, rng, factor=contrast_factor)
    return saturation(array, factor=saturation_factor)


def luma(array: Array) -> Array:
    """ITU-R BT.601 luma of uint8 ``[..., 3, H, W]`` as float32 ``[..., 1, H, W]``."""
    red, green, blue = (array[..., channel : channel + 1, :, :] * weight for channel, weight in enumerate(_LUMA))
    total: Array = red + green + blue
    return total


def patch_mask(array: Array, rng: np.random.Generator, *, share: float, patch: int) -> Array:
    """Square patches of a grid set to black, the same ones in every frame.

    Args:
        array: uint8 ``[(T,) 3, H, W]``.
        rng: Decides which patches.
        share: Of the patches, rounded to whole ones.
        patch: Side in pixels; patches at the right and lower edge may be cut.
    """
    height, width = array.shape[-2:]
    rows, columns = -(-height // patch), -(-width // patch)
    hidden = np.zeros(rows * columns, bool)
    hidden[rng.permutation(rows * columns)[: round(share * rows * columns)]] = True
    mask = hidden.reshape(rows, columns).repeat(patch, axis=0).repeat(patch, axis=1)[:height, :width]
    return np.where(mask, np.uint8(0), array)
