"""Scores for files, without a dataset or a run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import Any, Literal, TypeAlias

from gasdet.api.choosing import (
    Bases,
    Calibrators,
    Choice,
    ChosenCalibrators,
    Weights,
    choose,
    load_chosen,
    precision_notes,
)
from gasdet.api.faces import check_faces, with_faces
from gasdet.api.heatmaps import Heatmaps
from gasdet.bundle import Detector
from gasdet.bundle.details import WINDOWS
from gasdet.data import read_head, samples_of_files
from gasdet.errors import MediaError, UsageError
from gasdet.evaluation.options import RunOptions
from gasdet.evaluation.score import score_samples
from gasdet.progress import ProgressSink, Silent
from gasdet.types import Modality, Reason, Sample, Status

THRESHOLD = 0.5
"""A file is called synthetic where P(synthetic) is above this, unless a call says otherwise. It is chosen for no use: look at
the probability."""

Thresholds: TypeAlias = tuple[float, float]
"""(low, high): synthetic is what lies above high, real what does not lie above low, and undecided what lies between."""

NO_DETECTOR = "no_detector"
"""The reason of a file that none of the detectors takes."""


_ABOUT_WINDOWS = (
    "Scores of recordings longer than a detector's window are means of several windows, and calibrators and thresholds are "
    "fitted on single windows as a rule: what they promise of one does not hold of the mean."
)


@dataclass(frozen=True, slots=True)
class Detection:
    """What one detector says of one file.

    Attributes:
        path: The file, as it was given or found.
        modality: None where neither name nor content tells.
        detector: Its name; empty where no detector takes the file.
        weights: Name of the weights, e.g. "v1" or "demo".
        demo_weights: Whether they are demo weights, whose scores say nothing about real media.
        status: ``ok``, ``error`` or ``skipped``.
        p_synthetic: P(synthetic), 0 to 1; None where the file has no score.
        p_raw: The same before calibration; equal where the detector has no calibrator.
        calibrator: Method of the calibrator that was applied; empty where there is none.
        low: Up to here a file is called real.
        high: Above it a file is called synthetic.
        reason: Why it has none: a code of ``gasdet.Reason``, or ``no_detector``.
        message: The same in words.
        decoder: Library and version that decoded the file.
        width: Of the source in pixels.
        height: Of the source in pixels.
        frames: Real frames used, before padding.
        duration_s: Of the source in seconds.
        heatmap_file: The PNG of its heat map; empty where there is none.
        details: Side outputs by name, where they were asked for; and ``windows`` of a recording scored in windows.
    """

    path: str
    modality: Modality | None
    detector: str
    weights: str
    demo_weights: bool
    status: Status
    p_synthetic: float | None = None
    reason: str = ""
    message: str = ""
    decoder: str = ""
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    duration_s: float | None = None
    p_raw: float | None = None
    calibrator: str = ""
    low: float = THRESHOLD
    high: float = THRESHOLD
    heatmap_file: str = ""
    details: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def verdict(self) -> Literal["real", "synthetic", "undecided"] | None:
        """``synthetic`` above ``high``, ``real`` up to ``low``, ``undecided`` between; None where the file has no score."""
        if self.p_synthetic is None:
            return None
        if self.p_synthetic > self.high:
            return "synthetic"
        return "real" if self.p_synthetic <= self.low else "undecided"


def detect(
    paths: Sequence[str | Path] | str | Path,
    detectors: Sequence[Choice] | None = None,
    *,
    weights: Weights = None,
    base: Bases = (),
    calibrator: Calibrators = True,
    abstain: Thresholds | None = None,
    fpr: float | None = None,
    faces: bool = False,
    windows: bool = True,
    heatmap: str | Path | None = None,
    details: bool = False,
    trust_code: bool = False,
    offline: bool = False,
    options: RunOptions | None = None,
    progress: ProgressSink | None = None,
) -> list[Detection]:
    """Score files: one result for each file and detector that takes its modality, none lost.

    Args:
        paths: Files, folders, archives, or globs. Each file's modality is decided by its content.
        detectors: None takes every installed detector for the modalities at hand that has real weights (or those that
            ``weights`` names); the others are noted and left out.
        weights: For every detector, or by detector name. Demo weights are used only where they are named here.
        base: Of weights that are delta files: the files that they are changes of. Empty looks where the deltas say.
        calibrator: True applies the calibrator.json beside a detector's weights, where there is one; False none; or files.
        abstain: Thresholds (low, high): between them the verdict is ``undecided``. None is 0.5 for both.
        fpr: Take the threshold that each detector's calibrator stores for this false positive rate: ``synthetic`` above it,
            ``undecided`` between 0.5 and it.
        faces: Give detectors of images and clips the largest face of each picture instead of the whole of it.
        windows: Score a recording that is longer than a detector's window in windows, and take the mean of their margins;
            False takes the one window that an evaluation takes.
        heatmap: A folder for heat maps over pictures, from detectors that give them.
        details: Ask models for their side outputs too (``Detection.details``), as ``heatmap`` does; ``windows`` is there
            without. No score depends on it.
        trust_code: Allow the model.py of bundles to run.
        offline: Fetch nothing.
        options: Device, batch size, workers, decode timeout.
        progress: Told of stages and notes.

    Returns:
        In the order of the files, and of the detectors for each.

    Raises:
        GasdetError: A detector that was asked for cannot be loaded, or no file is at hand. What is wrong with a single file is
            in its result.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    return list(
        iterate_detections(
            given,
            detectors,
            weights=weights,
            base=base,
            calibrator=calibrator,
            abstain=abstain,
            fpr=fpr,
            faces=faces,
            windows=windows,
            heatmap=heatmap,
            details=details,
            trust_code=trust_code,
            offline=offline,
            options=options,
            progress=progress,
        )
    )


