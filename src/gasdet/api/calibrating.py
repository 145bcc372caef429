"""Calibrating a detector: on the records of a finished run, or on data that are scored for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gasdet.api.choosing import Bases, Choice, Weights
from gasdet.api.evaluating import evaluate
from gasdet.api.faces import FACES
from gasdet.bundle.calibration import CALIBRATOR_NAME, CalibratorError, CalibratorFile, write_calibrator
from gasdet.bundle.delta import complete_sha256_of
from gasdet.bundle.hub import HUB_SCHEME
from gasdet.bundle.weights import PACKAGE_SCHEME
from gasdet.cachedir import cache_dir
from gasdet.data.loading import DEMO
from gasdet.errors import DataError, UsageError
from gasdet.evaluation.calibrating import DEFAULT_TEST_FRACTION, fit_calibrator, made_worse
from gasdet.evaluation.decode_cache import DecodeCache, holding
from gasdet.evaluation.finished import RUN
from gasdet.evaluation.options import RunOptions
from gasdet.evaluation.pipeline import DecodePool
from gasdet.evaluation.processors import share_processors
from gasdet.evaluation.run import Run
from gasdet.evaluation.scored_samples import ScoredSamples, join_copies
from gasdet.evaluation.seen import Seen, seen_by, why_unfit
from gasdet.progress import ProgressSink, Silent
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
    base: Bases = (),
    method: str = "temperature",
    fpr: Sequence[float] = (),
    test: str | Path | Sequence[str | Path] | None = None,
    test_fraction: float = DEFAULT_TEST_FRACTION,
    out: str | Path | None = None,
    run_out: str | Path | None = None,
    allow_training_data: bool = False,
    force: bool = False,
    seed: int = 0,
    categories: Sequence[str] = (),
    modality: Modality | str | None = None,
    total: int | None = None,
    faces: bool = False,
    equalise: str | None = None,
    decode_cache: DecodeCache | None = None,
    trust_code: bool = False,
    offline: bool = False,
    options: RunOptions | None = None,
    progress: ProgressSink | None = None,
) -> CalibratorFile:
    """Fit a calibrator and write it beside the weights that it belongs to.

    A share of the groups takes no part in the fit, or other data are named with ``test``; the report is made there.

    Args:
        run: A finished run, whose records are fitted on. None scores ``data`` with ``detector`` first. With a run, what is
            only about scoring (``data``, ``limit``, ``categories``, ``modality``, ``total``, ``weights``, ``run_out``,
            ``trust_code``, ``faces``, ``equalise``, ``decode_cache``, device, dtype and batch size in ``options``) is refused.
        detector: Of the run, by name (not needed where it has one); or what is to score ``data``: a name or a bundle's path.
        data: The calibration split, as for ``evaluate``.
        split: Only this split of ``data``, or of the run. Default: of demo its calibration split, else everything.
        datasets: Patterns of dataset names to keep.
        limit: At most so many samples.
        weights: Of the detector, as for ``evaluate``.
        base: Of weights that are a delta file, as for ``evaluate``.
        method: Name of a calibrator component.
        fpr: False positive rates to store thresholds for.
        test: Other samples for the report: a run's folder, or (with ``detector`` and ``data``) data.
        test_fraction: Share of the groups to keep back for the report where ``test`` is None.
        out: The file. None is calibrator.json beside the weights; for weights that came with a package or from the hub,
            ``calibrator-<detector>-<weights>.json`` in the working folder.
        run_out: Folder of the run that scores ``data``; None as for ``evaluate``.
        allow_training_data: Fit even on samples that the detector is known to have been trained or selected on.
        force: Write even a calibrator that makes both NLL and Brier score worse on samples that it was not fitted on.
        seed: Of the choice of the groups that are kept back, and of the bootstrap.
        categories: Patterns of categories of a catalogue's data sets to keep.
        modality: Only this modality.
        total: As for ``evaluate``.
        faces: Score the largest face of each image or frame instead of the whole.
        equalise: As for ``evaluate``; the calibrator is then for this profile only.
        decode_cache: As for ``evaluate``.
        trust_code: Allow a bundle's model.py to run.
        offline: Fetch nothing.
        options: Device, batch size, workers, bootstrap resamples.
        progress: Told of stages and notes.

    Returns:
        What was written, ``path`` included.

    Raises:
        UsageError: Neither or both of ``run`` and ``data`` are given, or an option that does not apply; or there is no such
            detector or method.
        DataError: Too few samples, with the number needed; or the detector was trained or selected on them.
        CalibratorError: The run's weights are gone or are others now, and ``out`` is not given; or the calibrator makes things
            worse; or the file cannot be written, or would lie beside other weights.
    """
    sink, options = progress or Silent(), options or RunOptions()
    if (run is None) == (data is None):
        raise UsageError("give a finished run to calibrate on, or a detector and data to score, and not both.")
    if run is not None:
        _refuse_scoring(
            options,
            limit=limit,
            categories=categories,
            modality=modality,
            total=total,
            weights=weights,
            run_out=run_out,
            trust_code=trust_code,
            faces=faces,
            equalise=equalise,
            decode_cache=decode_cache,
        )

    def scored(source: Any, **of_data: Any) -> Run:
        return evaluate(
            [detector] if detector is not None else None,
            source,
            weights=weights,
            base=base,
            calibrator=False,
            seed=seed,
            faces=faces,
            equalise=equalise,
            decode_cache=decode_cache,
            trust_code=trust_code,
            offline=offline,
            options=options,
            progress=sink,
            **of_data,
        )

    with holding(decode_cache):  # what is scored second does not drive out what was scored first
        if run is not None:
            opened = run if isinstance(run, Run) else Run.open(run)
            name = None if detector is None else str(detector)
        elif detector is None:
            raise UsageError("name the detector that is to score the data.")
        else:
            narrowed: dict[str, Any] = {"categories": categories, "modality": modality, "total": total}
            split = split or _default_split(data)
            opened, name = scored(data, split=split, datasets=datasets, limit=limit, out=run_out, **narrowed), None
        judged = None
        if test is not None:
            judged = _opened(test)
            if judged is None and run is not None:
                raise UsageError(
                    f"{test} is no run; with a run to calibrate on, the report's samples are those of another finished run."
                )
            judged = judged or scored(test)
    of_run = (split, datasets) if run is not None else (None, ())  # scored data are chosen already
    samples = ScoredSamples.of_run(opened, name, split=of_run[0], datasets=of_run[1])
    test_samples = None if judged is None else ScoredSamples.of_run(judged, samples.detector)
    if left_out := samples.holdouts + (0 if test_samples is None else test_samples.holdouts):
        sink.note(f"{left_out:,} scored samples of holdouts take no part: nothing is fitted, or chosen, on holdouts.")
    told = opened.config["detectors"][samples.detector]["weights"]
    at_hand = _at_hand(opened, told, samples.weights_sha256)
    if not at_hand and out is None:
        raise CalibratorError(
            f"{opened.path}: the weights that this run was made with are not at {told['path']} any more (sha256 "
            f"{samples.weights_sha256[:16]}…); bring them back, or name with --out where the calibrator is to lie."
        )
    notes = [
        *_of_region(samples.preprocessing.get("region", "")),
        *_of_profile(samples.preprocessing.get("equalise", "")),
    ]
    if allow_training_data:
        notes += ["Whether the detector was trained or selected on these samples was not asked, on demand."]
    else:
        unknown, contents = _refuse_seen(opened, samples, options, sink)
        samples = join_copies(samples, contents)
        if judged is not None and test_samples is not None:
            _refuse_seen(judged, test_samples, options, sink)
        if unknown and not at_hand:
            notes += ["Whether the detector was trained on these samples could not be checked: its weights are gone."]
    fitted = fit_calibrator(
        samples,
        method=method,
        fpr=fpr,
        test=test_samples,
        test_fraction=test_fraction,
        seed=seed,
        resamples=options.resamples,
    )
    if len(worse := made_worse(fitted)) == 2 and not force:
        raise CalibratorError(
            f"no calibrator is written: on samples that it was not fitted on, {method!r} makes things worse "
            f"({' and '.join(worse)}); give more data or another method, or write it all the same with --force."
        )
    path = Path(out) if out is not None else _default_path(told, samples.detector)
    _refuse_other_weights(path, samples.weights_sha256)
    return write_calibrator(path, dataclasses.replace(fitted, notes=(*fitted.notes, *notes)))


def _default_split(data: str | Path | Sequence[str | Path] | None) -> str | None:
    """The demo data have a split for this; what other data are for is not known."""
    return "calibration" if data == DEMO or (not isinstance(data, str | Path) and list(data or ()) == [DEMO]) else None


def _of_region(region: str) -> list[str]:
    """What a user must know of a calibrator of crops; nothing for one of whole pictures."""
    if not region:
        return []
    if region == FACES:
        return ["Fitted on the scores of face crops: it is for --faces."]
    return [f"Fitted on the scores of what the preprocessor {region!r} finds in each picture."]


def _of_profile(profile: str) -> list[str]:
    """What a user must know of a calibrator of equalised files; nothing for one of files as they are."""
    return [f"Fitted on the scores of equalised files: it is for --equalise {profile}."] if profile else []


def _refuse_scoring(options: RunOptions, **given: Any) -> None:
    """Refuse what is about scoring where the scores are a run's.

    Raises:
        UsageError: There is something.
    """
    default = RunOptions()
    given |= {name: getattr(options, name) for name in ("device", "dtype", "batch_size")}
    idle = sorted(name for name, value in given.items() if value and value != getattr(default, name, None))
    if idle:
        raise UsageError(
            f"with a run to calibrate on nothing is scored, so that {', '.join(idle)} cannot apply; leave it out, or name a "
            "detector and data."
        )


def _at_hand(run: Run, weights: Mapping[str, Any], sha256: str) -> bool:
    """Whether the file that a run's detector was loaded from is still where it was, and the same."""
    path = Path(weights["path"])
    return path.is_file() and complete_sha256_of(path) == sha256


