"""Flips, crops and affine changes, against numpy, OpenCV and the pixel grid."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from gasdet.errors import UsageError
from gasdet.media.perturbation import geometric, perturb

from .conftest import moving_clip, picture


def crop(array: np.ndarray, rng: np.random.Generator, **options: object) -> np.ndarray:
    values = {"size": None, "padding": 0, "padding_mode": "symmetric", "align": 1, **options}
    return geometric.random_crop(array, rng, **values)  # type: ignore[arg-type]


def coordinates(height: int, width: int) -> np.ndarray:
    """uint8 [3, H, W] whose first two channels hold row and column."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return np.stack([rows, columns, rows ^ columns])


@pytest.mark.parametrize("make", [picture, moving_clip])
def test_flips_mirror_and_undo_themselves(make: object, rng: np.random.Generator) -> None:
    array = make()  # type: ignore[operator]
    assert np.array_equal(geometric.hflip(array, rng), np.flip(array, -1))
    assert np.array_equal(geometric.vflip(array, rng), np.flip(array, -2))
    assert np.array_equal(geometric.hflip(geometric.hflip(array, rng), rng), array)


def test_crop_is_a_window_and_reaches_every_place(rng: np.random.Generator) -> None:
    array = coordinates(12, 10)
    seen = set()
    for _ in range(400):
        window = crop(array, rng, size=(9, 8))
        top, left = int(window[0, 0, 0]), int(window[1, 0, 0])
        assert np.array_equal(window, array[:, top : top + 9, left : left + 8])
        seen.add((top, left))
    assert seen == {(top, left) for top in range(4) for left in range(3)}


@pytest.mark.parametrize("align", [2, 4])
def test_aligned_crop_keeps_the_parity_of_every_pixel(align: int, rng: np.random.Generator) -> None:
    array = coordinates(21, 30)
    seen = set()
    for _ in range(300):
        window = crop(array, rng, size=(12, 12), align=align)
        seen.add((int(window[0, 0, 0]), int(window[1, 0, 0])))
    assert seen == {(top, left) for top in range(0, 10, align) for left in range(0, 19, align)}


@pytest.mark.parametrize("align", [1, 2])
@pytest.mark.parametrize(
    ("mode", "reference"),
    [("symmetric", "symmetric"), ("reflect", "reflect"), ("edge", "edge"), ("zeros", "constant")],
)
def test_padded_crop_is_a_window_of_the_padded_image(
    mode: str, reference: str, align: int, rng: np.random.Generator
) -> None:
    array = picture(16, 20)
    padded = np.pad(array, ((0, 0), (5, 5), (5, 5)), mode=reference)  # type: ignore[call-overload]
    allowed = [i for i in range(11) if (i - 5) % align == 0]
    windows = {padded[:, t : t + 16, l : l + 20].tobytes(): (t, l) for t in allowed for l in allowed}  # noqa: E741
    found = [windows[crop(array, rng, padding=5, padding_mode=mode, align=align).tobytes()] for _ in range(600)]
    assert {t for t, _ in found} == {left for _, left in found} == set(allowed)


def test_symmetric_padding_with_align_2_keeps_pairs_of_pixels_together(rng: np.random.Generator) -> None:
    array = coordinates(8, 8)
    for _ in range(50):
        window = crop(array, rng, padding=4, align=2)
        first, second = window[1, 0, 0::2] // 2, window[1, 0, 1::2] // 2
        assert np.array_equal(first, second)  # both pixels of a block come from one block


def test_padding_may_reach_further_than_the_image_is_wide(rng: np.random.Generator) -> None:
    array = picture(3, 3)
    for mode in ("symmetric", "reflect", "edge"):
        padded = np.pad(array, ((0, 0), (8, 8), (8, 8)), mode=mode)  # type: ignore[call-overload]
        windows = {padded[:, t : t + 2, l : l + 2].tobytes() for t in range(18) for l in range(18)}  # noqa: E741
        assert all(crop(array, rng, size=(2, 2), padding=8, padding_mode=mode).tobytes() in windows for _ in range(50))


