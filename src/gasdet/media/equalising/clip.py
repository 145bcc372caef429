"""Clips made equal: the middle of each, at one frame rate, as its frames' centre squares of one side, in H.264."""

from __future__ import annotations

import io
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from gasdet.media.clip import pyav
from gasdet.media.decoded import Array, MediaLimits
from gasdet.media.equalising.equalised import Equalised
from gasdet.media.equalising.picture import enlarged, square
from gasdet.media.frames import Source
from gasdet.media.perturbation.encoders import REPEATABLE_X264
from gasdet.media.video import decode_video
from gasdet.types import Modality


def equalised_clip(source: Source, numbers: Mapping[str, int | float], limits: MediaLimits) -> Equalised:
    """A clip as an MP4 with one H.264 stream (4:2:0, x264's default preset) and nothing else.

    A clip that is shorter than asked is played back and forth until it is long enough: a picture that stands still at the
    end would tell how short it was.

    Args:
        source: The file, its bytes, or its frames.
        numbers: ``side`` in pixels, ``frame_rate`` in frames per second, ``seconds``, and ``crf``.
        limits: Bounds of decoding.

    Raises:
        MediaError: With the reason.
    """
    side, rate = int(numbers["side"]), float(numbers["frame_rate"])
    count = max(1, round(rate * float(numbers["seconds"])))
    window = max(1, count - 1) / rate
    wanted = square(Modality.VIDEO, side, sampling="window", num_frames=count, window_seconds=window)
    decoded = decode_video(source, wanted, limits)
    found = decoded.frames or 1
    frames = decoded.array[[back_and_forth(i, found) for i in range(count)]]
    notes = [note for note in decoded.notes if not note.startswith("padded")]
    if found < count:
        notes.append(f"{count - found} of {count} frames played back and forth to equalise a short clip")
    return Equalised(
        _encoded(np.ascontiguousarray(frames.transpose(0, 2, 3, 1)), rate, int(numbers["crf"])),
        f"{decoded.decoder} > pyav {pyav().__version__} libx264",
        width=decoded.width,
        height=decoded.height,
        duration_s=decoded.duration_s,
        notes=(*notes, *enlarged(decoded, side)),
    )


def back_and_forth(index: int, count: int) -> int:
    """The frame shown at a place of a clip of ``count`` frames that is played forwards, backwards, forwards..."""
    if count == 1:
        return 0
    at = index % (2 * count - 2)
    return at if at < count else 2 * count - 2 - at


def _encoded(frames: Array, rate: float, crf: int) -> bytes:
    """Frames ``[T, H, W, 3]`` of even sides as an MP4."""
    av = pyav()
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"fflags": "bitexact"}) as container:
        stream: Any = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1001))
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.codec_context.thread_count = 1
        stream.options = {"crf": str(crf), "preset": "medium", "threads": "1", **REPEATABLE_X264}
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()
