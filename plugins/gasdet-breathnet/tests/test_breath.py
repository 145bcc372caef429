"""Breath targets: spans, files, repeated recordings, and the detector by rules on sounds that are known."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.signal

from gasdet import Modality, Preprocessing, Sample
from gasdet_breathnet import breath
from gasdet_breathnet.model import frame_count

MakeSample = Callable[..., Sample]


def coloured(rng: np.random.Generator, samples: int, low: float, high: float) -> np.ndarray:
    sos = scipy.signal.butter(2, [low, high], "bandpass", fs=16_000, output="sos")
    return np.asarray(scipy.signal.sosfilt(sos, rng.normal(size=samples)))


def recording(breaths: list[tuple[float, float]], seed: int = 0, seconds: float = 4.0) -> np.ndarray:
    """Voice with harmonics and fricatives, silent gaps of its own around the breaths, noise of 500 to 2500 Hz in them."""
    rng = np.random.default_rng(seed)
    n = int(seconds * 16_000)
    time = np.arange(n) / 16_000
    voice = sum(np.sin(2 * np.pi * 130 * k * time) / k for k in range(1, 20)) * 0.1
    voice = np.asarray(voice)
    for start in np.arange(0.2, seconds - 0.2, 0.45):  # fricatives of 0.1 s
        at = slice(int(start * 16_000), int((start + 0.1) * 16_000))
        voice[at] = coloured(rng, at.stop - at.start, 4000, 7500) * 0.05
    for start, end in breaths:
        voice[int((start - 0.08) * 16_000) : int((end + 0.08) * 16_000)] = 0.0
        at = slice(int(start * 16_000), int(end * 16_000))
        voice[at] = coloured(rng, at.stop - at.start, 500, 2500) * 0.03
    return np.asarray(voice + rng.normal(size=n) * 1e-4, dtype=np.float32)


SPANS = [(0.7, 1.0), (2.2, 2.6)]


@pytest.mark.parametrize("seed", range(3))
def test_breaths_are_found_and_voice_fricatives_and_pauses_are_none(seed: int) -> None:
    array = recording(SPANS, seed)
    found, expected = breath.find_breaths(array), breath.mask_of(SPANS, frame_count(array.size))
    assert found.shape == (frame_count(array.size),)
    assert found.dtype == np.float32
    hits = (found * expected).sum()
    assert hits / expected.sum() > 0.85
    assert hits / found.sum() > 0.85


@pytest.mark.parametrize("gain", [0.01, 1.0])
def test_the_level_of_the_recording_has_no_part_in_it(gain: float) -> None:
    array = recording(SPANS)
    assert (breath.find_breaths(array * gain) != breath.find_breaths(array)).mean() < 0.01


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(16_000, np.float32),
        np.full(16_000, 0.5, np.float32),
        np.sin(np.arange(16_000) * 0.1).astype(np.float32),
        np.random.default_rng(0).normal(size=16_000).astype(np.float32),
        recording([]),
        recording([(0.7, 0.78)]),  # too short
        np.ones(400, np.float32),
    ],
    ids=["silence", "constant", "tone", "noise", "speech", "short", "one frame"],
)
def test_none_where_nobody_breathes(array: np.ndarray) -> None:
    assert not breath.find_breaths(array).any()


def test_the_demos_breaths() -> None:
    """Some of the demo's recordings against the breaths that its manifest tells."""
    from gasdet.data.demo import plan
    from gasdet.data.demo.recordings import breaths, utterance_of

    hits = called = there = 0.0
    for scene in [s for s in plan.plan() if s.modality == "audio" and s.split == "test"][:6]:
        utterance = utterance_of(scene)
        array = scipy.signal.resample_poly(utterance.recorded("real"), 16_000, utterance.rate).astype(np.float32)
        found = breath.find_breaths(array)
        expected = breath.mask_of(breaths(scene, synthetic=False), frame_count(array.size))
        hits, called, there = hits + (found * expected).sum(), called + found.sum(), there + expected.sum()
    assert hits / called > 0.85
    assert hits / there > 0.8


# --- Targets ----------------------------------------------------------------------------------------------------------


