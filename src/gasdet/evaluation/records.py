"""Records: one row a planned sample and detector, in Parquet parts that are complete or absent.

Strings are never null ("" where unknown); numbers are null where unknown. docs/formats.md documents the columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gasdet.atomic_files import write_atomically
from gasdet.data.names import printable
from gasdet.errors import RunError
from gasdet.evaluation.concealing import concealed
from gasdet.parquet_files import read_parquet
from gasdet.types import Sample, Status

if TYPE_CHECKING:
    import pyarrow as pa

RECORDS_VERSION = 1
TIMING_COLUMNS = ("decode_ms", "inference_ms")
"""The only columns in which two runs of the same configuration may differ."""

_VERSION_KEY = b"gasdet.records_version"
Record = dict[str, Any]


def schema() -> pa.Schema:
    """Columns and types of a record, with the format's version in the metadata."""
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    return pa.schema(
        [
            ("run_id", text),
            ("detector", text),
            ("sample_id", text),
            ("dataset", text),
            ("member", text),
            ("media_type", text),
            ("generator", text),
            ("provenance", text),
            ("group", text),
            ("split", text),
            ("weight", number),
            ("label", pa.int8()),
            ("p_synthetic", number),
            ("p_raw", number),
            ("logit_real", number),
            ("logit_synthetic", number),
            ("prediction", pa.int8()),
            ("status", text),
            ("reason", text),
            ("message", text),
            ("perturbation", text),
            ("severity", pa.int8()),
            ("decode_ms", pa.float32()),
            ("inference_ms", pa.float32()),
            ("batch_size", pa.int32()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("frames", pa.int32()),
            ("duration_s", number),
            ("decoder", text),
        ],
        metadata={_VERSION_KEY: str(RECORDS_VERSION).encode()},
    )


def blank(run_id: str, detector: str, sample: Sample) -> Record:
    """A record with what is known before anything was decoded; its status is still to be set."""
    return {
        "run_id": run_id,
        "detector": detector,
        "sample_id": sample.sample_id,
        "dataset": printable(sample.dataset),
        "member": printable(sample.member),
        "media_type": sample.media_type.value if sample.media_type is not None else "",
        "generator": printable(sample.generator),
        "provenance": sample.provenance.value,
        "group": printable(sample.group),
        "split": printable(sample.split),
        "weight": sample.weight,
        "label": sample.label,
        "p_synthetic": None,
        "p_raw": None,
        "logit_real": None,
        "logit_synthetic": None,
        "prediction": None,
        "status": "",
        "reason": "",
        "message": "",
        "perturbation": "",
        "severity": 0,
        "decode_ms": None,
        "inference_ms": None,
        "batch_size": None,
        "width": None,
        "height": None,
        "frames": None,
        "duration_s": None,
        "decoder": "",
    }


def table_of(records: Sequence[Record]) -> pa.Table:
    """The records as a table. Every record that is kept goes through here, and those of holdouts are concealed here."""
    import pyarrow as pa

    return pa.Table.from_pylist([concealed(record) for record in records], schema=schema())


def write_records(path: Path, table: pa.Table) -> None:
    """Write records, atomically, with a checksum on every page."""
    import pyarrow.parquet as pq

    write_atomically(path, lambda file: pq.write_table(table, file, compression="zstd", write_page_checksum=True))


def read_records(path: Path) -> pa.Table:
    """Read records.

    Raises:
        RunError: The file is absent, damaged, or of another version.
    """
    import pyarrow as pa

    try:
        table = read_parquet(path, page_checksums=True)
    except (OSError, pa.ArrowException) as error:
        raise RunError(f"{path}: the records cannot be read: {error}.") from error
    if not table.schema.equals(schema(), check_metadata=False) or _version(table) != RECORDS_VERSION:
        raise RunError(f"{path}: these records were written by another version of gasdet.")
    return table


def _version(table: pa.Table) -> int:
    return int((table.schema.metadata or {}).get(_VERSION_KEY, b"0"))


def belongs(table: pa.Table, run_id: str, keys: Sequence[tuple[str, str]]) -> bool:
    """Whether a part holds exactly these (sample_id, detector) in this order, of this run."""
    if table.num_rows != len(keys):
        return False
    stored = zip(table["sample_id"].to_pylist(), table["detector"].to_pylist(), strict=True)
    return all(one == other for one, other in zip(stored, keys, strict=True)) and set(table["run_id"].to_pylist()) <= {
        run_id
    }


def merged(parts: Sequence[pa.Table], places: Sequence[Sequence[tuple[int, int]]]) -> pa.Table:
    """All parts as one table, in the order of the plan and, for one sample, of the detectors.

    Args:
        parts: The parts' tables.
        places: For each part, each of its rows' (row of the plan, position of the detector).
    """
    import numpy as np
    import pyarrow as pa

    flat = np.array([place for part in places for place in part], dtype=np.int64).reshape(-1, 2)
    order = np.lexsort((flat[:, 1], flat[:, 0]))
    return pa.concat_tables([schema().empty_table(), *parts]).take(pa.array(order))


def check_accounts(table: pa.Table, planned: Mapping[str, int]) -> None:
    """Check that every planned sample has exactly one outcome, for each detector.

    Raises:
        RunError: It does not.
    """
    counts: dict[str, int] = dict.fromkeys(planned, 0)
    outcomes = set(Status)
    seen: set[tuple[str, str]] = set()
    columns = (table[c].to_pylist() for c in ("detector", "sample_id", "status"))
    for detector, sample_id, status in zip(*columns, strict=True):
        if status not in outcomes or detector not in counts or (detector, sample_id) in seen:
            raise RunError(f"The run's accounts are wrong: {detector} has an outcome too many for sample {sample_id}.")
        seen.add((detector, sample_id))
        counts[detector] += 1
    for detector, count in counts.items():
        if count != planned[detector]:
            raise RunError(
                f"The run's accounts are wrong: {detector} has {count} outcomes for {planned[detector]} planned samples."
            )
