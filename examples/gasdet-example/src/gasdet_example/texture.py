"""Where in a picture the most texture is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Box = tuple[float, float, float, float]


def most_textured(frames: npt.NDArray[np.uint8], *, share: float = 0.5) -> Sequence[Box | None]:
    """The square with the most texture: where neighbouring pixels differ most in the mean.

    Args:
        frames: uint8 ``[T, H, W, 3]`` RGB.
        share: The square's side over the picture's shorter side, in (0, 1].

    Returns:
        For each frame (x0, y0, x1, y1) in pixels; None for a picture that is smaller than 16 pixels or has no texture.
    """
    return [_square(frame, share) for frame in frames]


def _square(frame: npt.NDArray[np.uint8], share: float) -> Box | None:
    height, width = frame.shape[:2]
    side = round(share * min(height, width))
    if min(height, width) < 16 or side < 2:
        return None
    grey = frame.mean(axis=2)
    texture = np.zeros((height, width))
    texture[:, 1:] += np.abs(np.diff(grey, axis=1))
    texture[1:] += np.abs(np.diff(grey, axis=0))
    sums = np.zeros((height + 1, width + 1))
    sums[1:, 1:] = texture.cumsum(0).cumsum(1)  # the sum of any square is then four lookups
    inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    if inside.max() <= 0.0:
        return None
    y, x = np.unravel_index(int(inside.argmax()), inside.shape)
    return float(x), float(y), float(x + side), float(y + side)
