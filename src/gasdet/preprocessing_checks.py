"""What the keys of a ``preprocessing:`` section may hold. Standard library only, like the types that use it."""

from __future__ import annotations

import re
from typing import Any

from gasdet.errors import ConfigError

CHOICES: dict[str, tuple[str, ...]] = {
    "resize_mode": ("crop", "stretch", "shortest_edge", "center_crop", "none"),
    "interpolation": ("nearest", "bilinear", "bicubic", "area", "lanczos"),
    "sampling": ("start", "uniform", "window"),
    "frame_pad": ("repeat_last", "error"),
    "audio_pad": ("zeros", "repeat"),
    "audio_crop": ("center", "start"),
}


_REGION_NAME = re.compile(r"(([\w.-]+/)?[a-z0-9]+([-_][a-z0-9]+)*)?")


def checked_value(key: str, value: Any, where: str) -> Any:
    """One value in its own type.

    Args:
        key: Of the ``preprocessing:`` section, known.
        value: As it was given.
        where: What the error message calls the section.

    Raises:
        ConfigError: The value is unusable; the message names the key and says what it takes.
    """

    def fail(expected: str) -> ConfigError:
        return ConfigError(f"{where}: {key} must be {expected}, not {value!r}.")

    def is_number(v: Any) -> bool:
        return isinstance(v, int | float) and not isinstance(v, bool) and v == v and abs(v) != float("inf")

    if key in CHOICES:
        if value not in CHOICES[key]:
            raise fail(f"one of {', '.join(CHOICES[key])}")
        return value
    if key == "resize":
        if isinstance(value, int) and not isinstance(value, bool):
            value = (value, value)
        if not (isinstance(value, list | tuple) and len(value) == 2):
            raise fail("[height, width] in pixels")
        sides = tuple(value)
        if any(not isinstance(s, int) or isinstance(s, bool) or not 1 <= s <= 16384 for s in sides):
            raise fail("[height, width], whole numbers from 1 to 16384")
        return sides
    if key in ("antialias", "exif_orientation"):
        if not isinstance(value, bool):
            raise fail("true or false")
        return value
    if key in ("num_frames", "sample_rate"):
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise fail("a whole number of at least 1")
        return value
    if key == "region":
        if value is not None and not (isinstance(value, str) and _REGION_NAME.fullmatch(value)):
            raise fail("the name of a registered preprocessor, or empty")
        return value or ""
    if key == "equalise":  # which profile there is, types.Preprocessing checks: it depends on the modality
        if value is not None and not isinstance(value, str):
            raise fail("the name of an equalisation profile, or empty")
        return value or ""
    if key == "region_margin":
        if not is_number(value) or not 1 <= value <= 10:
            raise fail("a number from 1 to 10")
        return float(value)
    if key == "frame_rate" and value is None:
        return None
    if key in ("frame_rate", "window_seconds"):
        if not is_number(value) or value <= 0:
            raise fail("a number above 0")
        return float(value)
    if key == "duration_seconds":
        if not is_number(value) or value < 0:
            raise fail("a number of seconds, or 0 for the whole recording")
        return float(value)
    raise AssertionError(f"no check for preprocessing key {key}")
