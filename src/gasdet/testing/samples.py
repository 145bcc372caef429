"""Tiny data of each modality, made here: pictures, clips and recordings with a label that a small network can learn.

Real ones are smooth; synthetic ones carry a fine grid (pictures, clips) or a whistle (recordings). Content is otherwise drawn
in the same way for both classes.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gasdet.types import Modality, Preprocessing

Array = npt.NDArray[np.generic]

_SUFFIX = {Modality.IMAGE: "png", Modality.VIDEO: "mp4", Modality.AUDIO: "wav"}
_RATE = 16000


def batch(preprocessing: Preprocessing, count: int, seed: int = 0) -> tuple[Array, npt.NDArray[np.int64]]:
    """An input as a detector gets it, and its labels, which alternate.

    Args:
        preprocessing: What the detector takes.
        count: B.
        seed: Of the content.

    Returns:
        Images uint8 ``[B, 3, H, W]``, clips uint8 ``[B, T, 3, H, W]``, or recordings float32 ``[B, N]``; int64 ``[B]``.
    """
    labels = np.arange(count, dtype=np.int64) % 2
    rng = np.random.default_rng(seed)
    if preprocessing.modality is Modality.AUDIO:
        length = preprocessing.num_samples or 2 * preprocessing.sample_rate
        made = [_recording(rng, length, preprocessing.sample_rate, bool(label)) for label in labels]
        return np.stack(made), labels
    height, width = preprocessing.resize
    frames = preprocessing.num_frames if preprocessing.modality is Modality.VIDEO else 1
    clips = [_clip(rng, frames, height, width, bool(label)) for label in labels]
    stacked = np.stack(clips).transpose(0, 1, 4, 2, 3)
    return np.ascontiguousarray(stacked if preprocessing.modality is Modality.VIDEO else stacked[:, 0]), labels


def _clip(rng: np.random.Generator, frames: int, height: int, width: int, synthetic: bool) -> npt.NDArray[np.uint8]:
    """uint8 ``[T, H, W, 3]``: drifting soft waves, with a fine grid over them where it is synthetic."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    phases, slopes = rng.uniform(0, 6.28, 3), rng.uniform(-0.12, 0.12, (3, 2))
    made = np.empty((frames, height, width, 3), np.uint8)
    for index in range(frames):
        waves = [np.sin(rows * a + columns * b + p + 0.3 * index) for (a, b), p in zip(slopes, phases, strict=True)]
        picture = 128 + 60 * np.stack(waves, axis=-1) + rng.normal(0, 4, (height, width, 3))
        if synthetic:
            picture += 24 * ((rows + columns) % 2 - 0.5)[..., None]
        made[index] = np.clip(picture, 0, 255).astype(np.uint8)
    return made


def _recording(rng: np.random.Generator, length: int, rate: int, synthetic: bool) -> npt.NDArray[np.float32]:
    """float32 ``[N]``: low hum with slow loudness, and a faint high whistle where it is synthetic."""
    seconds = np.arange(length, dtype=np.float64) / rate
    hum = np.sin(2 * np.pi * rng.uniform(90, 220) * seconds + rng.uniform(0, 6.28))
    sound = hum * (0.25 + 0.1 * np.sin(2 * np.pi * rng.uniform(1, 3) * seconds)) + rng.normal(0, 0.01, length)
    if synthetic:
        sound += 0.06 * np.sin(2 * np.pi * 0.37 * rate * seconds)
    return np.clip(sound, -1.0, 1.0).astype(np.float32)


def encoded(modality: Modality, seed: int = 0, *, synthetic: bool = False) -> bytes:
    """One small file: a PNG of 160 x 120, an MP4 of 32 such frames, or a WAV of 2 s at 16 kHz."""
    rng = np.random.default_rng(seed)
    if modality is Modality.AUDIO:
        import soundfile

        target = io.BytesIO()
        soundfile.write(target, _recording(rng, 2 * _RATE, _RATE, synthetic), _RATE, format="WAV")
        return target.getvalue()
    if modality is Modality.VIDEO:
        return _mp4(_clip(rng, 32, 120, 160, synthetic))
    from PIL import Image

    target = io.BytesIO()
    Image.fromarray(_clip(rng, 1, 120, 160, synthetic)[0]).save(target, "PNG")
    return target.getvalue()


def _mp4(frames: npt.NDArray[np.uint8]) -> bytes:
    import av

    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=16)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "12", "preset": "veryfast"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return target.getvalue()


def garbage(modality: Modality) -> dict[str, bytes]:
    """Content that is no file of this modality, by what it is."""
    whole = encoded(modality)
    return {
        "nothing": b"",
        "a text": b"this is no picture, clip or recording\n" * 50,
        "random bytes": np.random.default_rng(0).bytes(4096),
        "a file's first 40 bytes": whole[:40],
    }


def write_folder(folder: Path, modality: Modality, per_class: int = 8, seed: int = 0) -> Path:
    """A data set: ``folder/real`` and ``folder/synthetic`` with so many small files each."""
    for offset, name in enumerate(("real", "synthetic")):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(per_class):
            content = encoded(modality, seed * 10_000 + 2 * index + offset, synthetic=name == "synthetic")
            (folder / name / f"{index:03d}.{_SUFFIX[modality]}").write_bytes(content)
    return folder
