"""RawBoost against its formulas, written with scipy's filters on the same random draws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from gasdet.media.perturbation import perturb, rawboost

from .conftest import lag, tones


def notches(rng: np.random.Generator, rate: int) -> np.ndarray:
    """Five random notch filters in a row, by scipy: centre 20-8000 Hz, width 100-1000 Hz, 10-100 taps, peak gain 1."""
    taps = np.ones(1)
    for _ in range(5):
        centre, width, length = rng.uniform(20, 8000), rng.uniform(100, 1000), int(rng.uniform(10, 100))
        edges = [max(centre - width / 2, 1e-3), min(centre + width / 2, rate / 2 - 1e-3)]
        if edges[0] < edges[1]:
            taps = np.convolve(taps, signal.firwin(length + (length % 2 == 0), edges, window="hamming", fs=rate))
    return taps / np.abs(signal.freqz(taps)[1]).max()


def centred(x: np.ndarray, taps: np.ndarray) -> np.ndarray:
    return np.convolve(x, taps)[len(taps) // 2 :][: len(x)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rate", [8000, 16000])
def test_convolutive_noise_is_the_formula(seed: int, rate: int) -> None:
    x = tones(0.5, rate).astype(float)
    draws = np.random.default_rng(seed)
    expected = centred(x, notches(draws, rate))
    for power in range(2, 6):
        loss = draws.uniform(5, 20)
        expected = expected + 10 ** (-loss / 20) * centred(x**power, notches(draws, rate))
    expected = expected - expected.mean()
    expected = expected / max(1.0, np.abs(expected).max())
    result = rawboost.convolutive(x, np.random.default_rng(seed), rate)
    assert result == pytest.approx(expected, abs=1e-9)


def test_noises_do_not_move_a_recording_in_time(rng: np.random.Generator) -> None:
    x = 0.1 * rng.standard_normal(8000).astype(np.float32)
    for algorithm in range(1, 9):
        assert lag(x, perturb(x, "audio", "rawboost", algorithm=algorithm, sample_rate=16000)) == 0


def test_impulsive_noise_changes_a_share_of_the_samples_in_proportion(rng: np.random.Generator) -> None:
    x = 0.3 * rng.uniform(0.5, 1, 20000) * rng.choice([-1, 1], 20000)
    factor = rawboost.impulsive(x, rng, 0.1, 2.0) / x - 1
    changed = np.abs(factor) > 1e-12
    assert 1990 <= changed.sum() <= 2000  # a product of two uniform numbers is hardly ever 0
    drawn = factor[changed] / 2
    assert np.abs(drawn).max() <= 1
    assert drawn.mean() == pytest.approx(0, abs=0.03)
    assert drawn.var() == pytest.approx(1 / 9, rel=0.1)  # of a product of two uniform numbers from -1 to 1


def test_impulsive_noise_never_passes_1() -> None:
    x = np.full(1000, 0.99)
    assert np.abs(rawboost.impulsive(x, np.random.default_rng(0), 0.5, 5.0)).max() == pytest.approx(1.0)


@pytest.mark.parametrize("ratio", [0.0, 25.0])
def test_stationary_noise_is_at_its_ratio(ratio: float, rng: np.random.Generator) -> None:
    x = tones(1.0).astype(float)
    noise = rawboost.stationary(x, rng, ratio, 16000) - x
    assert 20 * np.log10(np.linalg.norm(x) / np.linalg.norm(noise)) == pytest.approx(ratio, abs=1e-6)
    draws = np.random.default_rng(3)
    white = draws.standard_normal(len(x))
    filtered = centred(white, notches(draws, 16000))
    result = rawboost.stationary(x, np.random.default_rng(3), ratio, 16000) - x
    assert np.corrcoef(result, filtered)[0, 1] == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize(
    ("algorithm", "kinds"), [(1, "c"), (2, "i"), (3, "s"), (4, "cis"), (5, "ci"), (6, "cs"), (7, "is")]
)
def test_algorithms_are_series_of_the_noises(algorithm: int, kinds: str) -> None:
    array = tones(0.3)
    options = {"impulse_share": 0.05, "impulse_gain": 2.0, "snr_db": 20.0}
    draws = np.random.default_rng(1)
    x = array.astype(float)
    for kind in kinds:
        if kind == "c":
            x = rawboost.convolutive(x, draws, 16000)
        elif kind == "i":
            x = rawboost.impulsive(x, draws, 0.05, 2.0)
        else:
            x = rawboost.stationary(x, draws, 20.0, 16000)
    result = rawboost.rawboost(array, np.random.default_rng(1), algorithm=algorithm, sample_rate=16000, **options)
    assert np.array_equal(result, x.astype(np.float32))


def test_algorithm_8_adds_two_noises() -> None:
    array = 0.2 * tones(0.3)
    draws = np.random.default_rng(1)
    x = array.astype(float)
    both = rawboost.convolutive(x, draws, 16000) + rawboost.impulsive(x, draws, 0.05, 2.0)
    options = {"impulse_share": 0.05, "impulse_gain": 2.0, "snr_db": 20.0}
    result = rawboost.rawboost(array, np.random.default_rng(1), algorithm=8, sample_rate=16000, **options)
    assert np.abs(both).max() < 1
    assert np.array_equal(result, both.astype(np.float32))


def test_silence_stays_silent_and_speech_stays_finite(speech: np.ndarray) -> None:
    for algorithm in range(1, 9):
        silent = perturb(np.zeros(800, np.float32), "audio", "rawboost", algorithm=algorithm, sample_rate=16000)
        assert not silent.any()
        result = perturb(speech, "audio", "rawboost", algorithm=algorithm, sample_rate=16000)
        assert np.isfinite(result).all()
        assert 0.5 < np.corrcoef(speech, result)[0, 1] < 1
