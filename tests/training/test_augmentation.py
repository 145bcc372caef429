"""The augmentation of a training: what a recipe may say, and that seed, epoch and sample alone decide the result."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gasdet.errors import UsageError
from gasdet.media import decode
from gasdet.media.perturbation import PERTURBATIONS, perturb
from gasdet.training.augmentation import Augmenter, check_augmentation, check_fits
from gasdet.types import Modality, Preprocessing

IMAGE_STEPS: list[dict[str, Any]] = [
    {"name": "hflip", "p": 0.5},
    {"name": "random_crop", "padding": 4, "align": 2},
    {"name": "colour_jitter", "p": 0.5},
    {"name": "jpeg", "p": 0.5, "quality": [30, 95], "subsampling": ["420", "444"]},
    {"name": "df_gnc", "p": 0.3, "level": [1, 5]},
]
AUDIO_STEPS: list[dict[str, Any]] = [
    {"name": "gain", "db": [-6, 6]},
    {"name": "noise", "p": 0.5, "snr_db": [5, 30], "colour": ["white", "pink"]},
    {"name": "rawboost", "p": 0.5, "algorithm": [1, 8]},
    {"name": "codec", "p": 0.3},
]


def picture(seed: int = 0, height: int = 32, width: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (3, height, width), dtype=np.uint8)


def ids(count: int) -> list[str]:
    return [f"{number:032x}" for number in range(count)]


def all_of(augmenter: Augmenter, array: np.ndarray, count: int = 200, epoch: int = 1) -> list[np.ndarray]:
    return [augmenter(array, name, epoch) for name in ids(count)]


def test_same_seed_epoch_and_sample_give_the_same_result() -> None:
    array = picture()
    first, second = Augmenter(IMAGE_STEPS, "image", seed=3), Augmenter(IMAGE_STEPS, Modality.IMAGE, seed=3)
    forwards = all_of(first, array, 40)
    backwards = [second(array, name, 1) for name in reversed(ids(40))][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert np.array_equal(array, picture())


def test_seed_epoch_and_sample_each_change_the_result() -> None:
    array = picture()
    steps = [{"name": "gaussian_noise", "std": 20}]
    base = Augmenter(steps, "image", seed=3)(array, "a", 1)
    for other in (
        Augmenter(steps, "image", seed=4)(array, "a", 1),
        Augmenter(steps, "image", seed=3)(array, "a", 2),
        Augmenter(steps, "image", seed=3)(array, "b", 1),
    ):
        assert (other != base).mean() > 0.5


def test_threads_do_not_change_the_result() -> None:
    array, names = picture(), ids(120)
    augmenter = Augmenter(IMAGE_STEPS, "image", seed=3)
    alone = [augmenter(array, name, 2) for name in names]
    with ThreadPoolExecutor(8) as executor:
        together = list(executor.map(lambda name: augmenter(array, name, 2), names))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


_PROGRAM = f"""
import hashlib
import numpy as np
from gasdet.training.augmentation import Augmenter
image = (np.arange(3 * 48 * 40) * 7 % 251).astype(np.uint8).reshape(3, 48, 40)
clip = np.stack([image, image[:, ::-1], image[..., ::-1]])
wave = (0.5 * np.sin(np.arange(6000) / 9)).astype(np.float32)
digest = hashlib.sha256()
steps = {{"image": {IMAGE_STEPS!r}, "audio": {AUDIO_STEPS!r}}}
for modality, array in (("image", image), ("video", clip), ("audio", wave)):
    steps.setdefault("video", steps["image"])
    augmenter = Augmenter(steps[modality], modality, seed=11, sample_rate=16000)
    for epoch in (1, 2):
        for number in range(10):
            digest.update(np.ascontiguousarray(augmenter(array, f"sample{{number}}", epoch)).tobytes())
