"""Samples decoded once: their arrays in one memory-mapped file, with a digest of each and a reason for each that failed.

A training reads every sample once an epoch; decoding costs far more than reading the decoded pixels back. The file is
appended to and an index of complete parts is written beside it, so that a killed decoding goes on where its last part ended.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gasdet.cache.folders import CacheFolder, prune
from gasdet.data.containers import container_state
from gasdet.errors import DataError, RunError
from gasdet.evaluation.decode_key import decoding_identity
from gasdet.evaluation.pipeline import DecodePool, DecodeResult
from gasdet.media.digest import digest
from gasdet.progress import ProgressSink, Silent
from gasdet.training.decoded_index import DecodedIndex, Entry, IndexWriter
from gasdet.types import Locator, Modality, Preprocessing, Reason, Sample

Array = npt.NDArray[Any]

DEFAULT_MAX_BYTES = 32 * 2**30
"""How much decoded data the cache folder may take where the user says nothing."""

_SHARE_OF_DISK = 0.8
"""So much of the free space on the disk may be taken."""

_TELL_SECONDS = 0.1
"""Between two words to the progress: a display costs more than a small picture."""

_TRIED_AGAIN = frozenset(
    {
        Reason.FILE_MISSING,
        Reason.FILE_UNREADABLE,
        Reason.SYMLINK_LOOP,
        Reason.DECODE_TIMEOUT,
        Reason.DECODER_CRASHED,
        Reason.DECODER_OUT_OF_MEMORY,
    }
)
"""Reasons that need not be the content's fault: the next training tries such a sample once more."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A sample that has no array (or no features) and takes no part in the training."""

    sample: Sample
    reason: Reason
    message: str


class DecodedStore:
    """Decoded arrays of N samples in one memory-mapped file.

    Args:
        folder: Held against removal as long as the store lives.
        path: The file.
        entries: Where each sample's array is, in the samples' order.
    """

    def __init__(self, folder: CacheFolder, path: Path, entries: Sequence[Entry]) -> None:
        self._folder = folder
        self._offsets = np.array([e.offset for e in entries], np.int64)
        self._kinds = [(e.shape, e.dtype) for e in entries]
        self.nbytes = sum(e.nbytes for e in entries)
        """Size of the samples' arrays in bytes."""
        # a plain array: indexing numpy's memmap class costs several times as much per sample
        self._bytes: npt.NDArray[np.uint8] = np.zeros(0, np.uint8)
        if self.nbytes:
            self._bytes = np.memmap(path, np.uint8, mode="r").view(np.ndarray)
        self._table: Array | None = None
        if entries and len(set(self._kinds)) == 1 and entries[0].nbytes:
            size = entries[0].nbytes
            if not (self._offsets % size).any():
                shape, dtype = self._kinds[0]
                rows = len(self._bytes) // size
                self._table = self._bytes[: rows * size].view(dtype).reshape(rows, *shape)
                self._offsets //= size

    def __len__(self) -> int:
        return len(self._kinds)

    def array(self, row: int) -> Array:
        """A sample's array as decoded; read-only, and no copy."""
        place = self._offsets[row]
        if self._table is not None:
            found: Array = self._table[place]
            return found
        shape, dtype = self._kinds[row]
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self._bytes[place : place + size].view(dtype).reshape(shape)

    def gather(self, rows: npt.NDArray[np.int64]) -> Array:
        """The arrays of several samples, ``[B, ...]``, copied.

        Raises:
            DataError: Their shapes differ.
        """
        if self._table is not None:
            return self._table[self._offsets[rows]]
        return stacked([self.array(int(row)) for row in rows])


