"""An audio fingerprint that survives re-encoding, and the search for recordings that share it.

After J. Haitsma and T. Kalker, "A Highly Robust Audio Fingerprinting System", ISMIR 2002: frames of 0.37 s, one every 11.6 ms,
Hann window, 33 bands of logarithmic width from 300 to 2,000 Hz; bit ``m`` of a frame is set where the energy difference of
bands ``m`` and ``m + 1`` grew since the frame before. Two recordings are compared by their bit error rate where they
overlap. What differs from the paper, which matches music against a data base, and why: docs/checking.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from gasdet.inspection.checking.bits import popcount

Words = npt.NDArray[np.uint32]

RATE = 5000
"""Sample rate in Hz at which the spectrum is taken, the paper's: bands end at 2,000 Hz."""

FRAME = 1850
"""Samples in a frame: 0.37 s."""

HOP = 58
"""Samples from one frame to the next: 11.6 ms."""

BANDS = 33
LOWEST_HZ, HIGHEST_HZ = 300.0, 2000.0
MAX_FRAMES = 862
"""Frames that are kept, of a recording's beginning: 10 s of it."""

QUIET_DB = -50.0
"""A frame that is quieter than the loudest one by more than this is silence, and has no bits."""

MIN_OVERLAP = 86
"""Frames with sound in both recordings, below which they are not compared: 1 s."""

MAX_ERROR_RATE = 0.25
"""Share of differing bits up to which two recordings are near duplicates. The paper takes 0.35, for music."""

_FFT = 2048
_BLOCK = 256
_MIN_VOTES = 2
_SLACK = 2
_SHIFT_BITS, _OWNER_BITS = 11, 26


def fingerprint(samples: npt.NDArray[np.float32], rate: int) -> Words:
    """The fingerprint of a recording.

    Args:
        samples: float32 ``[n]``, mono.
        rate: Of the samples, in Hz.

    Returns:
        uint32 ``[frames]``, at most ``MAX_FRAMES``; 0 for a frame of silence. Empty where there is less than 1 s of sound
        to compare by.
    """
    import soxr

    needed = int((FRAME + HOP * (MAX_FRAMES + 1)) / RATE * rate) + rate  # a second more, for the resampler's edge
    low = np.asarray(soxr.resample(samples[:needed], rate, RATE), dtype=np.float32)
    count = min(MAX_FRAMES + 1, (len(low) - FRAME) // HOP + 1)
    if count < MIN_OVERLAP + 1:
        return np.empty(0, np.uint32)
    energies = np.concatenate([_energies(low, start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK)])
    between = energies[:, :-1] - energies[:, 1:]
    bits = between[1:] > between[:-1]
    words = bits.astype(np.uint32) @ (np.uint32(1) << np.arange(BANDS - 1, dtype=np.uint32))
    loudness = energies.sum(axis=1)[1:]
    loudest = float(loudness.max())
    words[loudness <= loudest * 10 ** (QUIET_DB / 10)] = 0
    return words.astype(np.uint32) if np.count_nonzero(words) >= MIN_OVERLAP else np.empty(0, np.uint32)


def _energies(low: npt.NDArray[np.float32], first: int, stop: int) -> npt.NDArray[np.float64]:
    """Energy of each band in frames ``first`` to ``stop``: float64 ``[frames, 33]``."""
    window, edges = _window_and_edges()
    frames = np.lib.stride_tricks.sliding_window_view(low, FRAME)[first * HOP : (stop - 1) * HOP + 1 : HOP]
    power = np.abs(np.fft.rfft(frames * window, _FFT)).astype(np.float64) ** 2
    return np.add.reduceat(power[:, : edges[-1]], edges[:-1], axis=1)


@cache
def _window_and_edges() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """The Hann window, and the first spectral line of each band with the end of the last."""
    limits = np.geomspace(LOWEST_HZ, HIGHEST_HZ, BANDS + 1)
    return np.hanning(FRAME).astype(np.float32), np.rint(limits * _FFT / RATE).astype(np.int64)


def error_rate(one: Words, other: Words, shift: int) -> float:
    """Share of differing bits where two recordings overlap.

    Args:
        one: A fingerprint.
        other: Another.
        shift: The frame of ``one`` at which ``other`` begins; negative where it begins before.

    Returns:
        0 to 1; 1 where less than ``MIN_OVERLAP`` frames of the overlap have sound in both.
    """
    start, stop = max(0, shift), min(len(one), len(other) + shift)
    if stop - start < MIN_OVERLAP:
        return 1.0
    a, b = one[start:stop], other[start - shift : stop - shift]
    sounding = (a != 0) & (b != 0)
    count = int(np.count_nonzero(sounding))
    if count < MIN_OVERLAP:
        return 1.0
    return int(popcount(a[sounding] ^ b[sounding]).sum()) / (32 * count)


def near_sounds(prints: Sequence[Words]) -> Iterator[tuple[int, int, float]]:
    """Pairs of recordings that sound the same: positions, the smaller first, and their bit error rate.

    Candidates are recordings that share equal words at one and the same shift. Of all frames with an equal word only
    neighbours (in the order of the recordings) are linked, so the work grows with the length of what is searched, not with
    its square; recordings that are equal among many are linked in a chain.

    Args:
        prints: Fingerprints; empty ones are near to nothing.
    """
    for one, other, shift in _candidates(prints):
        rates = [(error_rate(prints[one], prints[other], shift + d), abs(d)) for d in range(-_SLACK, _SLACK + 1)]
        best = min(rates)[0]
        if best <= MAX_ERROR_RATE:
            yield one, other, best


def _candidates(prints: Sequence[Words]) -> list[tuple[int, int, int]]:
    lengths = np.array([len(words) for words in prints], np.int64)
    if not lengths.sum():
        return []
    words = np.concatenate([np.asarray(p, np.uint32) for p in prints])
    owners = np.repeat(np.arange(len(prints), dtype=np.int32), lengths)
    times = (np.arange(len(words)) - np.repeat(np.cumsum(lengths) - lengths, lengths)).astype(np.int32)
    # A word often stays for several frames: only where it begins is it looked up.
    begins = words != 0
    begins[1:] &= (words[1:] != words[:-1]) | (owners[1:] != owners[:-1])
    chosen = np.flatnonzero(begins)
    order = chosen[np.lexsort((times[chosen], owners[chosen], words[chosen]))]
    left, right = order[:-1], order[1:]
    linked = (words[left] == words[right]) & (owners[left] != owners[right])
    left, right = left[linked], right[linked]
    # Both positions and the shift in one number, which is quicker to count than rows of three.
    shifts = (times[left] - times[right]).astype(np.int64) + (1 << _SHIFT_BITS - 1)
    keys = (owners[left].astype(np.int64) << _OWNER_BITS + _SHIFT_BITS) | (
        owners[right].astype(np.int64) << _SHIFT_BITS
    )
    found, votes = np.unique(keys | shifts, return_counts=True)
    found = found[votes >= _MIN_VOTES]
    owner_mask, shift_mask = (1 << _OWNER_BITS) - 1, (1 << _SHIFT_BITS) - 1
    return [
        (key >> _OWNER_BITS + _SHIFT_BITS, key >> _SHIFT_BITS & owner_mask, (key & shift_mask) - (1 << _SHIFT_BITS - 1))
        for key in found.tolist()
    ]
