"""A detector under test: what its plugin states, and what is made of it once for all checks."""

from __future__ import annotations

import contextlib
import functools
import shutil
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from gasdet import api
from gasdet.bundle import Detector
from gasdet.bundle.config import CONFIG_NAME, DEFAULT_WEIGHTS_NAME
from gasdet.bundle.fidelity import has_foreign_names
from gasdet.bundle.weights import WeightsChoiceError, resolve_weights, weights_state
from gasdet.data import Dataset, load_data
from gasdet.errors import GasdetError, UsageError
from gasdet.registry import Registered, load_registry, load_target
from gasdet.testing import samples
from gasdet.testing.suite import Failed, NotApplicable
from gasdet.training.building import recipe_of
from gasdet.training.recipe import Recipe
from gasdet.types import DetectorSpec, Modality

RANDOM = "random"
"""Weights of a network that the recipe's builder made just now, for a detector that has none at hand."""
POLARITY_SAMPLES = 80


class DetectorSubject:
    """A detector under test.

    Args:
        name: As registered.
        folder: Where checks write; empty, and removed by whoever made it.
        weights: As ``--weights``; None takes demo weights, else a release that is at hand, else random ones of the recipe's
            network for the demo data.
        data: Labelled data for the polarity check; None takes the demo data for demo weights.
        beside: What the detectors take that are checked with the same data: where these are for another of them, the polarity
            check does not apply to this one.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        weights: str | None = None,
        data: Any = None,
        beside: Collection[Modality] = (),
    ) -> None:
        self.entry: Registered[DetectorSpec] = load_registry().detector(name)
        self.name = name
        self.folder = folder
        self.given = weights
        self.data = data
        self.beside = beside
        self._batches: dict[tuple[int, int], tuple[npt.NDArray[Any], npt.NDArray[np.int64]]] = {}

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

    def check_given(self) -> None:
        """See that weights and data that the caller chose exist: a mistake in them is not the detector's.

        Raises:
            UsageError: They cannot be used.
        """
        if self.data is not None and not self.data_for_others:
            _ = self.labelled
        if self.given is not None:
            try:
                resolve_weights(self.spec, self.given, demo_data=False, offline=True)
            except WeightsChoiceError:
                raise
            except GasdetError:
                pass  # the check "loads" tells it

    @functools.cached_property
    def data_for_others(self) -> bool:
        """Whether the data that the caller chose hold nothing for this detector, but something for one beside it."""
        others = set(self.beside) - {self.modality}
        return bool(others) and not self._holds(self.modality) and any(map(self._holds, others))

    def _holds(self, modality: Modality) -> bool:
        try:
            return bool(load_data(self.data, limit=POLARITY_SAMPLES, modalities={modality}).samples)
        except GasdetError:
            return False

    @functools.cached_property
    def labelled(self) -> Dataset:
        """Samples for the polarity check, of both classes.

        Raises:
            UsageError: The data cannot be read, or hold no samples of both classes of the detector's modality.
        """
        source = "demo" if self.data is None else self.data
        try:
            data = load_data(source, limit=POLARITY_SAMPLES, modalities={self.modality})
        except GasdetError as error:
            raise UsageError(f"the data for the polarity check cannot be used: {error}") from None
        if not {0, 1} <= {sample.label for sample in data.samples}:
            raise UsageError(
                f"{data.description} holds no {self.modality} samples of both classes, which the polarity check needs; name "
                "others with --data."
            )
        return data

    @functools.cached_property
    def weights_kind(self) -> str:
        """``given``, ``demo``, ``release`` or ``random``."""
        if self.given is not None:
            return "demo" if self.given == "demo" else "given"
        if self.spec.weights_named("demo") is not None:
            return "demo"
        return "release" if self._release else RANDOM

    @functools.cached_property
    def _release(self) -> str:
        """The name of a release that is in the package or was fetched before; empty where there is none."""
        at_hand = (state for state in weights_state(self.spec) if state.kind == "release" and state.available)
        return next((state.name for state in at_hand), "")

    @functools.cached_property
    def weights(self) -> str:
        """What ``--weights`` takes."""
        if self.given is not None:
            return self.given
        if self.weights_kind == RANDOM:
            return str(self._random_weights())
        return self._release if self.weights_kind == "release" else "demo"

    def _random_weights(self) -> Path:
        lacking = "its plugin states no recipe" if not self.spec.recipe else ""
        if not lacking and self.recipe.needs_backbone:
            lacking = "its recipe needs a backbone"
        if lacking:
            # not "not applicable": nothing of the model would be looked at, and the report would call that a success
            raise Failed(f"There are no weights to check it with: no demo weights, no release at hand, and {lacking}.")
        recipe = self.recipe
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

    def load(self, weights: str | None = None, seed: int = 0) -> Detector:
        """The detector, loaded anew, without a calibrator.

        Args:
            weights: As ``--weights``; None for the weights under test.
            seed: Of torch's random numbers meanwhile: two loads with one seed are the same, also where ``load_model`` leaves
                something at its random initial value.
        """
        chosen = weights or self.weights
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return api.load(self.name, chosen, calibrator=False, offline=True)

    def call_load_model(self, file: Path) -> nn.Module:
        """What the plugin's own ``load_model`` makes of a file, without what the core does before and after it.

        A bundle runs where there is no gasdet, so that ``load_model`` itself has to be right.
        """
        function: Callable[..., nn.Module] = load_target(f"{self.spec.target}:load_model")
        with contextlib.redirect_stdout(sys.stderr):
            return function(str(file), **self.detector.model_kwargs)

    @functools.cached_property
    def detector(self) -> Detector:
        """The detector, loaded once; a check that changes it takes ``load()``."""
        return self.load()

    def batch(self, count: int, seed: int = 0) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        """An input as it gets it, and labels; the caller's own."""
        if (count, seed) not in self._batches:
            self._batches[count, seed] = samples.batch(self.detector.preprocessing, count, seed)
        array, labels = self._batches[count, seed]
        return array.copy(), labels.copy()

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

    def stored_tensors(self) -> dict[str, torch.Tensor]:
        """The tensors as its file names them."""
        return load_file(str(self.file()))

    def own_tensors(self) -> dict[str, torch.Tensor]:
        """The tensors under the model's own names: of a file with its publisher's names, what ``load_model`` made of them."""
        tensors = self.stored_tensors()
        if has_foreign_names(load_target(self.spec.target), tensors):
            return dict(self.detector.module.state_dict())
        return tensors

    def check_refused(self, name: str, state: Mapping[str, torch.Tensor], what: str) -> None:
        """Demand that ``load_model`` raises an error for such weights.

        Raises:
            Failed: It returns a module.
        """
        folder = self.saved(name, state)
        try:
            self.call_load_model(folder / DEFAULT_WEIGHTS_NAME)
        except Exception:
            return
        finally:
            shutil.rmtree(folder)  # large weights need not lie there several times
        raise Failed(f"load_model takes weights with {what} without an error.")


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Keys and values as YAML takes them."""
    return {str(key): list(value) if isinstance(value, tuple) else value for key, value in values.items()}
