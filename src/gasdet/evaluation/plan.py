"""Which samples a run has, in which order, for which detector; kept as plan.parquet.

Where a holdout's files lie is not kept: what is in the file is all that may be known of it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gasdet.atomic_files import write_atomically
from gasdet.errors import DataError, RunError
from gasdet.parquet_files import read_parquet
from gasdet.types import Locator, MediaType, Modality, Provenance, Reason, Sample

if TYPE_CHECKING:
    import pyarrow as pa

PLAN_VERSION = 2
_VERSION_KEY = b"gasdet.plan_version"
NOWHERE = Locator("file", "")
"""Where a holdout's sample is, as far as a plan that was read back can say."""


def rows_for(samples: Sequence[Sample], modality: Modality) -> list[int]:
    """The rows of the plan that a detector of this modality gets a record for, in plan order.

    A sample whose modality nobody knows is skipped for every detector; one of another modality is not planned.
    """
    return [row for row, sample in enumerate(samples) if sample.modality in (modality, None)]


def check(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """The samples as a plan: every id once, and those of unknown modality marked as skipped.

    Raises:
        DataError: Two samples have the same id.
    """
    counts = Counter(sample.sample_id for sample in samples)
    twice = next((s for s in samples if counts[s.sample_id] > 1), None)
    if twice is not None:
        raise DataError(
            f"The sample {twice.member!r} of dataset {twice.dataset!r} occurs {counts[twice.sample_id]} times; "
            "give each file once, or the datasets different names."
        )
    return tuple(samples)


def skipped(sample: Sample) -> tuple[Reason, str] | None:
    """Why a planned sample is not decoded, in code and words; None where it is."""
    if sample.skip is not None:
        return sample.skip, sample.skip_message
    if sample.modality is None:
        return Reason.UNKNOWN_MODALITY, "neither its name nor its content says what it is"
    return None


def fingerprint(samples: Sequence[Sample]) -> str:
    """16 hex digits over everything in the plan that a score or a metric depends on, and not over where the files lie."""
    digest = hashlib.sha256()
    for s in samples:
        told = (s.sample_id, s.modality, s.media_type, s.generator, s.group, s.split, s.provenance, s.weight, s.skip)
        digest.update(repr(tuple(str(v) for v in told)).encode())
    return digest.hexdigest()[:16]


def _schema() -> pa.Schema:
    import pyarrow as pa

    text = pa.string()
    exact = pa.binary()  # names of files need not be text
    return pa.schema(
        [
            ("sample_id", text),
            ("dataset", exact),
            ("member", exact),
            ("modality", text),
            ("media_type", text),
            ("generator", exact),
            ("group", exact),
            ("split", exact),
            ("pair", exact),
            ("released", text),
            ("provenance", text),
            ("weight", pa.float64()),
            ("skip", text),
            ("skip_message", exact),
            ("locator_kind", text),
            ("locator_path", exact),
            ("locator_member", exact),
            ("locator_row", pa.int64()),
            ("locator_column", exact),
            ("locator_size", pa.int64()),
        ],
        metadata={_VERSION_KEY: str(PLAN_VERSION).encode()},
    )


def _row(sample: Sample) -> dict[str, Any]:
    place = sample.locator if sample.provenance is Provenance.PUBLIC else NOWHERE
    return {
        "sample_id": sample.sample_id,
        "dataset": _exact(sample.dataset),
        "member": _exact(sample.member),
        "modality": sample.modality,
        "media_type": sample.media_type,
        "generator": _exact(sample.generator),
        "group": _exact(sample.group),
        "split": _exact(sample.split),
        "pair": _exact(sample.pair),
        "released": sample.released,
        "provenance": sample.provenance,
        "weight": sample.weight,
        "skip": sample.skip,
        "skip_message": _exact(sample.skip_message),
        "locator_kind": place.kind,
        "locator_path": _exact(place.path),
        "locator_member": _exact(place.member),
        "locator_row": place.row,
        "locator_column": _exact(place.column),
        "locator_size": place.size,
    }


def _sample(row: dict[str, Any]) -> Sample:
    return Sample(
        sample_id=row["sample_id"],
        dataset=_text(row["dataset"]),
        member=_text(row["member"]),
        locator=Locator(
            kind=row["locator_kind"],
            path=_text(row["locator_path"]),
            member=_text(row["locator_member"]),
            row=row["locator_row"],
            column=_text(row["locator_column"]),
            size=row["locator_size"],
        ),
        modality=None if row["modality"] is None else Modality(row["modality"]),
        media_type=None if row["media_type"] is None else MediaType(row["media_type"]),
        generator=_text(row["generator"]),
        group=_text(row["group"]),
        split=_text(row["split"]),
        pair=_text(row["pair"]),
        released=row["released"],
        provenance=Provenance(row["provenance"]),
        weight=row["weight"],
        skip=None if row["skip"] is None else Reason(row["skip"]),
        skip_message=_text(row["skip_message"]),
    )


def _exact(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def write_plan(path: Path, samples: Sequence[Sample]) -> None:
    """Write the planned samples, atomically. Names of files survive bit for bit; of holdouts, no place is written."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([_row(sample) for sample in samples], schema=_schema())
    write_atomically(path, lambda file: pq.write_table(table, file, compression="zstd"))


def read_plan(path: Path) -> tuple[Sample, ...]:
    """Read the planned samples of a run, so that nothing needs to be walked again. Those of holdouts lie ``NOWHERE``.

    Raises:
        RunError: The file is absent, damaged or of another version.
    """
    import pyarrow as pa

    try:
        table = read_parquet(path)
        version = (table.schema.metadata or {}).get(_VERSION_KEY)
        if version != str(PLAN_VERSION).encode():
            raise RunError(f"{path}: written by another version of gasdet; start the run over with --restart.")
        return tuple(_sample(row) for row in table.to_pylist())
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise RunError(f"{path}: the plan cannot be read ({error}); start the run over with --restart.") from error
