"""The objective of a stage, and the frozen reference of a reward stage."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from gasdet.errors import MetricError, PluginError, UsageError
from gasdet.evaluation.calibration import calibrator_class
from gasdet.progress import ProgressSink
from gasdet.registry import load_registry
from gasdet.training.augmentation import check_augmentation
from gasdet.training.distributed import autocast, check_precision
from gasdet.training.reward_objective import RewardObjective, RewardSettings
from gasdet.training.supervised import SupervisedObjective
from gasdet.training.targets import target_function
from gasdet.training.trainable import check_trainable
from gasdet.types import Modality, Preprocessing

if TYPE_CHECKING:
    from gasdet.training.interfaces import Batch, Objective, TrainingInputs
    from gasdet.training.recipe import Recipe

METHODS = ("forward", "classify")
"""What a module computes logits with: from media, and from features."""


def check_stages(recipe: Recipe, module: nn.Module, modality: Modality, device: torch.device) -> None:
    """Find what a stage cannot do before anything is decoded: unknown losses, metrics, augmentations, and their options.

    Also that there is something to train, and that the device can compute in the stage's precision.

    Raises:
        UsageError: The first problem.
        PluginError: A component cannot be imported, or the module lacks what the recipe needs.
    """
    for number in range(recipe.stage_count):
        stage = recipe.stage(number)
        load_registry().component("metric", stage.selection)
        check_augmentation(stage.augmentation, modality)
        check_trainable(module, stage)
        check_precision(device, stage.precision)
        if stage.kind == "reward":
            RewardSettings.from_mapping(stage.reward)
        else:
            found = {
                gives for gives in ("embeddings", "outputs") for m in METHODS if hasattr(module, f"{m}_with_{gives}")
            }
            SupervisedObjective(stage, 2 if found else None, offers_outputs="outputs" in found)
        if stage.uses_targets:
            target_function(stage.targets)
    if hasattr(module, "set_standardisation") and not hasattr(module, "features"):
        raise PluginError("the model offers set_standardisation and no features, which it would standardise.")


def embedding_dim(module: nn.Module, inputs: TrainingInputs) -> int | None:
    """D of the embeddings that the module offers for such inputs; None where it offers none."""
    name = METHODS[inputs.from_features]
    device = next(module.parameters()).device
    batch = next(iter(inputs.batches([[0]], epoch=1, augment=False)))
    with torch.no_grad():
        if hasattr(module, f"{name}_with_embeddings"):
            return int(getattr(module, f"{name}_with_embeddings")(batch.inputs.to(device))[1].shape[1])
        if hasattr(module, f"{name}_with_outputs"):
            embeddings = getattr(module, f"{name}_with_outputs")(batch.inputs.to(device)).get("embeddings")
            return None if embeddings is None else int(embeddings.shape[1])
    return None


def objective_for(
    stage: Recipe,
    module: nn.Module,
    validation: TrainingInputs,
    *,
    line: tuple[float, float] | None,
    device: torch.device,
    progress: ProgressSink,
) -> tuple[Objective, tuple[float, float] | None]:
    """What a stage makes small, and the scale and bias with which a reward stage calibrates the reference and its figures.

    Args:
        stage: Its recipe.
        module: As the stage finds it; a reward stage keeps a frozen copy as its reference.
        validation: What the reference is calibrated on, unless ``line`` says how.
        line: Scale and bias of the calibrator of the detector that the training started from.
        device: Where the stage computes.
        progress: Told of the calibration.

    Raises:
        UsageError: The reference is no better than chance.
    """
    if stage.kind != "reward":
        offered = hasattr(module, f"{METHODS[validation.from_features]}_with_outputs")
        return SupervisedObjective(stage, embedding_dim(module, validation), offers_outputs=offered), None
    reference = copy.deepcopy(module).requires_grad_(False).eval().to(device)
    if stage.channels_last and not validation.from_features:
        reference.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def logits_of(batch: Batch) -> Tensor:
        # in the precision and memory layout of the model in training: before its first step both then say the same
        with torch.no_grad(), autocast(device, stage.precision):
            x = batch.inputs.to(device)
            logits: Tensor = reference.classify(x) if validation.from_features else reference(x)  # type: ignore[operator]
            return logits.float()

    if line is None:
        line = _platt(logits_of, validation, stage.batch_size)
        progress.note(f"the reference is calibrated on the validation part: {line[0]:.4g} x margin {line[1]:+.4g}")
    return RewardObjective(stage, logits_of, scale=line[0], bias=line[1]), line


def calibration_line(weights: Any, preprocessing: Preprocessing) -> tuple[float, float] | None:
    """Scale and bias of the calibrator beside the weights that a training starts from; None without one that is a line.

    One that was fitted under another preprocessing counts as none: the validation part then calibrates the reference.

    Args:
        weights: A ``ResolvedWeights``.
        preprocessing: Of the training.

    Raises:
        CalibratorError: There is one, and it cannot be used.
    """
    from gasdet.bundle.calibration import CalibratorError, find_calibrator
    from gasdet.evaluation.calibration import calibrator_of

    try:
        found = find_calibrator(weights.home, weights.sha256)
    except CalibratorError as error:
        why = str(error).rpartition("; ")[0] or str(error).rstrip(".")
        raise CalibratorError(
            f"{why}; the reward stage would start from it: calibrate again, or move it away."
        ) from error
    if found is None or found.differs(preprocessing):
        return None
    fitted = calibrator_of(found)
    line: tuple[float, float] | None = fitted.affine() if hasattr(fitted, "affine") else None
    return line


def _platt(logits_of: Any, inputs: TrainingInputs, batch_size: int) -> tuple[float, float]:
    rows: Sequence[int] = range(len(inputs.samples))
    batches = [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    logits, labels = [], []
    for batch in inputs.batches(batches, epoch=1, augment=False):
        found = logits_of(batch).double().cpu()
        # a third class counts as synthetic
        synthetic = found[:, 1:].logsumexp(-1)
        logits.append(torch.stack([found[:, 0], synthetic], -1).numpy())
        labels.append(batch.labels.cpu().numpy())
    component, _ = calibrator_class("platt")
    try:
        line: tuple[float, float] = component.fit(np.concatenate(logits), np.concatenate(labels)).affine()
    except MetricError as error:
        raise UsageError(f"the reference of the reward stage cannot be calibrated: {error}") from error
    return line
