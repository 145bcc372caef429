"""Calibrating a detector: on the records of a finished run, or on data that are scored for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gasdet.api.choosing import Choice, Weights
from gasdet.api.evaluating import evaluate
from gasdet.bundle.calibration import CALIBRATOR_NAME, CalibratorFile, write_calibrator
from gasdet.errors import DataError, UsageError
from gasdet.evaluation.calibrating import DEFAULT_TEST_FRACTION, ScoredSamples, fit_calibrator
from gasdet.evaluation.finished import RUN
from gasdet.evaluation.options import RunOptions
from gasdet.evaluation.pipeline import DecodePool
from gasdet.evaluation.processors import share_processors
from gasdet.evaluation.progress import ProgressSink, Silent
from gasdet.evaluation.run import Run
from gasdet.evaluation.seen import Seen, seen_by, why_unfit
from gasdet.types import Modality, Preprocessing


def calibrate(
    run: str | Path | Run | None = None,
    *,
    detector: Choice | None = None,
    data: str | Path | Sequence[str | Path] | None = None,
    split: str | None = None,
    datasets: Sequence[str] = (),
    limit: int | None = None,
    weights: Weights = None,
    method: str = "temperature",
    fpr: Sequence[float] = (),
    test: str | Path | Sequence[str | Path] | None = None,
    test_fraction: float = DEFAULT_TEST_FRACTION,
    out: str | Path | None = None,
    run_out: str | Path | None = None,
    allow_training_data: bool = False,
    seed: int = 0,
    trust_code: bool = False,
    offline: bool = False,
    options: RunOptions | None = None,
    progress: ProgressSink | None = None,
) -> CalibratorFile:
    """Fit a calibrator and write it beside the weights that it belongs to.

    A share of the groups takes no part in the fit, or other data are named with ``test``; the report is made there.

    Args:
        run: A finished run, whose records are fitted on. None scores ``data`` with ``detector`` first.
        detector: Of the run, by name (not needed where it has one); or what is to score ``data``: a name or a bundle's path.
        data: The calibration split, as for ``evaluate``.
        split: Only this split of ``data``.
        datasets: Patterns of dataset names to keep.
        limit: At most so many samples.
        weights: Of the detector, as for ``evaluate``.
        method: Name of a calibrator component.
        fpr: False positive rates to store thresholds for.
        test: Other samples for the report: a run's folder, or (with ``detector`` and ``data``) data.
        test_fraction: Share of the groups to keep back for the report where ``test`` is None.
        out: The file. None is calibrator.json beside the weights; for weights that came with a package or from the hub,
            ``calibrator-<detector>-<weights>.json`` in the working folder.
        run_out: Folder of the run that scores ``data``; None as for ``evaluate``.
        allow_training_data: Fit even on samples that the detector is known to have been trained or selected on.
        seed: Of the choice of the groups that are kept back, and of the bootstrap.
        trust_code: Allow a bundle's model.py to run.
        offline: Fetch nothing.
        options: Device, batch size, workers, bootstrap resamples.
        progress: Told of stages and notes.

    Returns:
        What was written, ``path`` included.

    Raises:
        UsageError: Neither or both of ``run`` and ``data`` are given, or there is no such detector or method.
        DataError: Too few samples, with the number needed; or the detector was trained or selected on them.
        CalibratorError: The file cannot be written.
    """
    sink, options = progress or Silent(), options or RunOptions()
    if (run is None) == (data is None):
        raise UsageError("give a finished run to calibrate on, or a detector and data to score, and not both.")

    def scored(source: Any, **of_data: Any) -> Run:
        return evaluate(
            [detector] if detector is not None else None,
            source,
            weights=weights,
            calibrator=False,
            seed=seed,
            trust_code=trust_code,
            offline=offline,
            options=options,
            progress=sink,
            **of_data,
        )

    if run is not None:
        opened = run if isinstance(run, Run) else Run.open(run)
        name = None if detector is None else str(detector)
    elif detector is None:
        raise UsageError("name the detector that is to score the data.")
    else:
        opened, name = scored(data, split=split, datasets=datasets, limit=limit, out=run_out), None
    judged = None
    if test is not None:
        judged = _opened(test)
        if judged is None and run is not None:
            raise UsageError(
                f"{test} is no run; with a run to calibrate on, the report's samples are those of another finished run."
            )
        judged = judged or scored(test)
    samples = ScoredSamples.of_run(opened, name)
    for one in (opened, judged):
        if one is not None:
            _refuse_seen(one, samples.detector, allow_training_data, options, sink)
    fitted = fit_calibrator(
        samples,
        method=method,
        fpr=fpr,
        test=None if judged is None else ScoredSamples.of_run(judged, samples.detector),
        test_fraction=test_fraction,
        seed=seed,
        resamples=options.resamples,
    )
    if allow_training_data:
        said = "Whether the detector was trained or selected on these samples was not asked, on demand."
        fitted = dataclasses.replace(fitted, notes=(*fitted.notes, said))
    path = Path(out) if out is not None else _default_path(opened, samples.detector)
    return write_calibrator(path, fitted)


def _opened(test: str | Path | Sequence[str | Path]) -> Run | None:
    """The run that ``test`` names, or None where it names data."""
    if isinstance(test, str | Path) and (Path(test) / RUN).is_file():
        return Run.open(test)
    return None


def _default_path(run: Run, detector: str) -> Path:
    weights = run.config["detectors"][detector]["weights"]
    source = Path(weights["source"])
    in_a_bundle = weights["kind"] == "bundle"
    if source == Path(weights["path"]) or (in_a_bundle and source.is_dir()):  # a file that the user named, or a folder
        return Path(weights["path"]).parent / CALIBRATOR_NAME
    name = source.stem if in_a_bundle else weights["name"]
    return Path(f"calibrator-{detector}-{name}.json")


def _refuse_seen(run: Run, detector: str, allowed: bool, options: RunOptions, sink: ProgressSink) -> None:
    """Refuse samples that the detector was trained or selected on, as far as its weights' folder, or the data, tell.

    Raises:
        DataError: There are some.
    """
    if allowed:
        return
    samples = ScoredSamples.of_run(run, detector)
    weights = run.config["detectors"][detector]["weights"]
    seen = seen_by(Path(weights["path"]), samples.weights_sha256)

    def asked(contents: Sequence[str | None]) -> str | None:
        return why_unfit(
            seen,
            samples.sample_ids.tolist(),
            samples.splits.tolist(),
            fingerprint=samples.fingerprint,
            contents=contents,
            demo=weights["kind"] == "demo" and bool(run.config["data"]["is_demo"]),
        )

    why = asked(())
    if why is None and (contents := _contents(run, detector, seen, samples, options, sink)):
        why = asked(contents)
    if why is not None:
        raise DataError(
            f"{samples.description}: {why}, where it looks better than it is; calibrate on other data (--split, --data), or "
            "allow it with --allow-training-data."
        )
    if seen.path is None and weights["kind"] != "demo":
        sink.note(f"{detector}: nothing here says what these weights were trained on; see that it was not these data.")


def _contents(
    run: Run, detector: str, seen: Seen, samples: ScoredSamples, options: RunOptions, sink: ProgressSink
) -> list[str | None]:
    """Digests of the decoded samples, to find copies of training samples; empty where there is nothing to compare with."""
    told = run.config["detectors"][detector]
    if not seen.contents:
        return []
    if dict(seen.preprocessing) != told["preprocessing"]:
        sink.note("Copies of training samples are not looked for: the training decoded its samples differently.")
        return []
    from gasdet.training.duplicates import digest

    preprocessing = Preprocessing.from_mapping(Modality(told["modality"]), told["preprocessing"])
    wanted = set(samples.sample_ids.tolist())
    plan = [sample for sample in run.samples() if sample.sample_id in wanted]
    share_processors()
    digests: list[str | None] = []
    sink.start("looking for copies of training samples", len(plan))
    with DecodePool(workers=options.worker_count, timeout=options.decode_timeout, limits=options.limits) as pool:
        for result in pool.run(plan, preprocessing):
            digests.append(None if result.decoded is None else digest(result.decoded.array))
            sink.advance(1, 0)
    sink.finish()
    return digests
