"""Fitting a calibrator: scored samples in, a calibrator and an honest report of what it does out.

A share of the groups is kept back from the fit, and the report is made on it. docs/calibration.md says why, and what the
report means.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from gasdet.builtin.calibrators import Beta
from gasdet.builtin.calibrators.interface import MAX_SLOPE, MIN_SLOPE
from gasdet.builtin.metrics import checked
from gasdet.builtin.tally import VECTORISED, FloatArray, Tally
from gasdet.bundle.calibration import CalibratorFile
from gasdet.errors import DataError, MetricError, UsageError
from gasdet.evaluation.calibration import calibrator_class
from gasdet.evaluation.intervals import MIN_GROUPS, bootstrap
from gasdet.evaluation.operating import operating_point
from gasdet.evaluation.scored_samples import ScoredSamples
from gasdet.version import __version__

REPORTED = ("cross_entropy", "brier", "ece", "combined_score", "mcc", "accuracy", "auroc")
"""The metrics of the report."""

DEFAULT_TEST_FRACTION = 0.3


def fit_calibrator(
    data: ScoredSamples,
    *,
    method: str,
    fpr: Sequence[float] = (),
    test: ScoredSamples | None = None,
    test_fraction: float = DEFAULT_TEST_FRACTION,
    seed: int = 0,
    resamples: int = 1000,
) -> CalibratorFile:
    """Fit a calibrator, find the thresholds asked for, and report both on samples that took no part.

    Args:
        data: The calibration split.
        method: Name of a calibrator component.
        fpr: False positive rates to find thresholds for.
        test: What to report on; None keeps ``test_fraction`` of the groups of ``data`` back for it.
        test_fraction: Between 0 and 1.
        seed: Of the choice of those groups, and of the bootstrap.
        resamples: Of the bootstrap; 0 for no intervals.

    Raises:
        UsageError: There is no such method, or an option is unusable.
        DataError: Too few samples (with the number needed), or the report's samples were scored with other weights or are
            among those of the fit.
        MetricError: The calibrator cannot be fitted.
    """
    component, entry = calibrator_class(method)
    if not 0.0 < test_fraction < 1.0:
        raise UsageError(f"The share that is kept back for the report is between 0 and 1, not {test_fraction:g}.")
    notes: list[str] = []
    fitting, judged = _parts(data, test, test_fraction, seed, notes)
    _check_numbers(method, int(component.minimum_samples), data, fitting, judged)
    calibrator = component.fit(fitting.logits, fitting.labels, fitting.weights, **entry.spec.options)
    before = _report(judged, probabilities(judged.logits), resamples, seed)
    calibrated = probabilities(calibrator.apply(judged.logits))
    after = _report(judged, calibrated, resamples, seed)
    on_fit = probabilities(calibrator.apply(fitting.logits))
    points = [
        operating_point(rate, fitting.labels, on_fit, fitting.groups, (judged.labels, calibrated, judged.groups))
        for rate in sorted(set(fpr))
    ]
    fitted = CalibratorFile(
        method=entry.qualified if entry.plugin.name != "builtin" else entry.spec.name,
        parameters=calibrator.parameters(),
        detector=data.detector,
        weights_sha256=data.weights_sha256,
        fitted_on=fitting.described(with_ids=True),
        judged_on=judged.described(),
        before=before,
        after=after,
        thresholds=tuple(points),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={"gasdet": __version__, "method": entry.plugin.origin},
        preprocessing=data.preprocessing,
    )
    return dataclasses.replace(fitted, notes=(*notes, *_notes(component, calibrator, fitted)))


def made_worse(fitted: CalibratorFile) -> list[str]:
    """What the calibrator makes worse on the samples that it was not fitted on, in words: NLL, Brier score, both or none."""
    told = []
    for name, words in (("cross_entropy", "NLL"), ("brier", "Brier score")):
        before, after = fitted.before[name]["value"], fitted.after[name]["value"]
        if before is not None and (after is None or after > before):
            told.append(f"{words} {before:.4f} to {'infinity' if after is None else f'{after:.4f}'}")
    return told


def probabilities(logits: npt.ArrayLike) -> FloatArray:
    """P(synthetic) of logits [N, 2], float64 [N].

    Raises:
        MetricError: They are not finite.
    """
    pair = np.asarray(logits, dtype=np.float64)
    if pair.ndim != 2 or pair.shape[1] != 2 or not np.isfinite(pair).all():
        raise MetricError("The calibrator gives logits that are not finite; choose another method.")
    margin = pair[:, 1] - pair[:, 0]
    small = np.exp(-np.abs(margin))
    return np.where(margin >= 0.0, 1.0 / (1.0 + small), small / (1.0 + small))


def kept_back(data: ScoredSamples, fraction: float, seed: int) -> npt.NDArray[np.bool_]:
    """[N]: the samples of the groups that are kept back: the first of each kind by a hash of seed and group.

    Groups of real samples, of synthetic ones, and of both are chosen from separately, so that both parts have all of them. The
    choice does not depend on the order of the samples, and a group that is kept back stays so when samples are added near it.
    """
    names, place = np.unique(data.groups, return_inverse=True)
    synthetic = np.bincount(place, weights=data.labels == 1) > 0
    real = np.bincount(place, weights=data.labels == 0) > 0
    digests = np.array([hashlib.sha256(f"{seed}\0{name}".encode()).hexdigest() for name in names.tolist()])
    chosen = np.zeros(names.size, dtype=np.bool_)
    for kind in (real & ~synthetic, synthetic & ~real, real & synthetic):
        members = np.flatnonzero(kind)
        members = members[np.argsort(digests[members])]
        chosen[members[: round(fraction * members.size)]] = True
    return np.asarray(chosen[place])


def _parts(
    data: ScoredSamples, test: ScoredSamples | None, fraction: float, seed: int, notes: list[str]
) -> tuple[ScoredSamples, ScoredSamples]:
    if test is None:
        back = kept_back(data, fraction, seed)
        return data.part(~back), data.part(back)
    if test.weights_sha256 != data.weights_sha256:
        raise DataError(
            f"{test.description} was scored with other weights ({test.weights_sha256[:16]}…) than {data.description} "
            f"({data.weights_sha256[:16]}…); score both with the same."
        )
    if test.preprocessing != data.preprocessing:
        raise DataError(
            f"{test.description} was decoded with another preprocessing than {data.description}; score both with the same."
        )
    shared = int(np.isin(test.sample_ids, data.sample_ids).sum())
    if shared:
        raise DataError(
            f"{shared:,} of {test.labels.size:,} samples of {test.description} are in the calibration data too, where nothing "
            "can be reported on; give other data for the report, or leave it out to keep a share of the groups back."
        )
    near = np.isin(test.groups, data.groups)
    if near.any():
        notes.append(f"{int(near.sum()):,} samples are left out of the report: samples of their groups were fitted on.")
    return data, test.part(~near)


def _check_numbers(
    method: str, needed: int, data: ScoredSamples, fitting: ScoredSamples, judged: ScoredSamples
) -> None:
    def counts(part: ScoredSamples) -> str:
        return f"{int((part.labels == 0).sum()):,} real and {int((part.labels == 1).sum()):,} synthetic"

    if any(int((fitting.labels == label).sum()) < needed for label in (0, 1)):
        rest = "" if fitting is data else f", of {counts(data)} in all: the others are kept back for the report"
        raise DataError(
            f"{data.description}: the calibrator {method!r} needs at least {needed:,} real and {needed:,} synthetic samples to "
            f"be fitted on, and there are {counts(fitting)}{rest}; give more data, or choose a method with fewer parameters."
        )
    if any(not (judged.labels == label).any() for label in (0, 1)):
        raise DataError(
            f"{judged.description}: the report needs real and synthetic samples that are not fitted on, at least 1 of each, "
            f"and there are {counts(judged)}; give more groups, or other data for the report with --test."
        )


def _report(part: ScoredSamples, scores: FloatArray, resamples: int, seed: int) -> dict[str, dict[str, float | None]]:
    """Each metric's value and interval, None where it is undefined."""
    intervals = bootstrap(
        part.labels, scores, part.groups, part.weights, metrics=REPORTED, resamples=resamples, seed=seed
    )
    tally = Tally.of(*checked(part.labels, scores, part.weights))
    report: dict[str, dict[str, float | None]] = {}
    for name in REPORTED:
        value, interval = float(VECTORISED[name](tally)), intervals[name]
        report[name] = {
            "value": value if np.isfinite(value) else None,
            "low": interval.low if interval else None,
            "high": interval.high if interval else None,
        }
    return report


