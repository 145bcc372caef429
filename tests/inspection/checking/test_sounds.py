"""The audio fingerprint: by its definition, on re-encoded speech, and the search for what shares it."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import soxr

from gasdet.inspection.checking import sounds
from gasdet.inspection.checking.near import near_recordings
from gasdet.inspection.checking.sounds import error_rate, fingerprint, near_sounds
from gasdet.media import decode
from gasdet.types import Modality, Preprocessing

RATE = 16_000
WHOLE = Preprocessing(Modality.AUDIO, sample_rate=RATE, duration_seconds=0)

Signal = npt.NDArray[np.float32]


def speech_like(seconds: float, seed: int) -> Signal:
    """Harmonics of a wandering pitch under wandering formants, in syllables with pauses."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    knots = np.arange(0, seconds + 1, 0.12)

    def wandering(low: float, high: float) -> npt.NDArray[np.float64]:
        return np.interp(time, knots, rng.uniform(low, high, len(knots)))

    phase = 2 * np.pi * np.cumsum(wandering(90, 240)) / RATE
    formants = [wandering(300, 800), wandering(900, 1800), wandering(2000, 3000)]
    pitch = np.gradient(phase) * RATE / (2 * np.pi)
    signal = np.zeros_like(time)
    for harmonic in range(1, 20):
        gain = sum(np.exp(-(((harmonic * pitch - f) / 150) ** 2)) for f in formants)
        signal += gain * np.sin(harmonic * phase)
    signal *= np.clip(wandering(-0.3, 1.0), 0, None)
    return (0.3 * signal / np.abs(signal).max() + rng.normal(0, 0.001, len(time))).astype(np.float32)


