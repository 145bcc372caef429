"""`gasdet train` with this recipe at the smallest scale: targets, losses, progress and the record. From RANDOM weights."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from gasdet.training import DataChoice, TrainOptions, load_chosen_data, train_detector
from gasdet_breathnet.plugin import BREATHNET
from gasdet_breathnet.recipe import BREATHNET as RECIPE

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


def test_the_joint_recipe_lowers_the_validation_loss(folder: Path, tmp_path: Path) -> None:
    """The demo's small encoder from random numbers: backbone, FiLM, frequency branch and head together."""
    demo = RECIPE.for_demo()
    sizes = {**demo.model, "window": 8000, "n_fft": 512}
    settings = (
        f"model={json.dumps(sizes)}",
        "epochs=4",
        "batch_size=4",
        "learning_rate=5e-4",
        "head_learning_rate=5e-4",
    )
    data = load_chosen_data(
        DataChoice(data=(str(folder / "manifest.csv"),)), BREATHNET.modality, annotations=("breath_mask",)
    )
    options = TrainOptions(settings=(*SMALL[1:], *settings), cache=tmp_path / "cache", device="cpu")
    trained = train_detector(BREATHNET, data, tmp_path / "out", options)
    counts = trained.record["result"]["stages"][0]["parameters"]
    assert counts["trained"] == counts["of"] == 42_844
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["val_loss"] for line in lines]
    assert losses[-1] < losses[0] - 0.1
    assert losses[-1] < math.log(2) - 0.1  # what saying 0.5 always costs
