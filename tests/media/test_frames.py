"""Clips whose frames are images: order, sampling, faults, against Pillow and against the same frames as a video."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gasdet.errors import MediaError
from gasdet.media import FrameSequence, MediaLimits, decode
from gasdet.media.frames import in_order
from gasdet.types import Modality, Preprocessing, Reason


def frame(index: int, size: tuple[int, int] = (40, 30)) -> bytes:
    """A PNG of one grey, which tells its index."""
    file = io.BytesIO()
    Image.new("RGB", size, (index, index, index)).save(file, "PNG")
    return file.getvalue()


def clip(count: int, rate: float | None = None) -> FrameSequence:
    return FrameSequence(tuple(frame(i) for i in range(count)), rate)


def preprocessing(**keys: object) -> Preprocessing:
    return Preprocessing.from_mapping(Modality.VIDEO, {"resize": [20, 20], "num_frames": 4, **keys})


def greys(source: FrameSequence, **keys: object) -> list[int]:
    array = decode(source, preprocessing(**keys)).array
    assert array.dtype == np.uint8
    assert array.shape[1:] == (3, 20, 20)
    assert array.flags.c_contiguous
    assert all((one == one.flat[0]).all() for one in array)
    return [int(one.flat[0]) for one in array]


def test_numbers_in_names_count_as_numbers() -> None:
    names = ["f10.png", "f9.png", "f1.png", "F2.png", "f01.png"]
    assert in_order(names) == ["f01.png", "f1.png", "F2.png", "f9.png", "f10.png"]
    assert in_order(["b.png", "a2.png", "7.png", "a10.png"]) == ["7.png", "a2.png", "a10.png", "b.png"]
    assert in_order(["9" * 30 + ".png", "1.png"])[0] == "1.png"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, [0, 1, 2, 3]),
        ({"frame_rate": 5}, [0, 2, 4, 6]),  # every second of 10 frames a second
        ({"sampling": "uniform"}, [0, 3, 6, 9]),
        ({"sampling": "window", "window_seconds": 0.6}, [2, 4, 6, 8]),
    ],
)
def test_sampling_keys_choose_frames(keys: dict[str, object], expected: list[int]) -> None:
    assert greys(clip(10, 10.0), **keys) == expected


def test_without_a_rate_thirty_frames_last_a_second() -> None:
    assert greys(clip(40), frame_rate=10) == [0, 3, 6, 9]
    decoded = decode(clip(40), preprocessing())
    assert decoded.duration_s is None
    assert decoded.frames == 4
    assert decode(clip(40, 20.0), preprocessing()).duration_s == 2.0


def test_a_short_clip_repeats_its_last_frame_or_is_an_error() -> None:
    assert greys(clip(2)) == [0, 1, 1, 1]
    decoded = decode(clip(2), preprocessing())
    assert decoded.notes == ("padded 2 frames",)
    assert decoded.frames == 2
    with pytest.raises(MediaError) as caught:
        decode(clip(2), preprocessing(frame_pad="error"))
    assert caught.value.reason is Reason.TOO_FEW_FRAMES


def test_pixels_are_those_of_the_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (30, 40, 3), dtype=np.uint8) for _ in range(3)]
    paths = []
    for i, pixels in enumerate(pictures):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(pixels).save(paths[-1])
    keys = {"resize": [30, 40], "resize_mode": "none", "num_frames": 3}
    from_files = decode(FrameSequence(tuple(paths)), Preprocessing.from_mapping(Modality.VIDEO, keys))
    assert np.array_equal(from_files.array, np.stack(pictures).transpose(0, 3, 1, 2))
    assert (from_files.width, from_files.height) == (40, 30)
    content = FrameSequence(tuple(path.read_bytes() for path in paths))
    assert np.array_equal(decode(content, Preprocessing.from_mapping(Modality.VIDEO, keys)).array, from_files.array)


def test_a_bad_frame_is_an_error_that_names_its_number(tmp_path: Path) -> None:
    good = frame(1)
    with pytest.raises(MediaError, match="Frame 2 of 4") as caught:
        decode(FrameSequence((good, good[: len(good) // 2], good, good)), preprocessing())
    assert caught.value.reason in (Reason.CORRUPT, Reason.TRUNCATED)
    secret = tmp_path / "secret-name.png"
    with pytest.raises(MediaError, match="Frame 1 of 1") as caught:
        decode(FrameSequence((secret,)), preprocessing())
    assert caught.value.reason is Reason.FILE_MISSING
    assert "secret" not in str(caught.value)
    with pytest.raises(MediaError) as caught:
        decode(FrameSequence(()), preprocessing())
    assert caught.value.reason is Reason.NO_FRAMES


def test_bounds_hold_for_frames() -> None:
    with pytest.raises(MediaError) as caught:
        decode(clip(4), preprocessing(), MediaLimits(max_pixels=100))
    assert caught.value.reason is Reason.TOO_LARGE
    with pytest.raises(MediaError) as caught:
        decode(clip(4), preprocessing(resize_mode="none"), MediaLimits(max_decode_bytes=20_000))
    assert caught.value.reason is Reason.TOO_LARGE
    mixed = FrameSequence((frame(0), frame(1, (41, 30)), frame(2), frame(3)))
    with pytest.raises(MediaError) as caught:
        decode(mixed, preprocessing(resize_mode="none"))
    assert caught.value.reason is Reason.UNSUPPORTED


def test_only_detectors_of_clips_take_frames() -> None:
    for modality in (Modality.IMAGE, Modality.AUDIO):
        with pytest.raises(MediaError) as caught:
            decode(clip(2), Preprocessing.from_mapping(modality, {}))
        assert caught.value.reason is Reason.UNSUPPORTED


def test_a_region_that_some_frames_lack_is_the_nearest_frames() -> None:
    """The finder sees whole frames; the box of the frame before stands in for what it does not find."""
    rng = np.random.default_rng(1)
    pictures = [rng.integers(0, 256, (30, 40, 3), dtype=np.uint8) for _ in range(4)]
    contents = []
    for pixels in pictures:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        contents.append(file.getvalue())

    def find(frames: np.ndarray) -> list[tuple[int, int, int, int] | None]:
        assert frames.shape == (1, 30, 40, 3)
        return [(0, 0, 20, 20) if not np.array_equal(frames[0], pictures[2]) else None]

    keys = {"region": "faces", "region_margin": 1.0}
    decoded = decode(FrameSequence(tuple(contents)), preprocessing(**keys), find=find)
    expected = np.stack([p[:20, :20] for p in pictures]).transpose(0, 3, 1, 2)
    assert np.array_equal(decoded.array, expected)
    assert "nearest frame" in decoded.notes[0]
