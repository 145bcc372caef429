"""What near copies are told by: the same hash whatever size a picture is decoded at, and nothing where there is nothing."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from gasdet.inspection.auditing.prints import print_of
from gasdet.inspection.checking.check import NEAR_DISTANCE
from gasdet.inspection.checking.pictures import picture_hash
from gasdet.inspection.checking.sounds import MAX_ERROR_RATE, error_rate
from gasdet.media import MediaLimits
from gasdet.types import Modality

from ...planted import babble, scene

LIMITS = MediaLimits()


def saved(pixels: np.ndarray, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def apart(one: bytes, other: bytes) -> int:
    return sum((a ^ b).bit_count() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("size", [(60, 80), (700, 900), (1040, 1400)])
def test_a_picture_is_the_same_at_any_size_and_in_any_format(size: tuple[int, int]) -> None:
    pixels = scene(np.random.default_rng(5), *size)
    whole = picture_hash(pixels)
    small = np.asarray(Image.fromarray(pixels).resize((size[1] // 2, size[0] // 2), Image.Resampling.BICUBIC))
    for data in (saved(pixels, "JPEG", quality=85), saved(pixels, "PNG"), saved(small, "JPEG", quality=60)):
        assert apart(print_of(data, Modality.IMAGE, LIMITS), whole) <= NEAR_DISTANCE
    other = scene(np.random.default_rng(6), *size)
    assert apart(print_of(saved(other, "JPEG"), Modality.IMAGE, LIMITS), whole) > 80


def test_a_large_picture_is_not_decoded_at_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(
        "gasdet.inspection.auditing.prints.picture_hash", lambda pixels: seen.append(pixels.shape) or b"h"
    )
    print_of(saved(scene(np.random.default_rng(0), 1100, 1500), "JPEG"), Modality.IMAGE, LIMITS)
    assert seen == [(550, 750, 3)]


def test_a_recording_is_told_whatever_it_is_encoded_with(tmp_path: Path) -> None:
    sound = babble(np.random.default_rng(0), 24000, 4.0)
    prints = []
    for name, kind in (("a.wav", None), ("b.ogg", "VORBIS")):
        soundfile.write(tmp_path / name, sound, 24000, subtype=kind)
        prints.append(np.frombuffer(print_of(tmp_path / name, Modality.AUDIO, LIMITS), np.uint32))
    assert min(error_rate(*prints, shift) for shift in (-1, 0, 1)) <= MAX_ERROR_RATE


def test_what_cannot_be_told_has_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    jpeg = saved(scene(rng, 2000, 2000), "JPEG")
    soundfile.write(tmp_path / "short.wav", rng.standard_normal(4000), 16000)
    assert print_of(saved(np.full((80, 80, 3), 200, np.uint8), "PNG"), Modality.IMAGE, LIMITS) == b""
    assert print_of(jpeg[:300], Modality.IMAGE, LIMITS) == b"", "cut off in its header"
    assert print_of(jpeg[: len(jpeg) // 2], Modality.IMAGE, LIMITS) == b"", "cut off in its pixels"
    assert print_of(tmp_path / "absent.jpg", Modality.IMAGE, LIMITS) == b""
    assert print_of(tmp_path / "short.wav", Modality.AUDIO, LIMITS) == b""
    assert print_of(jpeg, Modality.VIDEO, LIMITS) == b""