@pytest.mark.parametrize("mode", ["symmetric", "reflect", "edge"])
def test_padding_of_a_single_pixel_repeats_it(mode: str, rng: np.random.Generator) -> None:
    with np.errstate(all="raise"):
        window = crop(np.full((3, 1, 1), 7, np.uint8), rng, size=(4, 4), padding=5, padding_mode=mode)
    assert (window == 7).all()


def test_crop_that_does_not_fit_says_what_to_do(rng: np.random.Generator) -> None:
    with pytest.raises(
        UsageError, match=r"224 pixels.*32 pixels with padding 4; choose a smaller size or more padding"
    ):
        crop(picture(32, 32), rng, size=(224, 224), padding=4)


def test_crop_moves_all_frames_alike(rng: np.random.Generator) -> None:
    clip = np.stack([coordinates(20, 20)] * 5)
    window = crop(clip, rng, size=(8, 8))
    assert window.shape == (5, 3, 8, 8)
    assert all(np.array_equal(frame, window[0]) for frame in window)


def test_resized_crop_of_everything_is_opencvs_resize(rng: np.random.Generator) -> None:
    array = picture(60, 80)
    result = geometric.random_resized_crop(
        array, rng, size=(30, 50), scale=1.0, ratio=80 / 60, interpolation="bilinear"
    )
    expected = cv2.resize(np.ascontiguousarray(array.transpose(1, 2, 0)), (50, 30), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(result, expected.transpose(2, 0, 1))


def test_resized_crop_has_the_area_and_aspect_asked_for(rng: np.random.Generator) -> None:
    array = coordinates(100, 120)
    for _ in range(20):
        # with the nearest kernel the coordinates in the result span the window
        result = geometric.random_resized_crop(array, rng, size=None, scale=0.25, ratio=0.75, interpolation="nearest")
        assert result.shape == array.shape
        rows, columns = int(np.ptp(result[0])) + 1, int(np.ptp(result[1])) + 1
        assert rows * columns == pytest.approx(0.25 * 100 * 120, rel=0.03)
        assert columns / rows == pytest.approx(0.75, rel=0.03)


def test_middle_crop_is_centred(rng: np.random.Generator) -> None:
    result = geometric.crop(coordinates(100, 120), rng, share=0.5, interpolation="nearest")
    assert (result[0].min(), result[0].max()) == (25, 74)
    assert (result[1].min(), result[1].max()) == (30, 89)


def test_affine_turns_counter_clockwise_around_the_middle(rng: np.random.Generator) -> None:
    still = {"scale": 1.0, "shift_x": 0.0, "shift_y": 0.0, "interpolation": "bilinear"}
    array = picture(65, 65)
    assert np.array_equal(geometric.affine(array, rng, degrees=0.0, **still), array)
    assert np.array_equal(geometric.affine(array, rng, degrees=90.0, **still), np.rot90(array, axes=(-2, -1)))


def test_affine_shifts_right_and_down_and_enlarges(rng: np.random.Generator) -> None:
    array = picture(40, 80)
    options = {"degrees": 0.0, "scale": 1.0, "shift_x": 0.1, "shift_y": 0.25, "interpolation": "nearest"}
    shifted = geometric.affine(array, rng, **options)
    assert np.array_equal(shifted[:, 10:, 8:], array[:, :-10, :-8])
    larger = geometric.affine(
        coordinates(81, 81), rng, degrees=0.0, scale=2.0, shift_x=0.0, shift_y=0.0, interpolation="nearest"
    )
    assert (larger[0, 0, 40], larger[0, 40, 40], larger[0, 80, 40]) == (20, 40, 60)


def test_affine_treats_a_clip_as_its_frames() -> None:
    clip = moving_clip()
    whole = perturb(clip, "video", "affine", level=3)
    assert np.array_equal(whole[2], perturb(clip[2], "image", "affine", level=3))