def encoded(samples: Signal, form: str, subtype: str, quality: float | None = None) -> Signal:
    """Through a lossy encoder and back."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format=form, subtype=subtype, compression_level=quality)
    return decode(buffer.getvalue(), WHOLE).array


def test_each_bit_is_what_the_paper_says() -> None:
    samples = speech_like(4, seed=0)
    low = soxr.resample(samples, RATE, 5000)
    found = fingerprint(samples, RATE)
    edges = [round(300 * (2000 / 300) ** (band / 33) * 2048 / 5000) for band in range(34)]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1850) / 1849)

    def energies(frame: int) -> list[float]:
        spectrum = np.fft.fft(np.pad(low[frame * 58 : frame * 58 + 1850] * window, (0, 198)))
        return [float(sum(abs(spectrum[k]) ** 2 for k in range(edges[m], edges[m + 1]))) for m in range(33)]

    assert len(found) == (len(low) - 1850) // 58
    checked = 0
    for frame in (1, 2, 50, 117, 200, len(found)):
        before, now = energies(frame - 1), energies(frame)
        grown = [(now[m] - now[m + 1]) - (before[m] - before[m + 1]) for m in range(32)]
        word = int(found[frame - 1])
        if word:
            clear = [m for m in range(32) if abs(grown[m]) > 1e-4 * max(now)]
            assert [word >> m & 1 for m in clear] == [int(grown[m] > 0) for m in clear]
            checked += len(clear)
    assert checked > 60


def test_the_error_rate_is_the_share_of_bits_that_differ_where_both_have_sound() -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(1, 2**32, 300, dtype=np.uint32)
    other = rng.integers(1, 2**32, 250, dtype=np.uint32)
    one[10:30] = 0
    shift = 20
    pairs = [(int(one[i]), int(other[i - shift])) for i in range(shift, 270) if one[i] and other[i - shift]]
    expected = sum((a ^ b).bit_count() for a, b in pairs) / (32 * len(pairs))
    assert error_rate(one, other, shift) == pytest.approx(expected)
    assert error_rate(other, one, -shift) == pytest.approx(expected)
    assert error_rate(one, one, 0) == 0
    assert error_rate(one, one, 300 - sounds.MIN_OVERLAP + 1) == 1


CHANGES = {
    "MP3 at its lowest quality": lambda x: encoded(x, "MP3", "MPEG_LAYER_III", 0.99),
    "Vorbis at a low quality": lambda x: encoded(x, "OGG", "VORBIS", 0.9),
    "A-law": lambda x: encoded(x, "WAV", "ALAW"),
    "8 kHz": lambda x: soxr.resample(soxr.resample(x, RATE, 8000), 8000, RATE),
    "a third as loud": lambda x: x / 3,
    "the first 0.7 s cut off": lambda x: x[int(0.7 * RATE) :],
    "0.5 s of silence before": lambda x: np.concatenate([np.zeros(RATE // 2, np.float32), x]),
    "noise 20 dB below": lambda x: (x + np.random.default_rng(5).normal(0, 0.1 * x.std(), len(x))).astype(np.float32),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_re_encoded_is_near_and_others_are_not(change: str) -> None:
    originals = [speech_like(4 + seed % 3, seed) for seed in range(6)]
    changed = [CHANGES[change](samples) for samples in originals]
    prints = [fingerprint(samples, RATE) for samples in (*originals, *changed)]
    assert {(one, other) for one, other, _ in near_sounds(prints)} == {(n, n + 6) for n in range(6)}


def test_real_speech_is_near_to_its_copies_only(shared_media: Path) -> None:
    files = sorted((shared_media / "audio").rglob("*.*"))
    originals = [decode(file, WHOLE).array for file in files]
    changed = [encoded(samples, "MP3", "MPEG_LAYER_III", 0.9) for samples in originals]
    prints = [fingerprint(samples, RATE).tobytes() for samples in (*originals, *changed)]
    assert sum(map(bool, prints)) == len(prints)
    count = len(files)
    assert count > 15
    assert near_recordings(prints).together() == [[n, n + count] for n in range(count)]


def test_a_copy_among_many_is_found_in_a_chain() -> None:
    samples = speech_like(3, seed=1)
    rng = np.random.default_rng(0)
    copies = [
        (samples * gain).astype(np.float32) + rng.normal(0, 1e-3, len(samples)).astype(np.float32)
        for gain in (1, 0.5, 0.8)
    ]
    prints = [fingerprint(one.astype(np.float32), RATE).tobytes() for one in (*copies, speech_like(3, seed=2))]
    sets = near_recordings(prints)
    assert sets.together() == [[0, 1, 2]]
    assert all(0 <= sets.nearest[n] < 0.25 for n in range(3))
    assert sets.nearest[3] == float("inf")


def test_silence_and_short_recordings_have_no_fingerprint() -> None:
    assert len(fingerprint(np.zeros(5 * RATE, np.float32), RATE)) == 0
    assert len(fingerprint(speech_like(1.2, seed=0), RATE)) == 0
    assert len(fingerprint(np.empty(0, np.float32), RATE)) == 0
    burst = np.zeros(8 * RATE, np.float32)
    burst[:4000] = speech_like(0.25, seed=0)
    assert len(fingerprint(burst, RATE)) == 0  # less than a second of sound
    assert list(near_sounds([np.empty(0, np.uint32)] * 3)) == []


def test_shared_silence_makes_nobody_near() -> None:
    quiet = np.zeros(4 * RATE, np.float32)
    prints = [fingerprint(np.concatenate([speech_like(2.5, seed), quiet]), RATE) for seed in range(4)]
    assert all(len(words) for words in prints)
    assert list(near_sounds(prints)) == []


def test_a_long_recording_is_told_by_its_first_ten_seconds() -> None:
    samples = speech_like(14, seed=4)
    found = fingerprint(samples, RATE)
    assert len(found) == sounds.MAX_FRAMES
    seconds = sounds.MAX_FRAMES * sounds.HOP / sounds.RATE
    assert seconds == pytest.approx(10, abs=0.02)
    cut = fingerprint(samples[: 12 * RATE], RATE)
    assert error_rate(found, cut, 0) < 0.001


def test_the_search_finds_what_comparing_each_with_each_finds() -> None:
    base = [speech_like(3.5, seed) for seed in range(5)]
    prints = [fingerprint(one, RATE) for one in (*base, *(one[3000:] for one in base))]
    brute = set()
    for one, other in itertools.combinations(range(len(prints)), 2):
        shifts = range(-len(prints[other]), len(prints[one]))
        if min(error_rate(prints[one], prints[other], shift) for shift in shifts) <= sounds.MAX_ERROR_RATE:
            brute.add((one, other))
    assert {(one, other) for one, other, _ in near_sounds(prints)} == brute == {(n, n + 5) for n in range(5)}
