"""What a plugin says about how its detector is trained, and how a user changes it on the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gasdet.training.recipe_checks import check_fields, check_stage

Kind = Literal["supervised", "reward"]
Trainable = Literal["head", "layernorm", "lora", "all"]
Optimiser = Literal["adam", "adamw", "sgd"]
Schedule = Literal["constant", "linear", "cosine", "cosine_restarts", "step"]
Precision = Literal["float32", "bfloat16", "float16"]
Sampling = Literal["uniform", "class_balanced", "dataset_balanced", "weighted", "worst_dataset", "paired"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a detector is trained: what of it, on what, with which losses, for how long.

    A plugin states one as ``DetectorSpec.recipe = "package.module:NAME"``. A user changes single fields with
    ``gasdet train --set epochs=20 --set preprocessing.num_frames=16``, or several with a YAML file.

    Attributes:
        builder: Import path ``"package.module:function"`` of ``function(weights: Path | None, /, **model) -> nn.Module``. The
            module has its pretrained backbone loaded (from that file; None where the model brings its own, or has none) and
            an untrained head. A backbone that does not fit is a ValueError. Where features are cached it offers
            ``features(x) -> [B, F]`` and ``classify(features) -> [B, 2]``, with ``set_standardisation(mean, std)`` if it
            standardises them. Where a loss takes embeddings it offers ``forward_with_embeddings(x) -> (logits, embeddings)``
            (and ``classify_with_embeddings(features)`` where features are cached); where one takes outputs,
            ``forward_with_outputs(x, targets=None) -> dict`` (and ``classify_with_outputs(features, targets=None)``).
        head: Name prefixes of the tensors of the head. Everything else is the backbone.
        needs_backbone: Whether ``builder`` needs a backbone file: the detector's first published one, unless the user names
            another.
        model: Keyword arguments of ``builder``.
        preprocessing: Preprocessing keys over the detector's own.
        training_preprocessing: Preprocessing keys over these in training only, e.g. a larger size that is then cropped.
        kind: ``supervised`` makes the losses small; ``reward`` tunes a trained model for the combined score.
        trainable: The head; the head and every LayerNorm's scale and shift; the head and low-rank adapters; everything.
        cache_features: With ``trainable="head"`` and no augmentation: compute the backbone's features once and keep them.
        lora: With ``trainable="lora"``: ``rank``, ``alpha``, ``dropout``, ``targets`` (a regular expression that a module's
            whole name matches).
        losses: Registered losses with their weights; their sum is made small.
        loss_options: Options of single losses, by name.
        targets: Import path ``"package.module:function"`` of ``function(array, sample, sample_rate) -> ndarray``: what the
            module and the losses on outputs are told of a training sample besides its label. It gets the pixels or the waveform
            as decoded, before augmentation, not to be written to, and the sampling rate in Hz of a waveform (None for pixels);
            what it returns has one shape for arrays of one shape. Batches of the training part then have ``targets``. Features
            are not cached in a stage with targets.
        annotations: Columns of a manifest whose cells the samples of a training keep as ``Sample.annotations``.
        optimiser: Adam, Adam with decoupled weight decay, or SGD with Nesterov momentum.
        betas: Of Adam; the first is the momentum of SGD.
        learning_rate: Of everything trainable, at its highest.
        head_learning_rate: Of the head; None takes ``learning_rate``.
        weight_decay: 0 switches it off. Biases and normalisation layers never decay.
        schedule: How the learning rate goes on after the warm-up.
        warmup: Share of the steps in which the learning rate rises linearly from 0.
        schedule_options: ``minimum`` (share of the learning rate at the end of linear and cosine schedules), ``epochs`` (length
            of a restart's period, or of a step), ``gamma`` (factor of a step).
        batch_size: Samples per step, over all processes and accumulated parts.
        accumulate: Parts that a batch is divided into, one after the other, where memory is short.
        epochs: At most so many passes over the training part.
        steps: At most so many steps; 0 for no such limit.
        evaluate_every: Steps between two validations; 0 validates after each epoch.
        patience: Stop after so many validations without a better selection score; 0 never stops early.
        clip_norm: Largest norm of the gradient; 0 does not clip.
        ema: Decay per step of an exponential moving average of the trainable weights, which is then what is validated and
            kept; 0 keeps none.
        precision: Of the forward pass; weights stay float32.
        channels_last: Memory layout of images for convolutions; faster on most processors.
        balance: Subsample the larger class of the training part to the size of the smaller one, once.
        sampling: Which samples an epoch draws.
        sampling_options: ``weights`` by dataset (weighted), ``step`` and ``floor`` (worst_dataset), ``samples`` per epoch.
        augmentation: Augmentations in their order, each a mapping with ``name``, ``p`` and its options.
        val_fraction: Share of the groups that is held out for the selection, where the data has no validation split.
        selection: Name of the metric (a registered component) that chooses the weights to keep, on the validation split.
        reward: With ``kind="reward"``: ``estimator`` (soft, difference, reinforce), ``tau`` [from, to], ``draws``, and the
            weights ``decision``, ``brier``, ``kl``, ``cross_entropy``; docs/reward.md has the defaults.
        seed: Of the split, the subsampling, the initial head, the order of the samples and the augmentation.
        stages: What differs in the stages of the training, one after the other; empty for a single one.
        demo: Fields that take other values on the generated demo data when no backbone was chosen.
        reference: Where the defaults come from.
    """

    builder: str
    head: tuple[str, ...]
    needs_backbone: bool = True
    model: Mapping[str, Any] = field(default_factory=dict)
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    training_preprocessing: Mapping[str, Any] = field(default_factory=dict)
    kind: Kind = "supervised"
    trainable: Trainable = "head"
    cache_features: bool = True
    lora: Mapping[str, Any] = field(default_factory=dict)
    losses: Mapping[str, float] = field(default_factory=lambda: {"cross_entropy": 1.0})
    loss_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    targets: str = ""
    annotations: tuple[str, ...] = ()
    optimiser: Optimiser = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    learning_rate: float = 1e-3
    head_learning_rate: float | None = None
    weight_decay: float = 0.0
    schedule: Schedule = "constant"
    warmup: float = 0.0
    schedule_options: Mapping[str, float] = field(default_factory=dict)
    batch_size: int = 32
    accumulate: int = 1
    epochs: int = 10
    steps: int = 0
    evaluate_every: int = 0
    patience: int = 0
    clip_norm: float = 0.0
    ema: float = 0.0
    precision: Precision = "float32"
    channels_last: bool = False
    balance: bool = False
    sampling: Sampling = "uniform"
    sampling_options: Mapping[str, Any] = field(default_factory=dict)
    augmentation: tuple[Mapping[str, Any], ...] = ()
    val_fraction: float = 0.2
    selection: str = "combined_score"
    reward: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    stages: tuple[Mapping[str, Any], ...] = ()
    demo: Mapping[str, Any] = field(default_factory=dict)
    reference: str = ""

    def __post_init__(self) -> None:
        if self.targets is None:  # what YAML reads where nothing is said
            object.__setattr__(self, "targets", "")
        for name in ("head", "betas", "augmentation", "annotations", "stages"):
            if isinstance(value := getattr(self, name), list):  # YAML knows no tuples
                object.__setattr__(self, name, tuple(value))
        check_fields({f.name: getattr(self, f.name) for f in dataclasses.fields(self)})
        for number, own in enumerate(self.stages):
            check_stage(number, own, self.stage_fields())
            self.stage(number)  # its values are checked as a recipe's

    @property
    def stage_count(self) -> int:
        """How many stages the training has, at least one."""
        return len(self.stages) or 1

    @property
    def uses_targets(self) -> bool:
        """Whether training batches have targets; a reward stage's have none."""
        return bool(self.targets) and self.kind == "supervised"

    def stage(self, number: int) -> Recipe:
        """The recipe of one stage, counted from 0: its own fields over the common ones, without stages.

        Options of losses that the stage does not use are left out.
        """
        own = self.stages[number] if self.stages else {}
        stage = dataclasses.replace(self, **{**own, "stages": ()})
        used = {loss: options for loss, options in stage.loss_options.items() if loss in stage.losses}
        return dataclasses.replace(stage, loss_options=used)

    @classmethod
    def settable(cls) -> tuple[str, ...]:
        """The fields that a user may change."""
        own = ("builder", "head", "annotations", "demo", "reference")
        return tuple(f.name for f in dataclasses.fields(cls) if f.name not in own)

    @classmethod
    def stage_fields(cls) -> tuple[str, ...]:
        """The fields that may differ from one stage to the next: not the model, its input, or which samples are held out."""
        common = ("needs_backbone", "model", "preprocessing", "balance", "val_fraction", "stages")
        return tuple(name for name in cls.settable() if name not in common)

    def for_demo(self) -> Recipe:
        """The recipe with the values that it has for demo data."""
        return dataclasses.replace(self, **self.demo)

    def with_settings(self, settings: Iterable[str], files: Iterable[Path] = ()) -> Recipe:
        """The recipe with fields changed by YAML files and then by ``key=value`` texts.

        See :func:`gasdet.training.settings.changed` for what they may say.

        Raises:
            UsageError: A file or text cannot be read, a key is unknown (the message lists the known ones), a value is unusable.
        """
        from gasdet.training.settings import changed

        return changed(self, settings, files)

    def to_mapping(self) -> dict[str, Any]:
        """Every field that decides the result, in types that JSON has, for the record of a training."""
        kept = [f.name for f in dataclasses.fields(self) if f.name not in ("demo", "reference")]
        return {name: _plain(getattr(self, name)) for name in kept}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
