"""One column of a Parquet file, read value by value without holding the file in memory."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gasdet.data.archives import MAX_MEMBER_BYTES, MAX_RATIO
from gasdet.errors import MediaError, first_line
from gasdet.parquet_files import open_parquet
from gasdet.types import Reason

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_BATCH_BYTES = 8 * 2**20
BUFFER_BYTES = 256 * 2**10
"""A file whose writer made one page (or one dictionary) of a whole column chunk still needs that page in memory."""


def chunk_of(group: pq.RowGroupMetaData, column: str) -> pq.ColumnChunkMetaData | None:
    """The description of a leaf column (``image.bytes``) in a row group, or None where it has no such column."""
    chunks = map(group.column, range(group.num_columns))
    return next((chunk for chunk in chunks if chunk.path_in_schema == column), None)


class ParquetCursor:
    """A binary column of an open Parquet file. Rows asked for in order stream through; a step back starts its row group again.

    Not safe for several threads at once.
    """

    def __init__(self, path: str, column: str) -> None:
        import pyarrow as pa

        self._column = column
        try:
            self._file = open_parquet(path, buffer_size=BUFFER_BYTES)
        except FileNotFoundError as error:
            raise MediaError(Reason.FILE_MISSING, "the Parquet file is not there") from error
        except (OSError, pa.ArrowException, ValueError) as error:
            message = f"the file cannot be opened as Parquet ({first_line(error)})"
            raise MediaError(Reason.ARCHIVE_DAMAGED, message) from error
        metadata = self._file.metadata
        counts = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        self._group_starts = [0, *itertools.accumulate(counts)]
        self._group = -1
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._batch: pa.Array | None = None
        self._batch_start = 0

    def read(self, row: int) -> bytes:
        """The bytes in a row.

        Raises:
            MediaError: There is no such row, it holds nothing, or the file is damaged there.
        """
        import pyarrow as pa

        if not 0 <= row < self._group_starts[-1]:
            raise MediaError(Reason.FILE_MISSING, f"the Parquet file has no row {row}")
        try:
            value = self._seek(row)[row - self._batch_start]
        except (OSError, pa.ArrowException, ValueError, StopIteration) as error:
            message = f"the Parquet file is damaged at or before row {row} ({first_line(error)})"
            raise MediaError(Reason.ARCHIVE_DAMAGED, message) from error
        content = value.as_py()
        if content is None:
            raise MediaError(Reason.FILE_EMPTY, f"row {row} holds no bytes in {self._column}")
        if not isinstance(content, bytes):
            message = f"column {self._column} holds {value.type}, not bytes"
            raise MediaError(Reason.UNSUPPORTED, message)
        return content

    def _seek(self, row: int) -> pa.Array:
        """The batch that holds a row."""
        group = bisect.bisect_right(self._group_starts, row) - 1
        if group != self._group or row < self._batch_start:
            self._open_group(group)
        # Until the row is found, no group counts as open: whatever is raised on the way, the next call starts anew, and does
        # not go on in batches that are not where it takes them to be.
        self._group = -1
        while self._batch is None or row >= self._batch_start + len(self._batch):
            if self._batch is not None:
                self._batch_start += len(self._batch)
            self._batch = _leaf(next(self._batches))
        self._group = group
        return self._batch

    def _open_group(self, group: int) -> None:
        self._group, self._batch, self._batches = -1, None, iter(())
        self._batch_start = self._group_starts[group]
        described = self._file.metadata.row_group(group)
        chunk = chunk_of(described, self._column)
        if chunk is None:
            raise MediaError(Reason.UNSUPPORTED, f"the Parquet file has no column {self._column}")
        expanded = chunk.total_uncompressed_size
        if expanded > 2 * MAX_MEMBER_BYTES and expanded > MAX_RATIO * max(chunk.total_compressed_size, 1):
            message = f"column {self._column} expands more than {MAX_RATIO} times, as no media do"
            raise MediaError(Reason.TOO_LARGE, message)
        mean = max(1, expanded // max(1, described.num_rows))
        self._batches = self._file.iter_batches(
            batch_size=max(1, min(1024, _BATCH_BYTES // mean)),
            row_groups=[group],
            columns=[self._column],
            use_threads=False,
        )

    def close(self) -> None:
        """Close the file."""
        self._batch = None
        self._batches = iter(())
        self._file.close(force=True)


def _leaf(batch: pa.RecordBatch) -> pa.Array:
    """The batch's only leaf: ``image.bytes`` comes as a struct with one field."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array = batch.column(0)
    while pa.types.is_struct(array.type):
        array = pc.struct_field(array, [0])
    return array
