"""What the plugin registers, its recipe, and the demo weights that it ships."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gasdet import Modality, Preprocessing
from gasdet_breathnet.backbone import build
from gasdet_breathnet.model import BreathNet
from gasdet_breathnet.plugin import BREATHNET, LOSSES
from gasdet_breathnet.recipe import BREATHNET as RECIPE

DEMO_FILE = Path(str(files("gasdet_breathnet"))) / "demo.safetensors"


def test_the_plugin_module_imports_nothing_heavy() -> None:
    code = (
        "import sys, gasdet_breathnet.plugin;"
        "heavy = {'torch', 'torchaudio', 'numpy', 'scipy', 'gasdet_breathnet.model', 'gasdet.training'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_registry_finds_the_detector_and_the_losses() -> None:
    from gasdet.registry import load_registry, load_target

    registry = load_registry()
    registered = registry.detector("breathnet")
    assert registered.spec == BREATHNET
    assert registered.plugin.distribution == "gasdet-breathnet"
    assert {spec.name for spec in LOSSES} == {
        *("positive_supcon", "center", "contrastive", "breath", "weighted_cross_entropy")
    }
    for spec in LOSSES:
        found = registry.component("loss", spec.name)
        assert found.plugin.distribution == "gasdet-breathnet"
        assert callable(load_target(found.spec.target))


def test_it_is_named_a_reconstruction_wherever_it_is_described() -> None:
    assert "BreathNet-style reconstruction" in BREATHNET.summary
    assert any("reconstruction" in note and "figures" in note for note in BREATHNET.notes)
    readme = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
    assert "BreathNet-style reconstruction" in readme
    for figure in ("1.99", "4.70", "4.94"):  # the paper's, which say nothing about this
        assert figure not in readme


def test_preprocessing_is_a_window_of_64600_samples() -> None:
    found = Preprocessing.from_mapping(Modality.AUDIO, BREATHNET.preprocessing)
    assert found.num_samples == 64_600
    assert (found.sample_rate, found.audio_pad, found.audio_crop) == (16_000, "repeat", "center")


def test_stated_parameter_counts() -> None:
    with torch.device("meta"):
        model = BreathNet()
    assert sum(p.numel() for p in model.parameters()) == BREATHNET.parameters
    assert sum(p.numel() for p in model.backbone.parameters()) == BREATHNET.backbones[0].parameters


def test_the_recipe_is_the_joint_training() -> None:
    assert RECIPE.losses == {
        "weighted_cross_entropy": 1.0,
        "positive_supcon": 0.1,
        "center": 0.01,
        "contrastive": 0.1,
        "breath": 0.2,
    }
    assert (RECIPE.trainable, RECIPE.learning_rate, RECIPE.weight_decay, RECIPE.batch_size) == ("all", 1e-6, 1e-4, 14)
    assert RECIPE.head_learning_rate is not None
    assert RECIPE.head_learning_rate > RECIPE.learning_rate
    assert RECIPE.needs_backbone
    assert RECIPE.annotations == ("breath_mask",)
    demo = RECIPE.for_demo()
    assert not demo.needs_backbone
    assert demo.losses == RECIPE.losses
    assert demo.trainable == "all"


def test_targets_and_training_window_fit_each_other() -> None:
    """A training window starts where the recording does, so that the seconds of a mask are the array's."""
    training = Preprocessing.from_mapping(
        Modality.AUDIO, {**BREATHNET.preprocessing, **RECIPE.preprocessing, **RECIPE.training_preprocessing}
    )
    assert training.audio_crop == "start"
    assert training.num_samples >= 64_600


def test_everything_but_the_backbone_is_the_head() -> None:
    model = build(None, **RECIPE.for_demo().model)
    rest = {name for name, _ in model.named_parameters() if not name.startswith(RECIPE.head)}
    assert rest == {name for name, _ in model.named_parameters() if name.startswith("backbone.")}


