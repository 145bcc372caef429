"""Blur, noise, frozen frames and resizing chains, against scipy, Pillow, OpenCV and statistics."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from gasdet.media.perturbation import degradation, perturb

from .conftest import moving_clip, picture, psnr_db, still_clip


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.7])
def test_blur_is_scipys_gaussian(sigma: float, rng: np.random.Generator) -> None:
    array = picture()
    result = degradation.gaussian_blur(array, rng, sigma=sigma).astype(float)
    expected = ndimage.gaussian_filter(
        array.astype(float), (0, sigma, sigma), mode="mirror", radius=(0, *[int(np.ceil(4 * sigma))] * 2)
    )
    assert np.abs(result - expected).max() <= 1.5  # OpenCV blurs uint8 in fixed point


@pytest.mark.parametrize("std", [2.0, 15.0])
def test_noise_has_the_standard_deviation_asked_for(std: float, rng: np.random.Generator) -> None:
    grey = np.full((3, 400, 400), 128, np.uint8)
    noise = degradation.gaussian_noise(grey, rng, std=std, per_frame=False).astype(float) - 128
    expected = np.sqrt(std**2 + 1 / 12)  # rounding to whole levels adds a twelfth
    assert noise.std(axis=(1, 2)) == pytest.approx([expected] * 3, rel=0.01)
    assert np.abs(noise.mean(axis=(1, 2))).max() < 4 * std / 400
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.01


@pytest.mark.parametrize("name", ["gaussian_noise", "df_gnc"])
def test_noise_is_one_pattern_for_all_frames_unless_asked_for_per_frame(name: str) -> None:
    clip = still_clip()
    same = perturb(clip, "video", name, level=3)
    assert (same == same[0]).all()
    fresh = perturb(clip, "video", name, level=3, per_frame=True)
    assert all((fresh[k] != fresh[0]).mean() > 0.5 for k in range(1, len(fresh)))


def test_frozen_frames_show_the_last_one_that_arrived(rng: np.random.Generator) -> None:
    clip = moving_clip(frames=200, height=8, width=96)
    numbers = np.arange(200)
    clip[:, 0, 0, 0] = numbers
    shown = degradation.frame_freeze(clip, rng, share=0.3)
    order = shown[:, 0, 0, 0].astype(int)
    lost = order != numbers
    assert 0.2 < lost.mean() < 0.4
    assert all(order[k] == order[k - 1] for k in numbers[lost])
    assert np.array_equal(shown, clip[order])


@pytest.mark.parametrize(
    ("kernel", "resampling"), [("bicubic", Image.Resampling.BICUBIC), ("lanczos", Image.Resampling.LANCZOS)]
)
def test_antialiased_chain_is_pillows(kernel: str, resampling: Image.Resampling, rng: np.random.Generator) -> None:
    array = picture(61, 90)
    options = {"factor": 0.5, "down": kernel, "up": kernel, "times": 2}
    result = degradation.resize_chain(array, rng, antialias=True, **options)  # type: ignore[arg-type]
    image = Image.fromarray(np.ascontiguousarray(array.transpose(1, 2, 0)))
    for _ in range(2):
        image = image.resize((45, 30), resampling).resize((90, 61), resampling)  # 30.5 rounds to even
    assert np.array_equal(result, np.asarray(image).transpose(2, 0, 1))


def test_chain_without_antialiasing_is_opencvs(rng: np.random.Generator) -> None:
    array = picture(60, 90)
    options = {"factor": 1 / 3, "down": "area", "up": "bilinear", "times": 1}
    result = degradation.resize_chain(array, rng, antialias=False, **options)  # type: ignore[arg-type]
    small = cv2.resize(np.ascontiguousarray(array.transpose(1, 2, 0)), (30, 20), interpolation=cv2.INTER_AREA)
    assert np.array_equal(result, cv2.resize(small, (90, 60)).transpose(2, 0, 1))


@pytest.mark.parametrize("name", ["gaussian_blur", "gaussian_noise", "resize_chain"])
def test_levels_lose_more_and_more_of_a_photo(name: str, photo: np.ndarray) -> None:
    quality = [psnr_db(photo, perturb(photo, "image", name, level=k)) for k in range(1, 6)]
    assert quality == sorted(quality, reverse=True)
    assert quality[0] > quality[-1] + 6
