"""Folders of frames through a whole run: scores known by hand, and every fault one record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gasdet.api.equalising import check_equalise, equalise_setting, equalised_preprocessing, with_equalise
from gasdet.data import load_data
from gasdet.errors import ConfigError, UsageError
from gasdet.evaluation.run import RunOptions, evaluate_run
from gasdet.types import Modality, Preprocessing


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Clips of ten even frames: grey 60 and 140; one with a bad frame, one whose second frame is cut off."""
    for name, grey in (("real/a", 60), ("synthetic/b", 140), ("real/bad", 60), ("synthetic/cut", 140)):
        folder = tmp_path / "clips" / name
        folder.mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (64, 48), (grey, grey, grey)).save(folder / f"{i}.png")
    (tmp_path / "clips/real/bad/3.png").write_bytes(b"no image at all")
    cut = tmp_path / "clips/synthetic/cut/1.png"
    cut.write_bytes(cut.read_bytes()[:60])
    catalogue = tmp_path / "clips.yaml"
    catalogue.write_text(
        "datasets:\n  - {name: clips, path: clips, modality: video, source_format: frames}\n", encoding="utf-8"
    )
    return catalogue


def run_on(clips: Path, detector: Any, folder: Path) -> dict[str, dict[str, Any]]:
    run = evaluate_run([detector], load_data(clips), folder, RunOptions(workers=1, resamples=0))
    return {row["member"]: row for row in run.records().to_pylist()}


def test_frame_folders_are_scored_as_clips(clips: Path, make_detector: Callable[..., Any], tmp_path: Path) -> None:
    detector = make_detector(modality=Modality.VIDEO)
    rows = run_on(clips, detector, tmp_path / "run")
    assert {name: row["status"] for name, row in rows.items()} == {
        "real/a": "ok",
        "real/bad": "error",
        "synthetic/b": "ok",
        "synthetic/cut": "error",
    }
    for name, grey in (("real/a", 60), ("synthetic/b", 140)):
        expected = 1 / (1 + np.exp(-(grey - 100) / 20))
        assert rows[name]["p_synthetic"] == pytest.approx(expected, abs=1e-5)
        assert rows[name]["frames"] == 10
        assert (rows[name]["width"], rows[name]["height"]) == (64, 48)
    assert rows["real/bad"]["message"].startswith("Frame 4 of 10")
    assert rows["synthetic/cut"]["message"].startswith("Frame 2 of 10")


def test_equalised_they_are_scored_too_and_the_run_says_so(
    clips: Path, make_detector: Callable[..., Any], tmp_path: Path
) -> None:
    (detector,) = with_equalise([make_detector(modality=Modality.VIDEO)], "standard:side=32,seconds=0.5")
    assert detector.preprocessing.equalise == "standard-1:side=32,seconds=0.5"
    rows = run_on(clips, detector, tmp_path / "run")
    for name, grey in (("real/a", 60), ("synthetic/b", 140)):
        expected = 1 / (1 + np.exp(-(grey - 100) / 20))
        assert rows[name]["p_synthetic"] == pytest.approx(expected, abs=0.02)
        assert "libx264" in rows[name]["decoder"]
        assert rows[name]["width"] == 64
    told = (tmp_path / "run" / "run.json").read_text(encoding="utf-8")
    assert '"equalise": "standard-1:side=32,seconds=0.5"' in told


def test_a_text_for_several_modalities() -> None:
    both = [Modality.IMAGE, Modality.VIDEO]
    check_equalise("standard:side=64,crf=28", both)
    image = equalised_preprocessing(Preprocessing(Modality.IMAGE), "standard:side=64,crf=28")
    assert image.equalise == "standard-1:side=64"
    assert equalise_setting("standard", Modality.AUDIO) == "preprocessing.equalise=standard-1"
    with pytest.raises(UsageError, match="crf has no bearing on image"):
        check_equalise("standard:crf=28", [Modality.IMAGE])
    with pytest.raises(ConfigError, match="did you mean 'side'"):
        check_equalise("standard:sdie=64", both)
    with pytest.raises(ConfigError, match="--equalise: there is no equalisation profile"):
        equalise_setting("nothing", Modality.IMAGE)
