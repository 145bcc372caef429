"""Where a training starts: recipe and settings, and the module with its backbone or its trained weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gasdet.data import Dataset
from gasdet.errors import FetchError, PluginError, UsageError, WeightsError
from gasdet.progress import ProgressSink
from gasdet.registry import load_target
from gasdet.training.recipe import Recipe
from gasdet.training.settings import with_reward
from gasdet.types import DetectorSpec, Preprocessing

if TYPE_CHECKING:
    import torch

    from gasdet.bundle import ResolvedWeights
    from gasdet.bundle.delta import Base
    from gasdet.training.options import TrainOptions


@dataclass(frozen=True, slots=True)
class Start:
    """What a training starts from.

    Attributes:
        module: On the CPU, in eval mode, nothing of it requires a gradient.
        source: For the record: the backbone's source and sha256, or those of the trained weights.
        trained: Whether it is a trained detector and not a new head.
        line: Scale and bias of the calibrator beside the trained weights, where it is a line on the margin and the first
            stage is a reward stage.
        file: What it was read from; None where the model brings all of its own.
        base: What a delta of the training's result is a change of: the backbone, also where the trained weights go back to it;
            else the trained weights. None where the model brings all of its own.
    """

    module: torch.nn.Module
    source: Mapping[str, Any]
    trained: bool = False
    line: tuple[float, float] | None = None
    file: Path | None = None
    base: Base | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """The recipe after everything that the user and the weights say, and the weights where the user chose some."""

    recipe: Recipe
    preprocessing: Preprocessing
    weights: ResolvedWeights | None = None
    model: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the plugin's ``load_model``."""


def recipe_of(spec: DetectorSpec) -> Recipe:
    """The recipe that a plugin states for its detector.

    Raises:
        UsageError: It states none.
        PluginError: What it states is no recipe.
    """
    if not spec.recipe:
        raise UsageError(f"{spec.name} cannot be trained: its plugin states no recipe.")
    recipe = load_target(spec.recipe)
    if not isinstance(recipe, Recipe):
        raise PluginError(f"the recipe {spec.recipe} of {spec.name} is a {type(recipe).__name__}, not a gasdet.Recipe.")
    return recipe


def choose(spec: DetectorSpec, dataset: Dataset, options: TrainOptions, progress: ProgressSink) -> Chosen:
    """Bring recipe, settings, reward stage and chosen weights together.

    Where trained weights say with which model arguments and preprocessing they were made, that goes over the recipe; what
    the user sets goes over both.

    Raises:
        UsageError: The detector has no recipe, or a setting is unusable.
        WeightsError: The chosen weights cannot be had.
        ConfigError: The preprocessing is unusable.
    """
    from gasdet.bundle import resolve_weights

    stated = recipe_of(spec)
    if dataset.is_demo and options.backbone is None and options.weights in (None, "demo"):
        stated = stated.for_demo()
    of_stages = [s for s in options.settings if s.startswith("stages.")]
    common = [s for s in options.settings if not s.startswith("stages.")]
    recipe = stated.with_settings(common, options.recipe_files)
    if options.val_fraction is not None:
        recipe = dataclasses.replace(recipe, val_fraction=options.val_fraction)
    if options.reward:  # after the common settings, since its learning rate follows theirs; before those of its own
        recipe = with_reward(recipe, alone=options.weights is not None)
    recipe = recipe.with_settings(of_stages)
    weights = None
    if options.bases and options.weights is None:
        raise UsageError("--base is for a delta file that --weights names; a new training takes --backbone.")
    if options.weights is not None:
        if options.backbone is not None:
            raise UsageError("--weights brings its own backbone; leave --backbone out.")
        weights = resolve_weights(
            spec,
            options.weights,
            demo_data=dataset.is_demo,
            offline=options.offline,
            bases=options.bases,
            notify=progress.note,
        )
        if options.bases and weights.delta is None:
            raise UsageError(f"--base is for a delta file, and {options.weights} is none; leave it out.")
        # what the user sets, also where it is what the recipe says anyway
        bare = dataclasses.replace(stated, model={}, preprocessing={}).with_settings(common, options.recipe_files)
        recipe = dataclasses.replace(
            recipe,
            model={**recipe.model, **weights.model, **bare.model},
            preprocessing={**recipe.preprocessing, **weights.preprocessing, **bare.preprocessing},
        )
    preprocessing = preprocessing_of(spec, recipe)
    return Chosen(recipe, preprocessing, weights, {**spec.model, **recipe.model})


