"""Samples to records: decoded once for all detectors that share a preprocessing, batched by shape, in plan order.

Batches are formed inside a block of plan rows, in the order in which they are read, among samples of equal shape. So which
samples share a batch, and with it every last bit of a score, depends on nothing but the plan, the order of files in
containers, and the batch size: not on timing, workers, or where a run was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gasdet.evaluation.inference import Score, Scorer
from gasdet.evaluation.pipeline import DecodePool, DecodeResult
from gasdet.evaluation.plan import rows_for, skipped
from gasdet.evaluation.records import Record, blank
from gasdet.evaluation.series import placed_in_time
from gasdet.evaluation.text import one_line
from gasdet.media import Decoded
from gasdet.types import Preprocessing, Provenance, Reason, Sample, Status

if TYPE_CHECKING:
    from gasdet.bundle import Detector

Array = npt.NDArray[Any]
Advance = Callable[[int, int], None]

Observe = Callable[[Sample, str, Array, Mapping[str, Array]], None]
"""Called with a sample that has a score, the detector's name, the input that the model was given, and its side outputs."""

MAX_HELD_BYTES = 256 * 1024 * 1024
"""How much decoded data may wait for its batch to fill, in bytes; beyond it the oldest batch goes as it is."""


@dataclass(frozen=True)
class Group:
    """Detectors that share a preprocessing and so a decode, and the rows of the plan that they get.

    Attributes:
        detectors: Their positions among the run's detectors.
        preprocessing: What they share.
        rows: Rows of the plan, ascending.
    """

    detectors: tuple[int, ...]
    preprocessing: Preprocessing
    rows: tuple[int, ...]


def groups_of(
    detectors: Sequence[Detector],
    samples: Sequence[Sample],
    decoded_as: Callable[[Preprocessing], Preprocessing] = lambda preprocessing: preprocessing,
) -> list[Group]:
    """Group detectors by what is decoded for them, in the order in which each first occurs.

    Args:
        detectors: Of the run.
        samples: The plan.
        decoded_as: What is decoded for a detector's preprocessing: as a rule that itself.
    """
    members: dict[str, list[int]] = {}
    decodes = [decoded_as(detector.preprocessing) for detector in detectors]
    for position, preprocessing in enumerate(decodes):
        members.setdefault(preprocessing.fingerprint(), []).append(position)
    return [
        Group(tuple(positions), decodes[positions[0]], tuple(rows_for(samples, decodes[positions[0]].modality)))
        for positions in members.values()
    ]


def blocks_of(rows: Sequence[int], size: int) -> list[tuple[int, ...]]:
    """Rows in blocks of ``size``, the last one shorter."""
    return [tuple(rows[start : start + size]) for start in range(0, len(rows), size)]


def as_read(samples: Sequence[Sample], rows: Sequence[int]) -> list[int]:
    """Rows in the order in which they are read: public samples as they stand, then holdouts by where they lie.

    Holdouts stand in the order of their keyed names, and a Parquet file or a compressed tar is read anew for every step back.
    """

    def place(row: int) -> tuple[bool, str, int, str]:
        sample = samples[row]
        if sample.provenance is Provenance.PUBLIC:
            return False, "", 0, ""
        return True, sample.locator.path, sample.locator.row, sample.locator.member

    return sorted(rows, key=place)


def score_blocks(
    scorers: Sequence[Scorer],
    preprocessing: Preprocessing,
    samples: Sequence[Sample],
    blocks: Sequence[Sequence[int]],
    pool: DecodePool,
    *,
    batch_size: int,
    run_id: str = "",
    advance: Advance | None = None,
    observe: Observe | None = None,
) -> Iterator[list[Record]]:
    """Score blocks of rows, one after the other, decoding ahead across their borders.

    Args:
        scorers: One for each detector; all take what ``preprocessing`` gives.
        preprocessing: What a decode process does to each file.
        samples: The whole plan.
        blocks: Rows of the plan.
        pool: Where decoding happens.
        batch_size: Most samples in a forward pass.
        run_id: For the records.
        advance: Told how many more records are done, and how many of them without a score.
        observe: Told of every score with side outputs.

    Yields:
        Each block's records: its rows in order and, for each, the scorers in order.
    """
    decodable = [row for block in blocks for row in as_read(samples, block) if skipped(samples[row]) is None]
    with closing(pool.run([samples[row] for row in decodable], preprocessing)) as results:
        for rows in blocks:
            block = Block(scorers, samples, rows, batch_size, run_id, advance, observe)
            for row in as_read(samples, rows):
                block.receive(row, next(results) if skipped(samples[row]) is None else None)
            block.finish()
            yield [record for row in rows for record in block.records[row]]


