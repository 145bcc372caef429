"""Brightness, contrast, saturation and hidden patches, against Pillow and hand calculation."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from gasdet.media.perturbation import colour, perturb

from .conftest import moving_clip, picture


def enhanced(kind: type, array: np.ndarray, factor: float) -> np.ndarray:
    image = Image.fromarray(np.ascontiguousarray(array.transpose(1, 2, 0)))
    return np.asarray(kind(image).enhance(factor)).transpose(2, 0, 1).astype(int)


@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.7])
def test_brightness_contrast_and_saturation_are_pillows(factor: float, rng: np.random.Generator) -> None:
    array = picture()
    pairs = [
        (colour.brightness(array, rng, factor=factor), ImageEnhance.Brightness),
        (colour.contrast(array, rng, factor=factor), ImageEnhance.Contrast),
        (colour.saturation(array, factor=factor), ImageEnhance.Color),
    ]
    for result, kind in pairs:
        # Pillow cuts where we round, and rounds the luma first: at most 1 + factor grey levels apart
        assert np.abs(result - enhanced(kind, array, factor)).max() <= 1 + factor, kind


def test_brightness_by_hand(rng: np.random.Generator) -> None:
    array = np.array([0, 10, 100, 200], np.uint8).reshape(1, 1, 4).repeat(3, 0)
    assert colour.brightness(array, rng, factor=1.5)[0, 0].tolist() == [0, 15, 150, 255]


def test_contrast_of_a_clip_keeps_the_frames_relations(rng: np.random.Generator) -> None:
    dark, bright = np.full((3, 4, 4), 60, np.uint8), np.full((3, 4, 4), 180, np.uint8)
    result = colour.contrast(np.stack([dark, bright]), rng, factor=0.5)  # the mean of the clip is 120
    assert (result[0] == 90).all()
    assert (result[1] == 150).all()


def test_jitter_is_its_three_parts_in_order(rng: np.random.Generator) -> None:
    array = picture()
    factors = {"brightness_factor": 1.2, "contrast_factor": 0.8, "saturation_factor": 1.3}
    expected = colour.brightness(array, rng, factor=1.2)
    expected = colour.contrast(expected, rng, factor=0.8)
    assert np.array_equal(colour.colour_jitter(array, rng, **factors), colour.saturation(expected, factor=1.3))


@pytest.mark.parametrize("share", [0.0, 0.25, 0.75, 1.0])
def test_patches_are_whole_black_and_as_many_as_asked_for(share: float, rng: np.random.Generator) -> None:
    clip = np.maximum(moving_clip(height=64, width=96), 1)
    result = colour.patch_mask(clip, rng, share=share, patch=16)
    black = (result == 0).reshape(6, 3, 4, 16, 6, 16).swapaxes(3, 4).reshape(6, 3, 24, 256)
    assert (black.all(-1) == black.any(-1)).all()
    assert (black.all(-1).sum(-1) == round(24 * share)).all()
    assert (black == black[0, 0]).all()  # the same in all frames and channels
    assert np.array_equal(result[result > 0], clip[result > 0])


def test_patches_at_the_edges_are_cut(rng: np.random.Generator) -> None:
    assert not colour.patch_mask(picture(33, 47), rng, share=1.0, patch=16).any()


def test_levels_change_more_and_more_on_a_photo(photo: np.ndarray) -> None:
    for name in ("brightness", "contrast", "patch_mask"):
        change = [np.abs(perturb(photo, "image", name, level=k).astype(int) - photo).mean() for k in range(1, 6)]
        assert change == sorted(change), name
        assert change[0] > 0.5, name
