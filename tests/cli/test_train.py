"""``gasdet train`` hands over what the user chose; the training itself has its own tests, also through the command."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import gasdet.training
from gasdet.cli.group import gasdet as cli
from gasdet.evaluation.decode_cache import DecodeCache
from gasdet.training.record import Trained

pytestmark = pytest.mark.usefixtures("with_plugins")


def train(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["train", *map(str, arguments)], catch_exceptions=False)


def test_a_detector_without_a_recipe_cannot_be_trained(labelled: Path, tmp_path: Path) -> None:
    result = train("--plugin", "edges", "--data", labelled, "--out", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "edges" in result.stderr
    assert "recipe" in result.stderr


BEST = {"stage": 0, "epoch": 3, "step": 9, "val_loss": 0.25, "val_combined_score": 0.5, "val_auroc": None}
RECORD = {
    "detector": "edges",
    "seconds": 1.5,
    "weights": {"sha256": "ab"},
    "data": {
        "description": "some",
        "train": {"real": 1200, "synthetic": 7, "failed": 0},
        "validation": {"real": 3, "synthetic": 2, "failed": 0},
        "validation_from": "by hand",
    },
    "result": {"stages": [{"best": BEST, "epochs": 4, "steps": 12, "stopped": "early"}]},
}


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the training was called with."""
    got: dict[str, Any] = {}

    def train_detector(spec: Any, data: Any, out: Path, options: Any, progress: Any, *, origin: str) -> Trained:
        got.update(spec=spec, data=data, out=out, options=options, origin=origin, progress=progress)
        return Trained(out / "model.safetensors", RECORD)

    monkeypatch.setattr(gasdet.training, "train_detector", train_detector, raising=False)
    return got