class Block:
    """The records of one block in the making.

    Attributes:
        records: For each row, one record a scorer, in their order.
    """

    def __init__(
        self,
        scorers: Sequence[Scorer],
        samples: Sequence[Sample],
        rows: Sequence[int],
        batch_size: int,
        run_id: str,
        advance: Advance | None,
        observe: Observe | None = None,
    ) -> None:
        self._advance = advance
        self._observe = observe
        self._scorers = scorers
        self._samples = samples
        self._batch_size = batch_size
        self.records = {row: [blank(run_id, scorer.detector.name, samples[row]) for scorer in scorers] for row in rows}
        self._waiting: dict[tuple[Any, ...], list[tuple[int, DecodeResult]]] = {}
        self._held_bytes = 0

    def receive(self, row: int, result: DecodeResult | None) -> None:
        """Take what decoding gave for the next row; None for a sample that is skipped."""
        if result is None:
            reason = skipped(self._samples[row])
            assert reason is not None
            self._give_up(row, Status.SKIPPED, *reason)
            return
        for record in self.records[row]:
            record["decode_ms"] = result.decode_ms
        decoded = result.decoded
        if decoded is None:
            assert result.reason is not None
            self._give_up(row, Status.ERROR, result.reason, result.message)
            return
        self._describe(row, decoded)
        shape = (*decoded.array.shape, decoded.array.dtype.str)
        self._waiting.setdefault(shape, []).append((row, result))
        self._held_bytes += decoded.array.nbytes
        if len(self._waiting[shape]) == self._batch_size:
            self._infer(shape)
        while self._held_bytes > MAX_HELD_BYTES:
            self._infer(next(iter(self._waiting)))

    def finish(self) -> None:
        """Score what still waits for its batch to fill."""
        for shape in list(self._waiting):
            self._infer(shape)

    def _describe(self, row: int, decoded: Decoded) -> None:
        for record in self.records[row]:
            record.update(
                width=decoded.width,
                height=decoded.height,
                frames=decoded.frames,
                duration_s=decoded.duration_s,
                decoder=decoded.decoder,
                message=one_line("; ".join(decoded.notes)),
            )

    def _give_up(self, row: int, status: Status, reason: Reason, message: str) -> None:
        for record in self.records[row]:
            record.update(status=status.value, reason=reason.value, message=one_line(message))
        self._tell([row])

    def _tell(self, rows: Sequence[int]) -> None:
        if self._advance is not None:
            records = [record for row in rows for record in self.records[row]]
            self._advance(len(records), sum(record["status"] == Status.ERROR.value for record in records))

    def _infer(self, shape: tuple[Any, ...]) -> None:
        members = self._waiting.pop(shape)
        arrays = [result.decoded.array for _, result in members if result.decoded is not None]
        self._held_bytes -= sum(array.nbytes for array in arrays)
        batch = np.stack(arrays)
        del arrays
        for position, scorer in enumerate(self._scorers):
            for index, (score, (row, _)) in enumerate(zip(scorer.score(batch, members[0][0]), members, strict=True)):
                self._enter(row, position, score, batch[index])
        self._tell([row for row, _ in members])

    def _enter(self, row: int, position: int, score: Score, given: Array) -> None:
        record, detector = self.records[row][position], self._scorers[position].detector
        enter(record, score)
        if score.details:
            details = placed_in_time(score.details, detector.preprocessing, record["duration_s"])
            record["details"] = details
            if self._observe is not None:
                self._observe(self._samples[row], detector.name, given, details)


def enter(record: Record, score: Score) -> None:
    """Write a score into a record that holds what decoding told."""
    record.update(inference_ms=score.inference_ms, batch_size=score.batch_size)
    if score.reason is not None:
        record.update(status=Status.ERROR.value, reason=score.reason.value, message=score.message)
        return
    assert score.p_synthetic is not None
    record.update(
        status=Status.OK.value,
        p_synthetic=score.p_synthetic,
        p_raw=score.p_raw,
        logit_real=score.logit_real,
        logit_synthetic=score.logit_synthetic,
        prediction=int(score.p_synthetic > 0.5),
    )
    if score.notes:
        record["message"] = one_line("; ".join(filter(None, (record["message"], *score.notes))))
