from __future__ import annotations

import io
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr

from gasdet.media import MediaLimits, audio, decode
from gasdet.types import Reason

from .conftest import (
    audio_keys,
    encoded,
    make_clip,
    make_encoded_recording,
    make_recording,
    picture,
    reason_of,
)

WHOLE = audio_keys(duration_seconds=0.0)


def noise(count: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (count, channels)).astype(np.float32)


def reference(samples: np.ndarray, rate: int, target: int = 16000) -> np.ndarray:
    """Mean of the channels, the whole recording resampled at once."""
    mono = (samples.sum(axis=1, dtype=np.float32) / np.float32(samples.shape[1])).astype(np.float32)
    return mono if rate == target else soxr.resample(mono, rate, target, quality="HQ")


def as_float(samples: np.ndarray, rate: int) -> bytes:
    return make_recording(samples, rate, subtype="FLOAT")


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_mono_mean_and_resampling_equal_the_reference(rate: int, channels: int) -> None:
    samples = noise(rate * 2 + 17, channels)
    decoded = decode(as_float(samples, rate), WHOLE)
    assert decoded.array.dtype == np.float32
    assert decoded.duration_s == len(samples) / rate
    np.testing.assert_allclose(decoded.array, reference(samples, rate), rtol=0, atol=1e-6)
    assert ("soxr" in decoded.decoder) == (rate != 16000)
    if channels == 1:
        assert np.array_equal(decoded.array, reference(samples, rate))


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "MP3", "OGG"])
def test_division_into_blocks_changes_no_bit(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_recording(noise(60_000, 2), 44100, kind)
    whole = decode(data, WHOLE).array
    monkeypatch.setattr(audio, "BLOCK", 1000)
    assert np.array_equal(decode(data, WHOLE).array, whole)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "AIFF", "AU", "CAF", "W64", "RF64", "NIST"])
def test_lossless_formats_give_their_samples(kind: str) -> None:
    samples = np.round(noise(5000) * 32768) / 32768
    decoded = decode(make_recording(samples, 16000, kind, "PCM_16"), WHOLE)
    assert np.array_equal(decoded.array, samples[:, 0].astype(np.float32))
    assert decoded.decoder == f"soundfile {soundfile.__version__}"


@pytest.mark.parametrize(
    ("codec", "container"), [("aac", "ipod"), ("aac", "adts"), ("aac", "mp4"), ("libopus", "webm"), ("ac3", "ac3")]
)
def test_pyav_reads_what_soundfile_cannot(codec: str, container: str) -> None:
    decoded = decode(make_encoded_recording(codec, container), WHOLE)
    assert decoded.decoder.startswith("pyav")
    assert decoded.duration_s == pytest.approx(1.0, abs=0.1)
    middle = decoded.array[4000:12000]
    assert np.sqrt((middle**2).mean()) == pytest.approx(0.3 / np.sqrt(2), rel=0.05)
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert np.argmax(spectrum) == pytest.approx(440 * len(middle) / 16000, abs=1)


@pytest.mark.parametrize(("codec", "container"), [("mp3", "mp3"), ("libopus", "ogg")])
def test_soundfile_reads_what_it_can(codec: str, container: str) -> None:
    assert decode(make_encoded_recording(codec, container), WHOLE).decoder.startswith("soundfile")


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
def test_pyavs_sample_formats_are_scaled_to_1(codec: str) -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as output:
        stream = output.add_stream(codec, rate=16000, layout="stereo")
        wave = noise(4000, 2).T.copy()
        block = av.AudioFrame.from_ndarray(wave, format="fltp", layout="stereo")
        block.sample_rate = 16000
        for piece in av.AudioResampler(format=stream.format, layout="stereo", rate=16000).resample(block):
            output.mux(stream.encode(piece))
        output.mux(stream.encode())
    decoded = decode(buffer.getvalue(), WHOLE)
    assert decoded.decoder.startswith("pyav")
    np.testing.assert_allclose(decoded.array, wave.mean(axis=0), atol=0.005 if codec == "pcm_u8" else 4e-5)


