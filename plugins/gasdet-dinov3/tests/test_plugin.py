"""What the plugin registers, its recipe, and the demo weights that it ships."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from gasdet import Modality, Preprocessing, Recipe
from gasdet_dinov3.model import BACKBONES, DINOv3, load_model, pixel_statistics
from gasdet_dinov3.plugin import DINOV3
from gasdet_dinov3.recipe import DINOV3 as RECIPE

PACKAGE = Path(str(files("gasdet_dinov3")))
DEMO_FILE = PACKAGE / "demo.safetensors"


def test_the_plugin_module_imports_nothing_heavy() -> None:
    code = (
        "import sys, gasdet_dinov3.plugin;"
        "heavy = {'torch', 'timm', 'numpy', 'safetensors', 'gasdet_dinov3.model', 'gasdet.training'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_registry_finds_it() -> None:
    from gasdet.registry import load_registry

    registered = load_registry().detector("dinov3")
    assert registered.spec == DINOV3
    assert registered.plugin.distribution == "gasdet-dinov3"


def test_model_file_passes_the_bundle_check() -> None:
    from gasdet.bundle.codecheck import check_code

    _, findings = check_code(PACKAGE.joinpath("model.py").read_bytes())
    assert findings == []


@pytest.mark.parametrize("backbone", DINOV3.backbones, ids=lambda spec: spec.name)
def test_backbones_are_timms_with_the_stated_size_and_licence(backbone: object) -> None:
    name, _, tag = backbone.name.partition(".")  # type: ignore[attr-defined]
    with torch.device("meta"):
        theirs = timm.create_model(name, pretrained=False, num_classes=0)
    assert sum(p.numel() for p in theirs.parameters()) == backbone.parameters  # type: ignore[attr-defined]
    published = timm.get_pretrained_cfg(f"{name}.{tag}")
    assert backbone.source == f"hf-hub:{published.hf_hub_id}/model.safetensors"  # type: ignore[attr-defined]
    assert backbone.licence == {"dinov3": "DINOv3 License", "dinov2": "Apache-2.0"}[name[-6:]]  # type: ignore[attr-defined]
    assert name in BACKBONES
    assert pixel_statistics(f"{name}.{tag}") == (tuple(published.mean), tuple(published.std))


def test_stated_parameters_are_the_default_backbones_with_its_head() -> None:
    default = DINOV3.backbones[0].name.partition(".")[0]
    assert default == "vit_base_patch16_dinov3"
    with torch.device("meta"):
        model = DINOv3(BACKBONES[default])
    assert sum(p.numel() for p in model.parameters()) == DINOV3.parameters


def test_the_default_size_fits_every_backbone() -> None:
    preprocessing = Preprocessing.from_mapping(Modality.IMAGE, DINOV3.preprocessing)
    assert (preprocessing.resize, preprocessing.resize_mode) == ((224, 224), "crop")
    assert (preprocessing.interpolation, preprocessing.antialias) == ("bicubic", True)
    assert {architecture.patch_size for architecture in BACKBONES.values()} == {14, 16}
    assert all(side % 14 == side % 16 == 0 for side in preprocessing.resize)


def test_recipe_is_within_the_published_ranges() -> None:
    assert RECIPE.trainable == "lora"
    assert 8 <= RECIPE.lora["rank"] <= 16
    assert RECIPE.lora["alpha"] == 2 * RECIPE.lora["rank"]
    assert RECIPE.lora["dropout"] == 0.05
    assert 1e-4 <= RECIPE.learning_rate <= 5e-4
    assert 0 <= RECIPE.weight_decay <= 0.01
    assert RECIPE.head_learning_rate is None
    assert RECIPE.needs_backbone
    assert not RECIPE.model  # the file tells
    demo = RECIPE.for_demo()
    assert not demo.needs_backbone
    assert demo.trainable == "all"


@pytest.mark.parametrize(
    ("recipe", "patch"), [(RECIPE, 16), (RECIPE, 14), (RECIPE.for_demo(), 8)], ids=["full", "dinov2", "demo"]
)
def test_augmentation_gives_sizes_that_the_model_takes(recipe: Recipe, patch: int) -> None:
    from gasdet.training.augmentation import Augmenter

    keys = {**DINOV3.preprocessing, **recipe.preprocessing, **recipe.training_preprocessing}
    preprocessing = Preprocessing.from_mapping(Modality.IMAGE, keys)
    picture = np.zeros((3, *preprocessing.resize), dtype=np.uint8)
    for sample in range(8):
        made = Augmenter(recipe.augmentation, Modality.IMAGE, seed=0)(picture, str(sample), 1)
        assert made.shape[0] == 3
        assert all(side % patch == 0 and side > 0 for side in made.shape[1:])


SMALL_DINOV2 = (
    "model.backbone=vit_small_patch14_dinov2",
    "model.embed_dim=32",
    "model.depth=1",
    "model.num_heads=2",
    "model.patch_size=14",
    "model.grid=4",
)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ("preprocessing.resize=[160,160]",),
            r"samples after augmentation do not fit .* multiples of 14, not \[1, 3, 96, 96\]",
        ),
        (
            ("augmentation=[]", "preprocessing.resize=[256,256]"),
            r"samples as they are decoded do not fit .* multiples of 14, not \[1, 3, 256, 256\]",
        ),
        (
            ("augmentation=[]", "preprocessing.resize=[256,256]", "training_preprocessing={resize: [252, 252]}"),
            r"samples as they are decoded do not fit .* multiples of 14, not \[1, 3, 256, 256\]",
        ),
    ],
)
def test_a_size_that_dinov2_does_not_take_is_told_before_decoding(
    settings: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gasdet.errors import UsageError
    from gasdet.training import TrainOptions, load_training_data, preparing, train_detector

    monkeypatch.setattr(preparing, "Preparation", None)  # which decodes
    data = load_training_data("demo", modality=Modality.IMAGE)
    options = TrainOptions(settings=(*SMALL_DINOV2, *settings), device="cpu")
    with pytest.raises(UsageError, match=message):
        train_detector(DINOV3, data, tmp_path / "out", options)


def test_both_classes_are_compressed_and_resized_alike() -> None:
    names = {step["name"] for step in RECIPE.augmentation}
    assert {"jpeg", "webp", "resize_chain", "hflip", "random_crop"} <= names


# --- The demo weights -------------------------------------------------------------------------------------------------


def test_demo_file_is_the_stated_one_and_the_recipes() -> None:
    stated = DINOV3.weights_named("demo")
    assert stated is not None
    assert stated.kind == "demo"
    content = DEMO_FILE.read_bytes()
    assert hashlib.sha256(content).hexdigest() == stated.sha256
    assert len(content) == stated.size_bytes < 4_000_000
    demo = RECIPE.for_demo()
    assert dict(stated.model) == dict(demo.model)
    assert dict(stated.preprocessing) == dict(demo.preprocessing)
    assert re.search("not DINOv3", stated.notes)


def test_demo_weights_through_gasdet() -> None:
    import gasdet

    detector = gasdet.load("dinov3", weights="demo")
    assert detector.weights.kind == "demo"
    pictures = np.random.default_rng(0).integers(0, 256, (4, 3, 160, 160), dtype=np.uint8)
    expected = load_model(str(DEMO_FILE))(torch.from_numpy(pictures)).numpy()
    np.testing.assert_allclose(detector.logits(pictures), expected, rtol=1e-4, atol=1e-4)


def auroc_of(data: Path | str, out: Path) -> dict[str, Any]:
    import gasdet

    run = gasdet.evaluate(["dinov3"], data, weights="demo", out=out)
    found = run.summary["detectors"]["dinov3"]["metrics"]["auroc"]
    assert isinstance(found, dict)
    return found


@pytest.mark.slow
def test_demo_weights_beat_chance_on_the_demos_test_split(tmp_path: Path) -> None:
    auroc = auroc_of("demo", tmp_path / "run")
    assert auroc["low"] > 0.5
    assert 0.6 < auroc["value"] < 1


@pytest.mark.slow
@pytest.mark.parametrize("all_real", [True, False], ids=["all real", "held-back real"])
def test_demo_weights_beat_chance_on_generators_that_they_have_not_seen(all_real: bool, tmp_path: Path) -> None:
    """Those that are in the test split only, against all real pictures, and against the cameras that are only there too."""
    from gasdet.data.demo import ensure_demo

    root = ensure_demo()
    with (root / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["modality"] == "image"]
    seen = {row["generator"] for row in rows if row["split"] != "test"}
    kept = [
        {**row, "path": str(root / row["path"])}
        for row in rows
        if row["split"] == "test" and (row["generator"] not in seen or (all_real and row["label"] == "real"))
    ]
    assert {row["generator"] for row in kept if row["label"] == "synthetic"} == {"patches", "superresolution"}
    assert sum(row["label"] == "real" for row in kept) == (60 if all_real else 20)
    with (tmp_path / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        columns = ("path", "label", "modality", "generator", "group")
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(kept)
    auroc = auroc_of(tmp_path / "manifest.csv", tmp_path / "run")
    assert auroc["low"] > 0.5
    assert 0.6 < auroc["value"] < 1


@pytest.mark.slow
def test_adapters_alone_make_the_validation_loss_fall(tmp_path: Path) -> None:
    """On a transformer from scratch, of which nothing else is trained."""
    from gasdet.training import TrainOptions, load_training_data, train_detector

    data = load_training_data("demo", modality=Modality.IMAGE)
    settings = ("trainable=lora", "learning_rate=0.003", "epochs=3", "batch_size=16")
    done = train_detector(DINOV3, data, tmp_path / "out", TrainOptions(settings=settings, device="cpu"))
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["val_loss"] for line in lines]
    assert len(losses) == 3
    assert min(losses) < losses[0] - 0.03
    assert done.record["result"]["kept_epoch"]["val_loss"] < losses[0] - 0.03
    rank, width = 8, 96
    adapters = 3 * rank * ((width + 3 * width) + (width + width))  # qkv and proj of three blocks
    head = 3 * 2 * width + 2 * 3 * width + 2
    parameters = done.record["result"]["stages"][0]["parameters"]
    assert parameters == {"trained": adapters + head, "of": 355_586, "trainable": "lora"}


@pytest.mark.slow
@pytest.mark.parametrize("trainable", ["lora", "layernorm"])
def test_a_tuned_detector_has_the_names_of_what_it_was_tuned_from(trainable: str, tmp_path: Path) -> None:
    """From the demo weights, a few steps of adapters or LayerNorms through the command's own path."""
    from gasdet.training import TrainOptions, load_training_data, train_detector

    data = load_training_data("demo", modality=Modality.IMAGE, limit=40)
    settings = (f"trainable={trainable}", "epochs=1", "learning_rate=5e-4", "ema=0")
    options = TrainOptions(settings=settings, weights="demo", device="cpu", allow_training_data=True)
    done = train_detector(DINOV3, data, tmp_path / "out", options)
    assert load_model(str(done.weights)).state_dict().keys() == load_model(str(DEMO_FILE)).state_dict().keys()
