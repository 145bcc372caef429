"""A toy detector with a frozen backbone, as a plugin would bring one, and tiny pictures to train it on."""

from __future__ import annotations

import importlib
import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gasdet import DetectorSpec, Modality, Recipe
from gasdet.data import Dataset
from gasdet.registry import load_registry
from gasdet.types import Locator, MediaType, Sample, sample_id

sys.path.insert(0, str(Path(__file__).parent / "support"))

_TOY = '''
    """Mean and spread of three colour channels through a frozen mixing matrix; a linear head."""

    import torch
    from safetensors.torch import load_file
    from torch import nn


    class Toy(nn.Module):
        def __init__(self, gain=1.0):
            super().__init__()
            self.backbone = nn.Linear(6, 6, bias=False).requires_grad_(False)
            with torch.no_grad():
                self.backbone.weight.copy_(gain * torch.eye(6))
            self.head = nn.Linear(6, 1)
            self.register_buffer("head_mean", torch.zeros(6))
            self.register_buffer("head_std", torch.ones(6))
            self.calls = []

        def features(self, x):
            self.calls.append(len(x))
            pixels = x.float().flatten(2) / 255
            return self.backbone(torch.cat([pixels.mean(-1), pixels.std(-1)], dim=-1))

        def classify(self, features):
            z = self.head((features - self.head_mean) / (self.head_std + 1e-8))
            return torch.cat([z / 2, -z / 2], dim=-1)

        def set_standardisation(self, mean, std):
            self.head_mean.copy_(mean)
            self.head_std.copy_(std)

        def forward(self, x):
            return self.classify(self.features(x))

        def forward_with_embeddings(self, x):
            return self.classify_with_embeddings(self.features(x))

        def classify_with_embeddings(self, features):
            return self.classify(features), nn.functional.normalize(features, dim=-1)


    def build(weights=None, /, gain=1.0):
        model = Toy(gain)
        if weights is not None:
            tensors = load_file(str(weights))
            if set(tensors) != {"weight"}:
                raise ValueError(f"{weights} does not fit: {sorted(tensors)}.")
            model.backbone.load_state_dict(tensors)
        return model


    def load_model(weights_path, num_classes=2, gain=1.0):
        model = Toy(gain)
        model.load_state_dict(load_file(str(weights_path)))
        return model.eval()
'''


@dataclass(frozen=True)
class ToyPlugin:
    """The toy's spec, and its recipe."""

    spec: DetectorSpec
    recipe: Recipe


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToyPlugin:
    """The toy detector in a module of its own, importable as a plugin's would be."""
    folder = tmp_path / "site"
    folder.mkdir()
    name = f"toy_{abs(hash(tmp_path)):x}"
    (folder / f"{name}.py").write_text(textwrap.dedent(_TOY))
    (folder / f"{name}_recipe.py").write_text(
        "from gasdet import Recipe\n"
        f"RECIPE = Recipe(builder='{name}:build', head=('head',), needs_backbone=False, epochs=30, learning_rate=0.05)\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    spec = DetectorSpec(
        name="toy",
        modality=Modality.IMAGE,
        target=name,
        summary="toy",
        preprocessing={"resize": [16, 16]},
        recipe=f"{name}_recipe:RECIPE",
    )
    return ToyPlugin(spec, importlib.import_module(f"{name}_recipe").RECIPE)


@pytest.fixture(scope="session")
def toy_losses_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with a plugin that brings the losses of support/toy_losses.py: scatter, anchor, told."""
    import toy_losses

    return toy_losses.site(tmp_path_factory.mktemp("toy-losses") / "site")


@pytest.fixture
def with_toy_losses(toy_losses_site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """These losses installed, for this process and for those that it starts."""
    monkeypatch.syspath_prepend(str(toy_losses_site))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(toy_losses_site), os.environ.get("PYTHONPATH", ""))))
    load_registry.cache_clear()
    yield
    load_registry.cache_clear()


_TOY_PLUGIN = """
    from gasdet import DetectorSpec, Modality, hookimpl

    TOY = DetectorSpec(
        name="toy",
        modality=Modality.IMAGE,
        target="gasdet_toy.model",
        summary="toy",
        preprocessing={"resize": [16, 16]},
        recipe="gasdet_toy.recipe:RECIPE",
    )

    @hookimpl
    def register_models(register):
        register(TOY)
"""


@pytest.fixture
def toy_site(tmp_path: Path) -> Path:
    """A folder for PYTHONPATH with the toy as an installed plugin, for commands in processes of their own."""
    site = tmp_path / "toy-site"
    package, info = site / "gasdet_toy", site / "gasdet_toy-1.0.dist-info"
    package.mkdir(parents=True)
    info.mkdir()
    (package / "__init__.py").write_text("")
    (package / "model.py").write_text(textwrap.dedent(_TOY))
    (package / "plugin.py").write_text(textwrap.dedent(_TOY_PLUGIN))
    (package / "recipe.py").write_text(
        "from gasdet import Recipe\n"
        "RECIPE = Recipe(builder='gasdet_toy.model:build', head=('head',), needs_backbone=False, epochs=3, batch_size=4)\n"
    )
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gasdet-toy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[gasdet]\ntoy = gasdet_toy.plugin\n")
    return site


def make_sample(path: Path, label: int | None, *, group: str = "", split: str = "") -> Sample:
    """A sample of one file."""
    media_type = None if label is None else (MediaType.REAL, MediaType.SYNTHETIC)[label]
    return Sample(
        sample_id=sample_id("tiny", path.name),
        dataset="tiny",
        member=path.name,
        locator=Locator("file", str(path)),
        modality=Modality.IMAGE,
        media_type=media_type,
        group=group or path.name,
        split=split,
    )


@pytest.fixture
def tiny_samples(tmp_path: Path) -> Callable[..., list[Sample]]:
    """Makes pictures whose synthetic ones are a little less noisy, two to a group (one of each label)."""

    def make(count: int = 40, seed: int = 0, splits: bool = False) -> list[Sample]:
        rng = np.random.default_rng(seed)
        folder = tmp_path / f"pictures-{seed}"
        folder.mkdir()
        samples = []
        for i in range(count):
            label = i % 2
            noise = rng.normal(128, 40 - 12 * label, size=(16, 16, 3))
            path = folder / f"{i:03d}.png"
            Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8)).save(path)
            split = ("val" if i // 2 % 4 == 3 else "train") if splits else ""
            samples.append(make_sample(path, label, group=f"scene-{i // 2}", split=split))
        return samples

    return make


@pytest.fixture
def tiny_dataset(tiny_samples: Callable[..., list[Sample]]) -> Dataset:
    """Forty pictures with training and validation splits."""
    return Dataset(samples=tuple(tiny_samples(splits=True)), fingerprint="f" * 8, description="tiny", is_demo=False)
