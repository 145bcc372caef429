"""calibrator.json: what is written is read, what is damaged or belongs to other weights is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from gasdet.bundle.calibration import (
    CALIBRATOR_NAME,
    CalibratorError,
    CalibratorFile,
    find_calibrator,
    read_calibrator,
    write_calibrator,
)


@pytest.fixture
def calibrator() -> CalibratorFile:
    return CalibratorFile(
        method="platt",
        parameters={"scale": 0.5, "bias": -1.0},
        detector="tiny",
        weights_sha256="a" * 64,
        fitted_on={"samples": 10},
        thresholds=({"fpr": 0.05, "threshold": 0.9},),
        created="2026-01-01T00:00:00+00:00",
        notes=("a note",),
    )


def test_what_is_written_is_read(calibrator: CalibratorFile, tmp_path: Path) -> None:
    written = write_calibrator(tmp_path / "c.json", calibrator)
    assert written.path == tmp_path / "c.json"
    assert read_calibrator(tmp_path / "c.json") == written
    assert [p.name for p in tmp_path.iterdir()] == ["c.json"]


def test_it_is_found_beside_the_weights_and_only_for_them(calibrator: CalibratorFile, tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    assert find_calibrator(weights, "a" * 64) is None
    write_calibrator(tmp_path / CALIBRATOR_NAME, calibrator)
    found = find_calibrator(weights, "a" * 64)
    assert found is not None
    assert found.parameters == calibrator.parameters
    with pytest.raises(CalibratorError, match=r"aaaaaaaa.*bbbbbbbb.*--no-calibrator"):
        find_calibrator(weights, "b" * 64)


def test_its_hash_is_of_what_decides_the_scores(calibrator: CalibratorFile) -> None:
    assert calibrator.sha256 == dataclasses.replace(calibrator, notes=(), created="", thresholds=()).sha256
    for change in ({"method": "beta"}, {"parameters": {"scale": 0.6, "bias": -1.0}}, {"weights_sha256": "c" * 64}):
        assert dataclasses.replace(calibrator, **change).sha256 != calibrator.sha256


@pytest.mark.parametrize(
    "damage",
    [
        {"method": 3},
        {"parameters": []},
        {"thresholds": [{"fpr": 0.1}]},
        {"thresholds": "many"},
        {"schema_version": 99},
        {"notes": None},
    ],
)
def test_a_damaged_file_is_refused(calibrator: CalibratorFile, tmp_path: Path, damage: dict) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps({**calibrator.to_mapping(), **damage}))
    with pytest.raises(CalibratorError, match="make it again"):
        read_calibrator(path)


def test_what_is_no_file_and_no_json_is_refused(calibrator: CalibratorFile, tmp_path: Path) -> None:
    with pytest.raises(CalibratorError, match="cannot be read"):
        read_calibrator(tmp_path / "absent.json")
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(CalibratorError, match="JSON"):
        read_calibrator(tmp_path / "c.json")
    with pytest.raises(CalibratorError, match="cannot be written"):
        write_calibrator(tmp_path / "absent" / "c.json", calibrator)