@dataclass(frozen=True, slots=True)
class DecodedSet:
    """Those of some samples that can be decoded, in the order given, and what became of the others.

    Attributes:
        samples: N samples.
        digests: Of each, ``duplicates.digest`` of its decoded array: equal for exact duplicates under this preprocessing.
        failures: The other samples, with the reason.
        preprocessing: What they were decoded with.
        store: Their arrays; None where these would take more than the bound, and are decoded again whenever needed.
        rows: Of each, its row in the store.
        decoded: How many samples were decoded, or tried, in this call; the others were known before.
    """

    samples: tuple[Sample, ...]
    digests: tuple[str, ...]
    failures: tuple[Failure, ...]
    preprocessing: Preprocessing
    store: DecodedStore | None
    rows: npt.NDArray[np.int64]
    decoded: int = 0

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """int64 ``[N]``, 0 real and 1 synthetic."""
        return np.array([sample.label for sample in self.samples], dtype=np.int64)

    def part(self, samples: Iterable[Sample]) -> DecodedSet:
        """The set of some of the samples, in their order; those that failed are among its failures, strangers in nothing."""
        places = {_key(sample): place for place, sample in enumerate(self.samples)}
        failed = {_key(failure.sample): failure for failure in self.failures}
        wanted = [_key(sample) for sample in samples]
        kept = [places[key] for key in wanted if key in places]
        return DecodedSet(
            samples=tuple(self.samples[i] for i in kept),
            digests=tuple(self.digests[i] for i in kept),
            failures=tuple(failed[key] for key in wanted if key in failed),
            preprocessing=self.preprocessing,
            store=self.store,
            rows=self.rows[kept] if kept else self.rows[:0],
        )


