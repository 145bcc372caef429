"""Memory while a run streams: freed memory is given back, and nothing of a Parquet file's content is kept."""

from __future__ import annotations

import io
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gasdet.evaluation import allocation

STREAM = """
import sys
from pathlib import Path
import psutil, torch
sys.path.insert(0, sys.argv[2])
from evaluation_builders import make_detector
from gasdet.data import load_data
from gasdet.evaluation.run import RunOptions, evaluate_run
from gasdet.progress import Silent

class Watch(Silent):
    done, at, memory = 0, {}, psutil.Process()
    def advance(self, done, errors):
        self.done += done
        processes = [self.memory, *self.memory.children(recursive=True)]
        self.at[self.done] = [p.memory_info().rss for p in processes]

watch = Watch()
torch.set_num_threads(1)
run = evaluate_run([make_detector()], load_data(sys.argv[1]), Path(sys.argv[3]), RunOptions(workers=1, resamples=0), watch)
assert set(run.records()["status"].to_pylist()) == {"ok"}
third = [rss for done, rss in watch.at.items() if watch.done / 3 < done <= watch.done / 2]
last = [rss for done, rss in watch.at.items() if done > watch.done * 5 / 6]
for process in (0, 1):
    print(sorted(r[process] for r in last)[len(last) // 2] - sorted(r[process] for r in third)[len(third) // 2])
"""


@pytest.mark.skipif(platform.system() != "Linux", reason="other allocators")
def test_a_run_over_parquet_keeps_neither_rows_nor_arrays(tmp_path: Path) -> None:
    """1,700 rows of 20 kB between the two points: kept, arrays would be 255 MB and rows 34 MB."""
    rng = np.random.default_rng(0)
    contents = []
    for _ in range(50):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (140, 140, 3), dtype=np.uint8)).save(file, "JPEG", quality=90)
        contents.append(file.getvalue())
    count = 3400
    assert 15_000 < len(contents[0]) < 40_000
    table = pa.table({"image": [contents[i % 50] for i in range(count)], "label": [i % 2 for i in range(count)]})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=400, use_dictionary=False, compression="NONE")
    support = Path(__file__).parent / "support"
    command = [sys.executable, "-c", STREAM, str(tmp_path / "t.parquet"), str(support), str(tmp_path / "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    main, decoder = (int(line) for line in done.stdout.split())
    assert main < 120 * 2**20, f"the main process grew by {main / 2**20:.0f} MiB"
    assert decoder < 20 * 2**20, f"the decode process grew by {decoder / 2**20:.0f} MiB"


def test_memory_is_given_back_every_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    trimmed: list[int] = []

    class Library:
        malloc_trim = staticmethod(trimmed.append)

    monkeypatch.setattr(allocation, "_glibc", Library)
    monkeypatch.setattr(allocation, "_EVERY_BYTES", 100)
    keeper = allocation.MemoryKeeper()
    for _ in range(5):
        keeper.passed(45)
    assert trimmed == [0]
    keeper.passed(200)
    assert trimmed == [0, 0]
    monkeypatch.setattr(allocation, "_glibc", lambda: None)
    keeper.passed(200)  # another C library: nothing to do
