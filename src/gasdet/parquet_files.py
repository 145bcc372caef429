"""Reading Parquet files, so that no process can abort at its end and no name of a file is refused."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

__all__ = ["ParquetFile", "open_parquet", "read_parquet"]


def open_parquet(path: Path | str, *, buffer_size: int = 0, page_checksums: bool = False) -> ParquetFile:
    """Open a Parquet file for reading in the calling thread alone.

    pyarrow is given a file of its own, never one of Python's: with those, and with ``pre_buffer=True``, which is its
    default, one of its threads may still hold a Python object when the interpreter ends, which then aborts the process with
    "terminate called without an active exception" (one process in 400 on a busy machine). Its path is bytes, as text that
    is no UTF-8 is refused. ``pre_buffer=False`` also reads column chunks as a stream of pages, where the default holds all
    of a row group's: on 300 rows of 1 MB in one row group, peak memory is 82 MB instead of 370 MB.

    Args:
        path: The file.
        buffer_size: Bytes to read a column chunk's pages by; 0 reads the chunk at once.
        page_checksums: Whether the pages' checksums are compared.

    Returns:
        The open file. It closes with ``close(force=True)``, or when nothing refers to it any more.

    Raises:
        OSError: The file cannot be opened.
        pyarrow.ArrowException: It is no Parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    return pq.ParquetFile(
        pa.OSFile(os.fsencode(path)),
        pre_buffer=False,
        buffer_size=buffer_size,
        page_checksum_verification=page_checksums,
    )


def read_parquet(path: Path | str, columns: Sequence[str] | None = None, *, page_checksums: bool = False) -> pa.Table:
    """Read a Parquet file whole, or some of its columns, in the calling thread alone.

    Args:
        path: The file.
        columns: Which columns, in the order wanted; None for all, in the file's order.
        page_checksums: Whether the pages' checksums are compared.

    Raises:
        OSError: The file cannot be read.
        pyarrow.ArrowException: It is damaged, no Parquet file, or lacks a column.
    """
    import pyarrow as pa

    file = open_parquet(path, page_checksums=page_checksums)
    try:
        missing = sorted(set(columns or ()) - set(file.schema_arrow.names))
        if missing:
            raise pa.ArrowInvalid(f"no column {missing[0]}")
        table = file.read(columns=None if columns is None else list(columns), use_threads=False)
        return table if columns is None else table.select(list(columns))
    finally:
        file.close(force=True)
