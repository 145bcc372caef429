"""Parquet files are read by the calling thread alone, whatever their names, and nothing of Python's is left with pyarrow."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gasdet.parquet_files import open_parquet, read_parquet

READ = """
import os, sys
import pyarrow.parquet, numpy
from pathlib import Path
threads = lambda: len(os.listdir("/proc/self/task"))
before = threads()
{statement}
print(threads() - before)
"""
"""Prints how many threads reading has started: one that pyarrow keeps may hold a Python object when the process ends."""


def threads_started(statement: str, path: Path) -> int:
    command = [sys.executable, "-c", READ.format(statement=statement), str(path)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    return int(done.stdout)


@pytest.fixture
def parquet_file(tmp_path: Path) -> Path:
    table = pa.table({f"c{i}": [f"{i} {row}" for row in range(1000)] for i in range(8)})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=100, write_page_checksum=True)
    return tmp_path / "t.parquet"


@pytest.mark.skipif(platform.system() != "Linux", reason="counts threads by /proc")
@pytest.mark.parametrize(
    "statement",
    [
        "from gasdet.parquet_files import read_parquet; read_parquet(sys.argv[1], ['c3', 'c1'], page_checksums=True)",
        "from gasdet.parquet_files import open_parquet; open_parquet(sys.argv[1]).read(use_threads=False)",
        "from gasdet.parquet_files import open_parquet; [*open_parquet(sys.argv[1]).iter_batches(10, use_threads=False)]",
    ],
)
def test_reading_starts_no_thread(statement, parquet_file):
    assert threads_started(statement, parquet_file) == 0


@pytest.mark.skipif(platform.system() != "Linux", reason="counts threads by /proc")
def test_reading_as_pyarrow_does_it_would_start_one(parquet_file):
    """Else the test above would show nothing."""
    assert threads_started("pyarrow.parquet.ParquetFile(open(sys.argv[1], 'rb')).read()", parquet_file) > 0


def test_columns_come_in_the_order_asked_for(parquet_file):
    assert (
        read_parquet(parquet_file, ["c3", "c1"]).to_pydict()
        == pq.read_table(parquet_file, columns=["c3", "c1"]).to_pydict()
    )
    assert read_parquet(parquet_file, ["c3", "c1"]).column_names == ["c3", "c1"]
    assert read_parquet(str(parquet_file)).equals(pq.read_table(parquet_file))


def test_a_column_that_is_not_there_is_an_error(parquet_file):
    with pytest.raises(pa.ArrowInvalid, match="no column d"):
        read_parquet(parquet_file, ["c1", "d"])


@pytest.mark.skipif(platform.system() != "Linux", reason="names of files need not be text there alone")
def test_a_path_that_is_no_text(parquet_file):
    folder = Path(os.fsdecode(os.fsencode(parquet_file.parent) + b"/caf\xe9"))
    folder.mkdir()
    moved = parquet_file.rename(folder / "t.parquet")
    assert read_parquet(moved).num_rows == open_parquet(moved).metadata.num_rows == 1000


def test_damage_in_a_page_is_found_by_its_checksum(parquet_file):
    content = bytearray(parquet_file.read_bytes())
    at = content.index(b"0 50")
    content[at : at + 4] = b"9 99"
    parquet_file.write_bytes(content)
    with pytest.raises((OSError, pa.ArrowException)):
        read_parquet(parquet_file, page_checksums=True)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no Parquet file at all"])
def test_what_is_no_parquet_file_is_an_error_of_pyarrow(content, tmp_path):
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(pa.ArrowException):
        read_parquet(tmp_path / "x.parquet")
    with pytest.raises(FileNotFoundError):
        read_parquet(tmp_path / "absent.parquet")
    with pytest.raises(OSError, match="directory"):
        read_parquet(tmp_path)
