"""GASBench's cached waveforms as data: read as recordings, and never run."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
import torch

from gasdet.data import load_data
from gasdet.errors import MediaError
from gasdet.evaluation.pipeline import DecodePool
from gasdet.evaluation.waveforms import decode_waveform, is_tensor_file
from gasdet.media import MediaLimits, decode
from gasdet.types import Modality, Preprocessing, Reason

AUDIO = Preprocessing(Modality.AUDIO)
LIMITS = MediaLimits()


def waveform(count: int = 96_000) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(3).uniform(-0.5, 0.5, count).astype(np.float32))


def saved(value: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def cached(tensor: torch.Tensor) -> dict[str, Any]:
    """A sample as GASBench's preprocessing writes it."""
    return {"waveform": tensor, "label": 1, "metadata": {"source_file": "a.mp3", "media_type": "synthetic"}}


def refused(content: bytes) -> MediaError:
    with pytest.raises(MediaError) as told:
        decode_waveform(content, AUDIO, LIMITS)
    return told.value


def test_a_cached_sample_is_its_waveform(tmp_path: Path) -> None:
    tensor = waveform()
    path = tmp_path / "aud_000001.pt"
    path.write_bytes(saved(cached(tensor)))
    assert is_tensor_file(path)
    decoded = decode_waveform(path, AUDIO, LIMITS)
    np.testing.assert_array_equal(decoded.array, tensor.numpy())
    assert decoded.array.dtype == np.float32
    assert decoded.duration_s == 6.0
    assert decoded.decoder.startswith(f"torch {torch.__version__}")
    np.testing.assert_array_equal(decode_waveform(saved(tensor), AUDIO, LIMITS).array, tensor.numpy())


def test_it_is_resampled_and_fitted_as_a_recording_of_16_khz_is(tmp_path: Path) -> None:
    """Against the same samples in a WAV file of 32-bit floats."""
    tensor = waveform(70_000)
    soundfile.write(tmp_path / "same.wav", tensor.numpy(), 16_000, subtype="FLOAT")
    for rate, seconds in ((16_000, 6.0), (16_000, 2.0), (8_000, 3.0), (22_050, 0.0)):
        preprocessing = Preprocessing(Modality.AUDIO, sample_rate=rate, duration_seconds=seconds)
        found = decode_waveform(saved(cached(tensor)), preprocessing, LIMITS)
        expected = decode(tmp_path / "same.wav", preprocessing)
        np.testing.assert_array_equal(found.array, expected.array)
        assert found.notes == expected.notes
    whole = soxr.resample(tensor.numpy(), 16_000, 8_000, quality="HQ")
    preprocessing = Preprocessing(Modality.AUDIO, sample_rate=8_000, duration_seconds=0)
    np.testing.assert_allclose(decode_waveform(saved(tensor), preprocessing, LIMITS).array, whole, atol=1e-6)


def test_channels_become_their_mean() -> None:
    stereo = torch.stack([waveform(), -0.5 * waveform()])
    found = decode_waveform(saved({"waveform": stereo.to(torch.float64)}), AUDIO, LIMITS).array
    np.testing.assert_allclose(found, stereo.mean(0).numpy(), atol=1e-7)


class Malicious:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._path),)