def iterate_detections(
    paths: Sequence[str | Path],
    detectors: Sequence[Choice] | None = None,
    *,
    weights: Weights = None,
    base: Bases = (),
    calibrator: Calibrators = True,
    abstain: Thresholds | None = None,
    fpr: float | None = None,
    faces: bool = False,
    windows: bool = True,
    heatmap: str | Path | None = None,
    details: bool = False,
    trust_code: bool = False,
    offline: bool = False,
    options: RunOptions | None = None,
    progress: ProgressSink | None = None,
) -> Iterator[Detection]:
    """As ``detect``, one result after the other as they are ready, in the same order."""
    sink = progress or Silent()
    _check_thresholds(abstain, fpr)
    if faces:
        check_faces()
    calibrators = ChosenCalibrators(calibrator, faces=faces)
    dataset = samples_of_files(paths)
    for note in dataset.notes:
        sink.note(note)
    present = {s.modality for s in dataset.samples if s.skip is None and s.modality is not None}
    chosen = choose(detectors, trust_code=trust_code, calibrators=calibrators, sink=sink)
    loaded = load_chosen(
        chosen,
        weights,
        present,
        bases=base,
        calibrators=calibrators,
        lenient=detectors is None,
        demo_data=False,
        offline=offline,
        sink=sink,
    )
    heatmaps = None if heatmap is None else Heatmaps(heatmap)
    if heatmaps is not None:
        heatmaps.prepare(loaded, sink)
    if faces:
        loaded = with_faces(loaded)
    for line in precision_notes(loaded, options.dtype if options else None):
        sink.note(line)
    thresholds = {detector.name: abstain or _thresholds(detector, fpr) for detector in loaded}
    by_name = {detector.name: detector for detector in loaded}
    taken = {detector.modality for detector in loaded}
    scored = [s.modality in taken and s.skip is None for s in dataset.samples]
    records = score_samples(
        loaded,
        list(compress(dataset.samples, scored)),
        options or RunOptions(),
        progress,
        details=details or heatmaps is not None,
        windows=windows,
        observe=heatmaps.observe if heatmaps is not None else None,
        rehearsed=heatmaps.rehearsed if heatmaps is not None else None,
    )
    waiting = zip(dataset.samples, scored, strict=True)  # records come in the order of the samples
    sample: Sample | None = None
    warned = False
    for record in records if any(scored) else ():
        while sample is None or sample.sample_id != record["sample_id"]:
            sample, has_detector = next(waiting)
            if not has_detector:
                yield _unscored(sample)
        name = record["detector"]
        if WINDOWS in record.get("details", {}) and not warned and (abstain or by_name[name].calibrator is not None):
            sink.note(_ABOUT_WINDOWS)
            warned = True
        drawn = heatmaps.files.pop((sample.sample_id, name), "") if heatmaps is not None else ""
        yield _detection(sample, by_name[name], record, thresholds[name], drawn)
    for sample, _ in waiting:
        yield _unscored(sample)


