"""The detector as a bundle: calibrated, in half precision, and the same scores as the plugin's on real media."""

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
from safetensors.torch import load_file, save_file

import gasdet
from gasdet.bundle import clean_process, comparison
from gasdet.bundle.calibration import CALIBRATOR_NAME, CalibratorFile, write_calibrator
from gasdet_dinov3.plugin import DINOV3
from gasdet_dinov3.training import build


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
    shutil.copyfile(str(files("gasdet_dinov3").joinpath("demo.safetensors")), folder / "model.safetensors")
    return folder


def scores(run: Any) -> dict[str, tuple[str, float]]:
    return {row["sample_id"]: (row["status"], row["p_synthetic"] or math.nan) for row in run.records().to_pylist()}


@pytest.mark.usefixtures("without_process")
def test_a_calibrator_inside_the_bundle(trained: Path, tmp_path: Path) -> None:
    sha256 = hashlib.sha256((trained / "model.safetensors").read_bytes()).hexdigest()
    fitted = CalibratorFile(
        method="temperature", parameters={"temperature": 2.5}, detector=DINOV3.name, weights_sha256=sha256
    )
    write_calibrator(trained / CALIBRATOR_NAME, fitted)
    told = gasdet.export(DINOV3.name, tmp_path / "bundle", weights=str(trained))
    assert told.calibrator == "affine"
    assert told.difference < 1e-5
    plain = gasdet.load(DINOV3.name, weights=str(trained))
    inside = gasdet.load(tmp_path / "bundle", trust_code=True)
    batch = np.random.default_rng(0).integers(0, 256, (4, 3, 160, 160), dtype=np.uint8)
    z = np.diff(plain.logits(batch).astype(np.float64))
    np.testing.assert_allclose(np.diff(inside.logits(batch)), z / 2.5, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("without_process")
def test_half_precision_is_exported_with_the_head_as_it_was(trained: Path, tmp_path: Path) -> None:
    told = gasdet.export(DINOV3.name, tmp_path / "half", weights=str(trained), dtype="bfloat16")
    assert told.dtype == "bfloat16"
    assert 0 < told.difference < 1
    assert "num_heads" in load_file(str(tmp_path / "half" / "model.safetensors"))


@pytest.mark.usefixtures("without_process")
def test_the_patch_heads_map_is_the_bundles_too(tmp_path: Path) -> None:
    module = build(None, embed_dim=32, depth=1, num_heads=2, patch_size=16, head="patch", pooling="lse").eval()
    folder = tmp_path / "patch"
    folder.mkdir()
    save_file({n: t.contiguous() for n, t in module.state_dict().items()}, str(folder / "model.safetensors"))
    gasdet.export(DINOV3.name, tmp_path / "bundle", weights=str(folder))
    loaded = gasdet.load(tmp_path / "bundle", trust_code=True).module
    import torch

    x = torch.randint(0, 256, (2, 3, 64, 48), dtype=torch.uint8)
    expected, details = module.forward_with_details(x)
    found, maps = loaded.forward_with_details(x)
    assert torch.equal(found, expected)
    assert torch.equal(maps["heatmap"], details["heatmap"])
    assert maps["heatmap"].shape == (2, 4, 3)


@pytest.mark.slow
def test_it_scores_real_media_as_the_plugin_does(trained: Path, tmp_path: Path, shared_media: Path) -> None:
    data = shared_media / "image"
    gasdet.export(DINOV3.name, tmp_path / "plain", weights=str(trained), data=data)
    one = gasdet.evaluate([DINOV3.name], data, weights=str(trained), limit=12, out=tmp_path / "run1")
    other = gasdet.evaluate([tmp_path / "plain"], data, limit=12, trust_code=True, out=tmp_path / "run2")
    assert scores(one) == scores(other)
    assert sum(status == "ok" for status, _ in scores(one).values()) >= 10
