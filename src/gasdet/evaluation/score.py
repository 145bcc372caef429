"""Scores without a run: samples in, records out as they are ready. What ``gasdet detect`` and the Python API use."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gasdet.evaluation.inference import Scorer, placed
from gasdet.evaluation.options import RunOptions, resolve_device
from gasdet.evaluation.pipeline import DecodePool
from gasdet.evaluation.processors import share_processors
from gasdet.evaluation.records import Record
from gasdet.evaluation.scoring import Array, Group, Observe, blocks_of, groups_of, score_blocks
from gasdet.evaluation.windows import decoded_whole, score_recordings
from gasdet.progress import ProgressSink, Silent
from gasdet.types import Modality, Sample

if TYPE_CHECKING:
    from gasdet.bundle import Detector

Rehearsed = Callable[[Mapping[str, Mapping[str, Array] | None]], None]
"""Called with the side outputs that each detector of images gave of noise, by its name."""

_CHUNK = 256
"""Where detectors need different decodes, so many samples are taken through all of them before the next ones."""


def score_samples(
    detectors: Sequence[Detector],
    samples: Sequence[Sample],
    options: RunOptions = RunOptions(),  # noqa: B008 (frozen)
    progress: ProgressSink | None = None,
    *,
    details: bool = False,
    windows: bool = False,
    observe: Observe | None = None,
    rehearsed: Rehearsed | None = None,
) -> Iterator[Record]:
    """Score samples with every detector of their modality.

    Args:
        detectors: Loaded.
        samples: In any order.
        options: Device, batch size, workers, decode timeout.
        progress: Told of stages and notes.
        details: Take the models' side outputs for people.
        windows: Score recordings that are longer than a detector's window in windows, instead of the one that an evaluation
            takes.
        observe: Told of every score with side outputs, while the input that the model was given is at hand.
        rehearsed: Told before anything is decoded or scored which side outputs each detector of images gives of noise, by name;
            None where it cannot be known without a picture. What it raises ends the call. The pass is that which the model
            would do anyway before its first batch, on the device and in the dtype of the others.

    Yields:
        Records (columns as in docs/formats.md, run_id ""), in the order of the samples and, for one sample, of the
        detectors. A sample whose modality nobody knows gets a skipped record for every detector; one for which there is
        no detector gets none. Beside the columns, ``details`` where there are any: side outputs by name, and ``windows``.

    Raises:
        UsageError: The device does not exist.
        RunError: Decode processes cannot be started, a model does not fit into the device's memory, or the device is lost.
    """
    share_processors()
    progress = progress if progress is not None else Silent()
    device = resolve_device(options.device)
    scorers = [Scorer(d, time_limit_ms=options.time_limit_ms, seed=options.seed, details=details) for d in detectors]
    all_groups = groups_of(detectors, samples, decoded_whole) if windows else groups_of(detectors, samples)
    groups = [group for group in all_groups if group.rows]
    if not groups:
        return
    most = max(len(group.rows) for group in groups)
    if rehearsed is not None:
        rehearsed(_rehearse(scorers, groups, device, options))
    pool = DecodePool(workers=min(options.worker_count, most), timeout=options.decode_timeout, limits=options.limits)
    progress.start("scoring", sum(len(group.rows) * len(group.detectors) for group in groups))
    try:
        with pool:
            run = _Streams(scorers, samples, options, device, pool, progress, windows, observe)
            if len(groups) == 1:
                run.place(groups[0])
                for _, record in run.stream(groups[0], groups[0].rows):
                    yield record
                return
            for start in range(0, len(samples), _CHUNK):
                found: dict[tuple[int, int], Record] = {}
                for group in groups:
                    rows = _between(group.rows, start, start + _CHUNK)
                    if rows:
                        run.place(group)
                        found.update(run.stream(group, rows))
                        run.release(group)
                for place in sorted(found):
                    yield found[place]
    finally:
        progress.finish()


def _rehearse(
    scorers: Sequence[Scorer], groups: Sequence[Group], device: str, options: RunOptions
) -> dict[str, Mapping[str, Array] | None]:
    """Side outputs [1, ...] of noise, by the detectors' names."""
    found: dict[str, Mapping[str, Array] | None] = {}
    for group in groups:
        keys = group.preprocessing
        if keys.modality is not Modality.IMAGE:
            continue
        noise = np.random.default_rng(0).integers(0, 256, (1, 3, *keys.resize), dtype=np.uint8)
        for position in group.detectors:
            scorer = scorers[position]
            detector = placed(scorer.detector, device, options.dtype)
            found[detector.name] = scorer.rehearse(noise) if detector.has_details else {}
            if len(groups) > 1 and device != "cpu":
                detector.to("cpu")
    return found


class _Streams:
    """What all groups of one call share."""

    def __init__(
        self,
        scorers: Sequence[Scorer],
        samples: Sequence[Sample],
        options: RunOptions,
        device: str,
        pool: DecodePool,
        progress: ProgressSink,
        windows: bool,
        observe: Observe | None,
    ) -> None:
        self._scorers = scorers
        self._samples = samples
        self._options = options
        self._device = device
        self._pool = pool
        self._progress = progress
        self._windows = windows
        self._observe = observe

    def place(self, group: Group) -> None:
        """Put a group's models on the device."""
        for position in group.detectors:
            placed(self._scorers[position].detector, self._device, self._options.dtype)

    def release(self, group: Group) -> None:
        """Make room on the device for the next group."""
        if self._device != "cpu":
            for position in group.detectors:
                self._scorers[position].detector.to("cpu")

    def stream(self, group: Group, rows: Sequence[int]) -> Iterator[tuple[tuple[int, int], Record]]:
        """Records of some of a group's rows, each with its (row, position of the detector), in this order."""
        size = self._options.batch_size_for(group.preprocessing.modality)
        scorers = [self._scorers[position] for position in group.detectors]
        told: dict[str, Any] = {"batch_size": size, "advance": self._progress.advance, "observe": self._observe}
        scored: Iterator[tuple[Sequence[int], list[Record]]]
        if self._windows and group.preprocessing.modality is Modality.AUDIO:
            scored = score_recordings(scorers, group.preprocessing, self._samples, rows, self._pool, **told)
        else:
            blocks = blocks_of(rows, size)
            records = score_blocks(scorers, group.preprocessing, self._samples, blocks, self._pool, **told)
            scored = zip(blocks, records, strict=True)
        for block, found in scored:
            yield from zip(((row, position) for row in block for position in group.detectors), found, strict=True)


def _between(rows: Sequence[int], start: int, stop: int) -> Sequence[int]:
    return rows[bisect_left(rows, start) : bisect_left(rows, stop)]