def test_every_option_arrives(labelled: Path, tmp_path: Path, received: dict[str, Any]) -> None:
    (tmp_path / "r.yaml").write_text("epochs: 3")
    result = train(
        "--plugin", "edges", "--data", labelled, "--out", tmp_path / "out", "--val-fraction", "0.3", "--set", "epochs=2",
        "--set", "learning_rate=1e-3", "--backbone", "b.safetensors", "--limit", "6", "--seed", "5", "--device", "cpu",
        "--batch-size", "3", "--workers", "2", "--decode-timeout", "7", "--offline", "--json", "--recipe",
        tmp_path / "r.yaml", "--reward", "--weights", "demo", "--base", "c.safetensors",
        "--split-by", "generator", "--hold-out", "gan", "--hold-out",
        "vae", "--released-after", "2024-06", "--restart", "--allow-training-data",
        "--decode-cache", tmp_path / "dc", "--decode-cache-size", "3G", "--equalise", "standard:side=128",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["weights"] == str(tmp_path / "out" / "model.safetensors")
    assert document["result"] == RECORD["result"]
    options = received["options"]
    assert (received["spec"].name, received["origin"]) == ("edges", "gasdet-testimage 1.2.0")
    assert len(received["data"].dataset.samples) == 6
    equal, *settings = [setting for setting in options.settings if not setting.startswith("seed")]
    assert equal.startswith("preprocessing.equalise=standard")
    assert settings == ["epochs=2", "learning_rate=1e-3"]
    assert options.settings[0] == "seed=5"
    assert options.decode_cache == DecodeCache(tmp_path / "dc", 3 * 2**30)
    assert options.recipe_files == (tmp_path / "r.yaml",)
    assert (options.val_fraction, options.backbone, options.device, options.offline) == (
        0.3,
        "b.safetensors",
        "cpu",
        True,
    )
    assert (options.batch_size, options.workers, options.decode_timeout) == (3, 2, 7.0)
    assert (options.reward, options.weights, options.restart) == (True, "demo", True)
    assert options.allow_training_data is True
    assert options.bases == ("c.safetensors",)
    assert (options.split_by, options.hold_out) == ("generator", ("gan", "vae"))
    assert options.released_after == datetime.date(2024, 6, 1)


CATALOGUE = """
datasets:
  - {name: one, path: labelled/real, modality: image, media_type: real, category: nature}
  - {name: two, path: labelled/synthetic, modality: image, media_type: synthetic, category: nature}
  - {name: three, path: labelled/synthetic, modality: image, media_type: synthetic, category: faces}
  - {name: four, path: nowhere, modality: audio, media_type: real, category: nature}
"""


def test_data_sets_of_a_catalogue_are_chosen_as_for_evaluate(
    labelled: Path, tmp_path: Path, received: dict[str, Any]
) -> None:
    (tmp_path / "c.yaml").write_text(CATALOGUE)
    words = ["--plugin", "edges", "--data", tmp_path / "c.yaml", "--out", tmp_path / "out"]
    assert train(*words, "--category", "nature", "--modality", "image", "--total", "9").exit_code == 0
    assert {sample.dataset for sample in received["data"].dataset.samples} == {"one", "two"}
    assert len(received["data"].dataset.samples) == 9
    assert train(*words, "--category", "f*").exit_code == 0
    assert {sample.dataset for sample in received["data"].dataset.samples} == {"three"}


def test_choosing_among_data_sets_is_for_data(labelled: Path, tmp_path: Path, received: dict[str, Any]) -> None:
    result = train("--plugin", "edges", "--features", "x.parquet", "--category", "a", "--out", tmp_path / "out")
    assert (result.exit_code, received) == (2, {})
    assert "--category, --modality and --total choose among the data sets of --data" in result.stderr
    result = train("--plugin", "edges", "--data", labelled, "--modality", "audio", "--out", tmp_path / "out")
    assert (result.exit_code, received) == (2, {})
    assert "--modality audio leaves a detector of image nothing" in result.stderr


def test_vectors_cannot_be_equalised(tmp_path: Path, received: dict[str, Any]) -> None:
    result = train("--plugin", "edges", "--features", "x.parquet", "--equalise", "standard", "--out", tmp_path / "out")
    assert (result.exit_code, received) == (2, {})
    assert "leave --equalise out" in result.stderr


def test_without_a_seed_the_recipe_s_own_counts(labelled: Path, tmp_path: Path, received: dict[str, Any]) -> None:
    result = train("--plugin", "edges", "--data", labelled, "--out", tmp_path / "out")
    assert received["options"].settings == ()
    assert result.stdout.splitlines() == [
        "Trained on 1,200 real and 7 synthetic samples, chosen on 3 real and 2 synthetic samples (by hand)",
        "kept epoch 3 of 4: loss 0.2500, combined_score 0.5000",
        "These figures chose the weights: they are optimistic. Judge on other data.",
        f"Weights: {tmp_path / 'out' / 'model.safetensors'}",
        f"Use them: gasdet evaluate --plugin edges --weights {tmp_path / 'out' / 'model.safetensors'}",
    ]


@pytest.mark.parametrize(
    ("text", "date"), [("2024", (2024, 1, 1)), ("2024-11", (2024, 11, 1)), ("2024-11-30", (2024, 11, 30))]
)
def test_dates(labelled: Path, tmp_path: Path, received: dict[str, Any], text: str, date: tuple[int, int, int]) -> None:
    train("--plugin", "edges", "--data", labelled, "--out", tmp_path / "out", "--released-after", text)
    assert received["options"].released_after == datetime.date(*date)


@pytest.mark.parametrize("text", ["soon", "2024-13", "24", "2024-02-30", "2024-1-1-1"])
def test_what_is_no_date(labelled: Path, tmp_path: Path, received: dict[str, Any], text: str) -> None:
    result = train("--plugin", "edges", "--data", labelled, "--out", tmp_path / "out", "--released-after", text)
    assert result.exit_code == 2
    assert "is no date like 2024, 2024-06 or 2024-06-15" in result.stderr
    assert not received


def test_one_source_of_data_is_needed(labelled: Path, tmp_path: Path, received: dict[str, Any]) -> None:
    for words in ((), ("--data", labelled, "--features", "x.parquet"), ("--data", labelled, "--train-csv", "x.csv")):
        result = train("--plugin", "edges", *words, "--out", tmp_path / "out")
        assert result.exit_code == 2
        assert "one of --data, --train-csv and --features" in result.stderr
    assert not received


def test_only_the_first_of_several_processes_prints(
    labelled: Path, tmp_path: Path, received: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from gasdet.progress import Silent

    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = train("--plugin", "edges", "--data", labelled, "--out", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "Trained" not in result.stderr
    assert isinstance(received["progress"], Silent)
