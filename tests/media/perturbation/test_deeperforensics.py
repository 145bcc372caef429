"""The seven distortions against their published formulas, written with OpenCV's colour conversions, and measured figures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy import ndimage

from gasdet.media.perturbation import PERTURBATIONS, deeperforensics, perturb

from .conftest import moving_clip, picture, psnr_db, still_clip

TABLE = {
    "df_cs": ("factor", (0.4, 0.3, 0.2, 0.1, 0.0)),
    "df_cc": ("factor", (0.85, 0.725, 0.6, 0.475, 0.35)),
    "df_bw": ("blocks", (16, 32, 48, 64, 80)),
    "df_gnc": ("variance", (0.001, 0.002, 0.005, 0.01, 0.05)),
    "df_gb": ("kernel", (7, 9, 13, 17, 21)),
    "df_jpeg": ("factor", (2, 3, 4, 5, 6)),
    "df_vc": ("crf", (30, 32, 35, 38, 40)),
}


def hwc(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array.transpose(1, 2, 0))


def pressed_ycrcb(array: np.ndarray) -> np.ndarray:
    """float32 [H, W, 3]: (16 + 219 Y) / 255 with Y of 0 to 255, (16 + 224 C) / 255 with C around 0.5."""
    values = cv2.cvtColor(hwc(array).astype(np.float32), cv2.COLOR_RGB2YCrCb)
    return (values * [219, 224, 224] + 16) / np.float32(255)


def rgb_of(pressed: np.ndarray) -> np.ndarray:
    values = ((pressed * 255 - 16) / [219, 224, 224]).astype(np.float32)
    return cv2.cvtColor(values, cv2.COLOR_YCrCb2RGB).transpose(2, 0, 1)


@pytest.mark.parametrize("name", TABLE)
def test_levels_are_the_published_ones(name: str) -> None:
    option, values = TABLE[name]
    assert dict(PERTURBATIONS[name].levels) == {option: values}
    assert PERTURBATIONS[name].default_level == (1, 5)


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_colour_saturation_scales_the_chroma_around_a_half(level: int) -> None:
    array = picture()
    pressed = pressed_ycrcb(array)
    pressed[..., 1:] = 0.5 + (pressed[..., 1:] - 0.5) * TABLE["df_cs"][1][level - 1]
    expected = rgb_of(pressed)
    assert expected.min() > -1  # it never leaves 0 to 255 by more than rounding
    assert expected.max() < 256
    result = perturb(array, "image", "df_cs", level=level)
    assert np.abs(result - expected.clip(0, 255).astype(np.uint8).astype(int)).max() <= 1
    assert (result == expected.clip(0, 255).astype(np.uint8)).mean() > 0.99


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_colour_contrast_darkens_and_cuts(level: int) -> None:
    array = picture()
    factor = np.float32(TABLE["df_cc"][1][level - 1])
    expected = (array.astype(np.float32) * factor).astype(np.uint8)
    assert np.array_equal(perturb(array, "image", "df_cc", level=level), expected)


@pytest.mark.parametrize(("side", "units"), [(255, 0), (256, 1), (511, 1), (512, 2)])
def test_block_wise_sets_grey_blocks_by_whole_256_pixels(side: int, units: int) -> None:
    array = np.full((3, side, side + 100), 10, np.uint8)
    for level, blocks in enumerate(TABLE["df_bw"][1], 1):
        result = perturb(array, "image", "df_bw", level=level)
        grey = (result == 128).all(0)
        assert np.array_equal(grey, (result != 10).any(0))
        assert grey.sum() <= 64 * blocks * units
        assert grey.sum() >= 0.7 * 64 * blocks * units  # blocks may cover each other
        assert np.array_equal(ndimage.binary_opening(grey, np.ones((8, 8))), grey)  # nothing but whole blocks


def test_block_wise_places_are_the_same_in_all_frames_unless_asked_for_per_frame() -> None:
    clip = still_clip(height=256, width=256)
    same = perturb(clip, "video", "df_bw", level=2)
    assert (same == same[0]).all()
    assert (same != clip).any()
    fresh = perturb(clip, "video", "df_bw", level=2, per_frame=True)
    assert not any(np.array_equal(frame, fresh[0]) for frame in fresh[1:])
    assert np.array_equal(clip, still_clip(height=256, width=256))


MEASURED = {1: (16, 12, 19), 2: (22, 17, 27), 3: (36, 27, 42), 4: (50, 38, 58), 5: (87, 74, 93)}
"""Standard deviations of red, green and blue on flat grey, in grey levels, of an independent copy of the formula."""


@pytest.mark.parametrize("level", MEASURED)
def test_noise_in_ycbcr_is_as_strong_in_rgb_as_measured(level: int) -> None:
    grey = np.full((3, 600, 600), 128, np.uint8)
    noise = perturb(grey, "image", "df_gnc", level=level)
    assert noise.std(axis=(1, 2)) == pytest.approx(MEASURED[level], abs=0.7)


def test_noise_in_ycbcr_is_the_published_formula_in_distribution(rng: np.random.Generator) -> None:
    array = np.stack([np.full((300, 300), value, np.uint8) for value in (90, 140, 170)])
    pressed = pressed_ycrcb(array) / 255
    noisy = (pressed + np.sqrt(0.001) * rng.standard_normal(pressed.shape)) * 255
    expected = rgb_of(noisy).clip(0, 255).astype(np.uint8).reshape(3, -1)
    result = perturb(array, "image", "df_gnc", level=1).reshape(3, -1)
    assert result.mean(1) == pytest.approx(expected.mean(1), abs=0.2)
    assert np.cov(result) == pytest.approx(np.cov(expected), abs=0.03 * np.cov(expected).max())


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_blur_and_rescaling_are_opencvs(level: int) -> None:
    array = picture(97, 130)
    kernel, factor = TABLE["df_gb"][1][level - 1], TABLE["df_jpeg"][1][level - 1]
    blurred = cv2.GaussianBlur(hwc(array), (kernel, kernel), kernel / 6)
    assert np.array_equal(perturb(array, "image", "df_gb", level=level), blurred.transpose(2, 0, 1))
    small = cv2.resize(hwc(array), (130 // factor, 97 // factor))
    rescaled = cv2.resize(small, (130, 97))
    assert np.array_equal(perturb(array, "image", "df_jpeg", level=level), rescaled.transpose(2, 0, 1))


def test_a_side_shorter_than_the_factor_keeps_one_pixel(rng: np.random.Generator) -> None:
    array = picture(3, 40)
    result = deeperforensics.down_and_up(array, rng, factor=6)
    assert result.shape == array.shape
    assert (result[:, 0] == result[:, 2]).all()


@pytest.mark.parametrize("name", [name for name in TABLE if name not in ("df_vc", "df_bw")])
def test_a_clip_is_changed_like_its_frames(name: str) -> None:
    clip = moving_clip()
    whole = perturb(clip, "video", name, level=2)
    assert np.array_equal(whole[3], perturb(clip[3], "image", name, level=2))


def test_video_compression_is_h264_and_loses_more_with_each_level(clip: np.ndarray) -> None:
    quality = [psnr_db(clip, perturb(clip, "video", "df_vc", level=k)) for k in range(1, 6)]
    assert quality == sorted(quality, reverse=True)
    crf = perturb(clip, "video", "h264", crf=35)
    assert np.array_equal(crf, perturb(clip, "video", "df_vc", level=3))