def _check_thresholds(abstain: Thresholds | None, fpr: float | None) -> None:
    if abstain is not None and fpr is not None:
        raise UsageError("thresholds are given, and a false positive rate that is to choose one; give one of the two.")
    if abstain is not None and not 0.0 <= abstain[0] <= abstain[1] <= 1.0:
        raise UsageError(
            f"the thresholds of an abstention are low and high, from 0 to 1, not {abstain[0]} and {abstain[1]}."
        )


def _thresholds(detector: Detector, fpr: float | None) -> Thresholds:
    """What a detector's calibrator stores for a false positive rate. A file is called real at 0.5 or below, as ever."""
    if fpr is None:
        return THRESHOLD, THRESHOLD
    if detector.calibrator is None:
        raise UsageError(
            f"{detector.name} has no calibrator, and so no threshold for a false positive rate of {fpr:g}; make one with "
            f"'gasdet calibrate --fpr {fpr:g}'."
        )
    stored = {float(point["fpr"]): float(point["threshold"]) for point in detector.calibrator.thresholds}
    found = next((threshold for rate, threshold in stored.items() if math.isclose(rate, fpr)), None)
    if found is None:
        have = f"those for {', '.join(f'{rate:g}' for rate in sorted(stored))}" if stored else "none"
        raise UsageError(
            f"the calibrator of {detector.name} ({detector.calibrator.path}) stores no threshold for a false positive rate of "
            f"{fpr:g}, but {have}; make one with 'gasdet calibrate --fpr {fpr:g}'."
        )
    return min(THRESHOLD, found), found


def _unscored(sample: Sample) -> Detection:
    status = Status.SKIPPED
    if sample.skip is not None:
        reason, message = str(sample.skip), sample.skip_message
    elif sample.modality is None:
        status, reason, message = _why_unknown(sample)
    else:
        reason, message = NO_DETECTOR, f"no detector for {sample.modality} is at hand"
    return Detection(sample.member, sample.modality, "", "", False, status, reason=reason, message=message)


def _why_unknown(sample: Sample) -> tuple[Status, str, str]:
    """A file of which nobody knows what it is: because it cannot be read, or because it is something else."""
    try:
        read_head(sample.locator)
    except MediaError as error:
        return Status.ERROR, str(error.reason), str(error)
    return Status.SKIPPED, str(Reason.UNKNOWN_MODALITY), "neither its name nor its content says what it is"


def _detection(
    sample: Sample, detector: Detector, record: Mapping[str, Any], thresholds: Thresholds, heatmap_file: str
) -> Detection:
    return Detection(
        path=sample.member,
        modality=sample.modality,
        detector=detector.name,
        weights=detector.weights.name,
        demo_weights=detector.weights.kind == "demo",
        status=Status(record["status"]),
        p_synthetic=record["p_synthetic"],
        reason=record["reason"] or "",
        message=record["message"] or "",
        decoder=record["decoder"] or "",
        width=record["width"],
        height=record["height"],
        frames=record["frames"],
        duration_s=record["duration_s"],
        p_raw=record["p_raw"],
        calibrator=detector.calibrator.method if detector.calibrator is not None else "",
        low=thresholds[0],
        high=thresholds[1],
        heatmap_file=heatmap_file,
        details=record.get("details", {}),
    )