def _notes(component: Any, calibrator: Any, fitted: CalibratorFile) -> list[str]:
    """What a reader of the numbers must know, in sentences."""
    notes = []
    slopes = (calibrator.a, calibrator.b) if isinstance(calibrator, Beta) else _slopes(calibrator)
    if slopes and (max(slopes) <= MIN_SLOPE or min(slopes) >= MAX_SLOPE):
        why = "no better than chance" if max(slopes) <= MIN_SLOPE else "without an error on this data"
        notes.append(
            f"The slope ended at its bound, {slopes[0]:g}: the detector is {why}, which calibration cannot answer."
        )
    if not component.monotone:
        notes.append("This method makes ties: the order of samples is kept, AUROC may change.")
    if worse := made_worse(fitted):
        leave = "; leave it out" if len(worse) > 1 else ""
        notes.append(
            f"On samples that it was not fitted on, the calibrator makes things worse ({' and '.join(worse)}){leave}."
        )
    if fitted.before["brier"]["low"] is None:
        notes.append(f"No intervals: a class has fewer than {MIN_GROUPS} groups in the part for the report.")
    return notes


def _slopes(calibrator: Any) -> tuple[float, ...]:
    line = calibrator.affine() if hasattr(calibrator, "affine") else None
    return () if line is None else (line[0],)
