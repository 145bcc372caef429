"""A training from a backbone file, its delta, and the commands that take it: all as a user types it."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from gasdet.api import load
from gasdet.bundle.safefile import sha256_of
from gasdet.cli.group import gasdet as cli
from gasdet.registry import load_registry
from gasdet.types import Sample


@pytest.fixture
def site(toy_site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The toy as an installed plugin, with a cache of its own."""
    monkeypatch.syspath_prepend(str(toy_site))
    monkeypatch.setenv("GASDET_PLUGINS", "toy")
    monkeypatch.setenv("GASDET_CACHE", str(tmp_path / "cache"))
    for name in [name for name in sys.modules if name.partition(".")[0] == "gasdet_toy"]:
        monkeypatch.delitem(sys.modules, name)
    load_registry.cache_clear()
    yield toy_site
    load_registry.cache_clear()


@pytest.fixture
def table(tiny_samples: Callable[..., list[Sample]], tmp_path: Path) -> Path:
    """Pictures of both splits; enough for a calibrator."""
    path = tmp_path / "data.csv"
    rows = [f"{s.locator.path},{s.label},{s.group},{s.split}" for s in tiny_samples(90, splits=True)]
    path.write_text("path,label,group,split\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture
def backbone(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(3)
    path = tmp_path / "published.safetensors"
    save_file({"weight": torch.eye(6) + 0.1 * torch.randn(6, 6, generator=generator)}, path)
    return path


def gasdet(*words: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


def train(table: Path, out: Path, *words: str | Path, code: int = 0) -> Result:
    common = ("train", "--plugin", "toy", "--device", "cpu", "--workers", "1", "--data", table, "--out", out)
    return gasdet(*common, *words, code=code)


def record_of(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "train.json").read_text())
    return found


def scores(table: Path, weights: Path, out: Path, *words: str | Path) -> dict[str, Any]:
    """A run's scores by sample, and its record of the detector."""
    here = ("--device", "cpu", "--workers", "1", "--data", table, "--out", out, "--json")
    gasdet("evaluate", "--plugin", "toy", *here, "--weights", weights, *words)
    (records,) = out.rglob("records*.parquet")
    rows = pq.read_table(records).to_pylist()
    about = json.loads((out / "run.json").read_text())["detectors"]["toy"]
    return {"p": {Path(r["member"]).name: r["p_synthetic"] for r in rows}, "about": about}


@pytest.mark.usefixtures("site")
def test_a_delta_goes_where_the_whole_file_goes(table: Path, backbone: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = train(table, out, "--backbone", backbone)
    assert "trains 7 of 43 parameters (head)" in result.stderr
    assert f"--weights {out}/model.safetensors --delta FILE" in result.stdout
    record = record_of(out)
    assert record["result"]["stages"][0]["parameters"] == {"trained": 7, "of": 43, "trainable": "head"}
    base = {"kind": "backbone", "source": str(backbone), "sha256": sha256_of(backbone), "model": {}}
    assert record["base"] == base

    shared = tmp_path / "shared"
    delta = shared / "toy.safetensors"
    said = json.loads(gasdet("export", "--plugin", "toy", "--weights", out, "--delta", delta, "--json").stdout)
    assert set(load_file(delta)) == {"head.weight", "head.bias", "head_mean", "head_std"}
    assert said["complete_sha256"] == sha256_of(out / "model.safetensors") == record["weights"]["sha256"]
    assert said["same_file"] is True

    whole = scores(table, out, tmp_path / "run-whole")
    other = scores(table, delta, tmp_path / "run-delta", "--base", backbone)
    assert len(set(whole["p"].values())) > 20
    assert whole["p"] == other["p"]
    assert other["about"]["weights"]["sha256"] == whole["about"]["weights"]["sha256"]
    assert other["about"]["weights"]["path"] == str(delta)
    assert other["about"]["weights"]["delta"]["base"]["sha256"] == sha256_of(backbone)

    # a calibrator belongs to the completed weights: it is found beside the delta, and fits the whole file too
    gasdet("calibrate", "--run", tmp_path / "run-delta", "--allow-training-data", "--force")
    assert (shared / "calibrator.json").is_file()
    fitted = load("toy", str(out), calibrator=shared / "calibrator.json").calibrator
    assert fitted is not None

    (picture,) = tmp_path.glob("pictures-*/000.png")
    words = ("--device", "cpu", "--workers", "1", "--json", picture)
    (entry,) = json.loads(gasdet("detect", "--plugin", "toy", "--weights", delta, *words).stdout)
    margin = math.log(whole["p"]["000.png"] / (1 - whole["p"]["000.png"])) / fitted.parameters["temperature"]
    assert entry["p_synthetic"] == pytest.approx(1 / (1 + math.exp(-margin)), abs=1e-6)
    assert entry["p_synthetic"] != pytest.approx(whole["p"]["000.png"], abs=1e-6)


@pytest.mark.usefixtures("site")
def test_a_training_can_start_from_a_delta_and_its_delta_is_one_of_the_same_base(
    table: Path, backbone: Path, tmp_path: Path
) -> None:
    first, second, third = tmp_path / "1", tmp_path / "2", tmp_path / "3"
    train(table, first, "--backbone", backbone)
    delta = tmp_path / "shared" / "toy.safetensors"
    gasdet("export", "--plugin", "toy", "--weights", first, "--delta", delta)
    # what the training knows goes beside the delta as beside the weights
    for name in ("train.json", "samples.parquet"):
        shutil.copy(first / name, delta.parent)

    train(table, second, "--weights", delta, "--base", backbone, "--set", "seed=9")
    record = record_of(second)
    assert record["weights_from"] == {"source": str(delta), "file_sha256": sha256_of(first / "model.safetensors")}
    assert record["data"]["ancestry"] == "known"
    assert record["base"]["sha256"] == sha256_of(backbone)
    train(table, third, "--weights", first, "--set", "seed=9")
    assert (third / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    assert record_of(third)["base"] == {**record["base"], "source": str(backbone)}
    last = tmp_path / "last.safetensors"
    gasdet("export", "--plugin", "toy", "--weights", third, "--delta", last)
    assert set(load_file(last)) == {"head.weight", "head.bias", "head_mean", "head_std"}


@pytest.mark.usefixtures("site")
def test_without_a_backbone_the_start_weights_are_the_base(table: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    train(table, first)
    assert record_of(first)["base"] is None
    delta = tmp_path / "toy.safetensors"
    result = gasdet("export", "--plugin", "toy", "--weights", first, "--delta", delta, code=1)
    assert "toy is trained without a backbone, so that its weights are a change of nothing" in result.stderr
    start = tmp_path / "start.safetensors"
    shutil.copy(first / "model.safetensors", start)
    train(table, second, "--weights", start, "--set", "seed=9")
    assert record_of(second)["base"]["kind"] == "weights"
    gasdet("export", "--plugin", "toy", "--weights", second, "--delta", delta)
    assert "backbone.weight" not in load_file(delta)
    start.unlink()
    result = gasdet("evaluate", "--plugin", "toy", "--data", table, "--weights", delta, code=1)
    assert "is a delta over start.safetensors with the sha256" in result.stderr


@pytest.mark.usefixtures("site")
def test_what_the_commands_refuse(table: Path, backbone: Path, tmp_path: Path) -> None:
    out, delta = tmp_path / "out", tmp_path / "toy.safetensors"
    train(table, out, "--backbone", backbone)
    result = train(table, tmp_path / "no", "--base", backbone, code=2)
    assert "--base is for a delta file that --weights names" in result.stderr
    result = train(table, tmp_path / "no", "--weights", out, "--base", backbone, code=2)
    assert "--base is for a delta file, and" in result.stderr
    data = ("--data", table, "--workers", "1")
    result = gasdet("evaluate", "--plugin", "toy", *data, "--weights", out, "--base", backbone, code=2)
    assert "is for delta files, and none of the weights here is one" in result.stderr
    result = gasdet("export", "--plugin", "toy", "--weights", out, code=2)
    assert "a bundle with --out DIR or a delta file with --delta FILE" in result.stderr
    result = gasdet("export", "--plugin", "toy", "--weights", out, "--delta", delta, "--zip", code=2)
    assert "a delta file holds weights alone; leave out --zip" in result.stderr
    idle = ("--no-calibrator", "--decode-timeout", "30")  # stated, though it is the default
    result = gasdet("export", "--plugin", "toy", "--weights", out, "--delta", delta, *idle, code=2)
    assert "leave out --no-calibrator, --decode-timeout." in result.stderr
    moved = tmp_path / "moved.safetensors"
    shutil.copy(out / "model.safetensors", moved)
    (tmp_path / "elsewhere").mkdir()
    alone = tmp_path / "elsewhere" / "model.safetensors"
    shutil.move(moved, alone)
    gasdet("export", "--plugin", "toy", "--weights", alone, "--delta", delta, "--base", backbone)
    assert set(load_file(delta)) == {"head.weight", "head.bias", "head_mean", "head_std"}
    backbone.unlink()
    result = gasdet("export", "--plugin", "toy", "--weights", out, "--delta", tmp_path / "b.safetensors", code=1)
    assert "is not at hand" in result.stderr
    assert "name it with --base" in result.stderr
