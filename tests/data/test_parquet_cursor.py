"""A Parquet column, value by value: the right row's bytes or an error, in whatever order rows are asked for."""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gasdet.data import load_data, parquet, parquet_cursor
from gasdet.data.parquet_cursor import ParquetCursor
from gasdet.errors import DataError, MediaError
from gasdet.types import Reason

GROUP = 40
VALUE = 20_000


def values(group: int) -> list[bytes]:
    rng = np.random.default_rng(group)
    return [b"%d %d " % (group, row) + rng.bytes(VALUE) for row in range(GROUP)]


def bombs() -> list[bytes]:
    return [bytes(10 * VALUE)] * GROUP


@pytest.fixture
def few_to_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of seven rows, so that a group has several, and a bound that only the bomb exceeds."""
    monkeypatch.setattr(parquet_cursor, "_BATCH_BYTES", 7 * VALUE + 1000)
    monkeypatch.setattr(parquet_cursor, "MAX_MEMBER_BYTES", 2 * GROUP * VALUE)


def write(path: Path, *groups: list[bytes]) -> Path:
    schema = pa.schema([("image", pa.binary())])
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=False) as writer:
        for group in groups:
            writer.write_table(pa.table({"image": group}, schema=schema))
    return path


@pytest.fixture
def cursor(tmp_path: Path, few_to_a_batch: None) -> Iterator[ParquetCursor]:
    """Two groups of values around one that expands as no media do."""
    found = ParquetCursor(str(write(tmp_path / "x.parquet", values(0), bombs(), values(2))), "image")
    yield found
    found.close()


def answer(cursor: ParquetCursor, row: int) -> bytes | Reason:
    try:
        return cursor.read(row)
    except MediaError as error:
        return error.reason


def expected(row: int) -> bytes | Reason:
    group, place = divmod(row, GROUP)
    return Reason.TOO_LARGE if group == 1 else values(group)[place]


@pytest.mark.parametrize(
    "rows",
    [
        [0, GROUP, GROUP + 1, GROUP + 2],
        [5, GROUP, 5, GROUP + 9, 6, 2 * GROUP, GROUP, 2 * GROUP + 1],
        [*range(3 * GROUP)],
        [*reversed(range(3 * GROUP))],
        random.Random(0).choices(range(3 * GROUP), k=150),
    ],
)
def test_after_a_refused_group_no_row_has_anothers_bytes(cursor: ParquetCursor, rows: list[int]) -> None:
    every = [expected(row) for row in range(3 * GROUP)]
    wrong = [row for row in rows if answer(cursor, row) != every[row]]
    assert wrong == []


def test_a_row_that_is_not_there_changes_nothing(cursor: ParquetCursor) -> None:
    assert [answer(cursor, row) for row in (3, -1, 3 * GROUP)] == [expected(3), *[Reason.FILE_MISSING] * 2]
    assert answer(cursor, 4) == expected(4)


@pytest.mark.parametrize("at", [0, 1, 3])
def test_what_is_raised_while_reading_does_not_shift_the_rows(
    cursor: ParquetCursor, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Memory may run out in the middle of a batch, or Ctrl-C come; the next call must not go on from there."""
    leaf, calls = parquet_cursor._leaf, 0

    def failing(batch: pa.RecordBatch) -> pa.Array:
        nonlocal calls
        calls += 1
        if calls == at + 1:
            raise MemoryError
        return leaf(batch)

    monkeypatch.setattr(parquet_cursor, "_leaf", failing)
    with pytest.raises(MemoryError):
        [cursor.read(row) for row in range(GROUP)]
    assert [answer(cursor, row) for row in range(20, GROUP)] == [expected(row) for row in range(20, GROUP)]


def test_damage_costs_its_rows_and_no_others(tmp_path: Path, few_to_a_batch: None) -> None:
    path = write(tmp_path / "x.parquet", values(0), values(2))
    found = pq.ParquetFile(path).metadata.row_group(1).column(0)
    with path.open("r+b") as file:
        file.seek(found.data_page_offset)
        file.write(bytes(400))
    cursor = ParquetCursor(str(path), "image")
    try:
        assert answer(cursor, 2) == values(0)[2]
        assert answer(cursor, GROUP) is Reason.ARCHIVE_DAMAGED
        assert answer(cursor, GROUP + 1) is Reason.ARCHIVE_DAMAGED
        assert answer(cursor, 1) == values(0)[1]
    finally:
        cursor.close()


def open_here(path: Path) -> bool:
    links = (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))
    return any(os.path.exists(link) and os.path.samefile(link, path) for link in links)


def test_a_file_that_is_refused_is_closed(tmp_path: Path) -> None:
    """Also while the error, whose traceback holds every frame, is still there."""
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"one": [b"a"], "two": [b"b"], "label": [0]}), path)
    gc.disable()
    try:
        with pytest.raises(DataError, match="several columns with bytes") as refusal:
            load_data(path)
        assert not open_here(path)
        assert refusal.value is not None
    finally:
        gc.enable()
    with parquet.open_parquet(path) as file:  # what would have been seen
        assert file.metadata.num_rows == 1
        assert open_here(path)
