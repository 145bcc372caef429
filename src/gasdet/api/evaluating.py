"""Detectors on a dataset, as a run in a folder."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from gasdet.api.choosing import (
    Bases,
    Calibrators,
    Choice,
    ChosenCalibrators,
    Weights,
    choose,
    load_chosen,
    modality_of,
    name_of,
)
from gasdet.api.demo import make_demo_data
from gasdet.api.faces import check_faces, with_faces
from gasdet.bundle import Detector
from gasdet.bundle.calibration import CalibratorFile
from gasdet.data import Dataset, load_data
from gasdet.errors import DataError, PluginError, UsageError
from gasdet.evaluation.calibrating import fitted_among
from gasdet.evaluation.options import RunOptions
from gasdet.evaluation.run import Run, configuration_id, evaluate_run, run_configuration
from gasdet.progress import ProgressSink, Silent
from gasdet.registry import CORE, load_registry, load_target


def evaluate(
    detectors: Sequence[Choice] | str | None = None,
    data: str | Path | Sequence[str | Path] = "demo",
    *,
    weights: Weights = None,
    base: Bases = (),
    calibrator: Calibrators = True,
    out: str | Path | None = None,
    split: str | None = None,
    datasets: Sequence[str] = (),
    mode: Literal["debug", "small", "full"] = "full",
    limit: int | None = None,
    seed: int = 0,
    faces: bool = False,
    trust_code: bool = False,
    offline: bool = False,
    options: RunOptions | None = None,
    progress: ProgressSink | None = None,
) -> Run:
    """Measure detectors on a dataset. The same call again takes up where it stopped; a finished run answers at once.

    Args:
        detectors: Names, bundle paths or loaded detectors; one name may be given as it is. None takes every installed
            detector for which the data has samples; those without fitting weights are noted and left out.
        data: ``"demo"``, a folder, table, archive or catalogue, or several of them.
        weights: For every detector, or by detector name.
        base: Of weights that are delta files: the files that they are changes of. Empty looks where the deltas say.
        calibrator: True applies the calibrator.json beside a detector's weights, where there is one; False none; or files.
        out: Folder of the run. None is ``runs/`` and a name made of the detectors, the data and a hash of the configuration.
        split: Only this split. None is the test split of the demo data, and everything of other data.
        datasets: Patterns of dataset names to keep.
        mode: How much of each dataset.
        limit: At most so many samples.
        seed: Of the sampling and the bootstrap.
        faces: Give detectors of images and clips the largest face of each picture instead of the whole of it.
        trust_code: Allow the model.py of bundles to run.
        offline: Fetch nothing.
        options: Device, batch size, workers, time limits; ``seed`` above replaces theirs.
        progress: Told of stages and notes.

    Returns:
        The finished run: ``run.summary``, ``run.records()``, ``run.path``.

    Raises:
        GasdetError: The data or a detector cannot be had, or the folder holds a run of another configuration.
    """
    sink = progress or Silent()
    if faces:
        check_faces()
    options = dataclasses.replace(options or RunOptions(), seed=seed)
    given: Sequence[Choice] | None = [detectors] if isinstance(detectors, str | Path | Detector) else detectors
    if given is not None and not given:
        raise UsageError("no detector is given.")
    calibrators = ChosenCalibrators(calibrator, faces=faces)
    chosen = choose(given, trust_code=trust_code, calibrators=calibrators, sink=sink)
    if not chosen:
        raise UsageError("no detector is installed; detectors are packages, for instance: pip install gasdet-restrav.")
    make_demo_data(data, sink)
    dataset = load_data(
        data,
        split=split,
        datasets=datasets,
        mode=mode,
        limit=limit,
        seed=seed,
        modalities={modality_of(c) for c in chosen},
    )
    for note in dataset.notes:
        sink.note(note)
    present = {s.modality for s in dataset.samples}
    for item in chosen if given is not None and None not in present else ():
        if modality_of(item) not in present:
            raise DataError(f"{name_of(item)} takes {modality_of(item)}, and {dataset.description} has none.")
    loaded = load_chosen(
        chosen,
        weights,
        present,
        bases=base,
        calibrators=calibrators,
        lenient=given is None,
        demo_data=dataset.is_demo,
        offline=offline,
        sink=sink,
    )
    if not loaded:
        raise UsageError(f"no installed detector can be evaluated on {dataset.description}; see 'gasdet list'.")
    if faces:
        loaded = with_faces(loaded)
    for detector in loaded:
        if detector.calibrator is not None and (told := _fitted_here(detector.calibrator, dataset)):
            sink.note(f"{detector.name}: its calibrator was fitted on {told}, which flatters its figures.")
    folder = Path(out) if out is not None else _default_folder(loaded, data, dataset, options)
    return evaluate_run(loaded, dataset, folder, options, progress, metrics=_plugin_metrics(sink))


def _fitted_here(calibrator: CalibratorFile, dataset: Dataset) -> str:
    """What of the data the calibrator was fitted on, in words; empty for nothing."""
    among = fitted_among(calibrator, (sample.sample_id for sample in dataset.samples))
    if among is None:  # a file without ids
        return "a part of these very data" if calibrator.fitted_on.get("fingerprint") == dataset.fingerprint else ""
    return f"{among:,} of these {len(dataset.samples):,} samples" if among else ""


def _default_folder(loaded: Sequence[Detector], data: Any, dataset: Dataset, options: RunOptions) -> Path:
    """``runs/<detectors>-<data>-<hash>``: the same for the same configuration, so that the same command goes on."""
    digest = configuration_id(run_configuration(loaded, dataset, options))[:8]
    given = [data] if isinstance(data, str | Path) else list(data)
    names = [*sorted(d.name for d in loaded), Path(given[0]).stem if given[0] != "demo" else "demo"]
    if len(given) > 1:
        names.append(f"and-{len(given) - 1}-more")
    words = re.sub(r"[^A-Za-z0-9]+", "-", "-".join(names)).strip("-")[:60]
    return Path("runs") / f"{words}-{digest}"


def _plugin_metrics(sink: ProgressSink) -> dict[str, Any]:
    """The metrics that plugins bring, for the summary; one that cannot be imported is noted and left out."""
    registry = load_registry()
    metrics: dict[str, Any] = {}
    for name in dict.fromkeys(entry.spec.name for entry in registry.components("metric")):
        try:
            entry = registry.component("metric", name)
            if entry.plugin.distribution != CORE:
                metric, given = load_target(entry.spec.target), entry.spec.options
                metrics[name] = functools.partial(metric, **given) if given else metric
        except PluginError as error:
            sink.note(f"Left out the metric {name!r}: {error}")
    return metrics
