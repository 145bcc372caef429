"""Which column of a table means what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gasdet.types import Modality

_PATHS = [
    "path",
    "file_path",
    "filepath",
    "file_name",
    "filename",
    "file",
    "image_path",
    "video_path",
    "audio_path",
    "image",
    "video",
    "audio",
]
_KNOWN: dict[str, tuple[str, ...]] = {
    "label": ("label", "target", "class", "media_type"),
    "modality": ("modality",),
    "generator": ("generator", "generator_name", "model", "generator_or_device"),
    "split": ("split",),
    "group": ("group",),
    "dataset": ("dataset",),
    "weight": ("weight",),
    "pair": ("pair", "pair_id"),
    "released": ("released", "release_date"),
}
PATH_NAMES = ", ".join(_PATHS)
LABEL_NAMES = ", ".join(_KNOWN["label"])


@dataclass(frozen=True, slots=True)
class Roles:
    """The names of a table's columns by what they mean; an empty string where there is none."""

    path: str = ""
    label: str = ""
    modality: str = ""
    generator: str = ""
    split: str = ""
    group: str = ""
    dataset: str = ""
    weight: str = ""
    pair: str = ""
    released: str = ""

    def named(self) -> list[str]:
        """All columns that mean something."""
        return [name for role in self.__dataclass_fields__ if (name := getattr(self, role))]


def roles_of(columns: Sequence[str], *, group: str = "", path: str = "") -> Roles:
    """Find the columns that mean something, in any case; where several could, the more specific name wins.

    Args:
        columns: All names, as the table has them.
        group: The group's column where the user names one.
        path: The path's column where the user names one.
    """
    roles = {role: first_named(columns, names) for role, names in _KNOWN.items()}
    roles["path"] = first_named(columns, [path] if path else _PATHS)
    if group:
        roles["group"] = first_named(columns, [group])
    return Roles(**roles)


def first_named(columns: Sequence[str], names: Iterable[str]) -> str:
    """The first of the names that is a column, as the table spells it; an empty string where none is."""
    by_lower = {column.strip().casefold(): column for column in reversed(columns)}
    return next((by_lower[name.casefold()] for name in names if name.casefold() in by_lower), "")


def annotated(columns: Sequence[str], asked: Iterable[str]) -> dict[str, str]:
    """For each name asked for that is a column, in any case, that column as the table spells it."""
    return {name: column for name in asked if (column := first_named(columns, [name]))}


def modality_of_word(text: str) -> Modality | None:
    """A modality column's value in any case, or None."""
    word = text.strip().casefold()
    return Modality(word) if word in tuple(Modality) else None


def modality_of_column(name: str) -> Modality | None:
    """What a column called ``image``, ``src_img``, ``mp4`` or ``audio.bytes`` holds, or None."""
    lower = name.casefold()
    for modality, words in (
        (Modality.IMAGE, ("image", "img", "jpg", "jpeg", "png", "webp", "picture", "photo")),
        (Modality.VIDEO, ("video", "clip", "mp4", "webm")),
        (Modality.AUDIO, ("audio", "speech", "wav", "flac", "mp3", "sound")),
    ):
        if any(word in lower for word in words):
            return modality
    return None