def _opened(test: str | Path | Sequence[str | Path]) -> Run | None:
    """The run that ``test`` names, or None where it names data."""
    if isinstance(test, str | Path) and (Path(test) / RUN).is_file():
        return Run.open(test)
    return None


def _refuse_other_weights(path: Path, sha256: str) -> None:
    """Refuse to lay a calibrator.json where it would be found beside weights that it is not for.

    Raises:
        CalibratorError: It would.
    """
    beside = sorted(path.parent.glob("*.safetensors")) if path.name == CALIBRATOR_NAME else []
    if beside and all(complete_sha256_of(file) != sha256 for file in beside):
        raise CalibratorError(
            f"{path}: the calibrator is for weights with the sha256 {sha256[:16]}…, and {beside[0].name} beside it is another "
            "file; name another with --out."
        )


def _default_path(weights: Mapping[str, Any], detector: str) -> Path:
    source, in_a_bundle = weights["source"], weights["kind"] == "bundle"
    fetched = source.startswith((PACKAGE_SCHEME, HUB_SCHEME)) or "://" in source
    unpacked = in_a_bundle and Path(weights["path"]).is_relative_to(cache_dir())  # of a zip
    if not fetched and not unpacked:  # a file that the user named, or a folder
        return Path(weights["path"]).parent / CALIBRATOR_NAME
    name = Path(source).stem if in_a_bundle else weights["name"]
    return Path(f"calibrator-{detector}-{name}.json")


