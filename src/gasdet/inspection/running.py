"""Every sample of a data set through one function, in processes that can be killed: what checks and audits are built on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gasdet.evaluation.options import MAX_DEFAULT_WORKERS
from gasdet.evaluation.pipeline import DecodePool, DecodeResult
from gasdet.evaluation.processors import available_cpus
from gasdet.media import MediaLimits
from gasdet.progress import ProgressSink, Silent
from gasdet.types import Modality, Preprocessing, Reason, Sample

_TOLD_EVERY_S = 0.1
"""Seconds between two calls of the progress sink: a bar that is told of every tiny image costs more than the image."""

NO_FACTS: Mapping[str, Any] = {}
"""One for all samples of which nothing was found out."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found out about one sample.

    Attributes:
        sample: As it was given.
        facts: What the function found, by name, in plain Python types; empty where it raised.
        reason: None where the function succeeded; else why it did not, or why the sample was skipped.
        message: Why, one line; empty where it succeeded.
    """

    sample: Sample
    facts: Mapping[str, Any]
    reason: Reason | None
    message: str

    @property
    def skipped(self) -> bool:
        """Whether the sample was not even tried: it cannot be planned (``Sample.skip``)."""
        return self.reason is not None and _skip_of(self.sample) is not None


def inspect(
    samples: Sequence[Sample],
    *,
    function: str,
    workers: int | None = None,
    timeout: float = 30.0,
    limits: MediaLimits | None = None,
    progress: ProgressSink | None = None,
    label: str = "inspecting",
    preprocessing: Mapping[Modality, Preprocessing] | None = None,
) -> Iterator[Inspection]:
    """Call a function for every sample, in decode processes; exactly one result for each.

    First come the samples that are skipped, in their order, then the images, the clips and the recordings, each in theirs.
    A file on which the function hangs, crashes or fails costs itself only. Leaving the iterator early is safe.

    Args:
        samples: Of any modalities.
        function: Import path ``"package.module:function"`` of what takes a locator, a preprocessing and limits, and returns
            a ``Decoded`` with an empty array and its ``facts``. It raises ``MediaError`` where the sample is at fault; or,
            where it has found out something all the same, it returns that with the facts ``reason`` (a code) and
            ``message``.
        workers: Decode processes; None for one a processor, at most 16.
        timeout: Deadline for each sample, in seconds.
        limits: Bounds on a file's size; None for the defaults.
        progress: Told of every sample.
        label: What the progress is called.
        preprocessing: What the function is called with for samples of a modality; of those that are not in it, and by
            default, one of which only the modality means anything.

    Raises:
        RunError: Processes cannot be started.
    """
    sink = progress or Silent()
    skipped = [(sample, reason) for sample in samples if (reason := _skip_of(sample)) is not None]
    chosen = {m: [s for s in samples if s.modality is m and s.skip is None] for m in Modality}
    most = max(len(ones) for ones in chosen.values())
    wanted = workers if workers is not None else min(MAX_DEFAULT_WORKERS, available_cpus())
    sink.start(label, len(samples))
    counter = _Counter(sink)
    try:
        for sample, reason in skipped:
            counter.add(error=False)
            yield Inspection(sample, NO_FACTS, reason, sample.skip_message or "the kind of media is not known")
        if not most:
            return
        with DecodePool(workers=min(wanted, most), timeout=timeout, limits=limits, function=function) as pool:
            for modality, ones in chosen.items():
                if not ones:
                    continue
                results = pool.run(ones, (preprocessing or {}).get(modality) or Preprocessing(modality))
                for sample, result in zip(ones, results, strict=True):
                    inspection = _inspection(sample, result)
                    counter.add(error=inspection.reason is not None)
                    yield inspection
    finally:
        counter.tell()
        sink.finish()


def _inspection(sample: Sample, result: DecodeResult) -> Inspection:
    facts = NO_FACTS if result.decoded is None else result.decoded.facts
    if "reason" in facts:
        return Inspection(sample, facts, Reason(facts["reason"]), facts.get("message", ""))
    return Inspection(sample, facts, result.reason, result.message)


def _skip_of(sample: Sample) -> Reason | None:
    """Why a sample is not tried; None where it is."""
    return Reason.UNKNOWN_MODALITY if sample.skip is None and sample.modality is None else sample.skip


class _Counter:
    """Counts samples and passes the counts on, now and then."""

    def __init__(self, sink: ProgressSink) -> None:
        self._sink = sink
        self._done = self._errors = 0
        self._told = time.monotonic()

    def add(self, *, error: bool) -> None:
        """One more sample is done."""
        self._done += 1
        self._errors += error
        if time.monotonic() - self._told >= _TOLD_EVERY_S:
            self.tell()

    def tell(self) -> None:
        """Pass on what has not been passed on."""
        if self._done:
            self._sink.advance(self._done, self._errors)
        self._done = self._errors = 0
        self._told = time.monotonic()
