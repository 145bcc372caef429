"""``gasdet export``, with plugins that are truly installed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import gasdet as package
from gasdet import api
from gasdet.bundle import clean_process, comparison
from gasdet.bundle.calibration import CALIBRATOR_NAME, CalibratorFile, write_calibrator
from gasdet.cli.group import gasdet as command
from gasdet.registry import load_registry


@pytest.fixture
def here(with_plugins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a command that runs in this process, with the test plugins."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(command, [*map(str, arguments)], catch_exceptions=False)
    assert "Traceback" not in result.stderr
    return result


def records(run: api.Run) -> list[dict[str, Any]]:
    return run.records().to_pylist()


def scores(run: api.Run) -> dict[str, tuple[str, float | None]]:
    return {row["sample_id"]: (row["status"], row["p_synthetic"]) for row in records(run)}


def test_a_bundle_and_its_zip(labelled: Path, here: Path) -> None:
    done = call("export", "--plugin", "edges", "--out", "b", "--zip", "--data", labelled, "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["difference"] == 0
    assert 14 <= told["samples"] <= 16  # one of the files is truncated
    assert sorted(told["files"]) == sorted(os.listdir(here / "b"))
    plugin = scores(api.evaluate(["edges"], labelled, out=here / "of-plugin"))
    for bundle in ("b", "b.zip"):
        assert scores(api.evaluate([Path(bundle)], labelled, out=here / f"of-{bundle}", trust_code=True)) == plugin


@pytest.mark.usefixtures("without_process")
def test_what_it_prints(labelled: Path, here: Path) -> None:
    done = call("export", "--plugin", "edges", "--weights", "demo", "--out", "b", "--data", labelled)
    assert done.exit_code == 0, done.stderr
    for line in (
        "Bundle:         b",
        "Calibrator:     none",
        "Code check:     passed",
        "Clean process:  largest difference of the logits to the float32 detector 0; handed bytes 0, 1",
        "In GASBench:    the same preprocessing",
    ):
        assert line in done.stdout
    again = call("export", "--plugin", "edges", "--out", "b", "--data", labelled)
    assert (again.exit_code, again.stdout) == (1, "")
    assert "Error: b exists and is not empty" in again.stderr


@pytest.fixture
def mine(here: Path, with_plugins: Path) -> Path:
    """The released weights as a file of the user's own."""
    weights = here / "w" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes((with_plugins / "gasdet_testimage" / "release.safetensors").read_bytes())
    return weights


@pytest.mark.usefixtures("without_process")
def test_a_calibrator_that_the_model_cannot_carry(labelled: Path, here: Path, mine: Path) -> None:
    sha256 = hashlib.sha256(mine.read_bytes()).hexdigest()
    fitted = CalibratorFile(
        method="temperature", parameters={"temperature": 2.0}, detector="edges", weights_sha256=sha256
    )
    write_calibrator(mine.parent / CALIBRATOR_NAME, fitted)
    done = call("export", "--plugin", "edges", "--weights", mine, "--out", "b", "--data", labelled)
    assert done.exit_code == 1
    assert "calibration.affine" in done.stderr
    assert not [path for path in here.iterdir() if path.name.lstrip(".").startswith("b")]
    without = call(
        "export", "--plugin", "edges", "--weights", mine, "--out", "b", "--data", labelled, "--no-calibrator"
    )
    assert without.exit_code == 0, without.stderr


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
def test_wrong_use(here: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    done = call("export", *arguments)
    assert (done.exit_code, done.stdout) == (code, "")
    assert "Error: " in done.stderr
    assert message in done.stderr
    assert not (here / "b").exists()


FORKING = """
import contextlib, importlib, json, os, runpy, sys, traceback
for name in ("torch", "torchvision", "torchaudio", "timm", "safetensors.torch"):
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
for line in sys.stdin:
    script, request = json.loads(line)
    child = os.fork()
    if not child:
        os.chdir(os.path.dirname(request))
        os.dup2(os.open(request + ".errors", os.O_WRONLY | os.O_CREAT), 2)
        sys.argv = [script, request]
        try:
            runpy.run_path(script, run_name="__main__")
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture
def forked_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Clean processes that are forks of one that has imported torch and timm: gasdet cannot be imported in them either.

    Gives the requests that they answered.
    """
    caches = {name: str(tmp_path / "cache") for name in ("HF_HOME", "TORCH_HOME", "XDG_CACHE_HOME")}
    parent = subprocess.Popen(
        [sys.executable, "-I", "-c", FORKING],
        env={**os.environ, **caches, "HF_HUB_OFFLINE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    given, told, answered = parent.stdin, parent.stdout, []

    def start(request: Path) -> subprocess.CompletedProcess[bytes]:
        print(json.dumps([clean_process.__file__, str(request)]), file=given, flush=True)
        code = int(told.readline())
        answered.append(request)
        return subprocess.CompletedProcess([], code, b"", Path(f"{request}.errors").read_bytes())

    monkeypatch.setattr(comparison, "start_clean", start)
    yield answered
    parent.communicate()


@pytest.mark.slow
def test_every_plugin_of_the_checkout_exports_and_its_bundle_says_the_same(
    tmp_path: Path, repository: Path, forked_processes: list[Path]
) -> None:
    """On the demo data, with the demo weights: the same record for each sample, to the last bit."""
    own = [
        p.name.removeprefix("gasdet-")
        for p in (repository / "plugins").glob("gasdet-*")
        if (p / "pyproject.toml").is_file()
    ]
    entries: list[Any] = [
        e
        for e in load_registry().detectors()
        if e.plugin.distribution.removeprefix("gasdet-") in own and e.spec.weights_named("demo") is not None
    ]
    assert {e.plugin.distribution.removeprefix("gasdet-") for e in entries} == set(own)
    names = [entry.spec.name for entry in entries]
    for name in names:
        assert package.export(name, tmp_path / name, weights="demo", zipped=True).difference <= 1e-4, name
    assert len(forked_processes) == len(names)
    runs = [
        package.evaluate([package.load(name, "demo") for name in names], "demo", limit=72, out=tmp_path / "plugins"),
        package.evaluate(
            [tmp_path / name for name in names], "demo", limit=72, trust_code=True, out=tmp_path / "bundles"
        ),
    ]
    one, other = (
        {(r["detector"], r["sample_id"]): (r["status"], r["p_synthetic"]) for r in records(run)} for run in runs
    )
    assert one == other
    for name in names:
        assert sum(detector == name for detector, _ in one) >= 12, name
    assert {status for status, _ in one.values()} == {"ok"}
