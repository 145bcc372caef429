"""Blur, noise and resizing chains. All frames of a clip are changed alike, unless noise is asked for per frame."""

from __future__ import annotations

import math

import numpy as np

from gasdet.media.decoded import Array
from gasdet.media.geometry import fit_region, opencv
from gasdet.media.perturbation.frames import per_frame, rounded
from gasdet.types import Interpolation, Modality, Preprocessing


def gaussian_blur(array: Array, rng: np.random.Generator, *, sigma: float) -> Array:
    """Convolution with a Gaussian of ``sigma`` pixels, cut at 4 sigma; mirrored at the edges."""
    cv2, _ = opencv()
    side = 2 * math.ceil(4 * sigma) + 1
    return per_frame(array, lambda frame: cv2.GaussianBlur(frame, (side, side), sigma))


def gaussian_noise(array: Array, rng: np.random.Generator, *, std: float, per_frame: bool) -> Array:
    """Independent normal noise of ``std`` grey levels on every pixel and channel, rounded and clipped.

    With ``per_frame`` each frame of a clip has noise of its own, as a sensor has; else all frames have the same pattern,
    which does not flicker.
    """
    return rounded(array + np.float32(std) * normal(array, rng, per_frame))


def normal(array: Array, rng: np.random.Generator, per_frame: bool) -> Array:
    """Standard normal float32 numbers for an image or each frame of a clip, or ``[3, H, W]`` for all frames together."""
    shape = array.shape if per_frame else array.shape[-3:]
    return rng.standard_normal(shape, np.float32)


def frame_freeze(array: Array, rng: np.random.Generator, *, share: float) -> Array:
    """Frames of a clip lost and shown as the one before, each but the first with probability ``share``."""
    kept = rng.random(len(array)) >= share
    shown: Array = np.maximum.accumulate(np.where(kept, np.arange(len(array)), 0))  # before the first kept: the first
    return array[shown]


def resize_chain(
    array: Array,
    rng: np.random.Generator,
    *,
    factor: float,
    down: Interpolation,
    up: Interpolation,
    antialias: bool,
    times: int,
) -> Array:
    """Made smaller and brought back to its size, once or several times.

    Args:
        array: uint8 ``[(T,) 3, H, W]``.
        rng: Not used.
        factor: Of both sides; rounded to whole pixels, at least one.
        down: Kernel that makes it smaller.
        up: Kernel that makes it larger again.
        antialias: Whether Pillow's kernels are used, which widen when they shrink, or OpenCV's, which do not.
        times: How often.
    """
    height, width = array.shape[-2:]
    small = (max(round(factor * height), 1), max(round(factor * width), 1))
    shrink = Preprocessing(Modality.IMAGE, resize=small, resize_mode="stretch", interpolation=down, antialias=antialias)
    grow = Preprocessing(
        Modality.IMAGE, resize=(height, width), resize_mode="stretch", interpolation=up, antialias=antialias
    )

    def chain(frame: Array) -> Array:
        for _ in range(times):
            frame = fit_region(fit_region(frame, shrink), grow)
        return frame

    return per_frame(array, chain)
