"""What the fields of a training recipe may hold. Every problem is one sentence that names the field and what it takes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from gasdet.errors import UsageError

Check = tuple[Callable[[Any], bool], str]
"""Whether a value will do, and in words what would."""

CHOICES: dict[str, tuple[str, ...]] = {
    "kind": ("supervised", "reward"),
    "trainable": ("head", "layernorm", "lora", "all"),
    "optimiser": ("adam", "adamw", "sgd"),
    "schedule": ("constant", "linear", "cosine", "cosine_restarts", "step"),
    "precision": ("float32", "bfloat16", "float16"),
    "sampling": ("uniform", "class_balanced", "dataset_balanced", "weighted", "worst_dataset", "paired"),
}


def _is_whole(value: Any, least: int = 0) -> bool:
    return type(value) is int and value >= least


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_import_path(value: Any) -> bool:
    return _is_text(value) and ":" in value


def _is_names(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and all(_is_text(name) for name in value)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def _is_weights(value: Any) -> bool:
    return _is_mapping(value) and all(_is_number(weight) and weight >= 0 for weight in value.values())


def _is_pattern(value: Any) -> bool:
    try:
        return _is_text(value) and bool(re.compile(value))
    except re.error:
        return False


def _is_pair(value: Any, good: Callable[[float], bool]) -> bool:
    return isinstance(value, Sequence) and len(value) == 2 and all(_is_number(v) and good(v) for v in value)


def _one_of(name: str) -> Check:
    return (lambda value: value in CHOICES[name], f"one of {', '.join(CHOICES[name])}")


def _whole(least: int) -> Check:
    return (lambda value: _is_whole(value, least), f"a whole number >= {least}")


_ABOVE_0: Check = (lambda value: _is_number(value) and value > 0, "a number above 0")
_FROM_0: Check = (lambda value: _is_number(value) and value >= 0, "a number, 0 or more")
_SHARE: Check = (lambda value: _is_number(value) and 0 <= value < 1, "a number from 0 to below 1")
_SWITCH: Check = (lambda value: isinstance(value, bool), "true or false")
_MAPPING: Check = (_is_mapping, "a mapping of names to values")

FIELDS: dict[str, Check] = {
    "builder": (lambda value: _is_import_path(value), 'an import path "package.module:function"'),
    "head": (_is_names, "a list of name prefixes, at least one"),
    "needs_backbone": _SWITCH,
    "model": _MAPPING,
    "preprocessing": _MAPPING,
    "training_preprocessing": _MAPPING,
    "kind": _one_of("kind"),
    "trainable": _one_of("trainable"),
    "cache_features": _SWITCH,
    "lora": _MAPPING,
    "losses": (
        lambda value: _is_weights(value) and any(weight > 0 for weight in value.values()),
        "a mapping of losses to their weights, 0 or more and one of them above",
    ),
    "loss_options": (
        lambda value: _is_mapping(value) and all(_is_mapping(options) for options in value.values()),
        "a mapping of losses to their options",
    ),
    "targets": (lambda value: value == "" or _is_import_path(value), 'an import path "package.module:function", or ""'),
    "annotations": (lambda value: value == () or _is_names(value), "a list of names of columns"),
    "optimiser": _one_of("optimiser"),
    "betas": (lambda value: _is_pair(value, lambda beta: 0 <= beta < 1), "two numbers from 0 to below 1"),
    "learning_rate": _ABOVE_0,
    "head_learning_rate": (lambda value: value is None or _ABOVE_0[0](value), "a number above 0, or null"),
    "weight_decay": _FROM_0,
    "schedule": _one_of("schedule"),
    "warmup": _SHARE,
    "schedule_options": _MAPPING,
    "batch_size": _whole(1),
    "accumulate": _whole(1),
    "epochs": _whole(1),
    "steps": _whole(0),
    "evaluate_every": _whole(0),
    "patience": _whole(0),
    "clip_norm": _FROM_0,
    "ema": _SHARE,
    "precision": _one_of("precision"),
    "channels_last": _SWITCH,
    "balance": _SWITCH,
    "sampling": _one_of("sampling"),
    "sampling_options": _MAPPING,
    "augmentation": (
        lambda value: isinstance(value, tuple) and all(_is_mapping(a) and _is_text(a.get("name")) for a in value),
        "a list of mappings, each with a name",
    ),
    "val_fraction": (lambda value: _is_number(value) and 0 < value < 1, "a number between 0 and 1"),
    "selection": (_is_text, "the name of a registered component"),
    "reward": _MAPPING,
    "seed": (lambda value: _is_whole(value) and value < 2**63, "a whole number >= 0"),
    "stages": (lambda value: isinstance(value, tuple) and all(map(_is_mapping, value)), "a list of mappings of fields"),
    "demo": _MAPPING,
    "reference": (lambda value: isinstance(value, str), "a text"),
}

OPTIONS: dict[str, dict[str, Check]] = {
    "lora": {
        "rank": _whole(1),
        "alpha": _ABOVE_0,
        "dropout": _SHARE,
        "targets": (_is_pattern, "a regular expression over modules' whole names"),
    },
    "schedule_options": {
        "minimum": (lambda value: _is_number(value) and 0 <= value <= 1, "a share from 0 to 1"),
        "epochs": _ABOVE_0,
        "gamma": _ABOVE_0,
    },
    "sampling_options": {
        "weights": (_is_weights, "a mapping of dataset names to weights, 0 or more"),
        "step": _ABOVE_0,
        "floor": _SHARE,
        "samples": _whole(1),
    },
    "reward": {
        "estimator": (lambda value: value in ("soft", "difference", "reinforce"), "one of soft, difference, reinforce"),
        "tau": (lambda value: _is_pair(value, lambda tau: tau > 0), "two numbers above 0, [from, to]"),
        "draws": _whole(1),
        "decision": _FROM_0,
        "kl": _FROM_0,
        "cross_entropy": _FROM_0,
        "brier": _FROM_0,
    },
}
"""Keys of the fields whose keys are known beforehand."""


def check_fields(values: Mapping[str, Any]) -> None:
    """Check the values of a recipe's fields, and that they go together.

    Raises:
        UsageError: The first that will not do.
    """
    for name, value in values.items():
        good, expected = FIELDS[name]
        _require(good(value), f"{name} of a training recipe", expected, value)
    for name, known in OPTIONS.items():
        _check_options(name, values[name], known)
    batch, parts = values["batch_size"], values["accumulate"]
    if batch % parts:
        raise UsageError(
            f"a training recipe's batch_size {batch} cannot be divided into accumulate = {parts} equal parts."
        )


def check_stage(number: int, own: Mapping[str, Any], allowed: Collection[str]) -> None:
    """Check which fields a stage states.

    Raises:
        UsageError: One that a stage cannot have.
    """
    for name in own:
        if name not in allowed:
            raise UsageError(
                f"stage {number} of a training recipe cannot set {name}; a stage may set {', '.join(allowed)}."
            )


def _check_options(name: str, options: Mapping[str, Any], known: Mapping[str, Check]) -> None:
    for key, value in options.items():
        if key not in known:
            raise UsageError(f"{name} of a training recipe has no {key!r}; it may have {', '.join(known)}.")
        good, expected = known[key]
        _require(good(value), f"{name}.{key} of a training recipe", expected, value)


def _require(good: bool, what: str, expected: str, value: Any) -> None:
    if not good:
        raise UsageError(f"{what} must be {expected}, not {value!r}.")
