"""How a user changes a recipe: ``--set key=value``, a YAML file, and the reward stage."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from gasdet.errors import UsageError
from gasdet.training.recipe import Recipe

WITH_KEYS = (
    "model",
    "preprocessing",
    "training_preprocessing",
    "lora",
    "losses",
    "loss_options",
    "schedule_options",
    "sampling_options",
    "reward",
)
"""Fields whose single keys can be set, with a dot: ``losses.brier=0.5``."""

REWARD_STAGE: Mapping[str, Any] = {
    "kind": "reward",
    "optimiser": "adamw",
    "schedule": "constant",
    "schedule_options": {},
    "warmup": 0.0,
    "batch_size": 512,
    "sampling": "class_balanced",
    "epochs": 10_000,  # the steps end it
    "steps": 400,
    "evaluate_every": 50,
    "patience": 0,
    "clip_norm": 1.0,
    "ema": 0.999,
    "selection": "combined_score",
}
"""What ``--reward`` appends: batches of 512 of both classes alike, 400 steps, a tenth of the learning rate."""

REWARD_LEARNING_RATE = 0.1
"""Of the stage before."""


def changed(recipe: Recipe, settings: Iterable[str] = (), files: Iterable[Path] = ()) -> Recipe:
    """A recipe with fields changed by YAML files, one after the other, and then by ``key=value`` texts.

    A file is a mapping of fields to values; the fields of ``WITH_KEYS`` take over the keys that the file does not name. A
    text sets a field (``epochs=20``), one key of it (``losses.brier=0.5``, ``loss_options.focal.gamma=1``), or either in a
    stage counted from 0 (``stages.1.learning_rate=1e-4``). Values are YAML; ``1e-3`` is a number. A loss of weight 0 is left
    out.

    Raises:
        UsageError: A file or text cannot be read, a key is unknown (the message lists the known ones), a value is unusable.
    """
    changes: dict[str, Any] = {}
    for file in files:
        for name, value in read_file(file).items():
            _apply(recipe, changes, [name], value, where=f"{file}: {name}")
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"--set takes key=value, not {setting!r}.")
        try:
            value = yaml.load(text, Loader=_Loader)
        except yaml.YAMLError:
            raise UsageError(f"--set {setting}: the value cannot be read; quote it as a YAML value.") from None
        _apply(recipe, changes, key.strip().split("."), value, where=f"--set {key.strip()}")
    if _is_weighed(changes.get("losses")):
        changes["losses"] = {loss: weight for loss, weight in changes["losses"].items() if weight != 0}
    result = dataclasses.replace(recipe, **changes)
    _check_used(recipe, result)
    return result


def read_file(path: Path) -> dict[str, Any]:
    """The fields that a recipe file states.

    Raises:
        UsageError: It cannot be read, or is no mapping.
    """
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise UsageError(f"the recipe {path} cannot be read ({error.strerror}).") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it is no UTF-8 text"
        raise UsageError(f"the recipe {path}{line} is no YAML that can be read: {problem}.") from None
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise UsageError(f"the recipe {path} must be a mapping of fields to values.")
    return document


def with_reward(recipe: Recipe, *, alone: bool) -> Recipe:
    """A recipe with a reward stage at its end, or as its only stage.

    What the recipe itself says under ``reward`` holds for that stage. Its batches can be divided into ``accumulate`` parts.
    """
    last = recipe.stage(recipe.stage_count - 1)
    lowered = {
        "learning_rate": last.learning_rate * REWARD_LEARNING_RATE,
        "head_learning_rate": last.head_learning_rate and last.head_learning_rate * REWARD_LEARNING_RATE,
    }
    parts = recipe.accumulate
    batch_size = max(1, REWARD_STAGE["batch_size"] // parts) * parts
    own = {**REWARD_STAGE, **lowered, "batch_size": batch_size, "trainable": last.trainable, "lora": last.lora}
    before = () if alone else recipe.stages or ({},)
    return dataclasses.replace(recipe, stages=(*before, own))


def _apply(recipe: Recipe, changes: dict[str, Any], keys: list[str], value: Any, *, where: str) -> None:
    """Note a change of a field, of a key in it, or of a stage."""
    name, inner = keys[0], keys[1:]
    before = changes.get(name, getattr(recipe, name, None))
    if name == "stages" and inner:
        changes[name] = _changed_stage(recipe, before or (), inner, value, where)
    elif name not in recipe.settable() or (inner and name not in WITH_KEYS):
        raise UsageError(f"{where}: no such setting{_hint(name)}; known: {_known()}.")
    elif inner:
        changes[name] = _nested(before, inner, value, deepest=2 if name == "loss_options" else 1, where=where)
    elif name in WITH_KEYS and isinstance(value, dict) and name != "losses":
        changes[name] = {**(before or {}), **value}
    else:
        changes[name] = value


def _changed_stage(
    recipe: Recipe, stages: tuple[Mapping[str, Any], ...], keys: list[str], value: Any, where: str
) -> tuple[Mapping[str, Any], ...]:
    number = int(keys[0]) if keys[0].isdigit() else -1
    if not 0 <= number < len(stages) or len(keys) < 2:
        have = f"stages 0 to {len(stages) - 1}" if stages else "a single stage; set the field itself"
        raise UsageError(f"{where}: no such setting; this recipe has {have}.")
    own = dict(stages[number])
    inner: dict[str, Any] = {k: own[k] for k in keys[1:2] if k in own}
    _apply(recipe.stage(number), inner, keys[1:], value, where=where)
    return (*stages[:number], {**own, **inner}, *stages[number + 1 :])


def _nested(before: Any, keys: list[str], value: Any, *, deepest: int, where: str) -> dict[str, Any]:
    known = dict(before) if isinstance(before, Mapping) else {}
    if len(keys) > deepest or not all(keys):
        raise UsageError(f"{where}: no such setting; known: {_known()}.")
    if len(keys) == 1:
        return {**known, keys[0]: value}
    return {**known, keys[0]: _nested(known.get(keys[0]), keys[1:], value, deepest=deepest - 1, where=where)}


def _check_used(before: Recipe, after: Recipe) -> None:
    """Options of a loss that no stage uses are a mistake of the one who set them."""
    used = list(dict.fromkeys(loss for number in range(after.stage_count) for loss in after.stage(number).losses))
    for loss, options in after.loss_options.items():
        if loss not in used and options != before.loss_options.get(loss):
            raise UsageError(f"loss_options.{loss} has no effect: the losses of this training are {', '.join(used)}.")


def _is_weighed(value: Any) -> bool:
    return isinstance(value, Mapping) and any(weight != 0 for weight in value.values())


def _known() -> str:
    return ", ".join(f"{name}[.KEY]" if name in WITH_KEYS else name for name in Recipe.settable())


def _hint(name: str) -> str:
    near = difflib.get_close_matches(name, Recipe.settable(), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


class _Loader(yaml.SafeLoader):
    """SafeLoader that takes 1e-3 for a number, which YAML 1.1 does not because it has no dot, and refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1 and key != "<<":
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