def test_spans_become_frames(sample: MakeSample) -> None:
    """A frame has breath where its middle does: 12.5 ms, 32.5 ms and so on."""
    array = np.random.default_rng(0).normal(size=16_000).astype(np.float32)
    found = breath.targets(array, sample(breath_mask="0.05-0.34 0.9-5"), 16_000)
    middles = 0.0125 + 0.02 * np.arange(49)
    expected = ((middles >= 0.05) & (middles < 0.34)) | (middles >= 0.9)
    np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_empty_is_none_unknown_is_unknown_and_absent_is_found_by_rules(sample: MakeSample) -> None:
    array = recording(SPANS)
    assert not breath.targets(array, sample(breath_mask=" "), 16_000).any()
    assert (breath.targets(array, sample(breath_mask="unknown"), 16_000) == -1).all()
    found = breath.targets(array, sample(), 16_000)
    np.testing.assert_array_equal(found, breath.find_breaths(array))
    assert found.any()


def test_a_repeated_recording_has_its_breaths_in_every_copy(tmp_path: Path, sample: MakeSample) -> None:
    """Through the real decoder: 1.7 s, repeated to 6 s."""
    import soundfile

    from gasdet.media import decode

    array = recording([(0.5, 0.8)], seconds=1.7)
    soundfile.write(tmp_path / "a.wav", array, 16_000, subtype="PCM_16")
    keys = {"duration_seconds": 6.0, "audio_pad": "repeat", "audio_crop": "start"}
    decoded = decode(tmp_path / "a.wav", Preprocessing.from_mapping(Modality.AUDIO, keys)).array
    assert decoded.shape == (96_000,)
    assert breath.repetition(decoded) == array.size
    found = breath.targets(decoded, sample(breath_mask="0.5-0.8"), 16_000)
    spans = [(0.5 + 1.7 * k, 0.8 + 1.7 * k) for k in range(4)]
    np.testing.assert_array_equal(found, breath.mask_of(spans, 299))


def test_the_length_of_the_first_copy() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=5_000).astype(np.float32)
    for length in (5_000, 5_001, 7_000, 9_999, 10_000, 23_456):
        assert breath.repetition(np.resize(one, length)) == 5_000
    assert breath.repetition(one[:4_000]) == 4_000
    # no copy is shorter than the last breath that was heard
    assert breath.repetition(np.resize(one, 23_456), after=0.6) == 10_000


def test_silence_is_no_repetition_and_takes_no_time() -> None:
    assert breath.repetition(np.zeros(16_000, np.float32)) == 16_000
    array = np.zeros(96_000, np.float32)
    array[40_000:60_000] = np.random.default_rng(0).normal(size=20_000)
    start = time.perf_counter()
    assert breath.repetition(array) == 96_000
    assert time.perf_counter() - start < 0.5  # comparing every place in the silence takes seconds


def test_spans_in_a_file_beside_the_manifest(tmp_path: Path, sample: MakeSample) -> None:
    array = np.random.default_rng(0).normal(size=32_000).astype(np.float32)
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "b.txt").write_text("0.1-0.4\n1.2-1.5\n")
    where = {"member": "audio/b.wav", "path": str(tmp_path / "audio" / "b.wav")}
    found = breath.targets(array, sample(**where, breath_mask="masks/b.txt"), 16_000)
    np.testing.assert_array_equal(found, breath.mask_of([(0.1, 0.4), (1.2, 1.5)], 99))
    with pytest.raises(ValueError, match=r"masks/c\.txt, which cannot be read"):
        breath.targets(array, sample(**where, breath_mask="masks/c.txt"), 16_000)
    with pytest.raises(ValueError, match="only a data set in a folder"):
        breath.targets(array, sample(member="z/b.wav", path="/x/d.zip", breath_mask="b.txt"), 16_000)


@pytest.mark.parametrize("text", ["0.5", "0.5-0.2", "a-b", "0.1-0.2-0.3", "-1"])
def test_what_is_no_span_is_told(text: str, sample: MakeSample) -> None:
    with pytest.raises(ValueError, match="breath_mask holds"):
        breath.targets(np.zeros(16_000, np.float32), sample(breath_mask=text), 16_000)


def test_other_rates_and_shapes_are_refused(sample: MakeSample) -> None:
    with pytest.raises(ValueError, match="16000 Hz, not 8000"):
        breath.targets(np.zeros(16_000, np.float32), sample(), 8_000)
    for array in (np.zeros(399, np.float32), np.zeros((2, 16_000), np.float32)):
        with pytest.raises(ValueError, match="at least 400 samples"):
            breath.targets(array, sample(), 16_000)
