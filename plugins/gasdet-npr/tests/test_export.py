"""NPR as a bundle: calibrators of every kind inside, and the same scores as the plugin's on real media."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.torch import load_file

import gasdet
from gasdet.bundle import clean_process, comparison
from gasdet.bundle.calibration import CALIBRATOR_NAME, CalibratorFile, write_calibrator
from gasdet.errors import BundleError
from gasdet_npr.plugin import NPR

KNOTS = {"x": [-2.0, -0.5, 0.25, 3.0], "y": [-3.0, -0.75, 0.0, 1.5]}
CALIBRATORS: dict[str, tuple[dict[str, Any], str]] = {
    "temperature": ({"temperature": 2.5}, "affine"),
    "beta": ({"a": 0.75, "b": 1.5, "c": -0.2}, "beta"),
    "isotonic": (KNOTS, "knots"),
}


@pytest.fixture
def without_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clean process's answers from this one: a process of its own takes seconds, and one test has it."""

    def answered(request: Path) -> subprocess.CompletedProcess[bytes]:
        clean_process.answer(json.loads(request.read_text()))
        del sys.modules["model"]
        return subprocess.CompletedProcess([], 0, b"", b"")

    monkeypatch.setattr(comparison, "start_clean", answered)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A copy of the demo weights in a folder of its own, as a training leaves it."""
    folder = tmp_path / "trained"
    folder.mkdir()
    shutil.copyfile(str(files("gasdet_npr").joinpath("demo.safetensors")), folder / "model.safetensors")
    return folder


def calibrate(folder: Path, method: str) -> None:
    sha256 = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    parameters = CALIBRATORS[method][0]
    fitted = CalibratorFile(method=method, parameters=parameters, detector=NPR.name, weights_sha256=sha256)
    write_calibrator(folder / CALIBRATOR_NAME, fitted)


def scores(run: Any) -> dict[str, tuple[str, float]]:
    return {row["sample_id"]: (row["status"], row["p_synthetic"] or math.nan) for row in run.records().to_pylist()}


def by_hand(method: str, z: np.ndarray) -> np.ndarray:
    values = CALIBRATORS[method][0]
    if method == "temperature":
        return z / values["temperature"]
    if method == "beta":
        s = 1 / (1 + np.exp(-z))
        return values["a"] * np.log(s) - values["b"] * np.log(1 - s) + values["c"]
    return np.interp(z, values["x"], values["y"])


@pytest.mark.usefixtures("without_process")
@pytest.mark.parametrize("method", CALIBRATORS)
def test_a_calibrator_inside_the_bundle(method: str, trained: Path, tmp_path: Path) -> None:
    calibrate(trained, method)
    told = gasdet.export(NPR.name, tmp_path / "bundle", weights=str(trained))
    kind = CALIBRATORS[method][1]
    assert (told.calibrator, told.compared) == (kind, "margins")
    assert told.difference < 1e-5
    assert f"calibration.{kind}" in load_file(str(tmp_path / "bundle" / "model.safetensors"))
    plain = gasdet.load(NPR.name, weights=str(trained))
    inside = gasdet.load(tmp_path / "bundle", trust_code=True)
    batch = np.random.default_rng(0).integers(0, 256, (4, 3, 160, 160), dtype=np.uint8)
    z = np.diff(plain.logits(batch).astype(np.float64))
    np.testing.assert_allclose(np.diff(inside.logits(batch)), by_hand(method, z), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("without_process")
def test_rounded_weights_are_exported_as_they_are(trained: Path, tmp_path: Path) -> None:
    first = gasdet.export(NPR.name, tmp_path / "first", weights=str(trained), dtype="bfloat16")
    again = gasdet.export(NPR.name, tmp_path / "again", weights=str(tmp_path / "first"))
    assert (first.dtype, again.dtype) == ("bfloat16", "bfloat16")
    assert first.weights_sha256 == again.weights_sha256
    assert 0 < again.difference < 1
    with pytest.raises(BundleError, match="rounded to bfloat16"):
        gasdet.export(NPR.name, tmp_path / "wider", weights=str(tmp_path / "first"), dtype="float32")


def test_it_scores_real_media_as_the_plugin_does(trained: Path, tmp_path: Path, shared_media: Path) -> None:
    data = shared_media / "image"
    gasdet.export(NPR.name, tmp_path / "plain", weights=str(trained), data=data)
    one = gasdet.evaluate([NPR.name], data, weights=str(trained), limit=12, out=tmp_path / "run1")
    other = gasdet.evaluate([tmp_path / "plain"], data, limit=12, trust_code=True, out=tmp_path / "run2")
    assert scores(one) == scores(other)
    assert sum(status == "ok" for status, _ in scores(one).values()) >= 10


@pytest.mark.usefixtures("without_process")
def test_a_fresh_training_as_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`gasdet train`, then `gasdet export` of its folder: the bundle scores as the folder does."""
    from gasdet.cli.group import gasdet as cli

    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> None:
        done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output

    small = ("--set", "epochs=1", "--set", "model.blocks=[1, 1]", "--set", "model.stem_pool=false", "--limit", "40")
    command("train", "--plugin", "npr", "--data", "demo", "--out", "fresh", *small)
    command("export", "--plugin", "npr", "--weights", "fresh", "--out", "bundle")
    one = gasdet.evaluate(["npr"], "demo", weights=str(tmp_path / "fresh"), limit=20, out=tmp_path / "run1")
    other = gasdet.evaluate([tmp_path / "bundle"], "demo", limit=20, trust_code=True, out=tmp_path / "run2")
    assert scores(one) == scores(other)
    assert {status for status, _ in scores(one).values()} == {"ok"}