def decode_to_store(
    samples: Sequence[Sample],
    preprocessing: Preprocessing,
    *,
    pool: DecodePool | None,
    root: Path,
    progress: ProgressSink | None = None,
    label: str = "decoding",
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> DecodedSet:
    """Decode samples once, for this training and later ones with the same samples (in any order) and preprocessing.

    Another file in a sample's place (size, time of change, an archive's index) is another sample. Interrupted, what was
    decoded before the last complete part stays; the next call goes on from there. Where the arrays take more than
    ``max_bytes``, or most of the disk's free space, they are decoded for their digests and failures alone, and ``store``
    is None. Stores that were used longest ago are removed until all in ``root`` fit into ``max_bytes``.

    Args:
        samples: In any order.
        preprocessing: Of all of them.
        pool: Running decode processes; None opens what another process (rank 0) has finished, and decodes nothing.
        root: Folder of all decoded stores.
        progress: Told of every sample, and why nothing is stored where that is so.
        label: What the progress calls this.
        max_bytes: Bound for the decoded arrays.

    Raises:
        RunError: The cache cannot be written, or, without a pool, is not finished.
    """
    progress = progress or Silent()
    identities = _identities(samples)
    key = {
        "samples_sha256": hashlib.sha256("\n".join(sorted(identities)).encode()).hexdigest(),
        "preprocessing": {"modality": preprocessing.modality.value, **preprocessing.to_mapping()},
        "decoding": decoding_identity(preprocessing),
    }
    folder = CacheFolder(root, key)
    count = 0
    with folder.writing():
        index = DecodedIndex(folder.path)
        if pool is not None:
            work = _Decoding(index, samples, identities, preprocessing, folder, max_bytes, progress)
            count = work.run(pool, label)
    missing = sum(identity not in index.entries for identity in identities)
    if missing:
        raise RunError(
            f"{folder.path}: {missing} samples are not decoded yet; rank 0 must decode before others open it."
        )
    entries = [index.entries[identity] for identity in identities]
    good = [i for i, entry in enumerate(entries) if entry.reason is None]
    kept = [entries[i] for i in good]
    fits = all(entry.offset >= 0 for entry in kept) and sum(entry.nbytes for entry in kept) <= max_bytes
    return DecodedSet(
        samples=tuple(samples[i] for i in good),
        digests=tuple(entry.digest for entry in kept),
        failures=tuple(Failure(s, e.reason, e.message) for s, e in zip(samples, entries, strict=True) if e.reason),
        preprocessing=preprocessing,
        store=DecodedStore(folder, index.arrays, kept) if fits else None,
        rows=np.arange(len(kept), dtype=np.int64),
        decoded=count,
    )


class _Decoding:
    """One pass over the samples that the index does not know yet."""

    def __init__(
        self,
        index: DecodedIndex,
        samples: Sequence[Sample],
        identities: Sequence[str],
        preprocessing: Preprocessing,
        folder: CacheFolder,
        max_bytes: int,
        progress: ProgressSink,
    ) -> None:
        self._index = index
        self._preprocessing = preprocessing
        self._root = folder.root
        self._progress = progress
        self._max_bytes = max_bytes
        self._room = index.size + int(_SHARE_OF_DISK * shutil.disk_usage(folder.path).free)
        self._total = len(samples)
        self._slow = ""
        if kinds := {sample.locator.kind for sample in samples} & {"parquet", "tar"}:
            self._slow = f", slowly, since {' and '.join(sorted(kinds))} files are not made to be read in random order"
        unique = dict(zip(identities, samples, strict=True))
        known = {name: entry for name in unique if (entry := index.entries.get(name)) is not None}
        expected = len(unique) * _array_bytes(preprocessing) or sum(e.nbytes for e in known.values())
        self._storing = self._may_store(expected)
        todo = {name: s for name, s in unique.items() if not self._is_done(known.get(name))}
        self._names, self._samples = list(todo), list(todo.values())
        if todo and self._storing:
            prune(self._root, max(0, max_bytes - expected))

    def run(self, pool: DecodePool, label: str) -> int:
        """Decode, and return of how many samples."""
        if not self._samples:
            return 0
        self._progress.start(label, self._total)
        self._progress.advance(self._total - len(self._samples), 0)
        told = time.monotonic()
        done = errors = 0
        try:
            with self._index.writer() as writer:
                try:
                    for result in pool.run(self._samples, self._preprocessing):
                        done, errors = done + 1, errors + (result.decoded is None)
                        self._keep(writer, result)
                        if (now := time.monotonic()) - told > _TELL_SECONDS:
                            self._progress.advance(done, errors)
                            told, done, errors = now, 0, 0
                finally:
                    writer.commit()
                self._progress.advance(done, errors)
        finally:
            self._progress.finish()
        if not self._storing:
            self._index.drop_arrays()
        prune(self._root, self._max_bytes)
        return len(self._samples)

    def _keep(self, writer: IndexWriter, result: DecodeResult) -> None:
        name = self._names[result.index]
        if result.decoded is None:
            assert result.reason is not None, "a decode result has an array or a reason"
            writer.add(name, Entry(reason=result.reason, message=result.message), None)
        else:
            array = result.decoded.array
            entry = Entry(digest=digest(array), shape=array.shape, dtype=array.dtype.str)
            writer.add(name, entry, array if self._storing else None)
            if self._storing and writer.end > min(self._max_bytes, self._room):
                self._storing = self._may_store(writer.end)
        if writer.is_part():
            writer.commit()

    def _is_done(self, entry: Entry | None) -> bool:
        if entry is None or entry.reason in _TRIED_AGAIN:
            return False
        return entry.reason is not None or entry.offset >= 0 or not self._storing

    def _may_store(self, expected: int) -> bool:
        limit = min(self._max_bytes, self._room)
        if expected <= limit:
            return True
        bound = "the bound" if limit == self._max_bytes else "what the disk's free space allows"
        self._progress.note(
            f"{self._total} samples take {expected / 2**30:.1f} GiB decoded, over {bound} of {limit / 2**30:.1f} GiB: they "
            f"are decoded again in every epoch{self._slow}"
        )
        return False


def stacked(arrays: Sequence[Array]) -> Array:
    """Arrays of one shape as one array ``[B, ...]``.

    Raises:
        DataError: Their shapes differ.
    """
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        one, other = sorted(shapes)[:2]
        raise DataError(
            f"Samples of the shapes {list(one)} and {list(other)} cannot go into one batch; choose a preprocessing or an "
            "augmentation (such as a crop) that brings all to one size."
        )
    return np.stack(arrays)


def _array_bytes(preprocessing: Preprocessing) -> int:
    """Bytes of a decoded sample; 0 where they differ from sample to sample."""
    if preprocessing.modality is Modality.AUDIO:
        return 4 * preprocessing.num_samples
    if preprocessing.resize_mode == "none":
        return 0
    frames = preprocessing.num_frames if preprocessing.modality is Modality.VIDEO else 1
    return 3 * frames * preprocessing.resize[0] * preprocessing.resize[1]


def _key(sample: Sample) -> tuple[str, Locator]:
    return sample.sample_id, sample.locator


def _identities(samples: Sequence[Sample]) -> list[str]:
    """32 hex digits for each sample that change with its content, as far as can be told without reading it."""
    states: dict[str, str] = {}
    found = []
    for sample in samples:
        place = sample.locator
        state = states.get(place.path)
        if state is None:
            state = container_state(place.kind, place.path) if place.kind != "file" else _file_state(place.path)
            states[place.path] = state
        text = "\0".join((sample.sample_id, place.path, place.member, str(place.row), place.column, state))
        found.append(hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32])
    return found


def _file_state(path: str) -> str:
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # that a sample lacks its file is told where it is read
        return "absent"
    return f"{status.st_size} {status.st_mtime_ns}"
