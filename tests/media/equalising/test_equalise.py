"""Equalised files: what they are by other readers (Pillow, PyAV, soundfile), and what is left of the sources'."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from gasdet.equalise_profiles import PROFILES
from gasdet.errors import ConfigError, MediaError
from gasdet.media import FrameSequence, MediaLimits, decode
from gasdet.media.equalising import SUFFIXES, check_encoders, equalise, equalised
from gasdet.media.equalising.clip import back_and_forth
from gasdet.media.equalising.recording import without_silence
from gasdet.types import Modality, Preprocessing, Reason


def scene(height: int, width: int, seed: int = 0) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def image_file(height: int, width: int, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(scene(height, width)).save(file, form, **options)
    return file.getvalue()


def exif(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[0x0112], made[0x010F] = orientation, "Maker"
    return made


SOURCES = {
    "png": image_file(300, 400, "PNG"),
    "fine": image_file(300, 400, "JPEG", quality=95, subsampling=0),
    "coarse": image_file(600, 800, "JPEG", quality=40, progressive=True),
    "webp": image_file(300, 400, "WEBP", lossless=True),
    "exif": image_file(300, 400, "JPEG", quality=90, exif=exif(1), icc_profile=b"p" * 300),
}


def header(content: bytes) -> tuple[Any, ...]:
    with Image.open(io.BytesIO(content)) as image:
        tables = {k: tuple(v) for k, v in image.quantization.items()}  # type: ignore[attr-defined]
        return image.format, image.mode, image.size, sorted(image.info), sorted(tables.items()), image.layer  # type: ignore[attr-defined]


def test_images_become_one_kind_of_file() -> None:
    made = {name: equalise(content, Modality.IMAGE, "standard") for name, content in SOURCES.items()}
    file = io.BytesIO()
    Image.new("RGB", (224, 224)).save(file, "JPEG", quality=50, subsampling="4:2:0")
    assert {name: header(content) for name, content in made.items()} == dict.fromkeys(made, header(file.getvalue()))
    assert all(b"Exif" not in content and b"ICC_PROFILE" not in content for content in made.values())
    expected = np.asarray(Image.fromarray(scene(300, 400)[:, 50:350]).resize((224, 224), Image.Resampling.BICUBIC))
    for name, content in made.items():
        pixels = np.asarray(Image.open(io.BytesIO(content)))
        assert np.abs(pixels.astype(int) - expected).mean() < 3.5, name


def test_an_image_is_turned_as_its_exif_says() -> None:
    sideways = image_file(300, 400, "PNG", exif=exif(6))
    pixels = np.asarray(Image.open(io.BytesIO(equalise(sideways, Modality.IMAGE, "standard"))))
    upright = np.rot90(scene(300, 400), -1)[50:350]
    expected = np.asarray(Image.fromarray(np.ascontiguousarray(upright)).resize((224, 224), Image.Resampling.BICUBIC))
    assert np.abs(pixels.astype(int) - expected).mean() < 3.5


def test_enlarging_is_noted_and_what_is_told_is_the_sources() -> None:
    small = equalised(image_file(90, 100, "PNG"), Modality.IMAGE, "standard")
    assert small.notes == ("enlarged from 100 x 90 pixels to equalise",)
    assert (small.width, small.height) == (100, 90)
    assert equalised(image_file(90, 100, "PNG"), Modality.IMAGE, "standard:side=64").notes == ()
    keys = {"equalise": "standard", "resize": [50, 50]}
    decoded = decode(SOURCES["coarse"], Preprocessing.from_mapping(Modality.IMAGE, keys))
    assert (decoded.width, decoded.height) == (800, 600)
    assert decoded.array.shape == (3, 50, 50)
    plain = Preprocessing.from_mapping(Modality.IMAGE, {"resize": [50, 50]})
    same = decode(equalise(SOURCES["coarse"], Modality.IMAGE, "standard"), plain)
    assert np.array_equal(decoded.array, same.array)
    assert decoded.decoder.endswith(same.decoder)
    assert decoded.decoder.count(" > ") == 2


def clip_file(rate: int, seconds: float, *, side: int = 96, sound: bool = False, form: str = "mp4") -> bytes:
    """A clip whose frames' grey is their time: 40 levels a second; sound where it is wanted."""
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        stream: Any = container.add_stream("libx264", rate=rate, options={"crf": "10", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 2 * side, side, "yuv420p"
        track: Any = container.add_stream("aac", rate=16000, layout="mono") if sound else None
        for i in range(round(rate * seconds)):
            level = round(20 + 40 * i / rate)
            pixels = np.full((side, 2 * side, 3), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
        if track is not None:
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 16000
            container.mux(track.encode(frame))
            container.mux(track.encode(None))
    return file.getvalue()


def facts_of_clip(content: bytes) -> tuple[Any, ...]:
    with av.open(io.BytesIO(content)) as container:
        stream = container.streams.video[0]
        kinds = [s.type for s in container.streams]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        shape = (stream.width, stream.height, stream.codec_context.name, stream.codec_context.pix_fmt)
        return kinds, shape, stream.average_rate, len(frames), [float(frame.mean()) for frame in frames]


def test_clips_become_one_kind_of_file() -> None:
    sources = {
        "24": clip_file(24, 4.0),
        "30": clip_file(30, 4.0, sound=True),
        "60": clip_file(60, 4.0, side=288, form="matroska"),
    }
    greys = {}
    for name, content in sources.items():
        kinds, shape, rate, count, levels = facts_of_clip(equalise(content, Modality.VIDEO, "standard"))
        assert (kinds, shape, rate, count) == (["video"], (224, 224, "h264", "yuv420p"), 6, 18), name
        greys[name] = np.array(levels)
    # The middle 3 of 4 seconds: 18 times a sixth of a second apart, whatever the source's rate.
    start = 2 - 17 / 6 / 2
    expected = 20 + 40 * (start + np.arange(18) / 6)
    for name, levels in greys.items():
        assert np.abs(levels - expected).max() < 4, (name, levels - expected)


def test_short_and_slow_clips_are_noted() -> None:
    short = equalised(clip_file(24, 1.0), Modality.VIDEO, "standard")
    assert any("11 of 18 frames played back and forth" in note for note in short.notes), short.notes
    _, _, _, count, levels = facts_of_clip(short.content)
    assert count == 18
    forth = [20 + 40 * i / 6 for i in range(6)] + [20 + 40 * 23 / 24]  # at the very end, the last frame
    expected = [forth[i] for i in (0, 1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1, 0, 1, 2, 3, 4, 5)]
    assert np.abs(np.array(levels) - expected).max() < 4
    assert [back_and_forth(i, 1) for i in range(3)] == [0, 0, 0]
    slow = equalised(clip_file(4, 4.0), Modality.VIDEO, "standard")
    assert any("repeat the one before" in note for note in slow.notes), slow.notes
    assert short.duration_s == pytest.approx(1.0)
    assert (short.width, short.height) == (192, 96)


def test_a_folder_of_frames_is_equalised_as_a_clip(tmp_path: Path) -> None:
    paths = []
    for i in range(96):
        paths.append(tmp_path / f"{i:03d}.png")
        Image.new("RGB", (300, 250), (20 + i, 20 + i, 20 + i)).save(paths[-1])
    made = equalise(FrameSequence(tuple(paths), 24.0), Modality.VIDEO, "standard")
    _, shape, rate, count, levels = facts_of_clip(made)
    assert shape[:2] == (224, 224)
    assert rate == 6
    assert count == 18
    assert np.abs(np.diff(levels) - 4).max() < 2
    for modality in (Modality.IMAGE, Modality.AUDIO):
        with pytest.raises(MediaError) as caught:
            equalise(FrameSequence(tuple(paths)), modality, "standard")
        assert caught.value.reason is Reason.UNSUPPORTED


def sound_file(rate: int, seconds: float, *, before: float = 0.0, level: float = 0.2, channels: int = 1) -> bytes:
    """White noise after and before silence, with an offset."""
    rng = np.random.default_rng(0)
    noise = level * rng.standard_normal(round(rate * seconds)).clip(-4, 4) / 4
    samples = np.concatenate([np.zeros(round(before * rate)), noise, np.zeros(round(before * rate))]) + 0.01
    file = io.BytesIO()
    soundfile.write(file, np.stack([samples] * channels, axis=1), rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def facts_of_sound(content: bytes) -> tuple[int, int, str, np.ndarray[Any, Any]]:
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        return file.samplerate, file.channels, file.format, file.read(dtype="float64")


def above(samples: np.ndarray[Any, Any], rate: int, hertz: float) -> float:
    """The share of the energy above a frequency."""
    power = np.abs(np.fft.rfft(samples)) ** 2
    return float(power[np.fft.rfftfreq(len(samples), 1 / rate) > hertz].sum() / power.sum())


def test_recordings_become_one_kind_of_file() -> None:
    sources = {
        "16k": sound_file(16000, 7),
        "48k stereo": sound_file(48000, 7, channels=2, level=0.9),
        "quiet": sound_file(22050, 7, before=1.5, level=0.01),
    }
    made = {name: equalise(content, Modality.AUDIO, "standard") for name, content in sources.items()}
    assert len({len(content) for content in made.values()}) == 1, "a constant bit rate and one length"
    for name, content in made.items():
        rate, channels, form, samples = facts_of_sound(content)
        assert (rate, channels, form) == (16000, 1, "MP3")
        assert len(samples) / rate == pytest.approx(6.0, abs=0.11), name
        middle = samples[rate : 5 * rate]
        assert 20 * np.log10(np.sqrt((middle**2).mean())) == pytest.approx(-26, abs=1), name
        assert above(middle, rate, 7300) < 1e-3, name
        assert abs(middle.mean()) < 1e-3
        starts = samples[1600:3200]  # no silence is left at the start
        assert np.sqrt((starts**2).mean()) > 0.3 * np.sqrt((middle**2).mean()), name


def test_silence_is_taken_away_by_the_millisecond() -> None:
    rate = 1000
    noise = np.random.default_rng(0).uniform(0.5, 1, 400)
    samples = np.concatenate([np.full(200, 1e-4), noise, np.zeros(50), noise, np.full(90, 1e-4)])
    kept = without_silence(samples, rate)
    assert np.allclose(kept, samples[200:-90])
    assert np.array_equal(without_silence(np.zeros(30), rate), np.zeros(30))


def wave(samples: Any, rate: int = 16000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def level_of_pauses(content: bytes) -> float:
    """The quietest tenth of 10 ms each, in dB below full scale."""
    rate, _, _, samples = facts_of_sound(content)
    frames = samples[: len(samples) // (rate // 100) * (rate // 100)].reshape(-1, rate // 100)
    return float(10 * np.log10(np.quantile((frames**2).mean(axis=1), 0.1)))


@pytest.mark.parametrize("seed", range(3))
def test_how_much_silence_there_was_does_not_stay_in_the_pauses(seed: int) -> None:
    """The mean of a sound is not 0; less of it is left in everything's mean the more silence there is."""
    rng = np.random.default_rng(seed)
    rate = 16000
    loud = 0.2 * rng.standard_normal(rate) + 0.001
    sound = np.concatenate([loud, np.zeros(rate), loud[::-1]])
    levels = []
    for seconds in (0.0, 0.5, 1.5):
        samples = np.concatenate([np.zeros(round(seconds * rate)), sound])
        samples = samples + 1e-4 * rng.standard_normal(len(samples))
        levels.append(level_of_pauses(equalise(wave(samples), Modality.AUDIO, "standard")))
    assert np.ptp(levels) < 0.3


@pytest.mark.parametrize("samples", [[0.5], [0.0] * 1000, [*np.sin(np.arange(1400)), *[0.0] * 16000]])
def test_hardly_any_sound_is_not_made_into_a_recording(samples: list[float]) -> None:
    with pytest.raises(MediaError, match=r"must have 0\.1 s") as raised:
        equalise(wave(samples), Modality.AUDIO, "standard")
    assert raised.value.reason is Reason.NO_SAMPLES
    assert decode(wave(samples), Preprocessing(Modality.AUDIO)).array.size, "without equalising it is a recording"


def test_a_tenth_of_a_second_is_enough() -> None:
    made = equalised(wave(np.sin(np.arange(1700))), Modality.AUDIO, "standard")
    assert made.notes == ("0.11 s of sound repeated to equalise a short recording",)


def test_what_channels_leave_of_each_other_is_not_made_a_recording() -> None:
    sound = 0.3 * np.random.default_rng(0).standard_normal(7 * 16000)
    made = equalised(wave(np.stack([sound, -sound + 2e-5], axis=1)), Modality.AUDIO, "standard")
    assert any("dB too quiet to equalise: amplified by 40 dB and no more" in note for note in made.notes)
    samples = facts_of_sound(made.content)[3]
    assert 20 * np.log10(np.sqrt((samples**2).mean())) < -45
    quiet = equalised(wave(0.002 * sound), Modality.AUDIO, "standard")  # 64 dB below full scale
    assert quiet.notes == ()
    assert 20 * np.log10(np.sqrt((facts_of_sound(quiet.content)[3] ** 2).mean())) == pytest.approx(-26, abs=1)


def test_what_recordings_lack_is_noted() -> None:
    short = equalised(sound_file(16000, 2), Modality.AUDIO, "standard")
    assert short.notes == ("2.00 s of sound repeated to equalise a short recording",)
    assert short.duration_s == pytest.approx(2.0)
    narrow = equalised(sound_file(8000, 7), Modality.AUDIO, "standard")
    assert any("8000 Hz holds less than the bandwidth" in note for note in narrow.notes)
    loud = equalised(sound_file(16000, 7), Modality.AUDIO, "standard:loudness=-6")
    assert any("clipped" in note for note in loud.notes)
    file = io.BytesIO()
    soundfile.write(file, np.zeros(16000), 16000, format="WAV")
    _, _, _, samples = facts_of_sound(equalise(file.getvalue(), Modality.AUDIO, "standard"))
    assert np.abs(samples).max() < 1e-4


SAMPLES = {
    Modality.IMAGE: SOURCES["coarse"],
    Modality.VIDEO: clip_file(30, 2.0),
    Modality.AUDIO: sound_file(44100, 3),
}


@pytest.mark.parametrize("modality", list(Modality))
def test_the_same_content_gives_the_same_bytes(modality: Modality, tmp_path: Path) -> None:
    first = equalise(SAMPLES[modality], modality, "standard")
    path = tmp_path / "name.bin"
    path.write_bytes(SAMPLES[modality])
    time.sleep(1.1)  # what writes a date writes another
    assert equalise(path, modality, "standard-1") == first
    assert set(SUFFIXES) == set(Modality)
    check_encoders(modality)


@pytest.mark.parametrize("modality", list(Modality))
def test_equalising_does_not_hide_what_is_wrong(modality: Modality) -> None:
    keys = {"equalise": "standard"}
    for content, limits in ((b"nonsense" * 100, None), (SAMPLES[modality], MediaLimits(max_file_bytes=10))):
        reasons = []
        for given in ({}, keys):
            with pytest.raises(MediaError) as caught:
                decode(content, Preprocessing.from_mapping(modality, given), limits)
            reasons.append(caught.value.reason)
        assert reasons[0] is reasons[1]
    with pytest.raises(ConfigError):
        equalise(SAMPLES[modality], modality, "unknown")


def test_every_number_of_the_profile_counts() -> None:
    """Another value of any key gives other bytes."""
    others = {
        "side": 128, "quality": 60, "frame_rate": 12, "seconds": 1, "crf": 35,
        "sample_rate": 24000, "bandwidth": 4000, "loudness": -20, "kbps": 48,
    }  # fmt: skip
    for modality in Modality:
        plain = equalise(SAMPLES[modality], modality, "standard")
        for key in PROFILES["standard-1"][modality]:
            assert equalise(SAMPLES[modality], modality, f"standard:{key}={others[key]}") != plain, key
