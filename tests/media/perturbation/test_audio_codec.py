"""Codecs: in place, in time, at any rate and length; G.711 against its formula."""

from __future__ import annotations

import numpy as np
import pytest
import soxr

from gasdet.media.perturbation import perturb
from gasdet.media.perturbation.audio_codec import CODECS

from .conftest import lag, snr_db, tones


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("rate", [8000, 12345, 16000, 44100, 96000])
def test_a_recording_comes_back_in_its_place(codec: str, rate: int) -> None:
    array = tones(seconds=0.7, rate=rate)
    result = perturb(array, "audio", "codec", codec=codec, kbps=64.0, sample_rate=rate)
    assert (result.shape, result.dtype) == (array.shape, np.float32)
    assert result.flags.c_contiguous
    assert abs(lag(array, result)) <= rate / 8000
    assert snr_db(array, result) > 10


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("length", [0, 1, 7, 500])
def test_short_and_silent_recordings(codec: str, length: int) -> None:
    result = perturb(np.zeros(length, np.float32), "audio", "codec", codec=codec, sample_rate=16000)
    assert result.shape == (length,)
    assert not result.any()


@pytest.mark.parametrize("codec", ["mp3", "aac", "opus"])
@pytest.mark.parametrize("kbps", [8.0, 256.0])
@pytest.mark.parametrize("rate", [8000, 48000])
def test_the_ends_of_the_bit_rates_work(codec: str, kbps: float, rate: int) -> None:
    array = tones(seconds=0.5, rate=rate)
    result = perturb(array, "audio", codec, kbps=kbps, sample_rate=rate)
    assert result.shape == array.shape
    assert np.isfinite(result).all()


@pytest.mark.parametrize("codec", ["mp3", "aac", "opus"])
def test_speech_loses_more_with_fewer_bits(codec: str, speech: np.ndarray) -> None:
    results = {k: perturb(speech, "audio", codec, level=k, sample_rate=16000) for k in (1, 5)}
    assert lag(speech, results[1]) == 0
    assert snr_db(speech, results[1]) > snr_db(speech, results[5]) + 2
    assert snr_db(speech, results[5]) > 3
    assert np.array_equal(results[5], perturb(speech, "audio", codec, level=5, sample_rate=16000))


def test_g711_is_mu_law_at_8_khz() -> None:
    array = tones(seconds=0.5, rate=8000)
    result = perturb(array, "audio", "g711", sample_rate=8000)
    expected = np.sign(array) * np.log1p(255 * np.abs(array)) / np.log1p(255)  # the continuous law, mu = 255
    expected = np.round(expected * 127.5 - 0.5) / 127.5 + 0.5 / 127.5
    expected = np.sign(expected) * np.expm1(np.abs(expected) * np.log1p(255)) / 255
    step = np.maximum(np.abs(array) * 0.05, 2e-3)  # half the spacing of the 255 values
    assert (np.abs(result - array) <= step).all()
    assert snr_db(array, result) == pytest.approx(snr_db(array, expected), abs=2)
    at_16 = perturb(tones(0.5, 16000), "audio", "g711", sample_rate=16000)
    down = soxr.resample(tones(0.5, 16000), 16000, 8000, "HQ")
    again = soxr.resample(perturb(down, "audio", "g711", sample_rate=8000), 8000, 16000, "HQ")
    assert np.array_equal(at_16, again[:8000].astype(np.float32))
