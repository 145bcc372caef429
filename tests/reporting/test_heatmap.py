"""The overlay: every pixel is the grey picture under the colour of its own place, by a fixed scale."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from gasdet.reporting.heatmap import BAR_HEIGHT, REAL_COLOUR, STRONGEST, SYNTHETIC_COLOUR, heatmap_png, overlay


def by_hand(rgb: tuple[int, int, int], p: float) -> np.ndarray:
    """One pixel, from the words of the documentation."""
    grey = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]
    strength = 0.0 if np.isnan(p) else STRONGEST * abs(2 * p - 1)
    colour = np.array(SYNTHETIC_COLOUR if p > 0.5 else REAL_COLOUR)
    return np.rint(grey * (1 - strength) + colour * strength)


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 0.61, 1.0, float("nan")])
def test_the_scale_is_fixed(p: float) -> None:
    picture = np.broadcast_to(np.array([200, 90, 10], np.uint8)[:, None, None], (3, 4, 6))
    painted = overlay(picture, np.full((2, 3), p))
    assert painted.shape == (4, 6, 3)
    assert (np.abs(painted.astype(int) - by_hand((200, 90, 10), p)) <= 1).all()


def test_each_value_covers_its_own_place_with_row_0_at_the_top() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (3, 30, 44), dtype=np.uint8)
    heatmap = np.random.default_rng(1).uniform(0, 1, (3, 4))
    painted = overlay(picture, heatmap)
    for y in range(30):
        for x in range(44):
            expected = by_hand(tuple(int(v) for v in picture[:, y, x]), heatmap[y // 10, x // 11])
            assert (np.abs(painted[y, x].astype(int) - expected) <= 1).all()


def test_a_map_finer_than_the_picture_and_sides_that_do_not_divide() -> None:
    picture = np.zeros((3, 5, 7), np.uint8)
    assert overlay(picture, np.zeros((16, 16))).shape == (5, 7, 3)
    assert overlay(picture, np.zeros((2, 3))).shape == (5, 7, 3)


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize(("side", "factor"), [(32, 8), (100, 3), (256, 1), (300, 1)])
def test_the_png_holds_the_overlay_and_the_scale_below(side: int, factor: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (3, side, side + 20), dtype=np.uint8)
    heatmap = np.random.default_rng(1).uniform(0, 1, (4, 4))
    pixels = opened(heatmap_png(picture, heatmap))
    height, width = side * factor, (side + 20) * factor
    assert pixels.shape == (height + BAR_HEIGHT, width, 3)
    enlarged = overlay(picture, heatmap).repeat(factor, 0).repeat(factor, 1)
    np.testing.assert_array_equal(pixels[:height], enlarged)
    bar = pixels[height + 8].astype(int)
    assert (np.abs(bar[0] - (128 * (1 - STRONGEST) + np.array(REAL_COLOUR) * STRONGEST)) <= 1).all()
    assert (np.abs(bar[-1] - (128 * (1 - STRONGEST) + np.array(SYNTHETIC_COLOUR) * STRONGEST)) <= 1).all()
    assert (np.abs(bar[width // 2] - 128) <= 2).all()
    assert (pixels[height + 16 :] < 100).all(axis=2).sum() > 50  # words
