"""docs/data.md names every word that the code accepts."""

from __future__ import annotations

from pathlib import Path

import pytest

from gasdet.data import archives, columns, labels
from gasdet.data.catalogue_keys import FORMATS, KNOWN_KEYS, SAMPLING_KEYS, SOURCES, TOP_KEYS
from gasdet.data.frames import MAX_FRAMES
from gasdet.data.manifest import MANIFEST_NAMES
from gasdet.data.sampling import MODE_CAPS


@pytest.fixture(scope="module")
def text(repository: Path) -> str:
    return (repository / "docs" / "data.md").read_text(encoding="utf-8")


def test_every_word_is_documented(text: str) -> None:
    words = [
        *labels._VALUES,
        *(set(labels._FOLDERS) - set(labels._VALUES)),
        *labels._SPLITS,
        *columns._PATHS,
        *(name for names in columns._KNOWN.values() for name in names),
        *MANIFEST_NAMES,
    ]
    assert [word for word in words if f"`{word}`" not in text] == []


def test_every_word_of_a_catalogue_is_documented(repository: Path) -> None:
    text = (repository / "docs" / "catalogues.md").read_text(encoding="utf-8")
    words = [*KNOWN_KEYS, *TOP_KEYS, *SAMPLING_KEYS, *FORMATS, *SOURCES]
    assert [word for word in words if f"`{word}`" not in text] == []


def test_every_bound_is_documented(text: str) -> None:
    assert f"at most {MODE_CAPS['debug']} or {MODE_CAPS['small']} samples of each" in text
    assert f"more than {archives.MAX_MEMBER_BYTES >> 20} MiB" in text
    assert f"more than {archives.MAX_MEMBERS:,} members" in text
    assert f"no clip more than\n  {MAX_FRAMES:,} frames" in text
    assert f"{archives.RATIO_FLOOR_BYTES >> 20} MiB and {archives.MAX_RATIO} times" in text
    assert archives.RATIO_FLOOR_BYTES * 16 == 2**30
    assert f"1 GiB and {archives.MAX_RATIO} times" in text
