"""What a decoded store knows of each sample, in parts that are complete or absent, and the file that its arrays are in."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from gasdet.atomic_files import write_atomically
from gasdet.errors import RunError
from gasdet.parquet_files import read_parquet
from gasdet.types import Reason

_SCHEMA = pa.schema(
    [
        ("identity", pa.string()),
        ("offset", pa.int64()),
        ("shape", pa.list_(pa.int64())),
        ("dtype", pa.string()),
        ("digest", pa.string()),
        ("reason", pa.string()),
        ("message", pa.string()),
    ]
)

_PART_ROWS, _PART_BYTES, _PART_SECONDS = 4096, 256 * 2**20, 20.0
"""What a kill can cost: so many samples, bytes or seconds of decoding, whichever comes first."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One sample: where its array is, or why it has none.

    Attributes:
        offset: Of its first byte in the file; -1 where the array is not kept.
        shape: Of the array.
        dtype: Of the array, as numpy writes it ("|u1").
        digest: SHA-256 of the array.
        reason: Why it cannot be decoded; None where it can.
        message: The same in words.
    """

    offset: int = -1
    shape: tuple[int, ...] = ()
    dtype: str = "|u1"
    digest: str = ""
    reason: Reason | None = None
    message: str = ""

    @property
    def nbytes(self) -> int:
        """Size of the array."""
        return 0 if self.reason is not None else math.prod(self.shape) * np.dtype(self.dtype).itemsize


class DecodedIndex:
    """The entries of a store's folder by the samples' identities.

    A part that cannot be read is removed, and an entry whose array is not in the file (any more) loses its offset: its sample
    is decoded again. To be read, and written, by one process at a time.

    Attributes:
        entries: By identity.
        arrays: The file with the arrays; it need not exist.
        size: Bytes of that file up to the end of the last array.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.arrays = folder / "arrays.bin"
        self.entries: dict[str, Entry] = {}
        self._parts = 0
        present = self.arrays.stat().st_size if self.arrays.exists() else 0
        for part in sorted(folder.glob("part-*.parquet")):
            self._parts = max(self._parts, int(part.stem.removeprefix("part-")) + 1)
            self._read(part, present)
        self.size = max((e.offset + e.nbytes for e in self.entries.values() if e.offset >= 0), default=0)

    def _read(self, part: Path, present: int) -> None:
        try:
            columns = read_parquet(part, _SCHEMA.names).to_pydict()
        except (pa.ArrowException, OSError):
            part.unlink(missing_ok=True)
            return
        for identity, offset, shape, dtype, digest, reason, message in zip(*columns.values(), strict=True):
            entry = Entry(offset, tuple(shape), dtype, digest, Reason(reason) if reason else None, message)
            if entry.offset + entry.nbytes > present:
                entry = dataclasses.replace(entry, offset=-1)
            self.entries[identity] = entry

    @contextmanager
    def writer(self) -> Iterator[IndexWriter]:
        """Append to the file and the index. What was added after the last ``commit`` is lost on the way out.

        Raises:
            RunError: The file cannot be written.
        """
        try:
            with open(self.arrays, "ab", buffering=2**20) as file:
                file.truncate(self.size)  # what an interrupted writer left beyond its last part
                yield IndexWriter(self, file)
        except OSError as error:
            raise RunError(
                f"{self.arrays}: decoded samples cannot be written ({error.strerror or error}); once they can be, the same "
                "command goes on from here."
            ) from error

    def drop_arrays(self) -> None:
        """Remove the file; digests and failures stay."""
        self.arrays.unlink(missing_ok=True)
        self.entries = {name: dataclasses.replace(entry, offset=-1) for name, entry in self.entries.items()}
        self.size = 0

    def write_part(self, entries: dict[str, Entry]) -> None:
        """Add entries whose arrays are on the disk."""
        rows = [
            {"identity": name, **{f.name: getattr(entry, f.name) for f in dataclasses.fields(entry)}}
            for name, entry in entries.items()
        ]
        for row in rows:
            row["shape"], row["reason"] = list(row["shape"]), row["reason"] and row["reason"].value
        table = pa.Table.from_pylist(rows, schema=_SCHEMA)
        write_atomically(self._folder / f"part-{self._parts:08d}.parquet", lambda file: pq.write_table(table, file))
        self._parts += 1
        self.entries |= entries


class IndexWriter:
    """Appends arrays and entries; made by ``DecodedIndex.writer``."""

    def __init__(self, index: DecodedIndex, file: IO[bytes]) -> None:
        self._index = index
        self._file = file
        self._waiting: dict[str, Entry] = {}
        self.end = index.size
        """Where the next array goes, in bytes from the start of the file."""
        self._since = time.monotonic()

    def add(self, identity: str, entry: Entry, array: npt.NDArray[Any] | None) -> None:
        """Add a sample, with its array where that is to be kept."""
        if array is not None:
            entry = dataclasses.replace(entry, offset=self.end)
            self._file.write(np.ascontiguousarray(array).data)
            self.end += array.nbytes
        self._waiting[identity] = entry

    def is_part(self) -> bool:
        """Whether enough waits for a commit."""
        return (
            len(self._waiting) >= _PART_ROWS
            or self.end - self._index.size >= _PART_BYTES
            or time.monotonic() - self._since > _PART_SECONDS
        )

    def commit(self) -> None:
        """Bring what was added to the disk: first the arrays, then the entries that point to them."""
        self._since = time.monotonic()
        if not self._waiting:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        self._index.size = self.end
        self._index.write_part(self._waiting)
        self._waiting = {}
