"""From records to a summary: counts, metrics with intervals, breakdowns, times. Pure; the only place that computes them.

What the cells and fields mean is in docs/metrics.md. Numbers come from the same tallies as the intervals
(:mod:`gasdet.builtin.tally`), which the tests hold equal to the metric components.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gasdet.builtin.metrics import Metric, checked
from gasdet.builtin.tally import VECTORISED, FloatArray, IntArray, Tally
from gasdet.errors import RunError
from gasdet.evaluation.columns import DetectorRecords, Mask, coded, detectors_of
from gasdet.evaluation.intervals import LEVEL, MIN_GROUPS, bootstrap
from gasdet.evaluation.provenance import DEFAULT_SHARE, check_share, compared
from gasdet.types import LABEL_REAL, LABEL_SYNTHETIC, MediaType, Provenance, Status

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 1
SMALL_CELL = 30
"""A breakdown's cell with fewer scored samples of a class that it is about is marked small."""
CELL_INTERVALS = (
    "combined_score",
    "mcc",
    "brier",
    "accuracy",
    "balanced_accuracy",
    "false_positive_rate",
    "false_negative_rate",
    "auroc",
    "ece",
)
"""The metrics that get intervals in the breakdowns; the whole gets them for all."""
ONE_CLASS = ("brier", "cross_entropy", "accuracy", "false_positive_rate", "false_negative_rate")
"""The metrics that a breakdown's cell with one class reports; the others are null there, even where they are defined."""


BEFORE_CALIBRATION = ("combined_score", "mcc", "brier", "cross_entropy", "accuracy", "auroc", "ece")
"""The metrics that a calibrated detector has for its scores before calibration too."""


def summarise(
    records: pa.Table,
    *,
    resamples: int = 1000,
    seed: int = 0,
    planned: Mapping[str, int] | None = None,
    modalities: Mapping[str, str] | None = None,
    extra: Mapping[str, Metric] | None = None,
    holdout_share: float = DEFAULT_SHARE,
) -> dict[str, Any]:
    """The content of summary.json, ready for ``json.dumps(..., allow_nan=False)``: what is undefined is None.

    Args:
        records: One row a planned sample and detector, columns as in docs/formats.md, in any order.
        resamples: Bootstrap resamples; 0 for no intervals.
        seed: Of the bootstrap.
        planned: How many samples each detector's plan holds. Checked against the records where given.
        modalities: Each detector's modality, which the records do not hold.
        extra: Metrics from plugins, name to function, computed over each detector's whole (not in the breakdowns). One that
            raises is null, with the error in the detector's notes.
        holdout_share: Share of the holdouts in ``by_provenance.shared``, 0 to 1; without holdouts there is no such entry.

    Raises:
        UsageError: ``holdout_share`` is none.
        RunError: The records do not hold exactly one outcome for each planned sample, or an ``ok`` row has no probability.
    """
    run_ids = coded(records, "run_id")[1]
    names = coded(records, "detector")[1]
    for name, count in (planned or {}).items():
        if count and name not in names:
            raise RunError(f"The records hold no row of detector {name!r}, which has {count} planned samples.")
    detectors: dict[str, Any] = {}
    for name, part in detectors_of(records):
        if planned is not None and planned.get(name) != part.status.size:
            raise RunError(f"Detector {name!r} has {part.status.size} records for {planned.get(name)} planned samples.")
        detectors[name] = {
            "modality": str((modalities or {}).get(name, "")),
            **_Summariser(part, resamples, seed, extra or {}, check_share(holdout_share)).summary(),
        }
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": run_ids[0] if len(run_ids) == 1 else "",
        "intervals": {
            "method": "percentile bootstrap over groups",
            "level": LEVEL,
            "resamples": resamples,
            "seed": seed,
        },
        "detectors": detectors,
    }


