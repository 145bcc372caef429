"""The table as a whole: what every entry promises, messages, and independence of process and thread."""

from __future__ import annotations

import inspect
import math
import subprocess
import sys

import numpy as np
import pytest

from gasdet.errors import UsageError
from gasdet.media.perturbation import LEVELS, PERTURBATIONS, Perturbation, generator, perturb, perturbations_for
from gasdet.media.perturbation.options import Choice, Number, Size, Switch

from .conftest import moving_clip, picture, still_clip, tones

ENTRIES = [(name, modality.value) for name, p in PERTURBATIONS.items() for modality in p.modalities]
INPUTS = {"image": picture(70, 101), "video": moving_clip(frames=4, height=70, width=101), "audio": tones(0.4)}


def levels_of(perturbation: Perturbation) -> tuple[int | None, ...]:
    return tuple(range(1, LEVELS + 1)) if perturbation.levels else (None,)


@pytest.mark.parametrize(("name", "modality"), ENTRIES)
def test_every_entry_keeps_type_shape_and_input(name: str, modality: str) -> None:
    array = INPUTS[modality].copy()
    array.flags.writeable = False
    for level in levels_of(PERTURBATIONS[name]):
        result = perturb(array, modality, name, level=level, key="a", sample_rate=16000)
        assert (result.dtype, result.shape, result.flags.c_contiguous) == (array.dtype, array.shape, True)
        again = perturb(array, modality, name, level=level, key="a", sample_rate=16000)
        assert np.array_equal(result, again)
    assert np.array_equal(array, INPUTS[modality])


CODED_ACROSS_FRAMES = ("h264", "df_vc", "gasbench")  # a video codec spends more bits on some frames than on others


@pytest.mark.parametrize(
    "name", [n for n, p in PERTURBATIONS.items() if "video" in p.modalities and n not in CODED_ACROSS_FRAMES]
)
def test_a_still_clip_stays_still_under_every_entry(name: str) -> None:
    clip = still_clip(height=256, width=256)
    for level in levels_of(PERTURBATIONS[name]):
        result = perturb(clip, "video", name, level=level)
        assert (result == result[0]).all()


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_functions_take_exactly_the_options_of_the_table(name: str) -> None:
    perturbation = PERTURBATIONS[name]
    parameters = inspect.signature(perturbation.function).parameters
    keywords = {p for p, v in parameters.items() if v.kind is v.KEYWORD_ONLY and v.default is v.empty}
    assert keywords == {*perturbation.options, *(["sample_rate"] if perturbation.needs_rate else [])}
    for option_name, option in perturbation.options.items():
        option.check(option.default, option_name)


def test_every_kind_of_media_has_its_perturbations() -> None:
    assert set(perturbations_for("image")) < set(perturbations_for("video"))
    assert {"h264", "df_vc", "frame_freeze"} == set(perturbations_for("video")) - set(perturbations_for("image"))
    assert not set(perturbations_for("audio")) & set(perturbations_for("video"))


def test_unknown_names_and_options_are_said_with_the_known_ones() -> None:
    image = INPUTS["image"]
    with pytest.raises(UsageError, match=r"there is no 'jpg' \(did you mean 'jpeg'\?\); for image there are: hflip, "):
        perturb(image, "image", "jpg")
    with pytest.raises(UsageError, match="h264 is for video, not for image; for image there are"):
        perturb(image, "image", "h264")
    with pytest.raises(UsageError, match=r"no option 'qualty' \(did you mean 'quality'\?\); known: p, quality, subs"):
        perturb(image, "image", "jpeg", qualty=3)
    with pytest.raises(UsageError, match="hflip has no option 'level'; it takes p alone"):
        perturb(image, "image", "hflip", level=1)
    with pytest.raises(UsageError, match="jpeg: level decides quality; give one of the two"):
        perturb(image, "image", "jpeg", level=1, quality=5)
    with pytest.raises(UsageError, match="jpeg: level must be a whole number from 1 to 5, or a range"):
        perturb(image, "image", "jpeg", level=6)
    with pytest.raises(UsageError, match="mp3 depends on the sample rate: give sample_rate in Hz"):
        perturb(INPUTS["audio"], "audio", "mp3")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("jpeg", {"quality": 0}),
        ("jpeg", {"quality": 50.5}),
        ("jpeg", {"quality": True}),
        ("jpeg", {"quality": [80, 40]}),
        ("jpeg", {"quality": [10, 20, 30]}),
        ("jpeg", {"subsampling": "411"}),
        ("jpeg", {"subsampling": []}),
        ("gaussian_blur", {"sigma": math.nan}),
        ("gaussian_blur", {"sigma": "1"}),
        ("gaussian_noise", {"per_frame": 1}),
        ("random_crop", {"size": 0}),
        ("random_crop", {"size": [8]}),
        ("random_crop", {"size": "big"}),
    ],
)
def test_unusable_values_name_the_option(name: str, options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=rf"^{name}: {next(iter(options))} must be .* not "):
        perturb(INPUTS["image"], "image", name, **options)


