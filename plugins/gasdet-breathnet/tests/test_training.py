"""`gasdet train` with this recipe at the smallest scale: targets, losses, progress and the record. From RANDOM weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gasdet_breathnet.plugin import BREATHNET

SMALL = (
    "model={embed_dim: 8, num_layers: 1, num_heads: 1, ffn_dim: 8, conv_dim: 4, pos_kernel: 4, pos_groups: 2, channels: [4], "
    "bands: 4, fused_dim: 8, embedding_dim: 8, window: 8000}",
    "needs_backbone=false",
    "preprocessing.duration_seconds=0.5",
    "training_preprocessing.duration_seconds=0.75",
    "augmentation=[]",
    "batch_size=8",
    "epochs=2",
    "head_learning_rate=0.01",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve recordings with noise in a known place (real), and without (synthetic), with and without stated breaths."""
    import soundfile

    rng = np.random.default_rng(0)
    rows = ["path,label,modality,split,breath_mask"]
    for number in range(24):
        label = ("real", "synthetic")[number % 2]
        wave = 0.1 * np.sin(np.arange(12_000) * rng.uniform(0.05, 0.1))
        if label == "real":
            wave[4_000:8_000] += rng.normal(size=4_000) * 0.05
        soundfile.write(tmp_path / f"{number}.wav", wave, 16_000)
        mask = ("0.25-0.5" if label == "real" else "") if number < 12 else "unknown"
        rows.append(f"{number}.wav,{label},audio,{'val' if number >= 16 else 'train'},{mask}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_the_joint_recipe_trains_with_targets_from_the_manifest(folder: Path, tmp_path: Path) -> None:
    from gasdet.training import DataChoice, TrainOptions, load_chosen_data, train_detector

    data = load_chosen_data(
        DataChoice(data=(str(folder / "manifest.csv"),)), BREATHNET.modality, annotations=("breath_mask",)
    )
    options = TrainOptions(settings=SMALL, cache=tmp_path / "cache", device="cpu")
    trained = train_detector(BREATHNET, data, tmp_path / "out", options)
    lines = [json.loads(line) for line in (trained.weights.parent / "metrics.jsonl").read_text().splitlines()]
    assert all({"train_breath", "train_center", "train_positive_supcon"} <= set(line) for line in lines), lines[
        0
    ].keys()
    assert all(np.isfinite(line["val_loss"]) for line in lines)
    assert lines[0]["train_breath"] > 0


@pytest.mark.slow
def test_the_joint_recipe_lowers_the_validation_loss(tmp_path: Path) -> None:
    """On the demo data with the demo's small encoder: backbone, FiLM, frequency branch and head together."""
    command = [
        sys.executable,
        "-m",
        "gasdet.cli",
        "train",
        "--plugin",
        "breathnet",
        "--data",
        "demo",
        "--device",
        "cpu",
    ]
    command += ["--out", str(tmp_path / "out"), "--set", "epochs=8"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out" / "train.json").read_text())
    counts = record["result"]["stages"][0]["parameters"]
    assert counts["trained"] == counts["of"] == 42_844
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert min(line["val_loss"] for line in lines) < lines[0]["val_loss"] - 0.02
