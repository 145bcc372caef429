"""A heat map over the picture that the model saw, as a PNG with its colour scale.

The scale is fixed, and not stretched to what one map holds: blue for 0 (real), nothing at 0.5, red for 1 (synthetic). The
picture is grey, so that every colour is the heat map's.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from gasdet.atomic_files import write_atomically

Array = npt.NDArray[Any]

REAL_COLOUR = (33, 102, 172)
SYNTHETIC_COLOUR = (178, 24, 43)
STRONGEST = 0.6
"""How much of the picture the colour hides where P(synthetic) is 0 or 1."""

SMALLEST_SIDE = 256
"""A smaller picture is enlarged by a whole number, so that its patches and the scale can be seen."""

BAR_HEIGHT = 34
"""Pixels below the picture, for the scale."""


def overlay(picture: Array, heatmap: Array) -> Array:
    """The picture in grey with the heat map over it, each value on its own rectangle, without smoothing.

    Args:
        picture: uint8 ``[3, H, W]`` RGB.
        heatmap: ``[h, w]``, P(synthetic) of each place, 0 to 1, row 0 at the top; NaN leaves the picture as it is.

    Returns:
        uint8 ``[H, W, 3]`` RGB.
    """
    grey = picture.astype(np.float64).T.swapaxes(0, 1) @ (0.299, 0.587, 0.114)
    height, width = grey.shape
    rows = np.arange(height) * heatmap.shape[0] // height
    columns = np.arange(width) * heatmap.shape[1] // width
    colour, strength = colours(heatmap[np.ix_(rows, columns)])
    mixed = grey[..., None] * (1 - strength[..., None]) + colour * strength[..., None]
    painted: Array = np.rint(mixed).astype(np.uint8)
    return painted


def colours(values: Array) -> tuple[Array, Array]:
    """The colour ``[..., 3]``, 0 to 255, and how much of it, 0 to ``STRONGEST``, for P(synthetic) ``[...]``."""
    certain = np.nan_to_num(np.abs(np.asarray(values, dtype=np.float64) - 0.5) * 2, nan=0.0, posinf=0.0)
    colour = np.where((np.asarray(values) > 0.5)[..., None], SYNTHETIC_COLOUR, REAL_COLOUR)
    return colour.astype(np.float64), STRONGEST * np.clip(certain, 0.0, 1.0)


def heatmap_png(picture: Array, heatmap: Array) -> bytes:
    """The overlay with its scale below, as a PNG file's bytes.

    The overlay stands at the top left, enlarged by a whole number where its shorter side is under ``SMALLEST_SIDE`` pixels.
    """
    painted = overlay(picture, heatmap)
    factor = -(-SMALLEST_SIDE // min(painted.shape[:2]))
    painted = painted.repeat(factor, axis=0).repeat(factor, axis=1)
    height, width = painted.shape[:2]
    canvas = Image.new("RGB", (width, height + BAR_HEIGHT), "white")
    canvas.paste(Image.fromarray(painted), (0, 0))
    _draw_scale(canvas, height, width)
    file = io.BytesIO()
    canvas.save(file, "PNG")
    return file.getvalue()


def _draw_scale(canvas: Image.Image, top: int, width: int) -> None:
    """A bar of all colours over mid grey, with its ends and its middle named."""
    colour, strength = colours(np.linspace(0.0, 1.0, width))
    row = np.rint(128.0 * (1 - strength[:, None]) + colour * strength[:, None]).astype(np.uint8)
    canvas.paste(Image.fromarray(np.broadcast_to(row, (10, width, 3)).copy()), (0, top + 4))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    for text, x, anchor in (("0 real", 4, "lt"), ("0.5", width // 2, "mt"), ("synthetic 1", width - 4, "rt")):
        draw.text((x, top + 18), text, fill="black", font=font, anchor=anchor)


def write_heatmap(path: Path, picture: Array, heatmap: Array) -> None:
    """Write the overlay: the file is complete or what it was before.

    Raises:
        RunError: It cannot be written.
    """
    png = heatmap_png(picture, heatmap)
    write_atomically(path, lambda file: file.write(png))
