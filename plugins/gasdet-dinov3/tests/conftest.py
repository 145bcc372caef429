"""Fixtures of this plugin's tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_media() -> Path:
    """Real files that lie beside the project, or a skip with the reason."""
    folder = Path(
        os.environ.get("GASDET_TEST_MEDIA") or Path(__file__).resolve().parents[3].parent.joinpath("shared", "media")
    )
    if not folder.is_dir():
        pytest.skip(f"real media are absent: no folder {folder} (set GASDET_TEST_MEDIA to one that has them)")
    return folder
