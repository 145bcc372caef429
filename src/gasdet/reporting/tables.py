"""A run's summary as tables: detectors side by side, one detector in full, and its datasets and generators, worst first.

Every function takes what summary.json holds and returns text or a :class:`~gasdet.reporting.grid.Grid`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gasdet.reporting.grid import Column, Grid, to_rich, to_text

if TYPE_CHECKING:
    from rich.console import RenderableType

WIDTH = 120
MAX_NAME = 28
MAX_ROWS = 10

HEADLINE = {
    "combined_score": "combined",
    "mcc": "MCC",
    "brier": "Brier",
    "accuracy": "accuracy",
    "auroc": "AUROC",
    "ece": "ECE",
}
"""The metrics of the comparison, with their headings."""

_LABELS = {
    "combined_score": "combined score",
    "mcc": "MCC",
    "brier": "Brier score",
    "brier_reliability": "  reliability",
    "brier_resolution": "- resolution",
    "brier_uncertainty": "+ uncertainty",
    "brier_within_bin": "+ within bins",
    "cross_entropy": "cross-entropy",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
    "false_positive_rate": "real called synthetic",
    "false_negative_rate": "synthetic called real",
    "auroc": "AUROC",
    "average_precision": "average precision",
    "eer": "EER",
    "tpr_at_1pct_fpr": "found at 1 % false alarms",
    "tpr_at_5pct_fpr": "found at 5 % false alarms",
    "ece": "ECE",
    "ece_equal_mass": "ECE, equal mass",
}
_INDENTED = ("brier_reliability", "brier_resolution", "brier_uncertainty", "brier_within_bin")


def comparison(summary: Mapping[str, Any]) -> Grid:
    """All detectors of a summary side by side: by modality, then the best combined (with holdouts: shared) score first.

    Each metric has its value, its 95 % interval on the line below and, for a detector with errors, the value when errors
    count as wrong on a third line. A calibrated detector has the same again for its scores before calibration.
    """
    detectors: Mapping[str, Mapping[str, Any]] = summary["detectors"]
    several = len({d["modality"] for d in detectors.values()}) > 1
    rows = []
    for name, detector in sorted(detectors.items(), key=_best_first):
        counts = detector["counts"]
        lines = 3 if counts["error"] else 2
        title = f"{_short(name)} ({detector['modality']})" if several and detector["modality"] else _short(name)
        samples = [f"{counts['ok']} ok", _errors(counts["error"])]
        if counts["skipped"]:
            samples.append(f"{counts['skipped']} skipped")
        rows.append(
            (
                _lines((title, "  95 % interval", "  errors as wrong")[:lines]),
                _lines(samples),
                *(_lines(_stacked(detector["metrics"][metric])[:lines]) for metric in HEADLINE),
            )
        )
        before = detector.get("before_calibration")
        if before:
            title = _lines(("  before calibration", "  95 % interval", "  errors as wrong")[:lines])
            rows.append((title, "", *(_lines(_stacked(before[metric])[:lines]) for metric in HEADLINE)))
    columns = (Column("detector", "left"), Column("samples"), *(Column(h) for h in HEADLINE.values()))
    notes = [f"{name}: {note}" for name, detector in detectors.items() for note in detector["notes"]]
    return Grid("", columns, tuple(rows), (_legend(summary), *notes))


def generalisation(summary: Mapping[str, Any]) -> Grid | None:
    """Public data and holdouts side by side, and the gap between them; None without holdouts.

    Each value has its 95 % interval on the line below. The score that both share stands under the table, which has the best one
    first.
    """
    told = {name: d for name, d in summary["detectors"].items() if d.get("by_provenance")}
    if not told:
        return None
    rows, scores = [], []
    for name, detector in sorted(told.items(), key=_best_first):
        found = detector["by_provenance"]
        for number, part in enumerate(found["parts"]):
            counts = part["counts"]
            title = f"{_short(name)}: {part['name']}" if not number else f"  {part['name']}"
            samples = _lines((f"{counts['ok']} ok", _errors(counts["error"])))
            rows.append((title + (" *" if part["small"] else ""), samples, *_with_intervals(part["metrics"])))
        rows.append(("  gap", "", *_with_intervals(found["gap"])))
        shared = found["shared"]
        errors = f", errors as wrong {_value(shared['errors_as_wrong'])}" if detector["counts"]["error"] else ""
        scores.append(f"{name}: {_value(shared['value'])} ({_interval(shared)}){errors}")
    share = next(iter(told.values()))["by_provenance"]["shared"]["share"]
    notes = [
        f"Score, {1 - share:g} of the public combined score and {share:g} of the holdouts': {'; '.join(scores)}.",
        "gap: public minus holdout, of each metric; above 0, or for Brier and ECE below 0, the detector is worse on holdouts.",
    ]
    if any(part["small"] for d in told.values() for part in d["by_provenance"]["parts"]):
        notes.append("*: fewer than 30 scored samples of a class.")
    columns = (Column("detector", "left"), Column("samples"), *(Column(h) for h in HEADLINE.values()))
    return Grid("Public data and holdouts", columns, tuple(rows), tuple(notes))


def _with_intervals(metrics: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [_lines(_stacked(metrics[metric])[:2]) for metric in HEADLINE]


def detector_metrics(name: str, detector: Mapping[str, Any]) -> Grid:
    """One detector in full: every metric with its interval, and beside it the value when errors count as wrong."""
    counts, metrics = detector["counts"], detector["metrics"]
    with_errors = bool(counts["error"])
    rows = []
    for metric, entry in metrics.items():
        label = _LABELS.get(metric, metric)
        cells = ["  " + label if metric in _INDENTED else label, _value(entry["value"]), _interval(entry)]
        rows.append((*cells, _value(entry["errors_as_wrong"])) if with_errors else tuple(cells))
    columns = [Column("metric", "left"), Column("value"), Column("95 % interval")]
    if with_errors:
        columns.append(Column("errors as wrong"))
    return Grid(_title(name, detector), tuple(columns), tuple(rows), tuple(_details(detector)))


def breakdown(detector: Mapping[str, Any], by: str, *, title: str = "", max_rows: int | None = MAX_ROWS) -> Grid | None:
    """A detector's datasets (``by="dataset"``), generators or media types, worst first; None where there are none.

    Args:
        detector: One detector of the summary.
        by: "dataset", "generator" or "media_type".
        title: Above the table.
        max_rows: How many to show; None for all. What is left out is counted below.
    """
    cells: Sequence[Mapping[str, Any]] = detector[f"by_{by}"]
    if not cells:
        return None
    shown = cells if max_rows is None else cells[:max_rows]
    with_errors = any(c["counts"]["error"] for c in shown)
    counted = ("real", "synth.", "err.") if with_errors else ("real", "synth.")
    headings = (*counted, "acc.", "95 % interval", "FPR", "FNR", "AUROC", "Brier")
    columns = (Column(by.replace("_", " "), "left"), *(Column(h) for h in headings))
    notes = [
        "acc.: mean of both classes' accuracies where both are there. FPR: real called synthetic. FNR: synthetic missed."
    ]
    if by == "generator" and any(c["kind"] == "synthetic" and c["counts"]["real"] for c in shown):
        notes.append(
            "Each generator is judged against the real samples of its datasets (of all, where those have none)."
        )
    if any(c["small"] for c in shown):
        notes.append("*: fewer than 30 scored samples of a class.")
    if len(shown) < len(cells):
        notes.append(f"{len(cells) - len(shown)} more, none of them worse, are in summary.json.")
    return Grid(title, columns, tuple(_cell_row(c, with_errors) for c in shown), tuple(notes))


def grids(summary: Mapping[str, Any], *, full: bool = False) -> list[Grid]:
    """What ``gasdet evaluate`` prints: the comparison, and public data against holdouts, datasets and generators.

    The latter for each detector, where there are several.

    Args:
        summary: What summary.json holds.
        full: Also every metric of each detector, its media types, and every row.
    """
    result = [comparison(summary)]
    if (private := generalisation(summary)) is not None:
        result.append(private)
    said: set[str] = set()
    for name, detector in sorted(summary["detectors"].items(), key=_best_first):
        if full:
            result.append(detector_metrics(name, detector))
        for by, words in (
            ("dataset", "datasets"),
            ("generator", "generators and cameras"),
            ("media_type", "media types"),
        ):
            if (by == "media_type" and not full) or len(detector[f"by_{by}"]) < 2:
                continue
            grid = breakdown(detector, by, title=f"{name}: {words}, worst first", max_rows=None if full else MAX_ROWS)
            if grid:  # what was said below one table is not repeated below the next
                result.append(replace(grid, notes=tuple(n for n in grid.notes if n not in said)))
                said.update(grid.notes)
    return result


def to_plain(tables: Sequence[Grid], width: int = WIDTH) -> str:
    """Tables as plain text, a blank line between them and no newline at the end."""
    return "\n\n".join(to_text(grid, width) for grid in tables)


def to_terminal(tables: Sequence[Grid], width: int) -> RenderableType:
    """Tables as one rich renderable for a terminal that is ``width`` columns wide."""
    from rich.console import Group

    parts: list[RenderableType] = []
    for number, grid in enumerate(tables):
        if number:
            parts.append("")
        parts += to_rich(grid, width)
    return Group(*parts)


def comparison_table(summary: Mapping[str, Any], width: int = WIDTH) -> str:
    """The comparison of all detectors as plain text."""
    return to_plain([comparison(summary)], width)


def _best_first(pair: tuple[str, Mapping[str, Any]]) -> tuple[str, float, str]:
    """By the score that public data and holdouts share, where there are holdouts; by that of all samples otherwise."""
    name, detector = pair
    score = detector["metrics"]["combined_score"]["value"]
    if detector.get("by_provenance"):
        score = detector["by_provenance"]["shared"]["value"]
    return str(detector["modality"]), -1.0 if score is None else -score, name


def _cell_row(cell: Mapping[str, Any], with_errors: bool) -> tuple[str, ...]:
    counts, metrics = cell["counts"], cell["metrics"]
    judged = metrics["balanced_accuracy"]
    if judged["value"] is None:
        judged = metrics["accuracy"]
    return (
        _short(cell["name"] or "(not named)") + (" *" if cell["small"] else ""),
        str(counts["real"]),
        str(counts["synthetic"]),
        *[str(counts["error"])] * with_errors,
        _value(judged["value"]),
        _interval(judged),
        *(_value(metrics[m]["value"]) for m in ("false_positive_rate", "false_negative_rate", "auroc", "brier")),
    )


def _title(name: str, detector: Mapping[str, Any]) -> str:
    counts = detector["counts"]
    scored = f"{counts['ok']} scored ({counts['real']} real, {counts['synthetic']} synthetic"
    scored += f", {counts['unlabelled']} unlabelled)" if counts["unlabelled"] else ")"
    skipped = f" + {counts['skipped']} skipped" if counts["skipped"] else ""
    return f"{name}: {counts['planned']} planned = {scored} + {_errors(counts['error'])}{skipped}"


def _details(detector: Mapping[str, Any]) -> list[str]:
    lines = []
    if detector["reasons"]:
        lines.append("Not scored: " + ", ".join(f"{n} {code}" for code, n in detector["reasons"].items()) + ".")
    timing = detector["timing"]
    if timing["inference_ms_mean"] is not None:
        lines.append(
            f"Inference {timing['inference_ms_mean']:.1f} ms a sample (95th percentile {timing['inference_ms_p95']:.1f})"
            + ("." if timing["decode_ms_mean"] is None else f", decoding {timing['decode_ms_mean']:.1f} ms on average.")
        )
    return [*lines, *detector["notes"]]


def _errors(count: int) -> str:
    return f"{count} error" + ("" if count == 1 else "s")


def _legend(summary: Mapping[str, Any]) -> str:
    resamples = summary["intervals"]["resamples"]
    drawn = f" Intervals: {resamples} bootstrap resamples over groups." if resamples else ""
    return "Higher is better; for Brier and ECE lower." + drawn


def _stacked(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    return _value(entry["value"]), _interval(entry), _value(entry["errors_as_wrong"])


def _lines(lines: Sequence[str]) -> str:
    return "\n".join(lines)


def _value(value: float | None) -> str:
    return "-" if value is None else _decimal(value)


def _decimal(value: float) -> str:
    text = f"{value:.3f}"
    return text.removeprefix("-") if float(text) == 0.0 else text


def _interval(entry: Mapping[str, Any]) -> str:
    if entry["low"] is None or entry["high"] is None:
        return "-"
    return f"{_decimal(entry['low'])}..{_decimal(entry['high'])}"


def _short(name: str) -> str:
    """A name on one line, no longer than a column bears; the middle is what goes."""
    name = name.encode("unicode_escape").decode("ascii") if not name.isprintable() else name
    if len(name) <= MAX_NAME:
        return name
    tail = MAX_NAME // 2 - 1
    return f"{name[: MAX_NAME - tail - 2]}..{name[-tail:]}"
