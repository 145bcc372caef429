"""Detectors on a dataset, as a run in a folder."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
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
    precision_notes,
)
from gasdet.api.demo import make_demo_data
from gasdet.api.equalising import check_equalise, with_equalise
from gasdet.api.faces import check_faces, with_faces
from gasdet.api.holdouts import Private
from gasdet.bundle import Detector
from gasdet.bundle.calibration import CalibratorFile
from gasdet.data import Dataset, load_data
from gasdet.data.holdouts import HoldoutKey
from gasdet.errors import DataError, PluginError, UsageError
from gasdet.evaluation.decode_cache import DecodeCache
from gasdet.evaluation.options import RunOptions
from gasdet.evaluation.run import Run, configuration_id, evaluate_run, run_configuration
from gasdet.evaluation.scored_samples import fitted_among
from gasdet.progress import ProgressSink, Silent
from gasdet.registry import CORE, load_registry, load_target
from gasdet.types import Modality, Provenance


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
    categories: Sequence[str] = (),
    modality: Modality | str | None = None,
    provenance: Provenance | str | None = None,
    total: int | None = None,
    holdout: str | Path | None = None,
    holdout_key: str | Path | HoldoutKey | None = None,
    holdouts_only: bool = False,
    holdout_share: float | None = None,
    faces: bool = False,
    equalise: str | None = None,
    decode_cache: DecodeCache | None = None,
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
        limit: At most so many samples, holdouts included.
        seed: Of the sampling and the bootstrap.
        categories: Patterns of categories of a catalogue's data sets to keep.
        modality: Only this modality.
        provenance: "public" leaves holdouts out, "holdout" takes them alone.
        total: At most so many samples, shared out among the data sets as their catalogues say.
        holdout: A private catalogue, whose samples take part under keyed names (docs/holdouts.md). ``split`` is not for them.
        holdout_key: What the names are made with: a file, or a key. None is the environment variable GASDET_HOLDOUT_KEY.
        holdouts_only: Evaluate on the holdouts alone; ``data`` is not read.
        holdout_share: Share of the holdouts in the summary's shared score, 0 to 1; None is a half.
        faces: Give detectors of images and clips the largest face of each picture instead of the whole of it.
        equalise: A profile (docs/equalising.md): every file goes through the same crop, size and codec first.
        decode_cache: Where decoded samples are kept between runs; it changes no score.
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
    private = Private.of(holdout, holdout_key, only=holdouts_only, share=holdout_share, provenance=provenance)
    if total is not None and private.asked and not private.only:
        raise UsageError(
            "--total is for one provenance; beside --holdout give --limit, or state totals in the catalogues."
        )
    if faces:
        check_faces()
    options = dataclasses.replace(options or RunOptions(), seed=seed)
    given: Sequence[Choice] | None = [detectors] if isinstance(detectors, str | Path | Detector) else detectors
    if given is not None and not given:
        raise UsageError("no detector is given.")
    calibrators = ChosenCalibrators(calibrator, faces=faces, equalise=equalise)
    chosen = choose(given, trust_code=trust_code, calibrators=calibrators, sink=sink)
    if not chosen:
        raise UsageError("no detector is installed; detectors are packages, for instance: pip install gasdet-restrav.")
    modalities = {modality_of(c) for c in chosen}
    if equalise is not None:
        check_equalise(equalise, sorted(modalities))
    selection: dict[str, Any] = {
        "mode": mode,
        "seed": seed,
        "modalities": modalities,
        "categories": categories,
        "modality": modality,
        "total": total,
        "offline": offline,
    }
    public = None
    if not private.only:
        make_demo_data(data, sink)
        public = load_data(
            data,
            split=split,
            datasets=datasets,
            limit=None if private.asked else limit,
            progress=sink,
            **selection,
        )
    dataset, originals = private.added_to(public, limit=limit, datasets=datasets, **selection)
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
    if equalise is not None:
        loaded = with_equalise(loaded, equalise)
    for line in precision_notes(loaded, options.dtype):
        sink.note(line)
    for detector in loaded:
        if detector.calibrator is not None and (told := _fitted_here(detector.calibrator, dataset, originals)):
            sink.note(f"{detector.name}: its calibrator was fitted on {told}, which flatters its figures.")
    sources = [] if private.only else [data] if isinstance(data, str | Path) else list(data)
    words = [_word(sources), "holdouts" if private.asked else ""]
    folder = Path(out) if out is not None else _default_folder(loaded, words, dataset, options)
    return evaluate_run(
        loaded,
        dataset,
        folder,
        options,
        progress,
        metrics=_plugin_metrics(sink),
        holdout_share=private.share,
        decode_cache=decode_cache,
    )


def _fitted_here(calibrator: CalibratorFile, dataset: Dataset, originals: Mapping[str, str]) -> str:
    """What of the data the calibrator was fitted on, in words; empty for nothing. A holdout may be known by its public id."""
    among = fitted_among(calibrator, (originals.get(s.sample_id, s.sample_id) for s in dataset.samples))
    if among is None:  # a file without ids
        return "a part of these very data" if calibrator.fitted_on.get("fingerprint") == dataset.fingerprint else ""
    return f"{among:,} of these {len(dataset.samples):,} samples" if among else ""


def _word(sources: Sequence[str | Path]) -> str:
    """What a folder's name says of the public data."""
    if not sources:
        return ""
    first = Path(sources[0]).stem if sources[0] != "demo" else "demo"
    return first if len(sources) == 1 else f"{first}-and-{len(sources) - 1}-more"


def _default_folder(loaded: Sequence[Detector], data: Sequence[str], dataset: Dataset, options: RunOptions) -> Path:
    """``runs/<detectors>-<data>-<hash>``: the same for the same configuration, so that the same command goes on."""
    digest = configuration_id(run_configuration(loaded, dataset, options))[:8]
    names = [*sorted(d.name for d in loaded), *filter(None, data)]
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
