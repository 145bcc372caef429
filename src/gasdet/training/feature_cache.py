"""Features on disk, so that a training that is stopped, or run again with other settings, computes none of them twice."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from gasdet.atomic_files import write_atomically
from gasdet.cache.folders import CacheFolder, prune
from gasdet.parquet_files import read_parquet

Vector = npt.NDArray[np.float32]

DEFAULT_MAX_BYTES = 8 * 2**30
"""How much disk the features of all keys may take where the user says nothing."""

_PART_ROWS, _PART_SECONDS = 256, 30.0
"""So many vectors, or seconds of computing, are lost at most when the process is killed."""


class Cached(NamedTuple):
    """What is kept of a media file.

    Attributes:
        vector: Its features, float32 ``[F]``.
        digest: ``duplicates.digest`` of the decoded array that they were computed from.
    """

    vector: Vector
    digest: str


class FeatureCache:
    """Feature vectors by the SHA-256 of the media file's bytes, for one way of computing them.

    A folder for each key: ``key.json`` says in words what its vectors were computed with, ``part-*.parquet`` hold them
    (columns ``content``, the hash in hex; ``digest``, the hash of the decoded array; ``features``, a list of F float32). A
    part is complete or absent; one that cannot be read is removed and its vectors are computed again. Several processes may
    use a folder at the same time.

    Args:
        root: Folder of all feature caches. Keys that were used longest ago are removed until all fit into ``max_bytes``;
            this key never is. ``cache.folders.prune(root, 0)`` clears what nobody uses.
        key: Everything that the vectors depend on, beside the file: preprocessing, backbone, code, versions.
        max_bytes: Bound for ``root``.
    """

    def __init__(self, root: Path, key: Mapping[str, Any], *, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self._in_use = CacheFolder(root, key)
        self.key = self._in_use.key
        self.folder = self._in_use.path
        self._known: dict[str, Cached] = {}
        self._unsaved: dict[str, Cached] = {}
        self._saved_at = time.monotonic()
        prune(root, max_bytes)
        for part in sorted(self.folder.glob("part-*.parquet")):
            self._read(part)

    def __len__(self) -> int:
        return len(self._known)

    def get(self, content: str) -> Cached | None:
        """What is known of the file whose bytes have this SHA-256 (hex), or None."""
        return self._known.get(content)

    def add(self, content: str, features: Vector, digest: str = "") -> None:
        """Keep a vector, float32 ``[F]``. It is on disk once enough are waiting, or ``flush`` is called."""
        if not self._unsaved:
            self._saved_at = time.monotonic()
        self._known[content] = self._unsaved[content] = Cached(np.asarray(features, np.float32), digest)
        if len(self._unsaved) >= _PART_ROWS or time.monotonic() - self._saved_at > _PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the vectors that are not on disk yet."""
        if not self._unsaved:
            return
        vectors = [cached.vector for cached in self._unsaved.values()]
        ends = np.cumsum([0, *(len(vector) for vector in vectors)], dtype=np.int32)
        table = pa.table(
            {
                "content": pa.array(list(self._unsaved), pa.string()),
                "digest": pa.array([cached.digest for cached in self._unsaved.values()], pa.string()),
                "features": pa.ListArray.from_arrays(ends, pa.array(np.concatenate(vectors), pa.float32())),
            }
        )
        # named by its content, so that two processes at work on the same data never write over each other
        name = hashlib.sha256("".join(sorted(self._unsaved)).encode()).hexdigest()[:16]
        write_atomically(self.folder / f"part-{name}.parquet", lambda file: pq.write_table(table, file))
        self._unsaved.clear()

    def _read(self, part: Path) -> None:
        try:
            table = read_parquet(part, ["content", "digest", "features"]).combine_chunks()
            contents, digests = table["content"].to_pylist(), table["digest"].to_pylist()
            lists = pa.concat_arrays(table["features"].chunks)
        except (pa.ArrowException, OSError, KeyError):
            part.unlink(missing_ok=True)
            return
        # one block for the part: a list of Python floats would take ten times the memory, and seconds
        values, ends = lists.values.to_numpy(), lists.offsets.to_numpy()
        for i, (content, digest) in enumerate(zip(contents, digests, strict=True)):
            self._known[content] = Cached(values[ends[i] : ends[i + 1]], digest)
