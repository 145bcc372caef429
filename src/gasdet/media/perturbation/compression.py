"""JPEG, WebP and H.264: encoded in memory and decoded again. All frames of a clip are encoded alike."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any, cast

import numpy as np

from gasdet.media.clip import pyav
from gasdet.media.decoded import Array
from gasdet.media.perturbation.encoders import REPEATABLE_X264, require_encoder
from gasdet.media.perturbation.frames import interleaved, per_frame

SUBSAMPLINGS = ("420", "422", "444")


def jpeg(array: Array, rng: np.random.Generator, *, quality: int, subsampling: str) -> Array:
    """JPEG as Pillow writes it (libjpeg-turbo, its exact DCT); a clip frame by frame.

    Args:
        array: uint8 ``[(T,) 3, H, W]``.
        rng: Not used.
        quality: 1 to 100, libjpeg's scale.
        subsampling: Of the chroma: "420" halves both directions, "422" one, "444" none.
    """
    import simplejpeg
    from PIL import Image

    chroma = ":".join(subsampling)

    def coded(frame: Array) -> Array:
        # simplejpeg 1.9 encodes with the fast, less exact DCT whatever it is told; its decoder is Pillow's bit for bit
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=int(quality), subsampling=chroma)
        return cast(Array, simplejpeg.decode_jpeg(file.getvalue(), "RGB", fastdct=False, fastupsample=False))

    return per_frame(array, coded)


def webp(array: Array, rng: np.random.Generator, *, quality: int) -> Array:
    """Lossy WebP at libwebp's ``quality`` of 1 to 100 and Pillow's effort of 4; a clip frame by frame."""
    from PIL import Image

    def coded(frame: Array) -> Array:
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "WEBP", quality=int(quality), method=4)
        return np.asarray(Image.open(file).convert("RGB"))

    return per_frame(array, coded)


def h264(array: Array, rng: np.random.Generator, *, crf: int, fps: float) -> Array:
    """A clip through x264 at its default preset (medium), 4:2:0, and back.

    Odd sides, which 4:2:0 cannot hold, are made even by repeating the last row or column, which is cut off again. Colours
    go through BT.601 in limited range both ways. One thread and no faster instructions than SSE2, so that the result
    depends on nothing else.

    Args:
        array: uint8 ``[T, 3, H, W]``.
        rng: Not used.
        crf: Constant rate factor, 0 to 51.
        fps: Frames per second that the encoder is told.

    Raises:
        UsageError: PyAV was built without libx264.
    """
    height, width = array.shape[-2:]
    frames = np.pad(interleaved(array), ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    decoded = _decode_h264(_encode_h264(frames, crf, fps))
    if len(decoded) != len(frames):
        raise RuntimeError(f"H.264 gave {len(decoded)} frames for {len(frames)}")
    planes = np.moveaxis(np.stack(decoded)[:, :height, :width], -1, 1)
    return np.ascontiguousarray(planes)


def _encode_h264(frames: Array, crf: int, fps: float) -> list[bytes]:
    require_encoder("libx264")
    av = pyav()
    rate = Fraction(fps).limit_denominator(1001)
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
    encoder.framerate, encoder.time_base = rate, 1 / rate
    encoder.thread_count = 1
    encoder.options = {"crf": str(crf), "preset": "medium", "threads": "1", **REPEATABLE_X264}
    packets = []
    for number, pixels in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = number, encoder.time_base
        packets += encoder.encode(frame)
    return [bytes(packet) for packet in (*packets, *encoder.encode(None))]


def _decode_h264(packets: list[bytes]) -> list[Array]:
    av = pyav()
    decoder: Any = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    frames = [frame for data in packets for frame in decoder.decode(av.Packet(data))]
    return [frame.to_ndarray(format="rgb24") for frame in (*frames, *decoder.decode(None))]
