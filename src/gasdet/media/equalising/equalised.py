"""What equalising gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gasdet.types import Modality

SUFFIXES: Mapping[Modality, str] = {Modality.IMAGE: ".jpg", Modality.VIDEO: ".mp4", Modality.AUDIO: ".mp3"}
"""The extension that an equalised file would have."""


@dataclass(frozen=True, slots=True)
class Equalised:
    """A sample made equal, and what is known of where it came from.

    Attributes:
        content: The new file.
        made_by: Libraries and versions that read the source and wrote the new file, "pillow 13.0.0 > pillow 13.0.0 jpeg".
        width: Of the source as displayed; None for recordings.
        height: Likewise.
        duration_s: Seconds of the source, where known.
        notes: Where the source had less than the profile asks for, so that traces of that may remain.
    """

    content: bytes
    made_by: str
    width: int | None = None
    height: int | None = None
    duration_s: float | None = None
    notes: tuple[str, ...] = ()
