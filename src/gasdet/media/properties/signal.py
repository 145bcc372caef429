"""Level, silence and bandwidth of a recording, measured block by block as its samples come."""

from __future__ import annotations

import math

import numpy as np

from gasdet.errors import MediaError
from gasdet.media.decoded import Array
from gasdet.media.properties.spec import Value
from gasdet.types import Reason

SILENT_BELOW_DB = 40.0
"""A frame that is so much weaker than the loudest one is silent."""

BANDWIDTH_BELOW_DB = 60.0
"""What never comes this close to the strongest frequency is beyond the bandwidth."""

CLIPPED_FROM = 0.99
FLOOR_DB = -140.0
"""Lower levels than 24 bits can hold are all the same."""

_FRAMES_PER_SECOND = 100
_WINDOW_SECONDS = 0.05
_LONGEST_FRAME, _LONGEST_WINDOW = 1 << 14, 1 << 15
"""In samples: enough for a rate of a megahertz. A header may say any rate."""


class Signal:
    """Measures a recording in one pass; memory grows by 100 numbers a second of it.

    Args:
        rate: In Hz.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.read = 0
        self._values = 0
        self._sum = self._squares = self._peak = 0.0
        self._zeros = self._clipped = 0
        self._hop = min(max(1, round(rate / _FRAMES_PER_SECOND)), _LONGEST_FRAME)
        self._levels: list[Array] = []
        self._waiting = np.empty((0,), np.float64)  # of the channels' mean square, less than a frame
        self._window = min(2 ** max(4, round(math.log2(rate * _WINDOW_SECONDS))), _LONGEST_WINDOW)
        self._tail = np.empty((0,), np.float32)  # of the channels' mean, less than a window
        self._spectrum = np.zeros(self._window // 2 + 1)

    def add(self, block: Array) -> None:
        """Take the next samples, float32 ``[n, channels]``.

        Raises:
            MediaError: NONFINITE_SAMPLES.
        """
        if not np.isfinite(block).all():
            raise MediaError(Reason.NONFINITE_SAMPLES, "The recording holds samples that are NaN or infinite.")
        self.read += len(block)
        self._values += block.size
        magnitude = np.abs(block)
        squares = np.square(block, dtype=np.float64)
        self._peak = max(self._peak, float(magnitude.max(initial=0)))
        self._zeros += int((magnitude == 0).sum())
        self._clipped += int((magnitude >= CLIPPED_FROM).sum())
        self._sum += float(block.sum(dtype=np.float64))
        self._squares += float(squares.sum())
        self._add_levels(squares.mean(axis=1))
        self._add_spectrum(block.mean(axis=1))

    def _add_levels(self, squares: Array) -> None:
        squares = np.concatenate([self._waiting, squares])
        whole = len(squares) // self._hop * self._hop
        self._levels.append(squares[:whole].reshape(-1, self._hop).mean(axis=1))
        self._waiting = squares[whole:]

    def _add_spectrum(self, mono: Array) -> None:
        """Keep the largest power that each frequency reaches, over Hann windows that overlap by half."""
        mono = np.concatenate([self._tail, mono])
        half = self._window // 2
        count = len(mono) // half - 1
        if count < 1:
            self._tail = mono
            return
        windows = np.lib.stride_tricks.sliding_window_view(mono, self._window)[::half][:count]
        for start in range(0, count, 256):  # a few MiB at once
            self._take_windows(windows[start : start + 256])
        self._tail = mono[count * half :]

    def _take_windows(self, windows: Array) -> None:
        # float64: rounding of 32 bits would lie within the dynamic range that is looked at
        lines = np.fft.rfft(windows * np.hanning(windows.shape[1] + 2)[1:-1], n=self._window, axis=1)
        self._spectrum = np.maximum(self._spectrum, np.square(np.abs(lines)).max(axis=0))

    def properties(self) -> dict[str, Value]:
        """What was measured; call it once, after the last block. At least one sample must have been taken."""
        if not self._spectrum.any():  # shorter than a window
            self._take_windows(self._tail[None])
        found: dict[str, Value] = {
            "loudness": _decibels(self._squares / self._values),
            "peak": _decibels(self._peak**2),
            "bandwidth": self._bandwidth(),
            "zero_share": self._zeros / self._values,
            "clipping_share": self._clipped / self._values,
            "dc_offset": self._sum / self._values,
        }
        levels = np.concatenate(self._levels)
        if not len(levels):
            levels = np.array([self._waiting.mean()])
        loud = np.flatnonzero(levels >= levels.max() * 10 ** (-SILENT_BELOW_DB / 10))
        if levels.max() > 0:
            found["leading_silence"] = min(int(loud[0]) * self._hop, self.read) / self.rate
            found["trailing_silence"] = max(0, self.read - (int(loud[-1]) + 1) * self._hop) / self.rate
            floor = float(np.quantile(levels, 0.1))
            found["noise_floor"] = max(FLOOR_DB, _decibels(floor) or FLOOR_DB)
        return found

    def _bandwidth(self) -> float | None:
        strongest = self._spectrum.max()
        if strongest <= 0:
            return None
        within = np.flatnonzero(self._spectrum >= strongest * 10 ** (-BANDWIDTH_BELOW_DB / 10))
        return float(within[-1] * self.rate / self._window)


def _decibels(power: float) -> float | None:
    """A mean square in dB relative to 1; None where it is 0."""
    return 10 * math.log10(power) if power > 0 else None