def test_words_that_yaml_reads_as_numbers_are_taken() -> None:
    image = INPUTS["image"]
    expected = perturb(image, "image", "jpeg", quality=30, subsampling="444")
    assert np.array_equal(perturb(image, "image", "jpeg", quality=30, subsampling=444), expected)
    assert not np.array_equal(perturb(image, "image", "jpeg", quality=30, subsampling=420), expected)


def test_ranges_are_drawn_from_evenly() -> None:
    rng = np.random.default_rng(0)
    whole = Number(1, 0, 9, "", whole=True)
    counts = np.bincount([int(whole.draw((2, 5), rng)) for _ in range(4000)], minlength=6)
    assert counts[:2].sum() == 0
    assert counts[2:] == pytest.approx([1000] * 4, rel=0.1)
    values = [Number(1, 0, 9, "").draw((2.0, 5.0), rng) for _ in range(4000)]
    assert np.quantile(values, (0, 0.5, 1)) == pytest.approx([2, 3.5, 5], abs=0.08)
    values = [Number(1, 0.1, 9, "", log=True).draw((0.5, 2.0), rng) for _ in range(4000)]
    assert np.median(values) == pytest.approx(1.0, abs=0.05)
    words = [Choice("a", ("a", "b", "c"), "").draw(("a", "c"), rng) for _ in range(1000)]
    assert words.count("a") + words.count("c") == 1000
    assert 400 < words.count("a") < 600


def test_what_is_fixed_draws_nothing() -> None:
    rng = np.random.default_rng(0)
    state = rng.bit_generator.state
    assert Number(1, 0, 9, "").draw(3, rng) == 3
    assert Choice("a", ("a",), "").draw("a", rng) == "a"
    assert Switch(True, "").draw(False, rng) is False
    assert Size("").draw((3, 4), rng) == (3, 4)
    assert rng.bit_generator.state == state


def test_keys_do_not_run_into_each_other() -> None:
    draws = [generator(*key).random() for key in ((1, 2, "3"), (1, 23), (12, 3), (1, 2, 3, ""), (1, "2", "4"))]
    assert len(set(draws)) == 5
    assert generator(1, 2, "x").random() == generator(1, 2, "x").random()


@pytest.mark.parametrize(
    ("name", "modality", "encoder"),
    [("h264", "video", "libx264"), ("mp3", "audio", "libmp3lame"), ("aac", "audio", "aac")],
)
def test_a_missing_encoder_is_an_error_and_nothing_takes_its_place(
    name: str, modality: str, encoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("av.codecs_available", {"png"})
    with pytest.raises(UsageError, match=f"this PyAV was built without the encoder {encoder}"):
        perturb(INPUTS[modality], modality, name, sample_rate=16000)


_PROGRAM = """
import hashlib, sys
import cv2
import numpy as np
from gasdet.media.perturbation import generator, perturb
rng = np.random.default_rng(5)
large = cv2.resize(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8), (400, 300), interpolation=cv2.INTER_CUBIC)
moves = [large[n * n // 4 :, 5 * n :][:224, :224].transpose(2, 0, 1) // 2 + 4 * n for n in range(16)]
clip = np.stack(moves).astype(np.uint8) + rng.integers(0, 6, (16, 3, 224, 224), dtype=np.uint8)
picture = clip[3]
wave = np.sin(np.arange(16000) / 7 * (1 + np.arange(16000) / 9000)).astype(np.float32)
inputs = {
    "image": (picture, ("random_crop", "gaussian_noise", "jpeg", "webp", "colour_jitter", "resize_chain", "affine")),
    "video": (clip, ("h264", "df_gnc")),
    "audio": (wave, ("noise", "rawboost", "mp3", "aac", "opus", "resample")),
}
for modality, (array, names) in inputs.items():
    for name in names:
        result = perturb(array, modality, name, key="k", sample_rate=16000)
        print(name, hashlib.sha256(result.tobytes()).hexdigest())
print(generator(5, "a").random())
assert "torch" not in sys.modules
"""


def test_results_do_not_depend_on_the_process_or_on_what_its_memory_held_and_need_no_torch() -> None:
    outputs = [
        subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            # glibc fills memory with the last of these before it hands it out
            env={"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1", "MALLOC_PERTURB_": memory},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        for seed, memory in (("0", "0"), ("1234", "1"), ("7", "85"))
    ]
    assert outputs[0] == outputs[1]
    assert outputs[0] == outputs[2]
