"""Small media that the commands are tried on."""

from __future__ import annotations

import json
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def write_image(path: Path, seed: int, smooth: bool) -> Path:
    """A 64 x 48 PNG: noise, or the same noise with its edges smoothed away."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    if smooth:
        pixels = np.full_like(pixels, 120) + pixels // 64
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def write_recording(path: Path, seed: int) -> Path:
    """Half a second of noise at 8 kHz, as 16-bit WAV."""
    samples = np.random.default_rng(seed).normal(0, 3000, 4000).astype("<i2")
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(samples.tobytes())
    return path


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """A folder with a noisy and a smooth image, a recording, a truncated image, and a text file called .jpg."""
    folder = tmp_path / "media"
    write_image(folder / "noisy.png", 0, smooth=False)
    write_image(folder / "smooth.png", 0, smooth=True)
    write_recording(folder / "sound.wav", 0)
    whole = write_image(tmp_path / "whole.png", 1, smooth=False).read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "words.jpg").write_text("these are words\n" * 20)
    return folder


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """real/ with eight noisy images, synthetic/ with eight smooth ones and a truncated one."""
    folder = tmp_path / "labelled"
    for seed in range(8):
        write_image(folder / "real" / f"{seed}.png", seed, smooth=False)
        write_image(folder / "synthetic" / "gan" / f"{seed}.png", seed, smooth=True)
    whole = (folder / "synthetic" / "gan" / "0.png").read_bytes()
    (folder / "synthetic" / "gan" / "cut.png").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.fixture
def without_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clean process's answers from this one: a process of its own takes seconds."""
    from gasdet.bundle import clean_process, comparison

    def answered(request: Path) -> subprocess.CompletedProcess[bytes]:
        try:
            clean_process.answer(json.loads(request.read_text()))
        except Exception as error:
            return subprocess.CompletedProcess([], 1, b"", repr(error).encode())
        finally:
            sys.modules.pop("model", None)
        return subprocess.CompletedProcess([], 0, b"", b"")

    monkeypatch.setattr(comparison, "start_clean", answered)
