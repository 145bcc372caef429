from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from gasdet import Recipe
from gasdet.errors import UsageError
from gasdet.training.settings import with_reward

RECIPE = Recipe(builder="a:b", head=("head.",), model={"gain": 1.0}, losses={"focal": 1.0, "brier": 0.5})
STAGED = dataclasses.replace(RECIPE, stages=({"epochs": 3}, {"reward": {"kl": 0.1}, "kind": "reward"}))


def test_values_are_yaml_and_keys_go_into_mappings() -> None:
    changed = RECIPE.with_settings(
        ["epochs=20", "learning_rate=1e-2", "balance=false", "optimiser=adamw", "preprocessing.num_frames=16",
         "preprocessing.resize=[8, 8]", "model.gain=2.5", "model.deep=true", "needs_backbone=false", "losses.brier=0.25",
         "loss_options.focal.gamma=1", "lora.rank=4", "reward.kl=1e-1", "sampling_options.step=0.1", "betas=[0.8, 0.99]",
         "augmentation=[{name: jpeg, p: 5e-1}]", "head_learning_rate=null"]
    )  # fmt: skip
    assert (changed.epochs, changed.learning_rate, changed.balance, changed.optimiser) == (20, 0.01, False, "adamw")
    assert changed.preprocessing == {"num_frames": 16, "resize": [8, 8]}
    assert changed.model == {"gain": 2.5, "deep": True}
    assert changed.losses == {"focal": 1.0, "brier": 0.25}
    assert changed.loss_options == {"focal": {"gamma": 1}}
    assert (changed.lora, changed.reward, changed.sampling_options) == ({"rank": 4}, {"kl": 0.1}, {"step": 0.1})
    assert (changed.betas, changed.augmentation) == ((0.8, 0.99), ({"name": "jpeg", "p": 0.5},))
    assert RECIPE.model == {"gain": 1.0}
    assert RECIPE.losses == {"focal": 1.0, "brier": 0.5}


def test_a_loss_of_weight_0_is_left_out_and_a_whole_mapping_replaces_the_losses() -> None:
    assert RECIPE.with_settings(["losses.focal=0"]).losses == {"brier": 0.5}
    assert RECIPE.with_settings(["losses={cross_entropy: 1}"]).losses == {"cross_entropy": 1}
    with pytest.raises(UsageError, match="one of them above"):
        RECIPE.with_settings(["losses.focal=0", "losses.brier=0"])


def test_a_file_comes_first_and_texts_go_over_it(tmp_path: Path) -> None:
    file, more = tmp_path / "r.yaml", tmp_path / "more.yaml"
    file.write_text(
        "epochs: 4\nlearning_rate: 1e-4\nmodel: {deep: true}\nlosses: {cross_entropy: 1}\nstages:\n- {epochs: 2}\n"
    )
    more.write_text("epochs: 5\n")
    changed = RECIPE.with_settings(["batch_size=8", "learning_rate=2e-4"], [file, more])
    assert (changed.epochs, changed.learning_rate, changed.batch_size) == (5, 2e-4, 8)
    assert changed.model == {"gain": 1.0, "deep": True}
    assert changed.losses == {"cross_entropy": 1}
    assert changed.stages == ({"epochs": 2},)


def test_a_stage_s_fields() -> None:
    changed = STAGED.with_settings(["stages.0.epochs=9", "stages.0.losses.brier=2", "stages.1.reward.tau=[1, 1]"])
    assert changed.stage(0).epochs == 9
    assert changed.stage(0).losses == {"focal": 1.0, "brier": 2}
    assert changed.stage(1).reward == {"kl": 0.1, "tau": [1, 1]}
    assert changed.stage(1).losses == RECIPE.losses


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epochs", "key=value"),
        ("epoch=3", r"did you mean epochs\?.*known: .*model\[\.KEY\].*learning_rate"),
        ("builder=os:system", "no such setting"),
        ("head=[x]", "no such setting"),
        ("demo.epochs=3", "no such setting"),
        ("epochs.x=3", "no such setting"),
        ("model.=3", "no such setting"),
        ("model.a.b=3", "no such setting"),
        ("losses.brier.x=3", "no such setting"),
        ("model=3", "a mapping"),
        ("epochs=0", "a whole number >= 1, not 0"),
        ("learning_rate=fast", "above 0, not 'fast'"),
        ("learning_rate=.nan", "above 0"),
        ("epochs=[1", "cannot be read"),
        ("model={a: 1, a: 2}", "cannot be read"),
        ("loss_options.center.rate=1", r"loss_options\.center has no effect: .* are focal, brier"),
        ("stages.2.epochs=1", "this recipe has stages 0 to 1"),
        ("stages.x.epochs=1", "this recipe has stages 0 to 1"),
        ("stages.0=1", "this recipe has stages 0 to 1"),
        ("stages.0.builder=a:b", "stage 0 of a training recipe cannot set builder|no such setting"),
        ("stages.0.preprocessing.num_frames=3", "stage 0 of a training recipe cannot set preprocessing"),
    ],
)
def test_unusable_settings(setting: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        STAGED.with_settings([setting])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- epochs", "must be a mapping"),
        ("epochs: [1", "line 1 is no YAML|is no YAML"),
        ("epochs: 1\nepochs: 2", "line 1 is no YAML that can be read: the key 'epochs' is there twice"),
        ("epoch: 1", r"r\.yaml: epoch: no such setting \(did you mean epochs\?\)"),
        ("!!python/object/apply:os.system [ls]", "no YAML"),
    ],
)
def test_unusable_files(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        RECIPE.with_settings([], [file])
    with pytest.raises(UsageError, match="cannot be read"):
        RECIPE.with_settings([], [tmp_path / "none.yaml"])


def test_the_reward_stage_follows_the_others_at_a_tenth_of_the_rate() -> None:
    recipe = with_reward(dataclasses.replace(RECIPE, learning_rate=1e-3, trainable="layernorm"), alone=False)
    assert recipe.stage_count == 2
    first, last = recipe.stage(0), recipe.stage(1)
    assert first == dataclasses.replace(RECIPE, learning_rate=1e-3, trainable="layernorm")
    assert (last.kind, last.learning_rate, last.trainable) == ("reward", pytest.approx(1e-4), "layernorm")
    # the figures of the recommended algorithm: batch of 512 or more, 200 to 1000 steps, clip 1, average of .999, every 50
    assert last.batch_size >= 512
    assert 200 <= last.steps <= 1000
    assert (last.clip_norm, last.ema, last.evaluate_every) == (1.0, 0.999, 50)


def test_a_reward_stage_alone_and_after_stages() -> None:
    assert with_reward(RECIPE, alone=True).stage_count == 1
    assert with_reward(RECIPE, alone=True).stage(0).kind == "reward"
    recipe = with_reward(
        dataclasses.replace(RECIPE, stages=({"learning_rate": 0.5}, {"learning_rate": 0.2})), alone=False
    )
    assert [recipe.stage(i).learning_rate for i in range(3)] == pytest.approx([0.5, 0.2, 0.02])


def test_what_the_recipe_says_of_the_reward_holds_for_the_stage() -> None:
    assert with_reward(RECIPE.with_settings(["reward.kl=0.3"]), alone=True).stage(0).reward["kl"] == 0.3
