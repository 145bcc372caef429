"""Gain, noise, filters, shifts and resampling of recordings, against scipy, soxr and hand calculation."""

from __future__ import annotations

import numpy as np
import pytest
import soxr
from scipy import signal

from gasdet.media.perturbation import filters, perturb, sound

from .conftest import lag, snr_db, tones


def test_gain_by_hand(rng: np.random.Generator) -> None:
    array = np.array([0.1, -0.4, 0.8], np.float32)
    assert sound.gain(array, rng, db=6.0205999, clip=False) == pytest.approx([0.2, -0.8, 1.6], rel=1e-6)
    assert sound.gain(array, rng, db=6.0205999, clip=True) == pytest.approx([0.2, -0.8, 1.0], rel=1e-6)
    assert sound.gain(array, rng, db=-20.0, clip=True) == pytest.approx([0.01, -0.04, 0.08], rel=1e-6)


@pytest.mark.parametrize("colour", sound.COLOURS)
@pytest.mark.parametrize("ratio", [-5.0, 10.0, 40.0])
def test_noise_is_at_the_ratio_asked_for(colour: str, ratio: float, rng: np.random.Generator) -> None:
    array = tones()
    assert snr_db(array, sound.noise(array, rng, snr_db=ratio, colour=colour)) == pytest.approx(ratio, abs=0.01)


@pytest.mark.parametrize(("colour", "slope"), [("white", 0.0), ("pink", -1.0), ("brown", -2.0)])
def test_noise_power_falls_with_the_frequency_as_named(colour: str, slope: float, rng: np.random.Generator) -> None:
    frequencies, power = signal.welch(sound.coloured(2**18, colour, rng), nperseg=4096)
    inner = slice(8, -8)
    fitted = np.polyfit(np.log(frequencies[inner]), np.log(power[inner]), 1)[0]
    assert fitted == pytest.approx(slope, abs=0.05)


def test_noise_leaves_silence_silent(rng: np.random.Generator) -> None:
    assert not sound.noise(np.zeros(100, np.float32), rng, snr_db=0.0, colour="pink").any()


@pytest.mark.parametrize(("low", "high"), [(300.0, 3400.0), (0.0, 3400.0), (300.0, 8000.0), (300.0, 20000.0)])
def test_band_pass_is_scipys_window_method(low: float, high: float, rng: np.random.Generator) -> None:
    array = rng.standard_normal(4000).astype(np.float32)
    result = sound.band_pass(array, rng, low=low, high=high, taps=254, sample_rate=16000)
    if low == 0:
        taps = signal.firwin(255, high, fs=16000)
    elif high >= 8000:
        taps = signal.firwin(255, low, fs=16000, pass_zero=False)
    else:
        taps = signal.firwin(255, [low, high], fs=16000, pass_zero=False)
    assert result == pytest.approx(np.convolve(array, taps, mode="same"), abs=1e-5)


@pytest.mark.parametrize("edges", [(100.0, 900.0), (3000.0, 3100.0), (7500.0, 7999.0)])
def test_notch_filters_and_their_peak_gain_are_scipys(edges: tuple[float, float]) -> None:
    taps = filters.band_stop_taps(edges[0] / 16000, edges[1] / 16000, 61)
    expected = signal.firwin(61, edges, fs=16000)
    assert taps == pytest.approx(expected, abs=1e-12)
    assert filters.peak_gain(taps) == pytest.approx(np.abs(signal.freqz(expected)[1]).max(), rel=1e-9)


@pytest.mark.parametrize("length", [1, 50, 1000])
def test_filtering_is_convolution_without_delay(length: int, rng: np.random.Generator) -> None:
    array, taps = rng.standard_normal(length), rng.standard_normal(31)
    expected = np.convolve(array, taps)[15 : 15 + length]
    assert filters.filtered(array, taps) == pytest.approx(expected, abs=1e-10)


def test_shift_by_hand(rng: np.random.Generator) -> None:
    array = np.arange(1, 7, dtype=np.float32)
    options = {"sample_rate": 2}
    assert sound.time_shift(array, rng, seconds=1.0, wrap=True, **options).tolist() == [5, 6, 1, 2, 3, 4]
    assert sound.time_shift(array, rng, seconds=1.0, wrap=False, **options).tolist() == [0, 0, 1, 2, 3, 4]
    assert sound.time_shift(array, rng, seconds=-0.5, wrap=False, **options).tolist() == [2, 3, 4, 5, 6, 0]
    assert not sound.time_shift(array, rng, seconds=9.0, wrap=False, **options).any()
    assert array.tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("rate", [16000, 44100])
def test_resampling_removes_what_the_lower_rate_cannot_hold(rate: int, rng: np.random.Generator) -> None:
    time = np.arange(rate) / rate
    low, high = np.sin(2 * np.pi * 0.1 * rate * time), np.sin(2 * np.pi * 0.4 * rate * time)
    result = sound.resample((low + high).astype(np.float32), rng, factor=0.5, times=1, sample_rate=rate)
    inner = slice(1000, -1000)
    assert len(result) == rate
    assert snr_db(low[inner], result[inner]) > 60


def test_resampling_is_soxrs_there_and_back(rng: np.random.Generator) -> None:
    array = tones()
    result = sound.resample(array, rng, factor=0.5, times=2, sample_rate=16000)
    expected = array
    for _ in range(2):
        expected = soxr.resample(soxr.resample(expected, 16000, 8000, "HQ"), 8000, 16000, "HQ")
    assert np.array_equal(result, expected[: len(array)])
    assert lag(array, result) == 0


@pytest.mark.parametrize("name", ["noise", "resample", "band_pass"])
def test_levels_lose_more_and_more_of_speech(name: str, speech: np.ndarray) -> None:
    results = [perturb(speech, "audio", name, level=k, sample_rate=16000) for k in range(1, 6)]
    quality = [snr_db(speech, result) for result in results]
    assert quality == sorted(quality, reverse=True)
    assert quality[0] > quality[-1] + 2