def preprocessing_of(spec: DetectorSpec, recipe: Recipe, *, training: bool = False) -> Preprocessing:
    """What comes before the module: of the detector, of the recipe, and, for the training part, what differs there.

    Raises:
        ConfigError: A key or value is unusable.
    """
    own = {**spec.preprocessing, **recipe.preprocessing, **(recipe.training_preprocessing if training else {})}
    return Preprocessing.from_mapping(spec.modality, own, where=f"preprocessing of {spec.name}")


def build(spec: DetectorSpec, chosen: Chosen, options: TrainOptions, progress: ProgressSink, *, origin: str) -> Start:
    """The module that the training starts from.

    Raises:
        UsageError: A backbone is needed and none is stated, or the file does not exist.
        WeightsError: Backbone or weights cannot be had or do not fit.
        PluginError: The plugin's builder is not what its recipe needs.
    """
    recipe = chosen.recipe
    start = _trained(spec, chosen, origin) if chosen.weights else _untrained(spec, recipe, options, progress)
    if not any(name.startswith(recipe.head) for name, _ in start.module.named_parameters()):
        raise PluginError(
            f"the model of {spec.name} has no parameters under {', '.join(recipe.head)}, which its recipe calls its head."
        )
    start.module.requires_grad_(False).eval()
    return start


def _trained(spec: DetectorSpec, chosen: Chosen, origin: str) -> Start:
    from gasdet.bundle import load_detector
    from gasdet.bundle.delta import Base, base_on_record

    weights = chosen.weights
    assert weights is not None, "asked for trained weights only where some were chosen"
    adapted = dataclasses.replace(
        weights, model=chosen.recipe.model, preprocessing=chosen.recipe.preprocessing, dtype="float32"
    )
    detector = load_detector(spec, adapted, origin=origin)
    folded = [name for name in detector.module.state_dict() if name.startswith("calibration.")]
    if folded:
        raise UsageError(
            f"{weights.home} has a calibrator inside ({', '.join(folded)}): it was exported; start from the weights that it "
            "was exported from."
        )
    source = {"source": weights.source, "file_sha256": weights.sha256}
    from gasdet.training.objectives import calibration_line

    line = calibration_line(weights, chosen.preprocessing) if chosen.recipe.stage(0).kind == "reward" else None
    base = weights.delta.base if weights.delta else base_on_record(weights.path, weights.sha256)
    base = base or Base("weights", weights.source, weights.sha256)
    return Start(detector.module.float(), source, trained=True, line=line, file=weights.home, base=base)


def _untrained(spec: DetectorSpec, recipe: Recipe, options: TrainOptions, progress: ProgressSink) -> Start:
    """The module with its backbone and a new head."""
    import torch

    from gasdet.bundle import resolve_weights
    from gasdet.bundle.delta import Base

    path: Path | None = None
    source = {"source": "the model's own", "file_sha256": ""}
    if recipe.needs_backbone or options.backbone is not None:
        choice = options.backbone or (spec.backbones[0].source if spec.backbones else "")
        if not choice:
            raise UsageError(f"{spec.name} names no published backbone; choose a file with --backbone.")
        if not choice.startswith("hf-hub:") and not Path(choice).is_file():
            raise UsageError(
                f"there is no backbone file {choice}; --backbone takes a safetensors file or hf-hub:OWNER/NAME/FILE."
            )
        try:
            found = resolve_weights(spec, choice, demo_data=False, offline=options.offline, notify=progress.note)
        except FetchError as error:
            raise FetchError(
                f"{str(error).rstrip('.')}, or name the file with --backbone: what a training writes holds the backbone too, "
                "also where --features trains the head alone."
            ) from None
        stated = next((b.sha256 for b in spec.backbones if b.source == choice), "")
        if stated and stated.lower() != found.sha256:
            raise WeightsError(f"{found.path} has the sha256 {found.sha256}, and {choice} must have {stated}.")
        path, source = found.path, {"source": choice, "file_sha256": found.sha256}
    builder = load_target(recipe.builder)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            module: torch.nn.Module = builder(path, **recipe.model)
    except (ValueError, TypeError) as error:
        raise WeightsError(f"{spec.name} cannot be built for the training: {error}") from error
    base = Base("backbone", source["source"], source["file_sha256"], recipe.model) if path else None
    return Start(module, source, file=path, base=base)
