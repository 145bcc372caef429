"""Properties of recordings, against signals of known level, silence and bandwidth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.signal import firwin, lfilter

from gasdet.errors import MediaError
from gasdet.media import MediaLimits
from gasdet.media.properties import properties_of
from gasdet.media.properties.signal import Signal
from gasdet.types import Modality, Reason

from ..conftest import encoded, make_clip, make_encoded_recording, make_recording, picture


def of(data: bytes, name: str = "") -> dict[str, Any]:
    return properties_of(data, Modality.AUDIO, name=name)


def tone(amplitude: float = 0.5, hertz: float = 1000, seconds: float = 1.0, rate: int = 16000) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(count)


@pytest.mark.parametrize(
    ("kind", "subtype", "container", "codec", "depth"),
    [
        ("WAV", "PCM_16", "wav", "pcm_s16le", 16),
        ("WAV", "PCM_U8", "wav", "pcm_u8", 8),
        ("WAV", "PCM_24", "wav", "pcm_s24le", 24),
        ("WAV", "FLOAT", "wav", "pcm_f32le", 32),
        ("WAV", "ULAW", "wav", "pcm_mulaw", 8),
        ("FLAC", "PCM_16", "flac", "flac", 16),
        ("FLAC", "PCM_24", "flac", "flac", 24),
        ("AIFF", "PCM_16", "aiff", "pcm_s16be", 16),
        ("OGG", "VORBIS", "ogg", "vorbis", None),
        ("OGG", "OPUS", "ogg", "opus", None),
        ("MP3", "MPEG_LAYER_III", "mp3", "mp3", None),
        ("CAF", "PCM_16", "caf", "pcm_s16be", 16),
    ],
)
def test_container_codec_and_depth(kind: str, subtype: str, container: str, codec: str, depth: int | None) -> None:
    data = make_recording(np.stack([tone(), tone(0.2)], axis=1), 16000, kind, subtype)
    found = of(data, f"x.{kind}")
    assert (found["container"], found["codec"], found["bit_depth"]) == (container, codec, depth)
    assert (found["sample_rate"], found["channels"], found["extension"]) == (16000, 2, kind.lower())
    assert found["duration"] == pytest.approx(1.0, abs=0.1 if kind == "MP3" else 1e-9)
    assert found["file_bytes"] == len(data)
    assert found["bit_rate"] == round(len(data) * 8 / 1000 / found["duration"])


@pytest.mark.parametrize(
    ("codec", "container", "named"), [("aac", "mp4", "aac"), ("alac", "mp4", "alac"), ("aac", "adts", "aac")]
)
def test_what_libsndfile_does_not_read(codec: str, container: str, named: str) -> None:
    found = of(make_encoded_recording(codec, container, rate=44100))
    assert found["codec"] == named
    assert found["container"] == {"adts": "aac"}.get(container, container)
    assert (found["sample_rate"], found["channels"]) == (44100, 1)
    assert found["bit_depth"] == (24 if codec == "alac" else None)  # FFmpeg's encoder takes 32 bits as 24
    assert found["peak"] == pytest.approx(20 * np.log10(0.3), abs=0.5)


@pytest.mark.parametrize("amplitude", [0.01, 0.5, 1.0])
def test_loudness_and_peak_of_a_sine(amplitude: float) -> None:
    found = of(make_recording(tone(amplitude), 16000, "WAV", "FLOAT"))
    assert found["loudness"] == pytest.approx(20 * np.log10(amplitude) - 3.0103, abs=1e-3)
    assert found["peak"] == pytest.approx(20 * np.log10(amplitude), abs=1e-3)


def test_loudness_is_over_all_channels_and_offset_and_shares_are_counted() -> None:
    left, right = np.full(1000, 0.25), np.zeros(1000)
    left[:10] = 1.0
    found = of(make_recording(np.stack([left, right], axis=1), 8000, "WAV", "FLOAT"))
    assert found["loudness"] == pytest.approx(10 * np.log10((10 + 990 * 0.0625) / 2000))
    assert found["dc_offset"] == pytest.approx((10 + 990 * 0.25) / 2000)
    assert found["zero_share"] == 0.5
    assert found["clipping_share"] == 10 / 2000


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize(("before", "after"), [(0.0, 0.0), (0.5, 0.0), (0.123, 0.777), (2.0, 1.0)])
def test_silence_at_both_ends(rate: int, before: float, after: float) -> None:
    hush = 10 ** (-70 / 20) * noise(round(rate * (before + after)) + 2)
    first = round(rate * before)
    whole = np.concatenate([hush[:first], tone(seconds=0.6, rate=rate), hush[first:-2]])
    found = of(make_recording(whole, rate))
    assert found["leading_silence"] == pytest.approx(before, abs=0.0101)
    assert found["trailing_silence"] == pytest.approx(after, abs=0.0101)


def test_silence_is_relative_to_what_is_loud() -> None:
    found = [of(make_recording(gain * np.concatenate([np.zeros(8000), tone()]), 16000)) for gain in (1.0, 0.1)]
    assert [each["leading_silence"] for each in found] == [0.5, 0.5]
    faint = np.concatenate([tone(0.5 * 10 ** (-39 / 20)), tone()])
    assert of(make_recording(faint, 16000))["leading_silence"] == 0
    fainter = np.concatenate([tone(0.5 * 10 ** (-41 / 20)), tone()])
    assert of(make_recording(fainter, 16000))["leading_silence"] == 1


@pytest.mark.parametrize("rate", [16000, 24000, 48000])
@pytest.mark.parametrize("cutoff", [2000, 3400, 7000])
def test_bandwidth_of_filtered_noise(rate: int, cutoff: int) -> None:
    """A steep low-pass of SciPy's; what it lets through beyond its edge is 80 dB down within 300 Hz."""
    taps = firwin(2 * (rate // 40) + 1, cutoff, fs=rate, window=("kaiser", 8.0))
    samples = lfilter(taps, 1, noise(3 * rate))
    found = of(make_recording(0.1 * samples / samples.std(), rate, "WAV", "FLOAT"))
    assert found["bandwidth"] == pytest.approx(cutoff, abs=300)


def test_the_bandwidth_of_upsampled_speech_betrays_the_former_rate() -> None:
    import soxr

    narrow = 0.1 * noise(8000 * 3)
    assert of(make_recording(narrow, 8000))["bandwidth"] == 4000
    wide = of(make_recording(soxr.resample(narrow, 8000, 24000), 24000))
    assert wide["bandwidth"] == pytest.approx(4000, abs=200)


def test_a_brief_sound_of_high_frequency_counts_for_the_bandwidth() -> None:
    samples = tone(0.5, 300, 3.0)
    samples[16000:17600] += tone(0.01, 6000, 0.1) * np.hanning(1600)  # 34 dB down, for a tenth of a second
    assert of(make_recording(samples, 16000))["bandwidth"] == pytest.approx(6000, abs=100)


def test_the_noise_floor_is_what_the_quietest_tenth_stays_below() -> None:
    samples = np.concatenate([tone(0.5), 10 ** (-60 / 20) * noise(8000)])
    assert of(make_recording(samples, 16000, "WAV", "FLOAT"))["noise_floor"] == pytest.approx(-60, abs=1)
    digital = np.concatenate([tone(0.5), np.zeros(8000)])
    assert of(make_recording(digital, 16000))["noise_floor"] == -140


def test_a_silent_recording_has_no_level() -> None:
    found = of(make_recording(np.zeros(16000), 16000))
    names = ("loudness", "peak", "bandwidth", "leading_silence", "trailing_silence", "noise_floor")
    assert {found[name] for name in names} == {None}
    assert (found["zero_share"], found["duration"]) == (1.0, 1.0)


@pytest.mark.parametrize("count", [1, 2, 30, 200, 900])
def test_a_recording_shorter_than_a_window_is_measured(count: int) -> None:
    found = of(make_recording(0.5 * np.cos(np.arange(count)), 16000, "WAV", "FLOAT"))
    assert found["duration"] == count / 16000
    assert found["peak"] == pytest.approx(20 * np.log10(0.5))
    assert found["leading_silence"] == 0
    assert found["bandwidth"] > 0


def test_a_header_that_says_an_absurd_rate_costs_no_more() -> None:
    data = bytearray(make_recording(tone(), 16000))
    data[24:28] = (2_000_000_000).to_bytes(4, "little")
    found = of(bytes(data))
    assert (found["sample_rate"], found["duration"]) == (2_000_000_000, 16000 / 2_000_000_000)
    assert found["loudness"] == pytest.approx(-9.03, abs=0.01)
    data[24:28] = (1).to_bytes(4, "little")
    found = properties_of(bytes(data), Modality.AUDIO, limits=MediaLimits(max_audio_seconds=1e9))
    assert (found["sample_rate"], found["duration"]) == (1, 16000)


def test_the_measures_do_not_depend_on_the_division_into_blocks() -> None:
    samples = np.stack([noise(30011, 1), noise(30011, 2)], axis=1).astype(np.float32)
    samples[:5000] *= 1e-4
    results = []
    for sizes in ([30011], [1] * 50 + [7, 29954], [999] * 30 + [41], [4096] * 7 + [1339]):
        signal = Signal(22050)
        start = 0
        for size in sizes:
            signal.add(samples[start : start + size])
            start += size
        assert start == len(samples)
        results.append(signal.properties())
    for other in results[1:]:
        assert other == pytest.approx(results[0], rel=1e-9)


def test_the_encoder_is_named(tmp_path: Path) -> None:
    by_ffmpeg = of(make_encoded_recording("libmp3lame", "mp3"))
    assert by_ffmpeg["encoder"].startswith("Lavf")
    assert by_ffmpeg["bitstream_encoder"].startswith(("Lavf", "Lavc"))
    by_libsndfile = of(make_recording(tone(), 16000, "MP3"))
    assert by_libsndfile["bitstream_encoder"].startswith("LAME")
    assert of(make_recording(tone(), 16000, "FLAC"))["encoder"].startswith("reference libFLAC")
    assert of(make_encoded_recording("aac", "mp4"))["encoder"].startswith("Lavf")
    plain = of(make_recording(tone(), 16000))
    assert (plain["encoder"], plain["bitstream_encoder"], plain["metadata_keys"]) == (None, None, None)


def test_the_encoder_of_an_mp3_is_told_from_the_text_that_fills_its_frames() -> None:
    whole = make_recording(0.1 * noise(16000 * 3), 16000, "MP3")
    tag = whole.index(b"LAME")
    assert of(whole[:tag] + b"Other 1.2" + whole[tag + 9 :])["bitstream_encoder"] == "Other 1.2"
    bare = make_encoded_recording("libmp3lame", "mp3", rate=16000, seconds=3.0, write_xing="0", id3v2_version="0")
    at = bare.index(b"LAME3.1")
    assert of(bare[:at] + b"LAME3.1\xff\xf3" + bare[at + 9 :])["bitstream_encoder"] == bare[at : at + 9].decode()


def test_the_bit_rate_does_not_tell_the_duration() -> None:
    lengths = (2.0, 4.0, 7.0)
    assert {of(make_recording(tone(seconds=seconds), 16000))["bit_rate"] for seconds in lengths} == {256}


def test_the_structure_of_wav_and_flac_files() -> None:
    wav = make_recording(tone(), 16000)
    assert of(wav)["structure"] == "fmt data"
    note = b"LIST\x0e\0\0\0INFOISFT\x02\0\0\0x\0"
    longer = wav + note
    longer = longer[:4] + (len(longer) - 8).to_bytes(4, "little") + longer[8:]
    assert of(longer)["structure"] == "fmt data LIST"
    assert of(make_recording(tone(), 16000, "FLAC"))["structure"].split()[0] == "0"  # STREAMINFO comes first
    assert of(make_recording(tone(), 16000, "OGG"))["structure"] is None


def test_the_sound_of_a_clip_is_a_recording() -> None:
    found = of(make_clip(with_audio=True))
    assert (found["container"], found["codec"], found["sample_rate"]) == ("mp4", "aac", 16000)


@pytest.mark.parametrize("kind", ["image", "clip without sound", "nan", "empty", "cut", "long"])
def test_what_is_no_whole_recording_is_an_error(kind: str) -> None:
    limits = MediaLimits(max_audio_seconds=0.5) if kind == "long" else None
    flac = make_recording(noise(16000) * 0.1, 16000, "FLAC")
    data, reason = {
        "image": (encoded(picture(), "PNG"), Reason.NO_AUDIO_STREAM),
        "clip without sound": (make_clip(), Reason.NO_AUDIO_STREAM),
        "nan": (make_recording(np.array([0.1, np.nan] * 400), 8000, "WAV", "FLOAT"), Reason.NONFINITE_SAMPLES),
        "empty": (make_recording(np.zeros(0), 8000), Reason.NO_SAMPLES),
        "cut": (flac[: len(flac) // 2], Reason.TRUNCATED),
        "long": (make_recording(tone(), 16000), Reason.TOO_LARGE),
    }[kind]
    with pytest.raises(MediaError) as raised:
        properties_of(data, Modality.AUDIO, limits=limits)
    assert raised.value.reason is reason