def test_model_file_passes_the_bundle_check() -> None:
    from gasdet.bundle.codecheck import check_code

    _, findings = check_code(Path(str(files("gasdet_breathnet"))).joinpath("model.py").read_bytes())
    assert findings == []


# --- The demo weights ------------------------------------------------------------------------------------------------


def test_demo_file_is_the_stated_one_and_the_recipes() -> None:
    from gasdet_breathnet.model import load_model

    stated = BREATHNET.weights_named("demo")
    assert stated is not None
    assert stated.kind == "demo"
    content = DEMO_FILE.read_bytes()
    assert hashlib.sha256(content).hexdigest() == stated.sha256
    assert len(content) == stated.size_bytes < 4_000_000
    load_model(str(DEMO_FILE), **RECIPE.for_demo().model)


def test_loads_through_gasdet() -> None:
    import gasdet

    detector = gasdet.load("breathnet", weights="demo")
    assert detector.weights.kind == "demo"
    batch = np.random.default_rng(0).normal(size=(2, 64_600)).astype(np.float32) * 0.1
    logits = detector.logits(batch)
    assert logits.shape == (2, 2)
    assert np.isfinite(logits).all()


def demo_recordings(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Waveforms at 16 kHz of real demo recordings of the test split, and the frames with breath."""
    import scipy.signal

    from gasdet.data.demo import plan
    from gasdet.data.demo.recordings import breaths, utterance_of
    from gasdet_breathnet.breath import mask_of
    from gasdet_breathnet.model import frame_count

    found = []
    for scene in [s for s in plan.plan() if s.modality == "audio" and s.split == "test"][:count]:
        utterance = utterance_of(scene)
        array = scipy.signal.resample_poly(utterance.recorded("real"), 16_000, utterance.rate).astype(np.float32)
        found.append((array, mask_of(breaths(scene, synthetic=False), frame_count(array.size))))
    return found


def test_demo_weights_predict_breath_where_there_is_some() -> None:
    from sklearn.metrics import roc_auc_score

    from gasdet_breathnet.model import load_model

    model = load_model(str(DEMO_FILE))
    scores: list[Any] = []
    labels: list[Any] = []
    for array, mask in demo_recordings(6):
        _, details = model.forward_with_details(torch.from_numpy(array)[None])
        scores.append(details["breath"][0].numpy())
        labels.append(mask)
    assert roc_auc_score(np.concatenate(labels), np.concatenate(scores)) > 0.8


@pytest.mark.slow
def test_demo_weights_beat_chance_on_the_demos_test_split(tmp_path: Path) -> None:
    import gasdet

    run = gasdet.evaluate(["breathnet"], "demo", weights="demo", out=tmp_path / "run")
    metrics = run.summary["detectors"]["breathnet"]["metrics"]
    assert metrics["auroc"]["low"] > 0.5
    assert metrics["auroc"]["value"] < 1.0


@pytest.mark.slow
def test_demo_weights_beat_chance_on_generators_and_devices_that_they_never_saw(tmp_path: Path) -> None:
    """The interval of AUROC on the demo's held-back generators and devices excludes 0.5."""
    import csv

    import gasdet
    from gasdet.data.demo import ensure_demo

    folder = ensure_demo()
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["modality"] == "audio"]
    known = {row["generator"] for row in rows if row["split"] != "test"}
    held = [{**row, "path": str(folder / row["path"])} for row in rows if row["generator"] not in known]
    assert {row["label"] for row in held} == {"real", "synthetic"}
    with (tmp_path / "held.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(held[0]))
        writer.writeheader()
        writer.writerows(held)
    run = gasdet.evaluate(["breathnet"], str(tmp_path / "held.csv"), weights="demo", out=tmp_path / "run")
    metrics = run.summary["detectors"]["breathnet"]["metrics"]
    assert metrics["auroc"]["low"] > 0.5
    assert metrics["auroc"]["value"] < 1.0