@pytest.mark.parametrize("way", ["beside the waveform", "instead of it", "legacy format", "bare pickle"])
def test_a_malicious_pickle_is_an_error_record_and_does_not_run(tmp_path: Path, way: str) -> None:
    trap = Malicious(tmp_path / "ran")
    folder = tmp_path / "data" / "synthetic"
    folder.mkdir(parents=True)
    (tmp_path / "data" / "real").mkdir()
    soundfile.write(tmp_path / "data" / "real" / "good.wav", waveform().numpy(), 16_000)
    content = {
        "beside the waveform": lambda: saved({**cached(waveform()), "metadata": trap}),
        "instead of it": lambda: saved(trap),
        "legacy format": lambda: saved({"waveform": trap}, _use_new_zipfile_serialization=False),
        "bare pickle": lambda: pickle.dumps({"waveform": trap}),
    }[way]()
    (folder / "a.pt").write_bytes(content)
    samples = load_data(tmp_path / "data").samples
    assert len(samples) == 2
    with DecodePool(workers=1, timeout=60) as pool:
        results = {samples[r.index].member: r for r in pool.run(samples, AUDIO)}
    bad = results["synthetic/a.pt"]
    assert bad.decoded is None
    assert bad.reason is Reason.UNSUPPORTED
    assert "could run code" in bad.message
    assert str(tmp_path) not in bad.message
    assert results["real/good.wav"].decoded is not None
    assert not (tmp_path / "ran").exists()
    # the trap works where nobody is careful
    torch.load(io.BytesIO(saved(trap)), weights_only=False)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"label": 1}, "holds no waveform"),
        ({"waveform": [0.0] * 100}, "holds no waveform"),
        (torch.arange(100), "holds no waveform"),
        (torch.zeros(2, 3, 4), r"not [2, 3, 4]"),
        (torch.zeros(100, 2), r"not [100, 2]"),
        (torch.tensor(1.0).reshape(()), r"not []"),
        ("waveform", "holds no waveform"),
        (torch.zeros(100, device="meta"), "says where it lay"),
    ],
)
def test_what_is_no_waveform_is_told(value: Any, words: str) -> None:
    error = refused(saved(value))
    assert error.reason is Reason.UNSUPPORTED
    assert words in str(error)


def test_one_number_that_stands_for_many_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of 2 kB may say that its waveform has 500 million samples: refused before they take memory."""
    limits = MediaLimits(max_decode_bytes=1_000_000)
    fits, bomb = (saved(torch.full((1,), 0.25).expand(32, count)) for count in (7_812, 7_813))
    assert len(bomb) < 3000
    whole = Preprocessing(Modality.AUDIO, duration_seconds=0)
    assert (decode_waveform(fits, whole, limits).array == 0.25).all()
    monkeypatch.setattr(np, "ascontiguousarray", lambda *_: pytest.fail("unpacked"))
    with pytest.raises(MediaError, match="more memory than the limit") as told:
        decode_waveform(bomb, AUDIO, limits)
    assert told.value.reason is Reason.TOO_LARGE


def test_damage_is_told() -> None:
    content = saved(cached(waveform()))
    assert refused(content[: len(content) // 2]).reason is Reason.CORRUPT
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as whole, zipfile.ZipFile(buffer, "w") as part:
        for item in whole.infolist():
            part.writestr(item.filename, whole.read(item)[:200])
    assert refused(buffer.getvalue()).reason is Reason.CORRUPT
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as other:
        other.writestr("a.txt", "text")
    assert refused(buffer.getvalue()).reason is Reason.UNSUPPORTED
    tensor = waveform()
    tensor[100] = float("nan")
    assert refused(saved(cached(tensor))).reason is Reason.NONFINITE_SAMPLES
    assert refused(saved(torch.zeros(0))).reason is Reason.NO_SAMPLES


def test_what_unpacks_to_too_much_is_refused_before_torch_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 5_000_000)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch was asked"))
    with pytest.raises(MediaError, match="more memory than the limit") as told:
        decode_waveform(buffer.getvalue(), AUDIO, MediaLimits(max_decode_bytes=4_000_000))
    assert told.value.reason is Reason.TOO_LARGE


def test_it_cannot_be_equalised() -> None:
    with pytest.raises(MediaError, match="cannot be equalised"):
        decode_waveform(saved(waveform()), Preprocessing(Modality.AUDIO, equalise="standard"), LIMITS)


def test_an_old_torch_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    error = refused(saved(waveform()))
    assert error.reason is Reason.UNSUPPORTED
    assert "torch 2.6" in str(error)
