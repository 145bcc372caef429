from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from gasdet import Recipe
from gasdet.errors import UsageError
from gasdet.training.recipe_checks import FIELDS

RECIPE = Recipe(builder="a:b", head=("head.",), model={"gain": 1.0}, demo={"epochs": 99, "model": {"size": "small"}})

UNUSABLE: list[tuple[str, Any, str]] = [
    ("builder", "module", "import path"),
    ("head", (), "at least one"),
    ("needs_backbone", 1, "true or false"),
    ("model", [1], "a mapping"),
    ("preprocessing", {1: 2}, "a mapping"),
    ("training_preprocessing", None, "a mapping"),
    ("kind", "unsupervised", "one of supervised, reward"),
    ("trainable", "bias", "one of head, layernorm, lora, all"),
    ("cache_features", "yes", "true or false"),
    ("lora", {"rang": 4}, "no 'rang'; it may have rank, alpha, dropout, targets"),
    ("lora", {"rank": 0}, r"lora\.rank .* a whole number >= 1, not 0"),
    ("lora", {"targets": "("}, "a regular expression"),
    ("losses", {}, "one of them above"),
    ("losses", {"focal": 0}, "one of them above"),
    ("losses", {"focal": -1}, "0 or more"),
    ("losses", "focal", "a mapping of losses"),
    ("loss_options", {"focal": 2}, "losses to their options"),
    ("optimiser", "lion", "one of adam, adamw, sgd"),
    ("betas", (0.9, 1.0), "two numbers from 0 to below 1"),
    ("betas", (0.9,), "two numbers"),
    ("learning_rate", 0, "above 0"),
    ("learning_rate", float("nan"), "above 0"),
    ("head_learning_rate", -1, "above 0, or null"),
    ("weight_decay", -0.1, "0 or more"),
    ("schedule", "exponential", "one of constant, linear"),
    ("warmup", 1.0, "from 0 to below 1"),
    ("schedule_options", {"minimum": 2}, "a share from 0 to 1"),
    ("schedule_options", {"period": 2}, "no 'period'"),
    ("batch_size", True, "a whole number"),
    ("accumulate", 0, "a whole number >= 1"),
    ("accumulate", 3, "cannot be divided into accumulate = 3 equal parts"),
    ("epochs", 2.5, "a whole number"),
    ("steps", -1, "a whole number >= 0"),
    ("evaluate_every", "often", "a whole number"),
    ("patience", -1, "a whole number >= 0"),
    ("clip_norm", float("inf"), "0 or more"),
    ("ema", 1, "from 0 to below 1"),
    ("targets", "module", r'an import path "package.module:function", or ""'),
    ("annotations", "breath_mask", "a list of names of columns"),
    ("annotations", ("",), "a list of names of columns"),
    ("precision", "float64", "one of float32, bfloat16, float16"),
    ("channels_last", 0, "true or false"),
    ("balance", None, "true or false"),
    ("sampling", "hard", "one of uniform, class_balanced"),
    ("sampling_options", {"weights": {"a": -1}}, "dataset names to weights"),
    ("sampling_options", {"floor": 1.5}, "from 0 to below 1"),
    ("sampling_options", {"size": 3}, "no 'size'"),
    ("augmentation", ({"p": 0.5},), "each with a name"),
    ("augmentation", "jpeg", "a list of mappings"),
    ("val_fraction", 1, "between 0 and 1"),
    ("selection", "", "a registered component"),
    ("reward", {"estimator": "ppo"}, "one of soft, difference, reinforce"),
    ("reward", {"tau": [1, 0]}, r"two numbers above 0, \[from, to\]"),
    ("reward", {"temperature": 1}, "no 'temperature'"),
    ("seed", -1, "a whole number >= 0"),
    ("stages", ({"epochs": 0},), "a whole number >= 1"),
    ("stages", ({"builder": "c:d"},), "stage 0 of a training recipe cannot set builder"),
    ("stages", ({"annotations": ["a"]},), "stage 0 of a training recipe cannot set annotations"),
    ("stages", ({}, {"preprocessing": {}}), "stage 1 of a training recipe cannot set preprocessing; a stage may set"),
    ("stages", "two", "a list of mappings"),
    ("demo", 3, "a mapping"),
    ("reference", None, "a text"),
]


@pytest.mark.parametrize(("name", "value", "message"), UNUSABLE, ids=lambda value: str(value)[:24])
def test_unusable_values(name: str, value: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(RECIPE, **{name: value})


def test_every_field_is_checked() -> None:
    assert set(FIELDS) == {f.name for f in dataclasses.fields(Recipe)} == {name for name, _, _ in UNUSABLE}


def test_stages_take_over_the_common_fields() -> None:
    recipe = dataclasses.replace(
        RECIPE, epochs=5, learning_rate=0.1, stages=({"learning_rate": 0.2}, {"epochs": 7, "losses": {"brier": 1.0}})
    )
    assert recipe.stage_count == 2
    first, second = recipe.stage(0), recipe.stage(1)
    assert (first.epochs, first.learning_rate, dict(first.losses)) == (5, 0.2, {"cross_entropy": 1.0})
    assert (second.epochs, second.learning_rate, dict(second.losses)) == (7, 0.1, {"brier": 1.0})
    assert first.stages == second.stages == ()
    assert (RECIPE.stage_count, RECIPE.stage(0)) == (1, RECIPE)


def test_a_stage_has_the_options_of_its_own_losses_only() -> None:
    options = {"focal": {"gamma": 1.0}, "cross_entropy": {"label_smoothing": 0.1}}
    recipe = dataclasses.replace(RECIPE, loss_options=options, stages=({}, {"losses": {"focal": 1.0}}))
    assert recipe.stage(0).loss_options == {"cross_entropy": {"label_smoothing": 0.1}}
    assert recipe.stage(1).loss_options == {"focal": {"gamma": 1.0}}


def test_demo_values() -> None:
    demo = RECIPE.for_demo()
    assert demo.epochs == 99
    assert demo.model == {"size": "small"}
    assert demo.with_settings(["epochs=3"]).epochs == 3


def test_mapping_for_the_record_is_plain_data_and_complete() -> None:
    recipe = dataclasses.replace(RECIPE, stages=({"augmentation": ({"name": "jpeg", "quality": (30, 90)},)},))
    mapping = recipe.to_mapping()
    assert mapping["head"] == ["head."]
    assert mapping["model"] == {"gain": 1.0}
    assert mapping["stages"] == [{"augmentation": [{"name": "jpeg", "quality": [30, 90]}]}]
    assert json.loads(json.dumps(mapping)) == mapping
    assert set(mapping) == {f.name for f in dataclasses.fields(Recipe)} - {"demo", "reference"}
    assert Recipe(**mapping) == dataclasses.replace(recipe, demo={}, stages=tuple(mapping["stages"]))