def test_an_mp3_that_states_no_length_is_read_to_its_end() -> None:
    plain = {"write_xing": "0", "id3v2_version": "0"}
    low, high = (make_encoded_recording("mp3", "mp3", bit_rate=rate, **plain) for rate in (32_000, 192_000))
    for data in (low + high, high + low):  # libsndfile would expect much more, and read much less
        decoded = decode(data, WHOLE)
        assert decoded.decoder.startswith("pyav")
        assert decoded.duration_s == pytest.approx(2.0, abs=0.2)
        assert np.abs(decoded.array[-8000:-4000]).max() == pytest.approx(0.3, abs=0.05)


def test_a_flac_that_states_no_length_is_read_to_its_end() -> None:
    samples = noise(30_000)
    data = bytearray(make_recording(samples, 16000, "FLAC"))
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    assert decode(bytes(data), WHOLE).array.shape == (30_000,)


def test_the_sound_of_a_clip() -> None:
    decoded = decode(make_clip(with_audio=True), WHOLE)
    assert decoded.duration_s == pytest.approx(1.0, abs=0.1)
    assert np.abs(decoded.array).max() == pytest.approx(0.3, abs=0.05)


def test_every_real_recording_equals_the_reference(shared_media: Path) -> None:
    files = sorted(p for p in (shared_media / "audio").rglob("*") if p.is_file())
    assert len(files) > 20
    for path in files:
        with soundfile.SoundFile(path) as sound:
            samples, rate = sound.read(-1, dtype="float32", always_2d=True), sound.samplerate
        expected = reference(samples, rate)
        if len(expected) >= 96000:
            start = (len(expected) - 96000) // 2
            expected = expected[start : start + 96000]
        else:
            expected = np.concatenate([expected, np.zeros(96000 - len(expected), np.float32)])
        decoded = decode(path, audio_keys())
        assert np.array_equal(decoded.array, expected), path.name
        assert np.array_equal(decode(path.read_bytes(), audio_keys()).array, expected), path.name
        assert decoded.duration_s == len(samples) / rate
    assert any(path.suffix == ".sph" for path in files)


class TestWindow:
    RAMP = (np.arange(1000, dtype=np.float32) / 2000)[:, None]

    def cut(self, **keys: object) -> tuple[np.ndarray, tuple[str, ...]]:
        decoded = decode(as_float(self.RAMP, 16000), audio_keys(**keys))
        return decoded.array, decoded.notes

    def test_a_longer_recording_is_cut_at_its_centre(self) -> None:
        array, notes = self.cut(duration_seconds=301 / 16000)
        assert np.array_equal(array, self.RAMP[349:650, 0])  # (1000 - 301) // 2 = 349
        assert notes == ()

    def test_or_at_its_start(self) -> None:
        array, _ = self.cut(duration_seconds=300 / 16000, audio_crop="start")
        assert np.array_equal(array, self.RAMP[:300, 0])

    def test_a_shorter_one_gets_zeros_on_the_right(self) -> None:
        array, notes = self.cut(duration_seconds=1500 / 16000)
        assert np.array_equal(array[:1000], self.RAMP[:, 0])
        assert not array[1000:].any()
        assert len(array) == 1500
        assert notes == ("padded 500 samples",)

    def test_or_is_repeated(self) -> None:
        array, notes = self.cut(duration_seconds=2300 / 16000, audio_pad="repeat")
        assert np.array_equal(array, np.concatenate([self.RAMP[:, 0]] * 3)[:2300])
        assert notes == ("padded 1300 samples",)

    def test_the_length_is_rounded_down(self) -> None:
        array, _ = self.cut(sample_rate=16000, duration_seconds=0.00999)
        assert len(array) == int(16000 * 0.00999) == 159

    def test_the_window_does_not_hold_on_to_the_recording(self) -> None:
        array, _ = self.cut(duration_seconds=0.01)
        assert array.base is None