@dataclass(frozen=True, slots=True)
class _Summariser:
    part: DetectorRecords
    resamples: int
    seed: int
    extra: Mapping[str, Metric]
    holdout_share: float

    def summary(self) -> dict[str, Any]:
        everything = np.ones(self.part.status.size, dtype=np.bool_)
        counts = self._counts(everything)
        failures: dict[str, str] = {}
        extra = {name: _guarded(name, metric, failures) for name, metric in self.extra.items()}
        metrics = self._metrics(everything, tuple(VECTORISED), extra)
        failed = [said for name, said in failures.items() if metrics[name]["value"] is None]
        before = {}
        if self.part.calibrated:
            before["before_calibration"] = self._metrics(everything, BEFORE_CALIBRATION, score=self.part.raw)
        return {
            "counts": counts,
            "groups": int(np.unique(self.part.group[self.part.ok]).size),
            "reasons": self._reasons(),
            "metrics": metrics,
            **before,
            **({"by_provenance": self._by_provenance()} if self.part.holdout.any() else {}),
            "by_dataset": self._by_dataset(),
            "by_generator": self._by_generator(),
            "by_media_type": self._by_media_type(),
            "timing": self._timing(),
            "notes": [*_notes(counts, metrics, self.resamples), *failed],
        }

    def _counts(self, rows: Mask) -> dict[str, int]:
        part = self.part
        scored = rows & part.ok
        counts = {
            "planned": int(rows.sum()),
            "ok": int(scored.sum()),
            "error": int((rows & part.error).sum()),
            "skipped": int((rows & (part.status == Status.SKIPPED.value)).sum()),
            "unlabelled": int((scored & (part.label < 0)).sum()),
            "real": int((scored & (part.label == LABEL_REAL)).sum()),
            "synthetic": int((scored & (part.label == LABEL_SYNTHETIC)).sum()),
        }
        assert counts["planned"] == counts["ok"] + counts["error"] + counts["skipped"], counts
        return counts

    def _reasons(self) -> dict[str, int]:
        codes, names = self.part.reason
        counts = np.bincount(codes[~self.part.ok], minlength=len(names))
        found = [(names[i] or "unstated", int(n)) for i, n in enumerate(counts) if n]
        return dict(sorted(found, key=lambda pair: (-pair[1], pair[0])))

    def _labelled(
        self, rows: Mask, scores: FloatArray, *, errors_as_wrong: bool
    ) -> tuple[IntArray, FloatArray, FloatArray]:
        """Labels, scores, weights of the scored samples; with the failed ones as surely wrong where asked."""
        part = self.part
        status = part.ok | part.error if errors_as_wrong else part.ok
        chosen = rows & status & (part.label >= 0)
        label = part.label[chosen]
        score = np.where(part.ok[chosen], scores[chosen], 1.0 - label)
        return checked(label, score, part.weight[chosen])

    def _metrics(
        self,
        rows: Mask,
        with_interval: Sequence[str],
        extra: Mapping[str, Metric] | None = None,
        score: FloatArray | None = None,
    ) -> dict[str, dict[str, float | None]]:
        part = self.part
        scores = part.score if score is None else score
        chosen = rows & part.ok & (part.label >= 0)
        intervals = bootstrap(
            part.label[chosen],
            scores[chosen],
            part.group[chosen],
            part.weight[chosen],
            metrics=with_interval,
            extra=extra,
            resamples=self.resamples,
            seed=self.seed,
        )
        values = _values(*self._labelled(rows, scores, errors_as_wrong=False), extra or {})
        as_wrong = _values(*self._labelled(rows, scores, errors_as_wrong=True), extra or {})
        result: dict[str, dict[str, float | None]] = {}
        for name, value in values.items():
            if score is not None and name not in with_interval:
                continue
            interval = intervals.get(name)
            result[name] = {
                "value": _finite(value),
                "low": interval.low if interval else None,
                "high": interval.high if interval else None,
                "errors_as_wrong": _finite(as_wrong[name]),
            }
        return result

    def _cell(self, name: str, own: Mask, against: Mask | None = None) -> dict[str, Any]:
        """One line of a breakdown: the cell's own samples, in the metrics beside the real ones that they are told from."""
        rows = own if against is None else own | against
        metrics = self._metrics(rows, CELL_INTERVALS)
        counts = self._counts(own)
        classes = [counts[c] for c in ("real", "synthetic") if counts[c]]
        if against is not None:
            counts["real"] = int((against & self.part.ok).sum())
        if not (counts["real"] and counts["synthetic"]):
            metrics = {k: v if k in ONE_CLASS else dict.fromkeys(v) for k, v in metrics.items()}
        return {"name": name, "counts": counts, "small": min(classes, default=0) < SMALL_CELL, "metrics": metrics}

    def _by_dataset(self) -> list[dict[str, Any]]:
        codes, names = self.part.dataset
        return _worst_first([self._cell(name, codes == code) for code, name in enumerate(names)])

    def _by_provenance(self) -> dict[str, Any]:
        own = self.part.holdout
        return compared(
            self.part,
            self._cell(Provenance.PUBLIC.value, ~own),
            self._cell(Provenance.HOLDOUT.value, own),
            metrics=CELL_INTERVALS,
            resamples=self.resamples,
            seed=self.seed,
            share=self.holdout_share,
        )

    def _by_generator(self) -> list[dict[str, Any]]:
        part = self.part
        codes, names = part.generator
        cells: list[dict[str, Any]] = []
        for kind, label in (("synthetic", LABEL_SYNTHETIC), ("real", LABEL_REAL)):
            members = part.label == label
            present = np.unique(codes[members])
            if not any(names[code] for code in present):
                continue
            for code in present:
                own = members & (codes == code)
                against = self._told_from(own) if label == LABEL_SYNTHETIC else None
                cells.append({"kind": kind, **self._cell(names[code], own, against)})
        return _worst_first(cells)

    def _told_from(self, own: Mask) -> Mask:
        """The real samples of the datasets that hold these; all real samples where those datasets have none that is scored."""
        real = self.part.label == LABEL_REAL
        dataset = self.part.dataset[0]
        near = real & np.isin(dataset, np.unique(dataset[own]))
        return np.asarray(near if (near & self.part.ok).any() else real)

    def _by_media_type(self) -> list[dict[str, Any]]:
        part = self.part
        codes, names = part.media_type
        cells = []
        for code, name in enumerate(names):
            own = (codes == code) & (part.label >= 0)
            if own.any():
                against = None if name == MediaType.REAL else part.label == LABEL_REAL
                cells.append(self._cell(name, own, against))
        return _worst_first(cells)

    def _timing(self) -> dict[str, float | None]:
        """Of the scored samples and of those over the time limit, without which a limit would make every model fast."""
        part = self.part
        timed = part.ok | part.too_slow
        decode = part.decode_ms[timed & np.isfinite(part.decode_ms)]
        inference = part.inference_ms[timed & np.isfinite(part.inference_ms)]
        return {
            "decode_ms_mean": float(decode.mean()) if decode.size else None,
            "inference_ms_mean": float(inference.mean()) if inference.size else None,
            "inference_ms_p95": float(np.percentile(inference, 95)) if inference.size else None,
        }


