"""RawBoost: three kinds of noise that channels and devices add to speech (Tak et al., arXiv 2111.04433).

Written from the paper's formulas with the parameters that its authors published:

1. linear and non-linear convolutive noise: y = sum over j = 1..N_f of g_j * (h_j convolved with x^j), where each h_j is a
   product of random notch filters and the gains of the powers above 1 are lower by a random bias;
2. impulsive signal-dependent noise: at a random share of the samples y = x + g_sd * x * d, d the product of two uniform
   numbers from -1 to 1;
3. stationary signal-independent noise: white noise through random notch filters at a random ratio of norms.
"""

from __future__ import annotations

import math

import numpy as np

from gasdet.media.decoded import Array
from gasdet.media.perturbation.filters import band_stop_taps, filtered, peak_gain

ALGORITHMS = {
    1: (1,),
    2: (2,),
    3: (3,),
    4: (1, 2, 3),
    5: (1, 2),
    6: (1, 3),
    7: (2, 3),
}
"""Noises one after the other; algorithm 8 adds the results of 1 and 2 instead."""

_BANDS = 5
_POWERS = 5
_CENTRE_HZ = (20.0, 8000.0)
_WIDTH_HZ = (100.0, 1000.0)
_TAPS = (10, 100)
_BIAS_DB = (5.0, 20.0)


def rawboost(
    array: Array,
    rng: np.random.Generator,
    *,
    algorithm: int,
    impulse_share: float,
    impulse_gain: float,
    snr_db: float,
    sample_rate: int,
) -> Array:
    """One of the paper's algorithms.

    Args:
        array: float32 ``[N]``.
        rng: Gives all that is random.
        algorithm: 1 convolutive, 2 impulsive, 3 stationary; in series 4: 1, 2, 3; 5: 1, 2; 6: 1, 3; 7: 2, 3; 8: 1 and 2 in
            parallel, added.
        impulse_share: Of the samples that impulses change.
        impulse_gain: g_sd.
        snr_db: Of the stationary noise, in dB.
        sample_rate: In Hz. Notches above half of it are cut there.
    """
    signal = array.astype(np.float64)
    if not signal.any():
        return array.copy()

    def apply(kind: int, x: Array) -> Array:
        if kind == 1:
            return convolutive(x, rng, sample_rate)
        if kind == 2:
            return impulsive(x, rng, impulse_share, impulse_gain)
        return stationary(x, rng, snr_db, sample_rate)

    if algorithm == 8:
        return _limited(apply(1, signal) + apply(2, signal)).astype(np.float32)
    for kind in ALGORITHMS[int(algorithm)]:
        signal = apply(kind, signal)
    return signal.astype(np.float32)


def convolutive(x: Array, rng: np.random.Generator, sample_rate: int) -> Array:
    """Linear and non-linear convolutive noise of float64 ``[N]``, without its mean, scaled down where it passes 1."""
    # In the authors' code the bias is taken off the gain's range once; the range starts at 0 dB to 0 dB.
    total = filtered(x, _notches(rng, sample_rate))
    for power in range(2, _POWERS + 1):
        loss = rng.uniform(*_BIAS_DB)
        total = total + 10 ** (-loss / 20) * filtered(x**power, _notches(rng, sample_rate))
    return _limited(total - total.mean())


def impulsive(x: Array, rng: np.random.Generator, share: float, gain: float) -> Array:
    """Impulsive signal-dependent noise of float64 ``[N]``, scaled down where it passes 1."""
    places = rng.permutation(len(x))[: int(share * len(x))]
    impulses = rng.uniform(-1, 1, len(places)) * rng.uniform(-1, 1, len(places))
    y = x.copy()
    y[places] += gain * x[places] * impulses
    return _limited(y)


def stationary(x: Array, rng: np.random.Generator, snr_db: float, sample_rate: int) -> Array:
    """Stationary signal-independent noise added to float64 ``[N]``; not scaled down, as published."""
    noise = filtered(rng.standard_normal(len(x)), _notches(rng, sample_rate))
    norm = np.linalg.norm(noise)
    scale = np.linalg.norm(x) / norm / 10 ** (snr_db / 20) if norm > 0 else 0.0
    noisy: Array = x + scale * noise
    return noisy


def _notches(rng: np.random.Generator, sample_rate: int) -> Array:
    """The product of five random notch filters with a largest gain of 1."""
    taps: Array = np.ones(1)
    for _ in range(_BANDS):
        centre, width = rng.uniform(*_CENTRE_HZ), rng.uniform(*_WIDTH_HZ)
        length = int(rng.uniform(*_TAPS)) | 1
        low = max(centre - width / 2, 1e-3) / sample_rate
        high = min(centre + width / 2, sample_rate / 2 - 1e-3) / sample_rate
        if low < high:  # else the whole notch lies above half the sample rate
            taps = np.convolve(taps, band_stop_taps(low, high, length))
    gain = peak_gain(taps)
    return taps / gain if math.isfinite(gain) and gain > 0 else taps


def _limited(x: Array) -> Array:
    peak = float(np.abs(x).max())
    return x / peak if peak > 1 else x
