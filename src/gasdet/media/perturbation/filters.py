"""Linear filters for recordings, with numpy alone."""

from __future__ import annotations

import numpy as np

from gasdet.media.decoded import Array


def filtered(samples: Array, taps: Array) -> Array:
    """A recording through a symmetric FIR filter of odd length, without its delay.

    Args:
        samples: ``[N]``.
        taps: ``[K]``, K odd.

    Returns:
        float64 ``[N]``; beyond both ends the recording counts as silent.
    """
    length = len(samples) + len(taps) - 1
    size = 1 << (length - 1).bit_length()
    product = np.fft.rfft(samples, size) * np.fft.rfft(taps, size)
    start = len(taps) // 2
    whole: Array = np.fft.irfft(product, size)
    return whole[start : start + len(samples)]


def low_pass(cutoff: float, taps: int) -> Array:
    """A sinc low-pass of odd length without a window; ``cutoff`` as a share of the sample rate, up to 0.5."""
    places = np.arange(taps) - taps // 2
    response: Array = 2 * cutoff * np.sinc(2 * cutoff * places)
    return response


def band_pass_taps(low: float, high: float, taps: int) -> Array:
    """A band-pass by the window method (Hamming) with gain 1 in the middle of its band.

    Args:
        low: Lower edge as a share of the sample rate; 0 lets everything below ``high`` through.
        high: Upper edge, up to 0.5, which lets everything above ``low`` through.
        taps: Odd length.
    """
    response = (low_pass(high, taps) - low_pass(low, taps)) * np.hamming(taps)
    middle = 0.0 if low <= 0 else 0.5 if high >= 0.5 else (low + high) / 2
    places = np.arange(taps) - taps // 2
    scaled: Array = response / np.sum(response * np.cos(2 * np.pi * middle * places))
    return scaled


def band_stop_taps(low: float, high: float, taps: int) -> Array:
    """A band-stop by the window method (Hamming) with gain 1 at 0; edges as for :func:`band_pass_taps`."""
    response = (low_pass(low, taps) + low_pass(0.5, taps) - low_pass(high, taps)) * np.hamming(taps)
    scaled: Array = response / response.sum()
    return scaled


def peak_gain(taps: Array) -> float:
    """The largest gain at 512 equally spaced frequencies from 0 to below half the sample rate."""
    places = np.arange(512) / 1024
    response = np.exp(-2j * np.pi * places[:, None] * np.arange(len(taps))) @ taps
    return float(np.abs(response).max())
