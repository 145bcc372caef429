"""JPEG and WebP against Pillow bit for bit, H.264 against an encode to a file."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
from PIL import Image

from gasdet.media.perturbation import compression, perturb

from .conftest import moving_clip, picture, psnr_db


def through_pillow(array: np.ndarray, kind: str, **options: object) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array.transpose(1, 2, 0))).save(file, kind, **options)
    return np.asarray(Image.open(file).convert("RGB")).transpose(2, 0, 1)


@pytest.mark.parametrize("quality", [1, 30, 75, 100])
@pytest.mark.parametrize(("subsampling", "pillows"), [("444", 0), ("422", 1), ("420", 2)])
def test_jpeg_is_pillows(quality: int, subsampling: str, pillows: int, rng: np.random.Generator) -> None:
    array = picture(61, 83)
    result = compression.jpeg(array, rng, quality=quality, subsampling=subsampling)
    assert np.array_equal(result, through_pillow(array, "JPEG", quality=quality, subsampling=pillows))


@pytest.mark.parametrize("quality", [10, 75])
def test_webp_is_pillows(quality: int, rng: np.random.Generator) -> None:
    array = picture(61, 83)
    assert np.array_equal(compression.webp(array, rng, quality=quality), through_pillow(array, "WEBP", quality=quality))


def test_a_clips_frames_are_coded_one_by_one(rng: np.random.Generator) -> None:
    clip = moving_clip()
    whole = compression.jpeg(clip, rng, quality=50, subsampling="420")
    frames = [compression.jpeg(frame, rng, quality=50, subsampling="420") for frame in clip]
    assert np.array_equal(whole, np.stack(frames))


@pytest.mark.parametrize("name", ["jpeg", "webp"])
def test_levels_lose_more_and_more_of_a_photo(name: str, photo: np.ndarray) -> None:
    quality = [psnr_db(photo, perturb(photo, "image", name, level=k)) for k in range(1, 6)]
    assert quality == sorted(quality, reverse=True)
    assert 25 < quality[-1] < quality[0] < 45


def through_a_file(clip: np.ndarray, crf: int) -> np.ndarray:
    """The same settings, otherwise ffmpeg's defaults, written to and read from an MP4 file."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = clip.shape[3], clip.shape[2], "yuv420p"
        stream.options = {"crf": str(crf), "x264-params": "asm=0"}  # x264's plain C code
        stream.codec_context.thread_count = 1
        for pixels in clip:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)), format="rgb24")
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    file.seek(0)
    with av.open(file) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(frames).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("crf", [18, 40])
def test_h264_is_what_a_file_at_that_crf_holds(crf: int, clip: np.ndarray, rng: np.random.Generator) -> None:
    assert np.array_equal(compression.h264(clip, rng, crf=crf, fps=25.0), through_a_file(clip, crf))


def test_h264_keeps_the_frames_in_order_and_odd_sizes(rng: np.random.Generator) -> None:
    clip = moving_clip(frames=20, height=63, width=95)
    result = compression.h264(clip, rng, crf=18, fps=25.0)
    assert result.shape == clip.shape
    assert result.flags.c_contiguous
    even = compression.h264(np.pad(clip, ((0, 0), (0, 0), (0, 1), (0, 1)), mode="edge"), rng, crf=18, fps=25.0)
    assert np.array_equal(result, even[..., :63, :95])
    for number, frame in enumerate(result):
        nearest = int(np.argmax([psnr_db(other, frame) for other in clip]))
        assert nearest == number


def test_h264_loses_more_with_each_level_and_repeats_itself(clip: np.ndarray) -> None:
    results = [perturb(clip, "video", "h264", level=k) for k in range(1, 6)]
    quality = [psnr_db(clip, result) for result in results]
    assert quality == sorted(quality, reverse=True)
    assert quality[0] > quality[-1] + 8
    assert np.array_equal(results[2], perturb(clip, "video", "h264", level=3))
