"""docs/training.md says what the code does."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import yaml

from gasdet import Recipe
from gasdet.training.settings import REWARD_STAGE, with_reward
from gasdet.training.train import train_detector

RECIPE = Recipe(builder="a:b", head=("head.",))


@pytest.fixture(scope="module")
def text(repository: Path) -> str:
    return (repository / "docs" / "training.md").read_text(encoding="utf-8")


def test_every_field_is_described_with_its_default(text: str) -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \| ", text, re.MULTILINE))
    assert set(rows) == set(Recipe.settable())
    for name, told in rows.items():
        value = yaml.safe_load(f"{{{told}}}" if name == "losses" else told)
        default = getattr(RECIPE, name)
        assert value == (list(default) if isinstance(default, tuple) else default), name


def test_the_example_file_is_one(text: str, tmp_path: Path) -> None:
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    file = tmp_path / "mine.yaml"
    file.write_text(example)
    recipe = RECIPE.with_settings([], [file])
    assert recipe.stage_count == 2
    assert recipe.stage(1).learning_rate == 1e-5


def test_the_settings_in_commands_are_some(text: str) -> None:
    settings = [a or b for a, b in re.findall(r"--set (?:'([^']+)'|([\w.]+=[\w.-]+))", text)]
    settings.remove("KEY=VALUE")
    assert len(settings) >= 6
    recipe = dataclasses.replace(RECIPE, stages=({}, {}))
    for setting in settings:
        recipe.with_settings([setting.replace("stages.N", "stages.0")])


def test_the_reward_stage_is_as_described(text: str) -> None:
    stage = with_reward(RECIPE, alone=True).stage(0)
    described = text.split("`--reward` appends", 1)[1].split("\n\n")[0]
    for figure in (stage.steps, stage.batch_size, stage.evaluate_every, REWARD_STAGE["ema"]):
        assert str(figure) in described
    assert stage.learning_rate == pytest.approx(RECIPE.learning_rate / 10)


def test_every_file_is_in_the_table(text: str) -> None:
    from gasdet.training import outputs
    from gasdet.training.outputs import TRAIN_NAME

    for name in (
        outputs.WEIGHTS_NAME,
        outputs.SAMPLES_NAME,
        TRAIN_NAME,
        "metrics.jsonl",
        "tensorboard/",
        "checkpoint/",
    ):
        assert f"`{name}`" in text
    assert "docs/training.md" in (train_detector.__doc__ or "")
