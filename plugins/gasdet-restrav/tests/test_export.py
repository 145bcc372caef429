"""ReStraV as a bundle: the same scores as the plugin's on real media. The rest is in the conformance kit."""

from __future__ import annotations

import math
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

import gasdet
from gasdet_restrav.plugin import RESTRAV


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A copy of the demo weights in a folder of its own, as a training leaves it."""
    folder = tmp_path / "trained"
    folder.mkdir()
    shutil.copyfile(str(files("gasdet_restrav").joinpath("demo.safetensors")), folder / "model.safetensors")
    return folder


def scores(run: Any) -> dict[str, tuple[str, float]]:
    return {row["sample_id"]: (row["status"], row["p_synthetic"] or math.nan) for row in run.records().to_pylist()}


def test_it_scores_real_media_as_the_plugin_does(trained: Path, tmp_path: Path, shared_media: Path) -> None:
    data = shared_media / "video"
    gasdet.export(RESTRAV.name, tmp_path / "plain", weights=str(trained), data=data)
    one = gasdet.evaluate([RESTRAV.name], data, weights=str(trained), limit=6, out=tmp_path / "run1")
    other = gasdet.evaluate([tmp_path / "plain"], data, limit=6, trust_code=True, out=tmp_path / "run2")
    assert scores(one) == scores(other)
    assert sum(status == "ok" for status, _ in scores(one).values()) >= 4
