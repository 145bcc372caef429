"""Broken components on the path."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def broken(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package gasdet_testbroken can be imported."""
    monkeypatch.syspath_prepend(str(repository / "tests" / "plugins_for_tests" / "gasdet-testbroken" / "src"))