def _values(labels: IntArray, scores: FloatArray, weights: FloatArray, extra: Mapping[str, Metric]) -> dict[str, float]:
    if not labels.size:
        return dict.fromkeys((*VECTORISED, *extra), math.nan)
    tally = Tally.of(labels, scores, weights)
    values = {name: float(metric(tally)) for name, metric in VECTORISED.items()}
    return values | {name: metric(labels, scores, weights) for name, metric in extra.items()}


def _guarded(name: str, metric: Metric, failures: dict[str, str]) -> Metric:
    """A plugin's metric that is nan where it raises: a bad metric costs its own number only. The first error is kept."""

    def guarded(labels: npt.ArrayLike, scores: npt.ArrayLike, weights: npt.ArrayLike | None) -> float:
        try:
            return float(metric(labels, scores, weights))
        except (Exception, SystemExit) as error:
            failures.setdefault(name, f"Metric {name!r} failed: {type(error).__name__}: {error}")
            return math.nan

    return guarded


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _worst_first(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By balanced accuracy, or by accuracy where there is one class; cells with no scored sample last."""

    def key(cell: dict[str, Any]) -> tuple[bool, float, float, str]:
        metrics = cell["metrics"]
        judged = metrics["balanced_accuracy"]["value"]
        if judged is None:
            judged = metrics["accuracy"]["value"]
        return judged is None, judged or 0.0, -(metrics["brier"]["value"] or 0.0), cell["name"]

    return sorted(cells, key=key)


def _notes(counts: dict[str, int], metrics: dict[str, dict[str, float | None]], resamples: int) -> list[str]:
    """What a reader of the numbers must know, in sentences."""
    notes = []
    if not counts["real"] + counts["synthetic"]:
        return ["No labelled sample was scored, so there are no metrics."]
    if not (counts["real"] and counts["synthetic"]):
        one = "real" if counts["real"] else "synthetic"
        notes.append(
            f"All scored samples are {one}: MCC is 0 by definition, the combined score is not comparable with others, and "
            "ranking metrics are undefined."
        )
    if resamples and metrics["brier"]["low"] is None:
        notes.append(f"No intervals: a class has fewer than {MIN_GROUPS} groups.")
    highest = metrics["auroc"]["high"]
    if highest is not None and highest < 0.5:
        notes.append(
            "AUROC is below 0.5 with its whole interval: check the order of the model's logits and the labels."
        )
    return notes