class TestErrors:
    def test_samples_that_are_no_numbers(self) -> None:
        for value in (np.nan, np.inf, -np.inf):
            samples = noise(1000, 2)
            samples[500, 1] = value
            assert reason_of(as_float(samples, 16000), WHOLE) is Reason.NONFINITE_SAMPLES
            assert reason_of(as_float(samples, 44100), audio_keys(duration_seconds=0.001)) is Reason.NONFINITE_SAMPLES

    def test_a_mean_beyond_32_bits(self) -> None:
        samples = np.full((100, 2), 3e38, np.float32)
        assert reason_of(as_float(samples, 16000), WHOLE) is Reason.NONFINITE_SAMPLES

    def test_samples_beyond_1_are_kept_and_noted(self) -> None:
        samples = noise(1000)
        samples[10] = -300
        decoded = decode(as_float(samples, 16000), WHOLE)
        assert decoded.array[10] == -300
        assert decoded.notes == ("samples reach 300, beyond 1; kept as they are",)

    @pytest.mark.parametrize("kind", ["WAV", "AIFF", "AU"])
    def test_no_samples(self, kind: str) -> None:
        assert reason_of(make_recording(np.zeros((0, 1)), 16000, kind), WHOLE) is Reason.NO_SAMPLES

    def test_too_few_samples_to_resample(self) -> None:
        assert reason_of(as_float(noise(1), 96000), WHOLE) is Reason.NO_SAMPLES
        assert decode(as_float(noise(1), 16000), WHOLE).array.shape == (1,)

    def test_no_audio_stream(self) -> None:
        assert reason_of(make_clip(), WHOLE) is Reason.NO_AUDIO_STREAM
        assert reason_of(encoded(picture(), "PNG"), WHOLE) is Reason.NO_AUDIO_STREAM

    @pytest.mark.parametrize("kind", ["WAV", "FLAC", "MP3", "AIFF", "AU", "W64", "RF64", "NIST", "OGG"])
    @pytest.mark.parametrize("share", [0.4, 0.8])
    def test_recordings_cut_off_are_truncated(self, kind: str, share: float) -> None:
        data = make_recording(noise(44100 * 3), 44100, kind)
        assert reason_of(data[: int(len(data) * share)], WHOLE) is Reason.TRUNCATED

    @pytest.mark.parametrize(("codec", "container"), [("aac", "ipod"), ("libopus", "webm"), ("libopus", "ogg")])
    def test_encoded_recordings_cut_off_are_truncated(self, codec: str, container: str) -> None:
        data = make_encoded_recording(codec, container)
        assert reason_of(data[: len(data) * 6 // 10], WHOLE) is Reason.TRUNCATED

    def test_damage_in_the_middle_is_corrupt(self) -> None:
        data = bytearray(make_recording(noise(44100 * 20), 44100, "FLAC"))
        data[len(data) // 3 : len(data) // 3 + 4000] = bytes(4000)
        assert reason_of(bytes(data), WHOLE) is Reason.CORRUPT

    def test_a_sample_rate_of_zero(self) -> None:
        data = bytearray(make_recording(noise(1000), 16000))
        data[24:28] = struct.pack("<I", 0)
        assert reason_of(bytes(data), WHOLE) is Reason.CORRUPT

    def test_limits(self) -> None:
        data = make_recording(noise(32000), 16000)
        assert reason_of(data, WHOLE, MediaLimits(max_audio_seconds=1.99)) is Reason.TOO_LARGE
        assert decode(data, WHOLE, MediaLimits(max_audio_seconds=2.0)).duration_s == 2.0
        sound = make_encoded_recording("aac", "adts", seconds=2.0)
        assert reason_of(sound, WHOLE, MediaLimits(max_audio_seconds=1.0)) is Reason.TOO_LARGE
        assert reason_of(data, WHOLE, MediaLimits(max_decode_bytes=32000 * 4 * 2)) is Reason.TOO_LARGE

    def test_a_header_that_promises_the_world_is_refused_before_decoding(self) -> None:
        data = bytearray(make_recording(noise(1000), 16000, "FLAC"))
        data[21:26] = bytes([data[21] | 0x0F]) + b"\xff\xff\xff\xff"  # 2^36 - 1 samples in STREAMINFO
        assert reason_of(bytes(data), WHOLE) is Reason.TOO_LARGE
