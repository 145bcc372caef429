from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gasdet.cache.folders import prune
from gasdet.training import feature_cache
from gasdet.training.feature_cache import FeatureCache

KEY = {"backbone": "b", "preprocessing": {"num_frames": 24}}


def vector(i: int) -> np.ndarray:
    return np.random.default_rng(i).normal(size=21).astype(np.float32)


def test_vectors_come_back_bit_for_bit(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, KEY)
    for i in range(10):
        cache.add(f"hash{i}", vector(i), f"digest{i}")
    cache.flush()
    again = FeatureCache(tmp_path, KEY)
    assert len(again) == 10
    assert again.get("hash3").digest == "digest3"
    for i in range(10):
        assert np.array_equal(again.get(f"hash{i}").vector, vector(i))
    assert again.get("other") is None


def test_full_parts_are_written_without_flush(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(feature_cache, "_PART_ROWS", 4)
    cache = FeatureCache(tmp_path, KEY)
    for i in range(10):
        cache.add(f"hash{i}", vector(i))
    assert len(FeatureCache(tmp_path, KEY)) == 8  # as after a kill: two rows were waiting


def test_another_key_is_another_cache(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, KEY)
    cache.add("hash", vector(0))
    cache.flush()
    other = FeatureCache(tmp_path, {**KEY, "preprocessing": {"num_frames": 16}})
    assert other.get("hash") is None
    assert FeatureCache(tmp_path, dict(reversed(KEY.items()))).get("hash") is not None


def test_a_damaged_or_unfinished_part_costs_only_itself(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, KEY)
    for i in range(2):
        cache.add(f"hash{i}", vector(i))
        cache.flush()
    folder = cache.folder
    parts = sorted(folder.glob("part-*.parquet"))
    assert len(parts) == 2
    del cache  # as a process that ended
    parts[0].write_bytes(parts[0].read_bytes()[:50])
    (folder / "part-x.parquet.pending").write_bytes(b"half")
    assert len(FeatureCache(tmp_path, KEY)) == 1
    assert sorted(folder.glob("part-*")) == [parts[1]]


def test_parts_of_an_earlier_format_are_computed_again(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, KEY)
    table = pa.table({"content": ["a"], "features": [[1.0, 2.0]]})
    pq.write_table(table, cache.folder / "part-old.parquet")
    assert len(FeatureCache(tmp_path, KEY)) == 0
    assert not list(cache.folder.glob("part-*"))


def test_the_cache_is_bounded_and_can_be_cleared(tmp_path: Path) -> None:
    for number in range(3):
        cache = FeatureCache(tmp_path, {"n": number})
        cache.add("hash", vector(number))
        cache.flush()
        os.utime(cache.folder / ".used", (number, number))
    size = sum(path.stat().st_size for path in cache.folder.iterdir())
    del cache
    # opening the first makes it the one used last: of the others, the older one goes
    again = FeatureCache(tmp_path, {"n": 0}, max_bytes=2 * size + size // 2)
    assert again.get("hash") is not None
    assert len(list(tmp_path.iterdir())) == 2
    assert FeatureCache(tmp_path, {"n": 2}).get("hash") is not None
    del again
    prune(tmp_path, 0)
    assert not list(tmp_path.iterdir())


def test_two_processes_may_write_the_same_cache(tmp_path: Path) -> None:
    one, two = FeatureCache(tmp_path, KEY), FeatureCache(tmp_path, KEY)
    for i in range(4):
        one.add(f"hash{i}", vector(i))
        two.add(f"hash{i + 2}", vector(i + 2))
    one.flush()
    two.flush()
    assert len(FeatureCache(tmp_path, KEY)) == 6


def test_seconds_of_computing_are_never_lost(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(feature_cache.time, "monotonic", lambda: next(clock))
    cache = FeatureCache(tmp_path, KEY)
    for i in range(3):
        cache.add(f"hash{i}", vector(i))
    assert len(list(cache.folder.glob("part-*"))) >= 1