print(digest.hexdigest())
"""


def test_processes_do_not_change_the_result() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            env={"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, threads in (("0", "1"), ("99", "2"))
    }
    assert len(outputs) == 1


@pytest.mark.parametrize("p", [0.0, 0.25, 1.0])
def test_p_is_how_often_a_step_is_taken(p: float) -> None:
    array = picture()
    flipped = np.flip(array, -1)
    results = all_of(Augmenter([{"name": "hflip", "p": p}], "image", seed=0), array, 2000)
    share = np.mean([np.array_equal(result, flipped) for result in results])
    assert share == pytest.approx(p, abs=0.04)
    assert all(np.array_equal(r, flipped) or np.array_equal(r, array) for r in results)


def test_two_steps_are_independent() -> None:
    array = picture()
    steps = [{"name": "hflip", "p": 0.5}, {"name": "vflip", "p": 0.5}]
    kinds = [np.argmax([np.array_equal(r, np.flip(array, axes)) for axes in ((), -1, -2, (-1, -2))])
             for r in all_of(Augmenter(steps, "image", seed=0), array, 2000)]  # fmt: skip
    assert np.bincount(kinds) == pytest.approx([500] * 4, rel=0.15)


def test_steps_run_in_their_order() -> None:
    array = np.full((3, 8, 8), 100, np.uint8)
    times_two = {"name": "brightness", "factor": 2.0}
    half = {"name": "df_cc", "factor": 0.35}
    assert (Augmenter([times_two, half], "image", seed=0)(array, "a", 1) == 70).all()
    assert (Augmenter([times_two, times_two, half], "image", seed=0)(array, "a", 1) == 89).all()  # 255 times 0.35
    assert (Augmenter([half, times_two, times_two], "image", seed=0)(array, "a", 1) == 140).all()


def test_a_level_takes_the_tables_values_and_a_range_of_levels_all_of_them() -> None:
    array = np.full((3, 8, 8), 200, np.uint8)
    expected = [int(np.float32(200) * np.float32(factor)) for factor in (0.85, 0.725, 0.6, 0.475, 0.35)]
    for level in range(1, 6):
        result = Augmenter([{"name": "df_cc", "level": level}], "image", seed=0)(array, "a", 1)
        assert (result == expected[level - 1]).all()
    for steps in ([{"name": "df_cc", "level": [1, 5]}], [{"name": "df_cc"}]):  # the default of these distortions
        seen = [int(result[0, 0, 0]) for result in all_of(Augmenter(steps, "image", seed=0), array, 1000)]
        assert {value: seen.count(value) for value in expected} == pytest.approx(dict.fromkeys(expected, 200), rel=0.2)


def test_a_level_whose_values_are_ranges_is_drawn_for_each_sample() -> None:
    results = all_of(Augmenter([{"name": "colour_jitter", "level": 3}], "image", seed=0), picture(), 20)
    assert len({result.tobytes() for result in results}) == 20


def test_ranges_cover_their_values() -> None:
    array = np.full((3, 4, 4), 100, np.uint8)
    results = all_of(Augmenter([{"name": "brightness", "factor": [0.5, 1.5]}], "image", seed=0), array, 1000)
    values = np.array([int(result[0, 0, 0]) for result in results])
    assert (values.min(), values.max()) == (50, 150)
    assert np.mean(values) == pytest.approx(100, abs=3)


def test_all_frames_of_a_clip_get_the_same() -> None:
    frame = picture(height=40, width=40)
    clip = np.stack([frame] * 4)
    augmenter = Augmenter(IMAGE_STEPS, "video", seed=1)
    results = all_of(augmenter, clip, 60)
    assert all((result == result[0]).all() for result in results)
    assert len({result.tobytes() for result in results}) > 50


@pytest.mark.parametrize("size", [None, 24, [24, 20]])
def test_a_batch_is_the_same_as_one_by_one(size: Any) -> None:
    steps = [
        {"name": "hflip", "p": 0.5},
        {"name": "random_crop", "size": size, "padding": 2},
        {"name": "jpeg", "p": 0.3},
    ]
    augmenter = Augmenter(steps, "image", seed=5)
    arrays = np.stack([picture(number) for number in range(50)])
    before = arrays.copy()
    batch = augmenter.batch(arrays, ids(50), 7)
    one_by_one = [augmenter(array, name, 7) for array, name in zip(arrays, ids(50), strict=True)]
    assert np.array_equal(batch, np.stack(one_by_one))
    assert batch.flags.c_contiguous
    assert batch.flags.writeable
    assert not np.shares_memory(batch, arrays)
    assert np.array_equal(arrays, before)
    assert augmenter.batch(arrays[:0], [], 7).shape[0] == 0


def test_a_batch_of_different_shapes_says_what_to_do() -> None:
    augmenter = Augmenter([{"name": "random_crop", "size": 16, "p": 0.5}], "image", seed=5)
    with pytest.raises(UsageError, match=r"\(3, 16, 16\), \(3, 32, 32\)\); give each step that changes the size p: 1"):
        augmenter.batch(np.stack([picture()] * 20), ids(20), 1)


def test_no_steps_leave_the_sample_as_it_is() -> None:
    array = picture()
    assert Augmenter((), "image", seed=0)(array, "a", 1) is array
    assert np.array_equal(Augmenter((), "image", seed=0).batch(array[None], ["a"], 1), array[None])


def test_results_are_contiguous_for_every_single_step() -> None:
    inputs = {"image": picture(), "video": np.stack([picture(k) for k in range(3)])}
    for modality, array in inputs.items():
        array.flags.writeable = False  # as a memory-mapped store gives it
        for name, perturbation in PERTURBATIONS.items():
            if Modality(modality) in perturbation.modalities:
                result = Augmenter([{"name": name}], modality, seed=0)(array, "a", 1)
                assert result.flags.c_contiguous, name
                assert result.dtype == np.uint8


def test_small_flips_and_crops_are_cheap() -> None:
    augmenter = Augmenter([{"name": "hflip", "p": 0.5}, {"name": "random_crop", "padding": 4}], "image", seed=0)
    array, names = picture(), ids(500)
    best = float("inf")
    for epoch in range(8):  # CPU time, and the best of several, since other processes share the machine
        start = time.process_time()
        for name in names:
            augmenter(array, name, epoch)
        best = min(best, (time.process_time() - start) / len(names))
    assert best < 60e-6


@pytest.mark.parametrize(
    ("augmentation", "message"),
    [
        ("hflip", "augmentation must be a list of steps"),
        ({"name": "hflip"}, "augmentation must be a list of steps"),
        (["hflip"], "augmentation step 1 must be a mapping with a name, .* not 'hflip'"),
        ([{"p": 0.5}], "augmentation step 1 must be a mapping with a name"),
        ([{"name": "hflip"}, {"name": "hflipp"}], r"step 2: there is no 'hflipp' \(did you mean 'hflip'\?\); for image"),
        ([{"name": "mp3"}], "augmentation step 1: mp3 is for audio, not for image; for image there are: hflip"),
        ([{"name": ["hflip"]}], "augmentation step 1: there is no"),
        ([{"name": "hflip", "p": 1.5}], r"augmentation step 1 \(hflip\): p must be a number from 0 to 1, not 1.5"),
        ([{"name": "hflip", "p": True}], r"p must be a number from 0 to 1, not True"),
        ([{"name": "hflip", "level": 1}], r"augmentation step 1 \(hflip\) has no option 'level'; it takes p alone"),
        ([{"name": "jpeg", "qualty": 1}], r"augmentation step 1 \(jpeg\) has no option 'qualty' .*quality.*known: p, quality"),
        ([{"name": "jpeg", "quality": [0, 50]}], r"\(jpeg\): quality must be a whole number from 1 to 100, or a range"),
        ([{"name": "jpeg", "level": [0, 3]}], r"\(jpeg\): level must be a whole number from 1 to 5, or a range"),
        ([{"name": "jpeg", "level": 2, "quality": 5}], r"\(jpeg\): level decides quality; give one of the two"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_before_anything_runs(augmentation: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_augmentation(augmentation, "image")
    with pytest.raises(UsageError, match=message):
        Augmenter(augmentation, "image", seed=0)


def test_audio_steps_that_depend_on_the_rate_ask_for_it() -> None:
    with pytest.raises(
        UsageError, match="The augmentation rawboost depends on the sample rate: give sample_rate in Hz"
    ):
        Augmenter(AUDIO_STEPS, "audio", seed=0)
    Augmenter(AUDIO_STEPS[:2], "audio", seed=0)


def test_real_media_go_through_every_step(shared_media: Path) -> None:
    files = {
        "image": "image/real/segment-anything__dog.jpg",
        "video": "video/real/interactive-examples__friday.mp4",
        "audio": "audio/real/speechbrain__LJ050-0131.wav",
    }
    for modality, file in files.items():
        keys: dict[str, Any] = {"duration_seconds": 2.0} if modality == "audio" else {"resize": (96, 112)}
        array = decode(shared_media / file, Preprocessing(Modality(modality), **keys)).array
        augmenter = Augmenter(AUDIO_STEPS if modality == "audio" else IMAGE_STEPS, modality, seed=0, sample_rate=16000)
        before = array.copy()
        results = [augmenter(array, "sample", epoch) for epoch in range(1, 9)]
        assert np.array_equal(array, before)
        assert {(r.shape, r.dtype) for r in results} == {(array.shape, array.dtype)}
        assert all(np.isfinite(r).all() for r in results)
        assert len({r.tobytes() for r in results}) == 8


def test_a_step_is_the_tables_perturbation() -> None:
    array = picture(height=64, width=64)
    steps = [{"name": "resize_chain", "level": 3}, {"name": "webp", "quality": 60}]
    expected = perturb(perturb(array, "image", "resize_chain", level=3), "image", "webp", quality=60)
    assert np.array_equal(Augmenter(steps, "image", seed=0)(array, "a", 1), expected)


@pytest.mark.parametrize("modality", [Modality.IMAGE, Modality.VIDEO])
def test_a_crop_larger_than_the_preprocessing_gives_is_found_at_once(modality: Modality) -> None:
    def given(**keys: Any) -> Preprocessing:
        return Preprocessing.from_mapping(modality, keys)

    steps = [{"name": "random_crop", "size": 64, "p": 0.01}]
    check_fits(steps, given(resize=[64, 64]))
    with pytest.raises(UsageError, match="no window of 64 pixels"):
        check_fits(steps, given(resize=[32, 48]))
    check_fits(steps, given(resize=[32, 48], resize_mode="shortest_edge"))  # the sizes are those of the files


@pytest.mark.parametrize(("modality", "frames"), [(Modality.IMAGE, ()), (Modality.VIDEO, (4,))])
def test_the_models_own_check_is_asked_with_the_shape_that_the_augmentation_leaves(
    modality: Modality, frames: tuple[int, ...]
) -> None:
    asked: list[tuple[int, ...]] = []

    def check_input(shape: tuple[int, ...]) -> None:
        asked.append(shape)
        if shape[-1] % 14:
            raise ValueError(f"{shape[-1]} is no multiple of 14.")

    keys: dict[str, Any] = {"resize": [64, 64], **({"num_frames": 4} if frames else {})}
    given = Preprocessing.from_mapping(modality, keys)
    check_fits([{"name": "random_crop", "size": 56, "p": 0.01}], given, check_input)
    with pytest.raises(
        UsageError, match=r"samples as they are decoded do not fit the model: 64 is no multiple of 14\.$"
    ):
        check_fits([], given, check_input)
    assert asked == [(1, *frames, 3, 56, 56), (1, *frames, 3, 64, 64)]
    check_fits([], Preprocessing.from_mapping(modality, {**keys, "resize_mode": "shortest_edge"}), check_input)
    assert len(asked) == 2
