"""What the plugin registers, and the demo weights that it ships."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gasdet import Modality, Preprocessing
from gasdet_restrav.model import NUM_FEATURES, ReStraV, dct_filters, load_model
from gasdet_restrav.plugin import RESTRAV
from gasdet_restrav.recipe import RESTRAV as RECIPE

DEMO_FILE = Path(str(files("gasdet_restrav"))) / "demo.safetensors"


def test_the_plugin_module_imports_nothing_heavy() -> None:
    code = (
        "import sys, gasdet_restrav.plugin;"
        "heavy = {'torch', 'timm', 'numpy', 'safetensors', 'gasdet_restrav.model', 'gasdet.training'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_registry_finds_it() -> None:
    from gasdet.registry import load_registry

    registered = load_registry().detector("restrav")
    assert registered.spec == RESTRAV
    assert registered.plugin.distribution == "gasdet-restrav"


def test_preprocessing_is_the_published_sampling() -> None:
    preprocessing = Preprocessing.from_mapping(Modality.VIDEO, RESTRAV.preprocessing)
    assert preprocessing.resize == (224, 224)
    assert (preprocessing.resize_mode, preprocessing.interpolation, preprocessing.antialias) == (
        "stretch",
        "bicubic",
        True,
    )
    assert (preprocessing.num_frames, preprocessing.sampling, preprocessing.window_seconds) == (24, "window", 2.0)


def test_stated_parameter_counts() -> None:
    model = ReStraV()
    assert sum(p.numel() for p in model.parameters()) == RESTRAV.parameters
    assert sum(p.numel() for p in model.backbone.parameters()) == RESTRAV.backbones[0].parameters


def test_recipe_has_the_published_settings() -> None:
    assert (RECIPE.optimiser, RECIPE.learning_rate, RECIPE.batch_size, RECIPE.epochs) == ("adam", 1e-3, 32, 10)
    assert RECIPE.losses == {"cross_entropy": 1.0}
    assert (RECIPE.schedule, RECIPE.weight_decay, RECIPE.trainable) == ("constant", 0.0, "head")
    assert RECIPE.balance
    assert RECIPE.needs_backbone
    assert not RECIPE.for_demo().needs_backbone


def test_model_file_passes_the_bundle_check() -> None:
    from gasdet.bundle.codecheck import check_code

    _, findings = check_code(Path(str(files("gasdet_restrav"))).joinpath("model.py").read_bytes())
    assert findings == []


# --- The demo weights ------------------------------------------------------------------------------------------------


def test_demo_file_is_the_stated_one() -> None:
    stated = RESTRAV.weights_named("demo")
    assert stated is not None
    assert stated.kind == "demo"
    content = DEMO_FILE.read_bytes()
    assert hashlib.sha256(content).hexdigest() == stated.sha256
    assert len(content) == stated.size_bytes < 2_000_000


def test_demo_encoder_is_the_documented_filter_bank() -> None:
    tensors = load_file(str(DEMO_FILE))
    torch.testing.assert_close(tensors["backbone.filters"], dct_filters(6), rtol=0, atol=1e-6)
    assert sum(t.numel() for name, t in tensors.items() if name.startswith("backbone.")) < 200_000


def test_demo_standardisation_is_fitted() -> None:
    tensors = load_file(str(DEMO_FILE))
    assert tensors["head.mean"].shape == (NUM_FEATURES,)
    assert (tensors["head.std"] > 0).all()
    assert (tensors["head.mean"][:7] > 0.1).all()
    assert ((tensors["head.mean"][7:13] > 60) & (tensors["head.mean"][7:13] < 150)).all()


def _clip(offsets: np.ndarray, seed: int) -> torch.Tensor:
    """uint8 ``[1, 24, 3, 224, 224]``: a smooth texture seen through a window that moves to the given offsets in pixels."""
    rng = np.random.default_rng(seed)
    waves = rng.normal(size=(40, 2)) * 0.06
    phases = rng.uniform(0, 2 * np.pi, 40)
    ys, xs = np.mgrid[0:224, 0:224]
    frames = []
    for dy, dx in offsets:
        field = sum(np.sin(a * (ys + dy) + b * (xs + dx) + p) for (a, b), p in zip(waves, phases, strict=True)) / 9
        noisy = 128 + 50 * np.asarray(field) + rng.normal(0, 2, (224, 224))
        frames.append(np.repeat(np.clip(noisy, 0, 255).astype(np.uint8)[None], 3, axis=0))
    return torch.from_numpy(np.stack(frames))[None]


@pytest.mark.parametrize("seed", range(3))
def test_demo_weights_call_jitter_more_synthetic_than_smooth_motion(seed: int) -> None:
    rng = np.random.default_rng(seed)
    smooth = np.outer(np.arange(24), rng.uniform(0.5, 1.5, 2))
    model = load_model(str(DEMO_FILE), backbone="demo")
    scores = [
        model(_clip(offsets, seed)).softmax(-1)[0, 1].item()
        for offsets in (smooth, smooth + rng.normal(0, 2.5, (24, 2)))
    ]
    assert scores[1] > scores[0] + 0.2


def test_loads_through_gasdet() -> None:
    import gasdet

    detector = gasdet.load("restrav", weights="demo")
    offsets = np.outer(np.arange(24), [1.0, 1.0])
    clip = _clip(offsets, 0)
    expected = load_model(str(DEMO_FILE))(clip).numpy()
    np.testing.assert_allclose(detector.logits(clip.numpy()), expected, rtol=1e-5, atol=1e-5)
    assert detector.weights.kind == "demo"
    assert detector.preprocessing == Preprocessing.from_mapping("video", RESTRAV.preprocessing)


@pytest.mark.slow
def test_demo_weights_are_what_the_recipe_makes(tmp_path: Path) -> None:
    """Trained anew, the head says the same, but for the rounding of another machine."""
    from gasdet.training import TrainOptions, load_training_data, train_detector

    data = load_training_data("demo", modality=Modality.VIDEO)
    again = train_detector(RESTRAV, data, tmp_path / "out", TrainOptions(cache=tmp_path / "features", device="cpu"))
    shipped = load_model(str(DEMO_FILE))
    shape = (500, NUM_FEATURES)
    vectors = shipped.head.mean + shipped.head.std * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    trained = load_model(str(again.weights))
    stated, found = (model.classify(vectors).softmax(-1)[:, 1] for model in (shipped, trained))
    assert (stated - found).abs().mean() < 0.02
    assert stated.std() > 0.2
