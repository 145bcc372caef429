"""Arrays as decoding gives them: generated ones, and real photos, clips and speech where they lie beside the project."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from gasdet.media import decode
from gasdet.types import Modality, Preprocessing


def picture(height: int = 64, width: int = 96, seed: int = 0) -> np.ndarray:
    """Smooth, colourful, not symmetric: uint8 [3, H, W]."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    smooth = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(smooth.transpose(2, 0, 1))


def moving_clip(frames: int = 6, height: int = 64, width: int = 96) -> np.ndarray:
    """uint8 [T, 3, H, W]; every frame is another picture."""
    base = picture(height, width, seed=5)
    return np.stack([np.roll(base, 4 * number, axis=2) for number in range(frames)])


def still_clip(frames: int = 4, height: int = 64, width: int = 96) -> np.ndarray:
    """uint8 [T, 3, H, W], the same picture in all frames: what differs between frames of a result was drawn per frame."""
    return np.stack([picture(height, width)] * frames)


def tones(seconds: float = 1.0, rate: int = 16000) -> np.ndarray:
    """Three tones under a slow envelope: float32 [N]."""
    time = np.arange(int(seconds * rate)) / rate
    wave = sum(np.sin(2 * np.pi * hertz * time) for hertz in (220, 700, 2300))
    return (0.2 * wave * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time))).astype(np.float32)


def snr_db(clean: np.ndarray, changed: np.ndarray) -> float:
    clean, changed = clean.astype(np.float64), changed.astype(np.float64)
    return float(10 * np.log10(np.mean(clean**2) / np.mean((changed - clean) ** 2)))


def psnr_db(clean: np.ndarray, changed: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((changed.astype(np.float64) - clean) ** 2)))


def lag(clean: np.ndarray, changed: np.ndarray) -> int:
    """By how many samples ``changed`` is late, from the peak of the cross-correlation."""
    size = 1 << (2 * len(clean) - 1).bit_length()
    spectrum = np.fft.rfft(changed, size) * np.conj(np.fft.rfft(clean, size))
    peak = int(np.fft.irfft(spectrum, size).argmax())
    return peak if peak < size // 2 else peak - size


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def photo(shared_media: Path) -> np.ndarray:
    """A real photo of odd size: uint8 [3, 331, 497]."""
    keys = Preprocessing(Modality.IMAGE, resize=(331, 497))
    return decode(shared_media / "image/real/segment-anything__dog.jpg", keys).array


@pytest.fixture(scope="session")
def clip(shared_media: Path) -> np.ndarray:
    """A real clip: uint8 [16, 3, 128, 160]."""
    keys = Preprocessing(Modality.VIDEO, resize=(128, 160))
    return decode(shared_media / "video/real/interactive-examples__friday.mp4", keys).array


@pytest.fixture(scope="session")
def speech(shared_media: Path) -> np.ndarray:
    """Real speech at 16 kHz: float32 [N]."""
    keys = Preprocessing(Modality.AUDIO, sample_rate=16000, duration_seconds=4.0)
    return decode(shared_media / "audio/real/speechbrain__LJ050-0131.wav", keys).array
