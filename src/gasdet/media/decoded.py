"""What decoding takes and gives: the limits and the decoded sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]

MIB = 2**20


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """Bounds that keep one hostile or huge file from taking the process down.

    All are checked from headers before pixels or samples are decoded; what exceeds one is ``TOO_LARGE``.

    Attributes:
        max_pixels: Pixels of an image, or of one frame of a clip.
        max_file_bytes: Size of the file.
        max_audio_seconds: Length of a recording.
        max_decode_bytes: Memory that one decode may take beyond the libraries themselves, as estimated from the header
            (decoder's working memory, decoded pixels, the array that is returned).
    """

    max_pixels: int = 120_000_000
    max_file_bytes: int = 4096 * MIB
    max_audio_seconds: float = 3600.0
    max_decode_bytes: int = 960 * MIB


@dataclass(frozen=True, slots=True)
class Decoded:
    """One sample as a detector takes it, with where it came from.

    Attributes:
        array: C-contiguous. Image uint8 ``[3, H, W]`` RGB; clip uint8 ``[T, 3, H, W]`` RGB; recording float32 ``[N]`` mono.
        decoder: Libraries and versions that made it, e.g. "pillow 13.0.0".
        width: Of the source as displayed (a clip's rotation applied), before preprocessing; None for recordings.
        height: Likewise.
        frames: Frames of the clip that the array holds, padding not counted; None for images and recordings.
        duration_s: Seconds of the source, where the container or the samples tell.
        notes: What a reader of the result should know, e.g. "padded 3 frames".
        facts: What else a decode process found out, by name, in plain Python types: for inspections of data, whose array is
            empty.
    """

    array: Array
    decoder: str
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    duration_s: float | None = None
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
