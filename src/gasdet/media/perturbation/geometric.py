"""Flips, crops and small affine changes. All frames of a clip are moved alike."""

from __future__ import annotations

import math

import numpy as np

from gasdet.errors import UsageError
from gasdet.media.decoded import Array
from gasdet.media.geometry import opencv
from gasdet.media.perturbation.frames import per_frame

PADDING_MODES = ("symmetric", "reflect", "edge", "zeros")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "area", "lanczos")


def hflip(array: Array, rng: np.random.Generator) -> Array:
    """Left and right exchanged."""
    return np.ascontiguousarray(array[..., ::-1])


def vflip(array: Array, rng: np.random.Generator) -> Array:
    """Top and bottom exchanged."""
    return np.ascontiguousarray(array[..., ::-1, :])


def random_crop(
    array: Array,
    rng: np.random.Generator,
    *,
    size: tuple[int, int] | None,
    padding: int,
    padding_mode: str,
    align: int,
) -> Array:
    """A window at a random place.

    Args:
        array: uint8 ``[..., H, W]``.
        rng: Decides the place.
        size: Height and width of the window; None takes the input's.
        padding: Pixels by which the window may reach over each edge.
        padding_mode: What lies beyond the edges: the image mirrored with (``symmetric``) or without (``reflect``) its
            outermost pixel twice, that pixel (``edge``), or black.
        align: Places are multiples of this many pixels of the input's own grid, so that with 2 an even column stays an
            even column.

    Raises:
        UsageError: The window does not fit.
    """
    height, width = array.shape[-2:]
    crop_h, crop_w = size or (height, width)
    # The axes are drawn in this order; without freedom on an axis nothing is drawn for it.
    top = _place(height, crop_h, padding, align, rng)
    left = _place(width, crop_w, padding, align, rng)
    if 0 <= top <= height - crop_h and 0 <= left <= width - crop_w:
        return np.ascontiguousarray(array[..., top : top + crop_h, left : left + crop_w])
    if padding_mode == "zeros":
        return _window_on_black(array, top, left, crop_h, crop_w)
    rows = _inside(np.arange(top, top + crop_h), height, padding_mode)
    columns = _inside(np.arange(left, left + crop_w), width, padding_mode)
    return array.take(rows, axis=-2).take(columns, axis=-1)


def _place(side: int, crop: int, padding: int, align: int, rng: np.random.Generator) -> int:
    """A start from -padding to side + padding - crop that is a multiple of ``align``."""
    first, last = math.ceil(-padding / align), (side + padding - crop) // align
    if last < first:
        raise UsageError(
            f"random_crop: no window of {crop} pixels at multiples of {align} fits into {side} pixels with padding {padding}; "
            "choose a smaller size or more padding."
        )
    return align * (first if last == first else first + int(rng.random() * (last - first + 1)))


def _inside(places: Array, side: int, mode: str) -> Array:
    """Places beyond the edges as the places inside whose pixels are shown there."""
    inside: Array
    if mode == "edge" or side == 1:
        inside = places.clip(0, side - 1)
    else:
        turn = 2 * side - (1 if mode == "symmetric" else 2)  # a place and its mirror image add up to this
        turned = places % (turn + 1 if mode == "symmetric" else turn)
        inside = np.minimum(turned, turn - turned)
    return inside


def _window_on_black(array: Array, top: int, left: int, crop_h: int, crop_w: int) -> Array:
    window = np.zeros((*array.shape[:-2], crop_h, crop_w), array.dtype)
    height, width = array.shape[-2:]
    first_row, last_row = max(top, 0), min(top + crop_h, height)
    first_column, last_column = max(left, 0), min(left + crop_w, width)
    if first_row < last_row and first_column < last_column:
        window[..., first_row - top : last_row - top, first_column - left : last_column - left] = array[
            ..., first_row:last_row, first_column:last_column
        ]
    return window


def random_resized_crop(
    array: Array,
    rng: np.random.Generator,
    *,
    size: tuple[int, int] | None,
    scale: float,
    ratio: float,
    interpolation: str,
) -> Array:
    """A window at a random place, brought to a size.

    Args:
        array: uint8 ``[(T,) 3, H, W]``.
        rng: Decides the place.
        size: Height and width of the result; None takes the input's.
        scale: Area of the window as a share of the input's.
        ratio: Width over height of the window. A window that is too wide or too high is cut.
        interpolation: OpenCV's kernel.
    """
    height, width = array.shape[-2:]
    area = scale * height * width
    crop_h = min(max(round(math.sqrt(area / ratio)), 1), height)
    crop_w = min(max(round(math.sqrt(area * ratio)), 1), width)
    top = int(rng.random() * (height - crop_h + 1))
    left = int(rng.random() * (width - crop_w + 1))
    return resized(array[..., top : top + crop_h, left : left + crop_w], size or (height, width), interpolation)


def crop(array: Array, rng: np.random.Generator, *, share: float, interpolation: str) -> Array:
    """The middle of the input, at the input's size again.

    Args:
        array: uint8 ``[(T,) 3, H, W]``.
        rng: Not used.
        share: Of each side that is kept.
        interpolation: OpenCV's kernel.
    """
    height, width = array.shape[-2:]
    crop_h, crop_w = max(round(share * height), 1), max(round(share * width), 1)
    top, left = (height - crop_h) // 2, (width - crop_w) // 2
    return resized(array[..., top : top + crop_h, left : left + crop_w], (height, width), interpolation)


def resized(array: Array, size: tuple[int, int], interpolation: str) -> Array:
    """uint8 ``[(T,) 3, H, W]`` at another height and width, with one of OpenCV's kernels (without antialiasing)."""
    if array.shape[-2:] == size:
        return np.ascontiguousarray(array)
    cv2, kernels = opencv()
    height, width = size
    return per_frame(array, lambda frame: cv2.resize(frame, (width, height), interpolation=kernels[interpolation]))


def affine(
    array: Array,
    rng: np.random.Generator,
    *,
    degrees: float,
    scale: float,
    shift_x: float,
    shift_y: float,
    interpolation: str,
) -> Array:
    """Turned and scaled around the middle, then shifted; beyond the edges the image is mirrored.

    Args:
        array: uint8 ``[(T,) 3, H, W]``.
        rng: Not used.
        degrees: Counter-clockwise.
        scale: Above 1 enlarges.
        shift_x: To the right, as a share of the width.
        shift_y: Downwards, as a share of the height.
        interpolation: OpenCV's kernel.
    """
    cv2, kernels = opencv()
    height, width = array.shape[-2:]
    # OpenCV's pixel centres have whole coordinates, so the middle of the image is (side - 1) / 2
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, scale)
    matrix[:, 2] += shift_x * width, shift_y * height
    flags = {"flags": kernels[interpolation], "borderMode": cv2.BORDER_REFLECT_101}
    return per_frame(array, lambda frame: cv2.warpAffine(frame, matrix, (width, height), **flags))
