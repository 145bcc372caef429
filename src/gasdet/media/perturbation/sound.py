"""Gain, noise, shifts, filters and resampling for recordings, float32 ``[N]``. What is beyond [-1, 1] stays beyond."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gasdet.media.audio import QUALITY
from gasdet.media.decoded import Array
from gasdet.media.perturbation.filters import band_pass_taps, filtered

COLOURS = ("white", "pink", "brown")


def gain(array: Array, rng: np.random.Generator, *, db: float, clip: bool) -> Array:
    """Louder or quieter by ``db``; with ``clip`` cut at -1 and 1, as a recorder would."""
    louder = array * np.float32(10 ** (db / 20))
    return np.clip(louder, -1, 1) if clip else louder


def noise(array: Array, rng: np.random.Generator, *, snr_db: float, colour: str) -> Array:
    """Stationary noise at a ratio of mean powers over the whole recording; a silent recording stays silent.

    The power of ``pink`` noise falls with the frequency, of ``brown`` noise with its square.
    """
    power = float(np.mean(np.square(array, dtype=np.float64)))
    if power == 0:
        return array.copy()
    added = coloured(len(array), colour, rng)
    added *= math.sqrt(power / float(np.mean(added**2)) / 10 ** (snr_db / 10))
    return (array + added).astype(np.float32)


def coloured(length: int, colour: str, rng: np.random.Generator) -> Array:
    """Noise of some power, float64 ``[N]``."""
    white: Array = rng.standard_normal(length)
    if colour == "white" or length < 2:
        return white
    spectrum = np.fft.rfft(white)
    steps = np.arange(1, len(spectrum) + 1) - 1.0
    steps[0] = np.inf  # no constant part
    spectrum /= np.sqrt(steps) if colour == "pink" else steps
    shaped: Array = np.fft.irfft(spectrum, length)
    return shaped


def time_shift(array: Array, rng: np.random.Generator, *, seconds: float, wrap: bool, sample_rate: int) -> Array:
    """Later by ``seconds`` (earlier below 0); what leaves comes in again with ``wrap``, else silence comes in."""
    places = round(seconds * sample_rate)
    shifted = np.roll(array, places)
    if not wrap and places > 0:
        shifted[:places] = 0
    elif not wrap and places < 0:
        shifted[places:] = 0
    return shifted


def band_pass(array: Array, rng: np.random.Generator, *, low: float, high: float, taps: int, sample_rate: int) -> Array:
    """A linear-phase band-pass without delay.

    Args:
        array: float32 ``[N]``.
        rng: Not used.
        low: Lower edge in Hz, where the gain is a half; 0 for none.
        high: Upper edge in Hz; at half the sample rate or above there is none.
        taps: Length of the filter, made odd.
        sample_rate: In Hz.
    """
    upper = min(high / sample_rate, 0.5)
    lower = min(low / sample_rate, upper - 1e-3)
    return filtered(array, band_pass_taps(max(lower, 0.0), upper, int(taps) | 1)).astype(np.float32)


def resample(array: Array, rng: np.random.Generator, *, factor: float, times: int, sample_rate: int) -> Array:
    """To ``factor`` times the sample rate and back with soxr, so often; the length stays."""
    lower = max(round(factor * sample_rate), 1)
    for _ in range(int(times)):
        array = at_length(converted(converted(array, sample_rate, lower), lower, sample_rate), len(array))
    return array


def converted(array: Array, rate: int, target: int) -> Array:
    """A recording at another sample rate, float32."""
    import soxr

    result: Any = array if rate == target else soxr.resample(array, rate, target, quality=QUALITY)
    return np.asarray(result, np.float32)


def at_length(array: Array, length: int) -> Array:
    """Cut, or continued with silence, to a length; a new contiguous array."""
    result = np.zeros(length, np.float32)
    result[: min(length, len(array))] = array[:length]
    return result
