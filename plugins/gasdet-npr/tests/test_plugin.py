"""What the plugin registers, its recipe, and the demo weights that it ships."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from gasdet import Modality, Preprocessing, Recipe
from gasdet_npr.plugin import NPR
from gasdet_npr.recipe import NPR as RECIPE

DEMO_FILE = Path(str(files("gasdet_npr"))) / "demo.safetensors"


def test_the_plugin_module_imports_nothing_heavy() -> None:
    code = (
        "import sys, gasdet_npr.plugin;"
        "heavy = {'torch', 'numpy', 'safetensors', 'gasdet_npr.model', 'gasdet.training'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_registry_finds_it() -> None:
    from gasdet.registry import load_registry

    registered = load_registry().detector("npr")
    assert registered.spec == NPR
    assert registered.plugin.distribution == "gasdet-npr"


def test_preprocessing_is_the_published_one() -> None:
    found = Preprocessing.from_mapping(Modality.IMAGE, NPR.preprocessing)
    assert (found.resize, found.resize_mode, found.interpolation, found.antialias) == (
        (256, 256),
        "stretch",
        "bilinear",
        True,
    )


def test_recipe_has_the_published_settings() -> None:
    assert (RECIPE.optimiser, RECIPE.learning_rate, RECIPE.betas, RECIPE.weight_decay) == (
        "adam",
        2e-4,
        (0.9, 0.999),
        0.0,
    )
    assert (RECIPE.batch_size, RECIPE.epochs, RECIPE.trainable, RECIPE.losses) == (
        32,
        50,
        "all",
        {"cross_entropy": 1.0},
    )
    assert (RECIPE.schedule, dict(RECIPE.schedule_options)) == ("step", {"epochs": 10, "gamma": 0.9})
    assert not RECIPE.needs_backbone
    assert not RECIPE.model


@pytest.mark.parametrize("recipe", [RECIPE, RECIPE.for_demo()], ids=["published", "demo"])
def test_augmentation_is_known_and_fits_the_preprocessing(recipe: Recipe) -> None:
    from gasdet.training.augmentation import Augmenter

    preprocessing = Preprocessing.from_mapping(Modality.IMAGE, {**NPR.preprocessing, **recipe.preprocessing})
    picture = np.zeros((3, *preprocessing.resize), dtype=np.uint8)
    size = recipe.augmentation[0]["size"]
    assert Augmenter(recipe.augmentation, Modality.IMAGE, seed=0)(picture, "sample", 1).shape == (3, size, size)


def test_model_file_passes_the_bundle_check() -> None:
    from gasdet.bundle.codecheck import check_code

    _, findings = check_code(Path(str(files("gasdet_npr"))).joinpath("model.py").read_bytes())
    assert findings == []


def test_demo_file_is_the_stated_one_and_the_recipes() -> None:
    stated = NPR.weights_named("demo")
    assert stated is not None
    assert stated.kind == "demo"
    content = DEMO_FILE.read_bytes()
    assert hashlib.sha256(content).hexdigest() == stated.sha256
    assert len(content) == stated.size_bytes < 2_000_000
    demo = RECIPE.for_demo()
    assert dict(stated.model) == dict(demo.model)
    assert dict(stated.preprocessing) == dict(demo.preprocessing)


def test_demo_weights_see_doubled_pixels() -> None:
    """Sensor noise against the same noise behind a nearest-neighbour upsampling, which leaves no residual in half of it."""
    import gasdet

    detector = gasdet.load("npr", weights="demo")
    assert detector.weights.kind == "demo"
    rng = np.random.default_rng(0)
    pictures = np.clip(rng.normal(120, 20, (4, 3, 160, 160)), 0, 255).astype(np.uint8)
    doubled = pictures[..., ::2, ::2].repeat(2, -1).repeat(2, -2)
    logits, of_doubled = detector.logits(pictures), detector.logits(doubled)
    assert np.isfinite(logits).all()
    assert np.abs(logits - of_doubled).max() > 0.1
    np.testing.assert_array_equal(logits[:, 0], 0)


@pytest.mark.slow
def test_demo_weights_beat_chance_on_the_demos_test_split(tmp_path: Path) -> None:
    import gasdet

    run = gasdet.evaluate(["npr"], "demo", weights="demo", out=tmp_path / "run")
    metrics = run.summary["detectors"]["npr"]["metrics"]
    assert metrics["auroc"]["value"] > 0.7
