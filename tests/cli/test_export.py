"""``gasdet export``, with plugins that are truly installed."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import gasdet as package
from gasdet import api
from gasdet.bundle.calibration import CALIBRATOR_NAME, CalibratorFile, write_calibrator
from gasdet.registry import load_registry

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    Gasdet = Callable[..., subprocess.CompletedProcess[str]]


def scores(run: api.Run) -> dict[str, tuple[str, float | None]]:
    return {row["sample_id"]: (row["status"], row["p_synthetic"]) for row in run.records().to_pylist()}


def test_a_bundle_and_its_zip(gasdet: Gasdet, labelled: Path, tmp_path: Path) -> None:
    done = gasdet("export", "--plugin", "edges", "--out", "b", "--zip", "--data", labelled, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["difference"] == 0
    assert 14 <= told["samples"] <= 16  # one of the files is truncated
    assert sorted(told["files"]) == sorted(os.listdir(tmp_path / "b"))
    plugin = gasdet("evaluate", "--plugin", "edges", "--data", labelled, "--out", "of-plugin")
    assert plugin.returncode == 0, plugin.stderr
    for bundle in ("b", "b.zip"):
        again = gasdet("evaluate", "--model", bundle, "--trust-code", "--data", labelled, "--out", f"of-{bundle}")
        assert again.returncode == 0, again.stderr
        assert scores(api.Run.open(tmp_path / f"of-{bundle}")) == scores(api.Run.open(tmp_path / "of-plugin"))


def test_what_it_prints(gasdet: Gasdet, labelled: Path, tmp_path: Path) -> None:
    done = gasdet("export", "--plugin", "edges", "--weights", "demo", "--out", "b", "--data", labelled)
    assert done.returncode == 0, done.stderr
    for line in (
        "Bundle:         b",
        "Calibrator:     none",
        "Code check:     passed",
        "Clean process:  largest difference of the logits to the float32 detector 0; handed bytes 0, 1",
        "In GASBench:    the same preprocessing",
    ):
        assert line in done.stdout
    again = gasdet("export", "--plugin", "edges", "--out", "b", "--data", labelled)
    assert (again.returncode, again.stdout) == (1, "")
    assert "Error: b exists and is not empty" in again.stderr


def test_a_calibrator_that_the_model_cannot_carry(
    gasdet: Gasdet, labelled: Path, tmp_path: Path, plugin_site: Path
) -> None:
    weights = tmp_path / "w" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes((plugin_site / "gasdet_testimage" / "release.safetensors").read_bytes())
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    fitted = CalibratorFile(
        method="temperature", parameters={"temperature": 2.0}, detector="edges", weights_sha256=sha256
    )
    write_calibrator(weights.parent / CALIBRATOR_NAME, fitted)
    done = gasdet("export", "--plugin", "edges", "--weights", weights, "--out", "b", "--data", labelled)
    assert done.returncode == 1
    assert "calibration.affine" in done.stderr
    assert not [path for path in tmp_path.iterdir() if path.name.lstrip(".").startswith("b")]
    without = gasdet(
        "export", "--plugin", "edges", "--weights", weights, "--out", "b", "--data", labelled, "--no-calibrator"
    )
    assert without.returncode == 0, without.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--plugin", "nobody", "--out", "b"), 2, "nobody"),
        (("--plugin", "edges", "--out", "b", "--weights", "v9"), 2, "no weights named 'v9'"),
        (("--plugin", "edges", "--out", "b", "--calibrator", "c.json"), 1, "c.json"),
        (("--plugin", "edges", "--out", "b", "--calibrator", "c.json", "--no-calibrator"), 2, "exclude each other"),
        (("--plugin", "edges", "--out", "b", "--data", "nowhere"), 1, "nowhere"),
    ],
)
def test_wrong_use(gasdet: Gasdet, tmp_path: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    done = gasdet("export", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert "Error: " in done.stderr
    assert message in done.stderr
    assert not (tmp_path / "b").exists()


@pytest.mark.slow
def test_every_plugin_of_the_checkout_exports_and_its_bundle_says_the_same(tmp_path: Path, repository: Path) -> None:
    """On the demo data, with the demo weights: the same record for each sample, to the last bit."""
    own = [
        p.name.removeprefix("gasdet-")
        for p in (repository / "plugins").glob("gasdet-*")
        if (p / "pyproject.toml").is_file()
    ]
    entries: list[Any] = [
        e for e in load_registry().detectors() if e.plugin.distribution.removeprefix("gasdet-") in own
    ]
    assert {e.plugin.distribution.removeprefix("gasdet-") for e in entries} == set(own)
    for entry in entries:
        name = entry.spec.name
        told = package.export(name, tmp_path / name, weights="demo", zipped=True)
        assert told.difference <= 1e-4, name
        one = package.evaluate([name], "demo", weights="demo", limit=24, out=tmp_path / f"{name}-plugin")
        other = package.evaluate([tmp_path / name], "demo", limit=24, trust_code=True, out=tmp_path / f"{name}-bundle")
        assert scores(one) == scores(other), name
        assert all(status == "ok" for status, _ in scores(one).values()), name
