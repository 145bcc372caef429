"""The detector as a bundle: calibrators of every kind inside, and the same scores as the plugin's on real media."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

import gasdet
from gasdet.bundle import clean_process, comparison
from gasdet.errors import BundleError
from gasdet_breathnet.plugin import BREATHNET


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
    shutil.copyfile(str(files("gasdet_breathnet").joinpath("demo.safetensors")), folder / "model.safetensors")
    return folder


def scores(run: Any) -> dict[str, tuple[str, float]]:
    return {row["sample_id"]: (row["status"], row["p_synthetic"] or math.nan) for row in run.records().to_pylist()}


@pytest.mark.usefixtures("without_process")
def test_rounded_weights_are_exported_as_they_are(trained: Path, tmp_path: Path) -> None:
    first = gasdet.export(BREATHNET.name, tmp_path / "first", weights=str(trained), dtype="bfloat16")
    again = gasdet.export(BREATHNET.name, tmp_path / "again", weights=str(tmp_path / "first"))
    assert (first.dtype, again.dtype) == ("bfloat16", "bfloat16")
    assert first.weights_sha256 == again.weights_sha256
    assert 0 < again.difference < 1
    with pytest.raises(BundleError, match="rounded to bfloat16"):
        gasdet.export(BREATHNET.name, tmp_path / "wider", weights=str(tmp_path / "first"), dtype="float32")


@pytest.mark.slow
def test_it_scores_real_media_as_the_plugin_does(trained: Path, tmp_path: Path, shared_media: Path) -> None:
    data = shared_media / "audio"
    gasdet.export(BREATHNET.name, tmp_path / "plain", weights=str(trained), data=data)
    one = gasdet.evaluate([BREATHNET.name], data, weights=str(trained), limit=12, out=tmp_path / "run1")
    other = gasdet.evaluate([tmp_path / "plain"], data, limit=12, trust_code=True, out=tmp_path / "run2")
    assert scores(one) == scores(other)
    assert sum(status == "ok" for status, _ in scores(one).values()) >= 10
