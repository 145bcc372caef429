"""Data sets that are written file by file, and checks without decode processes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from checked_data import Manifest
from without_processes import PoolHere

from gasdet.inspection import running


@pytest.fixture(autouse=True)
def without_processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "in_processes" not in request.fixturenames:
        monkeypatch.setattr(running, "DecodePool", PoolHere)


@pytest.fixture
def in_processes() -> None:
    """Asked for by tests that are to use real decode processes."""


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    (tmp_path / "data").mkdir()
    return Manifest(tmp_path / "data")
