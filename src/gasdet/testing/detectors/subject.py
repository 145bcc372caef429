"""A detector under test: what its plugin states, and what is made of it once for all checks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from gasdet import api
from gasdet.bundle import Detector
from gasdet.bundle.config import CONFIG_NAME, DEFAULT_WEIGHTS_NAME
from gasdet.errors import WeightsError
from gasdet.registry import Registered, load_registry, load_target
from gasdet.testing import samples
from gasdet.testing.suite import Failed, NotApplicable
from gasdet.training.building import recipe_of
from gasdet.training.recipe import Recipe
from gasdet.types import DetectorSpec, Modality

RANDOM = "random"
"""Weights of a network that the recipe's builder made just now, for a detector that has none at hand."""


class DetectorSubject:
    """A detector under test.

    Args:
        name: As registered.
        folder: Where checks write; empty, and removed by whoever made it.
        weights: As ``--weights``; None takes demo weights, else random ones of the recipe's network for the demo data.
        data: Labelled data for the polarity check; None takes the demo data for demo weights.
    """

    def __init__(self, name: str, folder: Path, *, weights: str | None = None, data: Any = None) -> None:
        self.entry: Registered[DetectorSpec] = load_registry().detector(name)
        self.name = name
        self.folder = folder
        self.given = weights
        self.data = data

    @property
    def spec(self) -> DetectorSpec:
        """What the plugin registered."""
        return self.entry.spec

    @property
    def modality(self) -> Modality:
        """What the detector takes."""
        return Modality(self.spec.modality)

    @property
    def recipe(self) -> Recipe:
        """Its recipe for the demo data.

        Raises:
            NotApplicable: Its plugin states none.
        """
        if not self.spec.recipe:
            raise NotApplicable("its plugin states no recipe")
        return recipe_of(self.spec).for_demo()

    @property
    def weights_kind(self) -> str:
        """``demo``, ``given`` or ``random``."""
        if self.given is not None:
            return "demo" if self.given == "demo" else "given"
        return "demo" if self.spec.weights_named("demo") is not None else RANDOM

    @functools.cached_property
    def weights(self) -> str:
        """What ``--weights`` takes."""
        kind = self.weights_kind
        return (self.given or "demo") if kind != RANDOM else str(self._random_weights())

    def _random_weights(self) -> Path:
        recipe = self.recipe
        if recipe.needs_backbone:
            raise NotApplicable("it has no demo weights, and its recipe needs a backbone: give some with --weights")
        torch.manual_seed(0)
        state = self.build().state_dict()
        preprocessing = {**self.spec.preprocessing, **recipe.preprocessing}
        return self._written(RANDOM, state, {**self.spec.model, **recipe.model}, preprocessing, {})

    def build(self) -> nn.Module:
        """A fresh module of the recipe for the demo data, as a training starts with it."""
        recipe = self.recipe
        if recipe.needs_backbone:
            raise NotApplicable("its recipe needs a backbone, which is not at hand here")
        builder: Callable[..., nn.Module] = load_target(recipe.builder)
        return builder(None, **{**self.spec.model, **recipe.model})

    def load(self, weights: str | None = None) -> Detector:
        """The detector, loaded anew, without a calibrator."""
        return api.load(self.name, weights or self.weights, calibrator=False, offline=True)

    @functools.cached_property
    def detector(self) -> Detector:
        """The detector, loaded once; a check that changes it takes ``load()``."""
        return self.load()

    def batch(self, count: int, seed: int = 0) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        """An input as it gets it, and labels."""
        return samples.batch(self.detector.preprocessing, count, seed)

    def logits(self, batch: npt.NDArray[Any], detector: Detector | None = None) -> npt.NDArray[np.float32]:
        """The model's own logits of a batch."""
        return (detector or self.detector).logits(batch)

    def file(self) -> Path:
        """The safetensors file that it is loaded from."""
        return self.detector.weights.path

    def saved(self, name: str, state: Mapping[str, torch.Tensor]) -> Path:
        """A folder with tensors that are used like those of its weights, for ``load``."""
        with safe_open(str(self.file()), framework="pt") as file:
            metadata = file.metadata() or {}
        keys = self.detector.preprocessing.to_mapping()
        return self._written(name, state, self.detector.model_kwargs, keys, metadata)

    def _written(
        self,
        name: str,
        state: Mapping[str, torch.Tensor],
        model: Mapping[str, Any],
        preprocessing: Mapping[str, Any],
        metadata: Mapping[str, str],
    ) -> Path:
        """A weights file and, beside it, the model_config.yaml that says how it is used, in a folder of their own."""
        import yaml

        folder = self.folder / name
        folder.mkdir()
        tensors = {key: tensor.detach().clone().contiguous() for key, tensor in state.items()}
        save_file(tensors, str(folder / DEFAULT_WEIGHTS_NAME), metadata=dict(metadata) or None)
        config = {
            "name": self.name,
            "modality": str(self.modality),
            "preprocessing": _plain(preprocessing),
            "model": {**_plain(model), "weights_file": DEFAULT_WEIGHTS_NAME},
        }
        (folder / CONFIG_NAME).write_text(yaml.safe_dump(config), encoding="utf-8")
        return folder

    def check_refused(self, folder: Path, what: str) -> None:
        """Demand that loading such weights is an error of gasdet.

        Raises:
            Failed: They are loaded.
        """
        try:
            self.load(str(folder))
        except WeightsError:
            return
        raise Failed(f"Weights with {what} are loaded without an error.")


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Keys and values as YAML takes them."""
    return {str(key): list(value) if isinstance(value, tuple) else value for key, value in values.items()}
