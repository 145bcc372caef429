"""The distortions of DeeperForensics-1.0 at their five published levels (Jiang et al., arXiv 2001.03024, and its code).

Their colour space is YCbCr with Y of 0 to 255 and Cb, Cr around 0.5, of which Y is pressed into (16 + 219 Y) / 255 and each
chroma into (16 + 224 C) / 255. Written out on RGB this gives the two formulas below.
"""

from __future__ import annotations

import numpy as np

from gasdet.media.decoded import Array
from gasdet.media.geometry import opencv
from gasdet.media.perturbation.colour import luma
from gasdet.media.perturbation.degradation import normal
from gasdet.media.perturbation.frames import per_frame

_CHROMA_MIDDLE = 111.5 / 224
"""Where (16 + 224 C) / 255 is 0.5: what the chroma is scaled around, a little below neutral."""

_FROM_YCRCB = np.array([[1, 1.403, 0], [1, -0.714, -0.344], [1, 0, 1.773]], np.float32)
"""RGB from Y and the distances of Cr and Cb from neutral, with OpenCV's coefficients."""

_TO_CR, _TO_CB = 0.713, 0.564

_NOISE_STEP = np.array([255 / 219, 255 / 224, 255 / 224], np.float32)
"""Grey levels of Y, Cr, Cb for one of the pressed values."""

_BLOCK = 8
_GREY = 128


def _truncated(values: Array) -> Array:
    """Grey levels as float cut (not rounded) to uint8, as published; clipped where the published code wraps around."""
    return np.ascontiguousarray(values.clip(0, 255).astype(np.uint8))


def colour_saturation(array: Array, rng: np.random.Generator, *, factor: float) -> Array:
    """CS: both chromas scaled by ``factor``."""
    grey = luma(array)
    red, blue = array[..., 0:1, :, :] - grey, array[..., 2:3, :, :] - grey
    # C' = m + (C - m) factor with C = 0.5 + difference; what follows is C' - 0.5
    offset = np.float32((_CHROMA_MIDDLE - 0.5) * (1 - factor))
    chroma_red = red * np.float32(_TO_CR * factor) + offset
    chroma_blue = blue * np.float32(_TO_CB * factor) + offset
    planes = [grey * y + chroma_red * cr + chroma_blue * cb for y, cr, cb in _FROM_YCRCB]
    return _truncated(np.concatenate(planes, axis=-3))


def colour_contrast(array: Array, rng: np.random.Generator, *, factor: float) -> Array:
    """CC: grey levels times ``factor``, cut: it darkens."""
    return _truncated(np.arange(256, dtype=np.float32) * np.float32(factor))[array]


def block_wise(array: Array, rng: np.random.Generator, *, blocks: int, per_frame: bool) -> Array:
    """BW: blocks of 8 x 8 pixels at random places set to grey 128.

    Args:
        array: uint8 ``[(T,) 3, H, W]``.
        rng: Decides the places.
        blocks: Their number for each whole 256 pixels of the shorter side: below 256 pixels there are none.
        per_frame: Whether each frame of a clip has places of its own.
    """
    height, width = array.shape[-2:]
    number = blocks * (min(height, width) // 256)
    result = array.copy()
    frames = list(result) if per_frame and array.ndim == 4 else [result]
    for frame in frames:
        tops = (rng.random(number) * (height - _BLOCK)).astype(int)
        lefts = (rng.random(number) * (width - _BLOCK)).astype(int)
        for top, left in zip(tops, lefts, strict=True):
            frame[..., top : top + _BLOCK, left : left + _BLOCK] = _GREY
    return result


def gaussian_noise_colour(array: Array, rng: np.random.Generator, *, variance: float, per_frame: bool) -> Array:
    """GNC: normal noise on the pressed Y, Cr and Cb, as a share of 255.

    On RGB that is stronger than its number: at variance 0.001 a standard deviation of 16, 12 and 19 grey levels.

    Args:
        array: uint8 ``[(T,) 3, H, W]``.
        rng: Gives the noise.
        variance: On a scale of 0 to 1.
        per_frame: Whether each frame of a clip has noise of its own, as published; else all have the same.
    """
    scale = np.float32(255 * np.sqrt(variance)) * _NOISE_STEP
    to_rgb = _FROM_YCRCB * scale
    noise = np.einsum("ck,...khw->...chw", to_rgb, normal(array, rng, per_frame), optimize=True)
    return _truncated(array + noise)


def gaussian_blur_kernel(array: Array, rng: np.random.Generator, *, kernel: int) -> Array:
    """GB: a Gaussian of ``kernel`` pixels' width (made odd) and a sigma of a sixth of it."""
    cv2, _ = opencv()
    side = int(kernel) | 1
    return per_frame(array, lambda frame: cv2.GaussianBlur(frame, (side, side), kernel / 6))


def down_and_up(array: Array, rng: np.random.Generator, *, factor: int) -> Array:
    """JPEG, which is none: sides divided by ``factor`` (whole pixels, at least one) and back, bilinear both times."""
    cv2, kernels = opencv()
    height, width = array.shape[-2:]
    small = (max(width // factor, 1), max(height // factor, 1))

    def chain(frame: Array) -> Array:
        return cv2.resize(cv2.resize(frame, small, interpolation=kernels["bilinear"]), (width, height))  # type: ignore[no-any-return]

    return per_frame(array, chain)
