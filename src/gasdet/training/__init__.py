"""Training a detector by the recipe of its plugin.

``load_chosen_data`` gives the samples, ``train_detector`` writes the weights and the record. Names load when they are asked
for, so that a plugin's recipe does not import the machinery.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gasdet.training.building import recipe_of
    from gasdet.training.data import DataChoice, TrainingData, load_chosen_data, load_training_data
    from gasdet.training.options import TrainOptions
    from gasdet.training.recipe import Recipe
    from gasdet.training.train import process_rank, train_detector

__all__ = [
    "DataChoice",
    "Recipe",
    "TrainOptions",
    "TrainingData",
    "load_chosen_data",
    "load_training_data",
    "process_rank",
    "recipe_of",
    "train_detector",
]

_MODULES = {
    "DataChoice": "data",
    "TrainingData": "data",
    "load_chosen_data": "data",
    "load_training_data": "data",
    "TrainOptions": "options",
    "Recipe": "recipe",
    "recipe_of": "building",
    "process_rank": "train",
    "train_detector": "train",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module 'gasdet.training' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"gasdet.training.{_MODULES[name]}"), name)
