"""Which samples a training can use: found out once, and kept, so that every stage and session has the same."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gasdet.atomic_files import write_atomically
from gasdet.data.names import printable
from gasdet.errors import RunError
from gasdet.evaluation.text import one_line
from gasdet.parquet_files import read_parquet
from gasdet.training.decoded_store import DecodedSet, Failure
from gasdet.training.features import FeatureSet
from gasdet.types import Reason

USABLE_NAME = "usable.parquet"
_COLUMNS = ("preprocessing", "sample_id", "content", "reason", "message")

Found = TypeVar("Found", FeatureSet, DecodedSet)


@dataclass(frozen=True, slots=True)
class _Row:
    """What became of a sample when it was first decoded: the digest of its content, or why there is none."""

    content: str
    reason: str
    message: str


class UsableSamples:
    """What became of every sample when it was first decoded, in a file of the training's folder.

    A file that could not be decoded in time may well be decoded the next time; a training that then went on with it would be
    another one.

    Args:
        folder: Of the training.
        writes: Whether this process adds to the file; the others read what it has.
    """

    def __init__(self, folder: Path, *, writes: bool) -> None:
        self._path, self._writes = folder / USABLE_NAME, writes
        self._rows: dict[tuple[str, str], _Row] = {}
        self._was_there = self._path.exists()

    def settled(self, found: Found, preprocessing: str) -> Found:
        """Those of the samples found that the training uses; what it does not know yet is decided by this.

        Args:
            found: Decoded samples or features.
            preprocessing: Fingerprint of what they were decoded with.

        Raises:
            RunError: A sample that the training uses cannot be used any more, or has other content.
        """
        self._read()
        before = len(self._rows)
        failed = {failure.sample.sample_id: failure for failure in found.failures}
        digests = {s.sample_id: d for s, d in zip(found.samples, found.digests, strict=True)}
        dropped: list[Failure] = []
        for sample in found.samples:
            name = sample.sample_id
            row = self._rows.setdefault((preprocessing, name), _Row(digests[name], "", ""))
            if row.reason:
                dropped.append(Failure(sample, Reason(row.reason), row.message))
            elif row.content != digests[name]:
                raise RunError(
                    f"{printable(sample.member)} has other content than when this training began; put the file back, or start "
                    "over with --restart."
                )
        for name, failure in failed.items():
            told = printable(one_line(failure.message))
            row = self._rows.setdefault((preprocessing, name), _Row("", failure.reason.value, told))
            if not row.reason:
                raise RunError(
                    f"{printable(failure.sample.member)} cannot be used now ({failure.reason.value}, {told}), and could when "
                    "this training began; make it readable and give the same command again, or start over with --restart."
                )
        if self._writes and len(self._rows) > before:
            self._write()
        if not dropped:
            return found
        out = {failure.sample.sample_id for failure in dropped}
        kept = found.part([s for s in found.samples if s.sample_id not in out])
        counts = {n: getattr(found, n) for n in ("computed", "decoded") if hasattr(found, n)}
        return dataclasses.replace(kept, failures=(*found.failures, *dropped), **counts)

    def forget(self) -> None:
        """Decide anew next time, where nothing was decided before this session: there is no training with these samples."""
        if self._writes and not self._was_there:
            self._path.unlink(missing_ok=True)

    def _read(self) -> None:
        import pyarrow as pa

        if not self._path.exists():
            return
        try:
            table = read_parquet(self._path, _COLUMNS).to_pydict()
        except (OSError, pa.ArrowException, KeyError, ValueError) as error:
            raise RunError(
                f"{self._path} cannot be read ({one_line(str(error))}); start over with --restart."
            ) from error
        for preprocessing, name, *values in zip(*(table[column] for column in _COLUMNS), strict=True):
            self._rows[preprocessing, name] = _Row(*values)

    def _write(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows: list[tuple[Any, ...]] = [(*key, r.content, r.reason, r.message) for key, r in self._rows.items()]
        columns = zip(_COLUMNS, zip(*rows, strict=True), strict=True)
        table = pa.table({name: pa.array(values, pa.string()) for name, values in columns})
        write_atomically(self._path, lambda file: pq.write_table(table, file))
