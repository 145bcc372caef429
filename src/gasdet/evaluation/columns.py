"""A run's records as arrays, one detector at a time: what the summary and the calibration are computed from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gasdet.builtin.tally import FloatArray, IntArray
from gasdet.errors import RunError
from gasdet.types import Provenance, Reason, Status

if TYPE_CHECKING:
    import pyarrow as pa

Mask = npt.NDArray[np.bool_]

_TEXTS = (
    "run_id",
    "detector",
    "sample_id",
    "dataset",
    "media_type",
    "generator",
    "provenance",
    "group",
    "status",
    "reason",
)
_NUMBERS = ("label", "p_synthetic", "p_raw", "weight", "decode_ms", "inference_ms")


def _pa() -> Any:
    import pyarrow

    return pyarrow


def coded(table: pa.Table, name: str) -> tuple[IntArray, list[str]]:
    """A text column as codes into a sorted list of its values; null reads as "" and so does an absent column."""
    if name not in table.column_names:
        return np.zeros(table.num_rows, dtype=np.int64), [""]
    encoded = table[name].cast(_pa().string()).fill_null("").combine_chunks().dictionary_encode()
    values = encoded.dictionary.to_pylist()
    order = sorted(range(len(values)), key=values.__getitem__)
    rank = np.empty(len(values), dtype=np.int64)
    rank[order] = np.arange(len(values))
    return rank[encoded.indices.to_numpy()], [values[i] for i in order]


def _numbers(table: pa.Table, name: str, null: float) -> FloatArray:
    if name not in table.column_names:
        return np.full(table.num_rows, null)
    column = table[name].cast(_pa().float64()).fill_null(null)
    return np.asarray(column.to_numpy(), dtype=np.float64)


def _is(table: pa.Table, name: str, value: str) -> Mask:
    codes, values = coded(table, name)
    return np.asarray(np.array([v == value for v in values], dtype=np.bool_)[codes])


def _raw(table: pa.Table) -> FloatArray:
    score, raw = _numbers(table, "p_synthetic", math.nan), _numbers(table, "p_raw", math.nan)
    return np.where(np.isnan(raw), score, raw)


@dataclass(frozen=True, slots=True)
class DetectorRecords:
    """One detector's records as arrays [N], in the order of their sample ids."""

    status: npt.NDArray[np.str_]
    label: IntArray  # -1: none
    score: FloatArray
    raw: FloatArray  # the score before calibration; the score itself where the records do not hold it
    weight: FloatArray
    group: IntArray
    dataset: tuple[IntArray, list[str]]
    generator: tuple[IntArray, list[str]]
    holdout: Mask
    media_type: tuple[IntArray, list[str]]
    reason: tuple[IntArray, list[str]]
    decode_ms: FloatArray
    inference_ms: FloatArray

    @classmethod
    def of(cls, table: pa.Table, detector: str) -> DetectorRecords:
        """One detector's rows of a table that is sorted by sample id. Raises as ``detectors_of`` does."""
        ids = table["sample_id"].to_pylist()
        for one, following in itertools.pairwise(ids):
            if one == following:
                raise RunError(f"The records of detector {detector!r} hold more than one outcome for sample {one}.")
        code, statuses = coded(table, "status")
        unknown = set(statuses) - set(Status)
        if unknown:
            raise RunError(
                f"The records of detector {detector!r} hold an unknown status: {', '.join(sorted(unknown))!r}."
            )
        part = cls(
            status=np.array(statuses)[code],
            label=_numbers(table, "label", -1).astype(np.int64),
            score=_numbers(table, "p_synthetic", math.nan),
            raw=_raw(table),
            weight=_numbers(table, "weight", 1.0),
            group=coded(table, "group")[0],
            dataset=coded(table, "dataset"),
            generator=coded(table, "generator"),
            holdout=_is(table, "provenance", Provenance.HOLDOUT.value),
            media_type=coded(table, "media_type"),
            reason=coded(table, "reason"),
            decode_ms=_numbers(table, "decode_ms", math.nan),
            inference_ms=_numbers(table, "inference_ms", math.nan),
        )
        improbable = part.ok & ~((part.score >= 0.0) & (part.score <= 1.0))
        if improbable.any():
            first = int(np.flatnonzero(improbable)[0])
            raise RunError(
                f"Detector {detector!r} has status ok and p_synthetic {part.score[first]} for sample {ids[first]}; "
                "a scored sample has a probability."
            )
        return part

    @property
    def calibrated(self) -> bool:
        """Whether a calibrator has changed any score."""
        return bool((self.raw[self.ok] != self.score[self.ok]).any())

    @property
    def ok(self) -> Mask:
        """[N]: what was scored."""
        return np.asarray(self.status == Status.OK.value)

    @property
    def error(self) -> Mask:
        """[N]: what failed."""
        return np.asarray(self.status == Status.ERROR.value)

    @property
    def too_slow(self) -> Mask:
        """[N]: what failed by taking longer than the time limit."""
        code, names = self.reason
        late = names.index(Reason.TIME_LIMIT.value) if Reason.TIME_LIMIT.value in names else -1
        return np.asarray(self.error & (code == late))


def detectors_of(records: pa.Table) -> Iterator[tuple[str, DetectorRecords]]:
    """Each detector's records, in the order of the names and, for one detector, of the sample ids.

    Raises:
        RunError: A sample has two outcomes, a status is unknown, or an ``ok`` row has no probability.
    """
    columns = [c for c in (*_TEXTS, *_NUMBERS) if c in records.column_names]
    records = records.select(columns).sort_by([("detector", "ascending"), ("sample_id", "ascending")])
    detector, names = coded(records, "detector")
    for code, name in sorted(enumerate(names), key=lambda pair: pair[1]):
        yield name, DetectorRecords.of(records.filter(_pa().array(detector == code)), name)
