"""How well simple hand-made features tell the demo data's classes apart; run by the tests and by hand.

``python tests/data/demo/separability.py [FOLDER]`` prints the tables that docs/demo-data.md quotes. Features are read from
the files as anyone would decode them; a logistic regression is fitted on the train split and judged on the test split.
"""

from __future__ import annotations

import csv
import functools
import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import soundfile
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

Row = dict[str, str]


def rows_of(folder: Path, modality: str) -> list[Row]:
    with open(folder / "manifest.csv", encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["modality"] == modality]


# ------------------------------------------------------------------------------------------------------------ images


def image_features(path: Path) -> np.ndarray:
    """Radial power of a high-pass residual, its autocorrelation, its relation between the colours and to brightness."""
    with Image.open(path) as image:
        rgb = np.asarray(image.convert("RGB"), float)
    residual = rgb[1:-1, 1:-1] - 0.25 * (rgb[:-2, 1:-1] + rgb[2:, 1:-1] + rgb[1:-1, :-2] + rgb[1:-1, 2:])
    grey = residual @ np.array([0.299, 0.587, 0.114])
    clipped = np.clip(grey, -12, 12)
    power = np.abs(np.fft.fft2(clipped)) ** 2
    fy, fx = np.fft.fftfreq(grey.shape[0])[:, None], np.fft.fftfreq(grey.shape[1])[None, :]
    ring = np.minimum((np.sqrt(fy**2 + fx**2) / 0.7072 * 20).astype(int), 19)
    radial = np.bincount(ring.ravel(), power.ravel(), 20) / np.bincount(ring.ravel(), minlength=20)
    features = list(np.log(radial + 1.0))
    variance = (clipped**2).mean() + 1e-6
    for dy, dx in ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (2, 2), (0, 3), (0, 4), (0, 8), (8, 0), (0, 16), (16, 0)):
        a, b = clipped[dy:, dx:], clipped[: clipped.shape[0] - dy, : clipped.shape[1] - dx]
        features.append(float((a * b).mean() / variance))
    r, g, b = (np.clip(residual[..., c], -12, 12).ravel() for c in range(3))
    features += [np.corrcoef(r, g)[0, 1], np.corrcoef(g, b)[0, 1], np.corrcoef(r, b)[0, 1]]
    for period in (2, 8, 16):  # how much the residual's energy depends on the position modulo the period
        rows = [np.abs(clipped[k::period]).mean() for k in range(period)]
        columns = [np.abs(clipped[:, k::period]).mean() for k in range(period)]
        level = np.abs(clipped).mean() + 1e-6
        features += [float(np.std(rows) / level), float(np.std(columns) / level)]
    block = np.abs(grey[: grey.shape[0] // 8 * 8, : grey.shape[1] // 8 * 8])
    block = block.reshape(block.shape[0] // 8, 8, -1, 8).mean(axis=(1, 3)).ravel()
    features += [float(np.log(np.quantile(block, q) + 0.05)) for q in (0.02, 0.1, 0.3, 0.6, 0.9)]
    return np.nan_to_num(np.array(features))


# ------------------------------------------------------------------------------------------------------------- clips


@functools.lru_cache(maxsize=1)
def middle_frames(path: Path, count: int = 24, window: float = 2.0) -> np.ndarray:
    """``count`` frames evenly over the middle ``window`` seconds, or the whole clip where it is shorter: grey 0 to 1."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        rate = float(stream.average_rate)
        frames = list(container.decode(stream))
    duration = len(frames) / rate
    start, end = max(0.0, duration / 2 - window / 2), min(duration, duration / 2 + window / 2)
    times = np.linspace(start, end, count)
    chosen = np.minimum((times * rate).astype(int), len(frames) - 1)
    return np.stack([frames[k].to_ndarray(format="gray") for k in chosen]).astype(float) / 255


def _pooled(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    rows = np.linspace(0, frames.shape[1], height + 1).astype(int)
    columns = np.linspace(0, frames.shape[2], width + 1).astype(int)
    sums = np.add.reduceat(np.add.reduceat(frames, rows[:-1], axis=1), columns[:-1], axis=2)
    return sums / (np.diff(rows)[:, None] * np.diff(columns)[None, :])


def pixel_embedding(frames: np.ndarray) -> np.ndarray:
    return _pooled(frames, 24, 24).reshape(len(frames), -1)


def gradient_embedding(frames: np.ndarray) -> np.ndarray:
    """Positive and negative horizontal and vertical differences, pooled: a hand-made first layer of a network."""
    dx, dy = np.diff(frames, axis=2)[:, :-1], np.diff(frames, axis=1)[:, :, :-1]
    maps = [np.maximum(dx, 0), np.maximum(-dx, 0), np.maximum(dy, 0), np.maximum(-dy, 0)]
    return np.concatenate([_pooled(m, 16, 16).reshape(len(frames), -1) for m in maps], axis=1)


def random_embedding(frames: np.ndarray) -> np.ndarray:
    """Sixteen fixed random 5 x 5 filters at stride 2, rectified and pooled."""
    rng = np.random.default_rng(0)
    filters = rng.standard_normal((16, 25))
    filters -= filters.mean(axis=1, keepdims=True)
    patches = np.lib.stride_tricks.sliding_window_view(frames, (5, 5), axis=(1, 2))[:, ::2, ::2]
    maps = np.maximum(patches.reshape(*patches.shape[:3], 25) @ filters.T, 0)
    return np.concatenate([_pooled(maps[..., k], 8, 8).reshape(len(frames), -1) for k in range(16)], axis=1)


def trajectory(embedding: np.ndarray) -> np.ndarray:
    """The 21 numbers of ReStraV from [frames, dimensions]: steps, angles in degrees, and their statistics."""
    steps = np.diff(embedding, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    products = (steps[:-1] * steps[1:]).sum(axis=1)
    angles = np.degrees(np.arccos(np.clip(products / np.maximum(lengths[:-1] * lengths[1:], 1e-12), -1, 1)))
    statistics = [f(x) for x in (lengths, angles) for f in (np.mean, np.min, np.max, np.var)]
    return np.concatenate([lengths[:7], angles[:6], statistics])


def clip_features(embed: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], np.ndarray]:
    return lambda path: trajectory(embed(middle_frames(path)))


# -------------------------------------------------------------------------------------------------------- recordings


def audio_features(path: Path) -> np.ndarray:
    """Long-term spectrum, flatness, frame-to-frame phase consistency, crest of the excitation, modulation, pauses."""
    sound, rate = soundfile.read(str(path))
    sound = sound / (np.sqrt((sound**2).mean()) + 1e-9)
    size = 1024 if rate > 30000 else 512
    hop = size // 4
    window = np.hanning(size)
    frames = np.lib.stride_tricks.sliding_window_view(sound, size)[::hop] * window
    spectrum = np.fft.rfft(frames, axis=1)
    power = np.abs(spectrum) ** 2 + 1e-9
    edges = np.geomspace(100, 8000 * 0.99, 17)
    bins = np.clip((edges * size / rate).astype(int), 1, power.shape[1] - 1)
    bands = np.log(np.stack([power[:, a : max(b, a + 1)].mean(axis=1) for a, b in itertools.pairwise(bins)]))
    loud = np.log(power.mean(axis=1))
    voiced = loud > np.quantile(loud, 0.5)
    features = list(bands[:, voiced].mean(axis=1)) + list(np.diff(bands, axis=1).std(axis=1))
    flat = np.exp(np.log(power[:, 3:]).mean(axis=1)) / power[:, 3:].mean(axis=1)
    features += [float(np.log(flat[voiced]).mean()), float(np.log(flat[~voiced]).mean())]
    # Group delay: how the energy of each band lies within its frame.
    delay = np.angle(spectrum[:, 1:] * np.conj(spectrum[:, :-1]))
    weight = power[:, 1:]
    mean = (weight * np.exp(1j * delay)).sum(axis=1) / weight.sum(axis=1)
    features += [float(np.abs(mean)[voiced].mean()), float(np.abs(mean)[~voiced].mean()), float(np.angle(mean).std())]
    # Envelope periodicity at the hop of usual vocoders, and how peaked short blocks are.
    envelope = np.abs(sound)[: len(sound) // 32 * 32].reshape(-1, 32).mean(axis=1)
    spectrum_e = np.abs(np.fft.rfft(envelope - envelope.mean())) ** 2
    ring = np.linspace(0, len(spectrum_e), 9).astype(int)
    features += [float(np.log(spectrum_e[a:b].mean() + 1e-9)) for a, b in itertools.pairwise(ring)]
    blocks = sound[: len(sound) // 256 * 256].reshape(-1, 256)
    high = np.diff(blocks, 2, axis=1)
    crest = np.abs(high).max(axis=1) / (np.sqrt((high**2).mean(axis=1)) + 1e-6)
    features += [float(np.quantile(crest, q)) for q in (0.1, 0.5, 0.9)]
    features += [float(np.quantile(loud, q) - np.quantile(loud, 0.9)) for q in (0.02, 0.1, 0.25, 0.4)]
    # Neighbouring bins' phases: alike where energy is gathered in time, at random in noise. In three bands, loud and soft.
    turn = delay[:, 1:] - delay[:, :-1]
    third = turn.shape[1] // 3
    for start in (0, third, 2 * third):
        likeness = np.abs(np.exp(1j * delay[:, start : start + third]).mean(axis=1))
        curl = np.cos(turn[:, start : start + third]).mean(axis=1)
        for values in (likeness, curl):
            features += [float(values[voiced].mean()), float(values[~voiced].mean()), float(values.std())]
    # How much magnitudes scatter around their neighbours: noise scatters, what was smoothed or quantised does not.
    fine = np.log(power[:, 1:-1]) - 0.5 * (np.log(power[:, :-2]) + np.log(power[:, 2:]))
    for start in (0, third, 2 * third):
        scatter = fine[:, start : start + third].std(axis=1)
        features += [float(scatter[voiced].mean()), float(scatter[~voiced].mean())]
    features += pitch_features(sound, rate)
    return np.nan_to_num(np.array(features))


def pitch_features(sound: np.ndarray, rate: int) -> list[float]:
    """Spread and roughness of the pitch, and how periodic voiced frames are, by autocorrelation."""
    length, step = int(0.04 * rate), int(0.01 * rate)
    frames = np.lib.stride_tricks.sliding_window_view(sound, length)[::step]
    frames = frames - frames.mean(axis=1, keepdims=True)
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(length), 2 * length, axis=1)) ** 2
    correlation = np.fft.irfft(spectrum, axis=1)
    low, high = int(rate / 320), int(rate / 70)
    peak = correlation[:, low:high].argmax(axis=1) + low
    strength = correlation[np.arange(len(peak)), peak] / (correlation[:, 0] + 1e-9)
    voiced = (strength > 0.4) & (correlation[:, 0] > 0.1 * np.quantile(correlation[:, 0], 0.9))
    if voiced.sum() < 10:
        return [0.0, 0.0, 0.0, 0.0]
    pitch = np.log2(rate / peak[voiced])
    change = np.abs(np.diff(pitch))
    return [
        float(pitch.std()),
        float(np.median(change)),
        float(strength[voiced].mean()),
        float(np.quantile(strength, 0.9)),
    ]


FEATURES: dict[str, dict[str, Callable[[Path], np.ndarray]]] = {
    "image": {"spectrum and residual": image_features},
    "video": {
        "trajectory of pixels": clip_features(pixel_embedding),
        "trajectory of gradients": clip_features(gradient_embedding),
        "trajectory of random filters": clip_features(random_embedding),
    },
    "audio": {"spectrum and phase": audio_features},
}


# ------------------------------------------------------------------------------------------------------------ judging


def scores(features: np.ndarray, rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray, list[Row]]:
    """P(synthetic) of the test rows by a logistic regression fitted on the train rows, with their labels."""
    label = np.array([row["label"] == "synthetic" for row in rows], int)
    train = np.array([row["split"] == "train" for row in rows])
    test = np.array([row["split"] == "test" for row in rows])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=2000))
    model.fit(features[train], label[train])
    return model.predict_proba(features[test])[:, 1], label[test], [r for r in rows if r["split"] == "test"]


def table(p: np.ndarray, label: np.ndarray, rows: Sequence[Row], seen: set[str]) -> dict[str, float]:
    """AUROC overall, without and with what is held back, and of each generator against all real test files."""
    names = np.array([row["generator"] for row in rows])
    known = np.array([name in seen for name in names])
    out = {
        "all": float(roc_auc_score(label, p)),
        "seen": float(roc_auc_score(label[known], p[known])),
        "held back": float(roc_auc_score(label[~known], p[~known])),
    }
    for name in sorted(set(names[label == 1])):
        chosen = (label == 0) | (names == name)
        out[name] = float(roc_auc_score(label[chosen], p[chosen]))
    return out


def measure(folder: Path, modality: str) -> dict[str, dict[str, float]]:
    rows = [row for row in rows_of(folder, modality) if row["split"] in ("train", "test")]
    seen = {row["generator"] for row in rows if row["split"] == "train"}
    features = [[function(folder / row["path"]) for function in FEATURES[modality].values()] for row in rows]
    out = {}
    for name, values in zip(FEATURES[modality], zip(*features, strict=True), strict=True):
        out[name] = table(*scores(np.stack(values), rows), seen)
    size = np.array([[(folder / row["path"]).stat().st_size] for row in rows], float)
    out["file size alone"] = table(*scores(np.log(size), rows), seen)
    return out


def main() -> None:
    from gasdet.data.demo import ensure_demo

    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ensure_demo()
    for modality in FEATURES:
        for name, values in measure(folder, modality).items():
            line = "  ".join(f"{key} {value:.3f}" for key, value in values.items())
            sys.stdout.write(f"{modality}: {name}: {line}\n")


if __name__ == "__main__":
    main()
