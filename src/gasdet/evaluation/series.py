"""Side outputs of recordings on the recording's own time: shifted, cut, and joined over windows.

A series is a side output ``NAME`` ``[T, ...]`` that has its times beside it as ``NAME_seconds`` ``[T]``, counted by the model
from the start of its input.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from gasdet.media.audio import window_start
from gasdet.types import Modality, Preprocessing

Array = npt.NDArray[Any]
Span = tuple[float, float]
"""Start and end of a window in the recording, in seconds."""

SECONDS = "_seconds"


def in_recording(details: Mapping[str, Array], span: Span, *, known_until: float = 0.0) -> dict[str, Array]:
    """The side outputs of one window, with the times of its series counted from the recording's start.

    What lies at or after the window's end (of a recording that was padded: the recording's) is left out.

    Args:
        details: By name, as the model gave them for one window.
        span: Where the window lies. The end is the recording's where the window is longer.
        known_until: What lies before this time, in seconds, is left out too: the window before had it.
    """
    found = dict(details)
    for name in _series(details):
        times = details[name + SECONDS].astype(np.float64) + span[0]
        kept = (times >= known_until) & (times < span[1])
        found[name], found[name + SECONDS] = details[name][kept], times[kept]
    return found


def placed_in_time(
    details: Mapping[str, Array], preprocessing: Preprocessing, duration_s: float | None
) -> dict[str, Array]:
    """The side outputs of a sample's one input; of a recording's window, on the recording's time."""
    if preprocessing.modality is not Modality.AUDIO or duration_s is None:
        return dict(details)
    start = window_start(round(duration_s * preprocessing.sample_rate), preprocessing) / preprocessing.sample_rate
    length = preprocessing.num_samples / preprocessing.sample_rate or duration_s
    return in_recording(details, (start, min(duration_s, start + length)))


class Joined:
    """The side outputs of a recording's windows, put together as they come.

    Series become one series, of which each time occurs once although windows overlap; everything else gets the windows as its
    first dimension. One that cannot be joined is left out, with a note.

    Args:
        most: How many values a side output may have in all.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._parts: dict[str, list[Array]] = {}
        self._series: set[str] = set()
        self._wrong: dict[str, str] = {}
        self._windows = 0
        self._until = 0.0

    def add(self, details: Mapping[str, Array], span: Span) -> None:
        """Take the side outputs of the next window, which begins no earlier than the one before."""
        series = {name for plain in _series(details) for name in (plain, plain + SECONDS)}
        if self._windows == 0:
            self._parts, self._series = {name: [] for name in details}, series
        placed = in_recording(details, span, known_until=self._until)
        for name in {*self._parts, *placed}:
            self._add(name, placed.get(name), name in series)
        self._windows += 1
        self._until = span[1]

    def _add(self, name: str, values: Array | None, in_series: bool) -> None:
        if name in self._wrong:
            return
        parts = self._parts.get(name)
        if values is None or parts is None or in_series != (name in self._series):
            self._wrong[name] = "not every window has it"
        elif parts and parts[0].shape[in_series:] != values.shape[in_series:]:
            self._wrong[name] = "its shape differs between windows"
        elif sum(part.size for part in parts) + values.size > self._most:
            self._wrong[name] = f"it has over {self._most:,} values in all windows"
        else:
            parts.append(values)
            return
        self._parts.pop(name, None)

    def result(self) -> tuple[dict[str, Array], list[str]]:
        """The side outputs of the whole recording, and a note for each that is left out."""
        found = {
            name: np.concatenate(parts) if name in self._series else np.stack(parts)
            for name, parts in self._parts.items()
        }
        return found, [f"the model's detail {name!r} is left out: {why}" for name, why in sorted(self._wrong.items())]


def _series(details: Mapping[str, Array]) -> list[str]:
    """Names of the series, without their times."""
    return [
        name
        for name, values in details.items()
        if (times := details.get(name + SECONDS)) is not None and times.ndim == 1 and values.shape[:1] == times.shape
    ]
