"""What a detector learns from a planted shortcut, and that it learns nothing once the files are equalised.

The detector is a logistic regression on statistics that tell how a file was made: of 8 x 8 blocks' cosine coefficients
(images, clips), of the spectrum and of loudness over time (recordings). Content is independent of the class.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.fft import dctn
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gasdet.media import decode
from gasdet.types import Modality, Preprocessing

from ...planted import SHORTCUTS, planted, scene

Array = np.ndarray[Any, Any]

KEYS: dict[Modality, dict[str, object]] = {
    Modality.IMAGE: {"resize": 256, "resize_mode": "center_crop"},
    Modality.VIDEO: {"resize": [112, 112], "num_frames": 3, "resize_mode": "center_crop"},
    Modality.AUDIO: {"duration_seconds": 2, "audio_crop": "start"},
}


def of_blocks(frames: Array) -> Array:
    """Size and sparsity of each of the 64 cosine coefficients of ``[T, 3, H, W]``."""
    grey = frames.astype(float).mean(axis=1)
    count, height, width = len(grey), grey.shape[1] // 8, grey.shape[2] // 8
    blocks = grey[:, : height * 8, : width * 8].reshape(count, height, 8, width, 8).transpose(0, 1, 3, 2, 4)
    sizes = np.abs(dctn(blocks, axes=(-2, -1), norm="ortho"))
    return np.concatenate(
        [np.log(sizes.mean(axis=(0, 1, 2)).ravel() + 0.01), (sizes < 0.5).mean(axis=(0, 1, 2)).ravel()]
    )


def of_sound(samples: Array) -> Array:
    """Mean and quiet level in 64 bands, and loudness in 40 stretches."""
    pieces = samples[: len(samples) // 512 * 512].reshape(-1, 512) * np.hanning(512)
    bands = np.log((np.abs(np.fft.rfft(pieces)) ** 2)[:, :256].reshape(len(pieces), 64, 4).mean(axis=2) + 1e-9)
    loud = [np.log(np.square(part) + 1e-9).mean() for part in np.array_split(samples, 40)]
    return np.concatenate([bands.mean(axis=0), np.quantile(bands, 0.1, axis=0), loud])


def seen(path: Path, modality: Modality, equalise: str) -> Array:
    """What the detector gets of a file."""
    array = decode(path, Preprocessing.from_mapping(modality, {**KEYS[modality], "equalise": equalise})).array
    return of_sound(array) if modality is Modality.AUDIO else of_blocks(array.reshape(-1, *array.shape[-3:]))


def auroc(folder: Path, modality: Modality, equalise: str) -> float:
    """Of the detector, each file scored by one that was trained without it."""
    files = sorted(path for path in folder.rglob("*.*") if path.is_file())
    labels = np.array([path.parent.name == "synthetic" for path in files])
    features = np.stack([seen(path, modality, equalise) for path in files])
    detector = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    scores = cross_val_predict(detector, features, labels, cv=folds, method="predict_proba")[:, 1]
    return float(roc_auc_score(labels, scores))


def planted_bit_rate(folder: Path, count: int) -> Path:
    """Clips of one size and rate, of which the synthetic are coded more coarsely."""
    import av
    import cv2

    for label, name in enumerate(("real", "synthetic")):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            rng = np.random.default_rng([7, label, index])
            canvas, step = scene(rng, 300, 400), rng.uniform(-2, 2, 2)
            with av.open(folder / name / f"{index}.mp4", "w") as output:
                options = {"preset": "ultrafast", "crf": ("18", "28")[label]}
                stream: Any = output.add_stream("libx264", rate=24, options=options)
                stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
                stream.codec_context.thread_count = 1
                for i in range(14):
                    pixels = cv2.getRectSubPix(canvas, (320, 240), (200 + i * step[0], 150 + i * step[1]))
                    output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
                output.mux(stream.encode())
    return folder


@pytest.mark.parametrize(("shortcut", "count"), [("format", 40), ("quality", 80), ("sample_rate", 40), ("silence", 40)])
def test_a_planted_shortcut_is_gone(shortcut: str, count: int, tmp_path: Path) -> None:
    folder, modality = planted(tmp_path / "data", shortcut, count, seed=1), SHORTCUTS[shortcut]
    before, after = auroc(folder, modality, ""), auroc(folder, modality, "standard")
    assert before > 0.95
    assert after < 0.6


def test_a_planted_bit_rate_is_gone(tmp_path: Path) -> None:
    folder = planted_bit_rate(tmp_path / "data", 70)
    before, after = auroc(folder, Modality.VIDEO, ""), auroc(folder, Modality.VIDEO, "standard:side=112,seconds=0.5")
    assert before > 0.95
    assert after < 0.6
