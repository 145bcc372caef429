"""Room on the disk: every folder counts once, whatever paths lead to it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gasdet.cache.store import Store
from gasdet.data.remote.tasks import clean


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three downloads of 1,000 bytes, the first of them unused for longest."""
    monkeypatch.setenv("GASDET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GASDET_DATA", str(tmp_path / "big"))
    (tmp_path / "cache").mkdir()
    for i in range(3):
        folder = tmp_path / "big" / f"set{i}"
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(bytes(1000))
        (folder / ".used").touch()
        os.utime(folder / ".used", (1e9 + i, 1e9 + i))
    return tmp_path / "big"


def test_a_download_folder_that_a_link_in_the_cache_leads_to_counts_once(root: Path, tmp_path: Path) -> None:
    (tmp_path / "cache" / "datasets").symlink_to(root)
    assert clean(3010, dry_run=True).removed == ()
    assert clean(3010, data_dir=tmp_path / "cache" / "datasets", dry_run=True).removed == ()
    cleaned = clean(2010)
    assert [unit.path.name for unit in cleaned.removed] == ["set0"]
    assert (cleaned.kept, cleaned.kept_bytes) == (2, 2000)
    assert sorted(folder.name for folder in root.iterdir()) == ["set1", "set2"]


def test_a_decode_cache_that_is_named_twice_counts_once(root: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "mine", 1 << 30)
    store.put("0" * 32, b"x" * 4000)
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    (tmp_path / "cache" / "decode-cache").symlink_to(tmp_path / "mine")
    held = store.total_bytes()
    caches = [tmp_path / "mine", tmp_path / "link"]
    cleaned = clean(3000 + held, decode_caches=caches, dry_run=True)
    assert (cleaned.removed, cleaned.decoded_bytes, cleaned.kept_bytes) == ((), 0, 3000 + held)