def _refuse_seen(
    run: Run, samples: ScoredSamples, options: RunOptions, sink: ProgressSink
) -> tuple[str, list[str | None]]:
    """Refuse samples that the detector was trained or selected on, as far as its weights' folder, or the data, tell.

    Returns:
        What is not known of the training, empty where everything is; and digests of the samples' decoded content, empty where
        there was nothing to compare them with.

    Raises:
        DataError: There are some.
    """
    weights = run.config["detectors"][samples.detector]["weights"]
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

    contents: list[str | None] = []
    if (why := asked(())) is None:
        contents = _contents(run, seen, samples, options, sink)
        why = asked(contents)
    if why is not None:
        raise DataError(
            f"{samples.description}: {why}, where it looks better than it is; calibrate on other data (--split, --data), or "
            "allow it with --allow-training-data."
        )
    if (unknown := seen.unknown()) and weights["kind"] != "demo":
        sink.note(f"{samples.detector}: {unknown}; see that it was not these data.")
    return unknown, contents


def _contents(
    run: Run, seen: Seen, samples: ScoredSamples, options: RunOptions, sink: ProgressSink
) -> list[str | None]:
    """Digests of the decoded samples, to find copies of training samples; empty where there is nothing to compare with."""
    told = run.config["detectors"][samples.detector]
    if not seen.contents:
        return []
    if dict(seen.preprocessing) != told["preprocessing"]:
        sink.note("Copies of training samples are not looked for: the training decoded its samples differently.")
        return []
    from gasdet.media.digest import digest

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
