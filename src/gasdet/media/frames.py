"""A clip that is no file: a folder of images, one a frame."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_DIGITS = re.compile(r"(\d{1,18})")


@dataclass(frozen=True, slots=True)
class FrameSequence:
    """The frames of a clip, in the order in which they are shown, each an image.

    Attributes:
        frames: The images' paths, or their contents (of a clip in an archive); all of one kind.
        frame_rate: Frames per second; None where the data do not tell, as a video whose header states none.
    """

    frames: tuple[Path, ...] | tuple[bytes, ...]
    frame_rate: float | None = None


Source = Path | bytes | FrameSequence
"""What can be decoded: a file, a file's content, or a clip's frames."""


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """By which frame names are sorted: numbers in them count as numbers, so that frame 10 follows frame 9.

    Digits are those that Unicode calls decimal; names that differ in leading zeros alone keep the order of their text, which
    is for the caller to add.
    """
    parts = _DIGITS.split(name.casefold())
    return tuple((1, int(part), "") if i % 2 else (0, 0, part) for i, part in enumerate(parts))


def in_order(names: Iterable[str]) -> list[str]:
    """Frame names in the order in which they are shown."""
    return sorted(names, key=lambda name: (natural_key(name), name))
