"""What the plugin registers, its recipes, and the demo weights that it ships."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from gasdet import Modality, Preprocessing, Recipe
from gasdet_gend.model import FRAME_SECONDS, load_model
from gasdet_gend.plugin import GEND, GEND_IMAGE, LOSSES
from gasdet_gend.recipe import GEND as RECIPE
from gasdet_gend.recipe import GEND_IMAGE as IMAGE_RECIPE

HELD_BACK = ("chunks", "keyframes")
DEMO_FILE = Path(str(files("gasdet_gend"))) / "demo.safetensors"


def test_the_plugin_module_imports_nothing_heavy() -> None:
    code = (
        "import sys, gasdet_gend.plugin;"
        "heavy = {'torch', 'timm', 'numpy', 'safetensors', 'cv2', 'gasdet_gend.model', 'gasdet.training'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_registry_finds_it() -> None:
    from gasdet.registry import load_registry

    registry = load_registry()
    for spec in (GEND, GEND_IMAGE):
        registered = registry.detector(spec.name)
        assert registered.spec == spec
        assert registered.plugin.distribution == "gasdet-gend"


def test_losses_are_found_under_this_plugin() -> None:
    from gasdet.registry import load_registry, load_target

    registered = {c.spec.name: c for c in load_registry().components("loss") if c.plugin.distribution == "gasdet-gend"}
    assert set(registered) == {"alignment", "uniformity", "frame_average", "frame_alignment", "frame_uniformity"}
    assert {spec.name for spec in LOSSES} == set(registered)
    assert all(callable(load_target(component.spec.target)) for component in registered.values())


def test_preprocessing() -> None:
    clips = Preprocessing.from_mapping(Modality.VIDEO, GEND.preprocessing)
    pictures = Preprocessing.from_mapping(Modality.IMAGE, GEND_IMAGE.preprocessing)
    for found in (clips, pictures):
        assert (found.resize, found.resize_mode, found.interpolation) == ((224, 224), "crop", "bicubic")
        assert found.antialias
    assert (clips.num_frames, clips.sampling, clips.window_seconds) == (16, "window", 2.0)
    assert clips.window_seconds / (clips.num_frames - 1) == FRAME_SECONDS


def test_recipe_has_the_published_settings() -> None:
    for recipe, frames in ((IMAGE_RECIPE, 1), (RECIPE.stage(0), GEND.preprocessing["num_frames"])):
        assert (recipe.optimiser, recipe.learning_rate, recipe.betas, recipe.weight_decay) == (
            "adamw",
            3e-4,
            (0.9, 0.999),
            0.0,
        )
        assert (recipe.batch_size * frames, recipe.epochs, recipe.trainable) == (512, 30, "layernorm")
        assert (recipe.schedule, recipe.sampling, recipe.precision) == ("cosine_restarts", "paired", "bfloat16")
        assert recipe.schedule_options["epochs"] == 10
        assert recipe.learning_rate * recipe.schedule_options["minimum"] == pytest.approx(1e-6)
        assert recipe.selection == "average_precision"
        assert sorted(recipe.losses.values()) == [0.1, 0.5, 1.0]
    assert IMAGE_RECIPE.losses == {"cross_entropy": 1.0, "alignment": 0.1, "uniformity": 0.5}
    assert IMAGE_RECIPE.model == {"temporal": False}


def test_second_stage_trains_the_transformer_on_cached_features() -> None:
    stage = RECIPE.stage(1)
    assert (stage.trainable, stage.cache_features, stage.augmentation) == ("head", True, ())
    assert stage.losses == {"cross_entropy": 1.0, "frame_average": 0.3, "alignment": 0.1, "uniformity": 0.5}
    assert (stage.learning_rate, stage.weight_decay, stage.warmup, stage.clip_norm, stage.ema) == (
        3e-4,
        0.05,
        0.05,
        1.0,
        0.999,
    )


@pytest.mark.parametrize("recipe", [RECIPE.stage(0), IMAGE_RECIPE], ids=["clips", "pictures"])
def test_augmentation_is_known_and_alike_for_all_frames(recipe: Recipe) -> None:
    from gasdet.training.augmentation import Augmenter

    modality = Modality.VIDEO if recipe.losses.get("frame_average") else Modality.IMAGE
    augment = Augmenter(recipe.augmentation, modality, seed=0)
    frame = np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8)
    if modality is Modality.IMAGE:
        assert augment(frame, "a", 1).shape == (3, 32, 32)
        return
    out = augment(np.stack([frame] * 4), "a", 1)
    assert all(np.array_equal(out[0], other) for other in out[1:])
    assert not np.array_equal(out[0], frame)


def test_the_first_stages_losses_leave_the_transformer_alone() -> None:
    """They give it a gradient of zero, so that AdamW without decay does not move it; encoder and head get theirs."""
    from gasdet_gend import losses
    from gasdet_gend.training import build

    demo = RECIPE.for_demo()
    model = build(None, **demo.model)
    before = {name: p.clone() for name, p in model.named_parameters()}
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    clip, labels = torch.randint(0, 256, (4, 8, 3, 32, 32), dtype=torch.uint8), torch.tensor([0, 1, 0, 1])
    outputs = model.forward_with_outputs(clip)
    assert set(RECIPE.stage(0).losses) == {"frame_average", "frame_alignment", "frame_uniformity"}
    loss = losses.frame_average(outputs, labels) + 0.1 * losses.frame_alignment(outputs, labels)
    (loss + 0.5 * losses.frame_uniformity(outputs, labels)).backward()
    assert all(p.grad is not None for p in model.parameters())
    optimiser.step()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name in before if not name.startswith("temporal.")}


def test_model_file_passes_the_bundle_check() -> None:
    from gasdet.bundle.codecheck import check_code

    _, findings = check_code(Path(str(files("gasdet_gend"))).joinpath("model.py").read_bytes())
    assert findings == []


# --- The demo weights ------------------------------------------------------------------------------------------------


def test_demo_file_is_the_stated_one_and_the_recipes() -> None:
    stated = GEND.weights_named("demo")
    assert stated is not None
    assert stated.kind == "demo"
    content = DEMO_FILE.read_bytes()
    assert hashlib.sha256(content).hexdigest() == stated.sha256
    assert len(content) == stated.size_bytes < 4_000_000
    demo = RECIPE.for_demo()
    assert dict(stated.preprocessing) == dict(demo.preprocessing)
    window, frames = demo.preprocessing["window_seconds"], GEND.preprocessing["num_frames"]
    assert demo.model["frame_seconds"] == window / (frames - 1)
    model = load_model(str(DEMO_FILE), **stated.model)
    assert model.temporal.frame_seconds.item() == pytest.approx(1 / 15)


def _clip(offsets: np.ndarray, seed: int) -> np.ndarray:
    """uint8 ``[1, 16, 3, 96, 96]``: a smooth texture seen through a window that moves to the given offsets in pixels."""
    rng = np.random.default_rng(seed)
    waves, phases = rng.normal(size=(40, 2)) * 0.08, rng.uniform(0, 2 * np.pi, 40)
    ys, xs = np.mgrid[0:96, 0:96]
    frames = []
    for dy, dx in offsets:
        field = sum(np.sin(a * (ys + dy) + b * (xs + dx) + p) for (a, b), p in zip(waves, phases, strict=True)) / 9
        noisy = 128 + 50 * np.asarray(field) + rng.normal(0, 2, (96, 96))
        frames.append(np.repeat(np.clip(noisy, 0, 255).astype(np.uint8)[None], 3, axis=0))
    return np.stack(frames)[None]


def test_demo_weights_call_jitter_more_synthetic_than_smooth_motion() -> None:
    import gasdet

    detector = gasdet.load("gend", weights="demo")
    assert detector.weights.kind == "demo"
    margins: list[float] = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        smooth = np.outer(np.arange(16), rng.uniform(0.5, 1.5, 2))
        pair = [_clip(offsets, seed) for offsets in (smooth, smooth + rng.normal(0, 2.5, (16, 2)))]
        logits = detector.logits(np.concatenate(pair))
        margins.append(float(np.diff(np.diff(logits)[:, 0])[0]))
    assert np.mean(margins) > 0.2


@pytest.mark.slow
def test_demo_weights_beat_chance_on_the_demos_test_split_and_its_held_back_generators(tmp_path: Path) -> None:
    """The held-back generators' 20 clips against all 60 real ones; intervals by bootstrap over scenes."""
    auroc = evaluated("demo", tmp_path / "all", split="test")
    assert auroc["value"] > 0.7
    assert 0.5 < auroc["low"] < auroc["value"] < 1
    with demo_folder().joinpath("manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["modality"], row["split"]) == ("video", "test")]
    kept = [row for row in rows if row["label"] == "real" or row["generator"] in HELD_BACK]
    assert [row["label"] for row in kept].count("real") == 60
    assert [row["label"] for row in kept].count("synthetic") == 20
    table = tmp_path / "held.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "path": str(demo_folder() / row["path"])} for row in kept)
    auroc = evaluated(str(table), tmp_path / "held")
    assert 0.5 < auroc["low"] < auroc["value"] < 1


def test_layernorm_tuning_lowers_the_validation_loss(tmp_path: Path) -> None:
    """The demo's encoder from scratch, of which the LayerNorms alone are trained, on clips of two tints."""
    from gasdet.training import DataChoice, TrainOptions, load_chosen_data, train_detector

    rows = ["path,label,modality,split"]
    for number in range(24):
        label = ("real", "synthetic")[number % 2]
        write_clip(tmp_path / f"{number}.mp4", tinted=label == "synthetic", seed=number)
        rows.append(f"{number}.mp4,{label},video,{'val' if number >= 16 else 'train'}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    demo = RECIPE.for_demo()
    settings = (
        f"model={json.dumps(dict(demo.model))}",
        "needs_backbone=false",
        "precision=float32",
        "preprocessing={resize: [96, 96], num_frames: 8, window_seconds: 0.5}",
        f"losses={json.dumps(dict(demo.losses))}",
        "selection=cross_entropy",
        "augmentation=[]",
        "stages=[{trainable: layernorm, learning_rate: 0.002, batch_size: 4, epochs: 24, schedule: constant}]",
    )
    data = load_chosen_data(DataChoice(data=(str(tmp_path / "manifest.csv"),)), Modality.VIDEO)
    options = TrainOptions(settings=settings, cache=tmp_path / "cache", device="cpu")
    record = train_detector(GEND, data, tmp_path / "out", options).record
    (told,) = record["result"]["stages"]
    assert told["parameters"] == {"trained": 113_988, "of": 265_028, "trainable": "layernorm"}
    losses = [json.loads(line)["val_loss"] for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 24
    assert told["best"]["val_loss"] == pytest.approx(min(losses))
    assert min(losses) < losses[0] - 0.2
    assert min(losses) < math.log(2) - 0.2  # what saying 0.5 always costs


def write_clip(path: Path, *, tinted: bool, seed: int) -> None:
    """Eight frames of smooth noise, with more of the first colour and less of the last where they are tinted."""
    import cv2

    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 16, (96, 96))
    assert writer.isOpened()
    tint = np.array([90, 0, -90]) if tinted else np.zeros(3, dtype=int)
    for frame in np.random.default_rng(seed).integers(0, 256, (8, 96, 96, 3), dtype=np.uint8):
        writer.write(np.clip(cv2.GaussianBlur(frame, (0, 0), 3) + tint, 0, 255).astype(np.uint8))
    writer.release()


def demo_folder() -> Path:
    """Where gasdet has made the demo data."""
    from gasdet.data.demo import ensure_demo

    return ensure_demo()


def evaluated(data: str, out: Path, split: str | None = None) -> dict[str, float]:
    """AUROC of the demo weights."""
    import gasdet

    run = gasdet.evaluate(["gend"], data, weights="demo", split=split, out=out)
    auroc: dict[str, float] = run.summary["detectors"]["gend"]["metrics"]["auroc"]
    return auroc
