"""The tables of a summary: what must be in them, in which order, and that nothing undefined is shown as a number."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from gasdet.evaluation.summary import summarise
from gasdet.reporting import tables

# The tables read a real summary, so that a change of its fields shows here.


def records(detector: str, sharpness: float, errors: int, seed: int, datasets: int = 3) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(240):
        label = i % 2
        dataset = f"set {rng.integers(datasets)}"
        p = float(1 / (1 + np.exp(-rng.normal((2 * label - 1) * sharpness, 1.0))))
        failed = i < errors
        rows.append(
            {
                "run_id": "r",
                "detector": detector,
                "sample_id": f"{i:032x}",
                "dataset": "clips from a camera with a very long name, 2024" if dataset == "set 0" else dataset,
                "media_type": "synthetic" if label else "real",
                "generator": f"generator {rng.integers(3)}" if label else "",
                "group": f"g{i}",
                "label": label,
                "p_synthetic": None if failed else p,
                "status": "error" if failed else "ok",
                "reason": "truncated" if failed else None,
                "inference_ms": 3.0,
                "decode_ms": 5.0,
            }
        )
    return rows


@pytest.fixture(scope="module")
def summary() -> dict[str, Any]:
    rows = records("weak", 0.3, 0, 1) + records("strong", 2.0, 7, 2) + records("middle", 1.0, 1, 3, datasets=14)
    modalities = dict.fromkeys(("weak", "strong", "middle"), "image")
    return summarise(pa.Table.from_pylist(rows), resamples=60, modalities=modalities)


def number(value: float) -> str:
    return f"{value:.3f}"


def row_of(text: str, name: str) -> list[str]:
    """The lines of a row of a table: from the one that starts with its name on."""
    lines = text.split("\n")
    start = next(i for i, line in enumerate(lines) if line.startswith(name))
    return lines[start : start + 3]


def test_comparison_has_each_metric_with_its_interval_best_first(summary: dict[str, Any]) -> None:
    text = tables.comparison_table(summary, width=120)
    names = [
        line.split()[0] for line in text.split("\n") if line.split()[:1] and line.split()[0] in summary["detectors"]
    ]
    assert names == ["strong", "middle", "weak"]
    for name, detector in summary["detectors"].items():
        value, interval, _ = row_of(text, name)
        metrics = [detector["metrics"][m] for m in ("combined_score", "mcc", "brier", "accuracy", "auroc", "ece")]
        assert value.split()[-6:] == [number(m["value"]) for m in metrics]
        assert interval.split()[-6:] == [f"{number(m['low'])}..{number(m['high'])}" for m in metrics]
    assert "60 bootstrap resamples" in text


def test_errors_are_beside_the_metrics_with_the_values_when_they_count_as_wrong(summary: dict[str, Any]) -> None:
    text = tables.comparison_table(summary, width=120)
    value, interval, wrong = row_of(text, "strong")
    assert "233 ok" in value
    assert "7 errors" in interval
    metrics = summary["detectors"]["strong"]["metrics"]
    assert wrong.split() == ["errors", "as", "wrong"] + [number(metrics[m]["errors_as_wrong"]) for m in tables.HEADLINE]
    assert "1 error " in row_of(text, "middle")[1]
    assert "errors as wrong" not in "".join(row_of(text, "weak")[:2])


def test_modality_is_named_and_groups_rows_where_there_are_several(summary: dict[str, Any]) -> None:
    assert "(image)" not in tables.comparison_table(summary)
    detectors = {
        name: {**detector, "modality": "video" if name == "strong" else "audio"}
        for name, detector in summary["detectors"].items()
    }
    text = tables.comparison_table({**summary, "detectors": detectors})
    order = [text.index(name) for name in ("middle (audio)", "weak (audio)", "strong (video)")]
    assert order == sorted(order)


def test_full_table_lists_every_metric(summary: dict[str, Any]) -> None:
    detector = summary["detectors"]["strong"]
    text = tables.to_plain([tables.detector_metrics("strong", detector)], 80)
    assert text.startswith("strong: 240 planned = 233 scored (")
    assert "+ 7 errors" in text.split("\n")[0]
    body = [line for line in text.split("\n") if ".." in line]
    assert len(body) == len(detector["metrics"])
    for line, entry in zip(body, detector["metrics"].values(), strict=True):
        value, interval, wrong = line.split()[-3:]
        assert [abs(float(value)), abs(float(wrong))] == [
            abs(round(entry["value"], 3)),
            abs(round(entry["errors_as_wrong"], 3)),
        ]
        assert ".." in interval
    assert "Not scored: 7 truncated." in text
    assert "Inference 3.0 ms a sample (95th percentile 3.0), decoding 5.0 ms on average." in text


def test_breakdown_is_worst_first_and_says_what_it_leaves_out(summary: dict[str, Any]) -> None:
    detector = summary["detectors"]["middle"]
    grid = tables.breakdown(detector, "dataset", max_rows=4)
    assert grid is not None
    text = tables.to_plain([grid])
    accuracies = [float(row[grid_column(grid, "acc.")]) for row in grid.rows]
    assert len(accuracies) == 4
    assert accuracies == sorted(accuracies)
    assert f"{len(detector['by_dataset']) - 4} more" in text
    assert "*: fewer than 30" in text
    everything = tables.breakdown(detector, "dataset", max_rows=None)
    assert everything is not None
    assert len(everything.rows) == len(detector["by_dataset"])


def grid_column(grid: tables.Grid, heading: str) -> int:
    return [c.heading for c in grid.columns].index(heading)


def test_what_is_undefined_is_a_dash() -> None:
    rows = [r for r in records("only", 1.0, 0, 5) if r["label"] == 0][:3]
    found = summarise(pa.Table.from_pylist(rows), resamples=20)
    text = tables.to_plain(tables.grids(found, full=True), 120)
    assert "nan" not in text.lower()
    assert "None" not in text
    value, interval, _ = row_of(text, "only")
    assert value.split()[-2] == "-"  # AUROC of one class
    assert interval.split()[-6:] == ["-"] * 6
    assert "only: All scored samples are real" in text


def test_zero_is_never_shown_as_negative(summary: dict[str, Any]) -> None:
    assert "-0.000" not in tables.to_plain(tables.grids(summary, full=True))


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("full", [False, True])
def test_every_line_fits_in_plain_text_and_on_a_terminal(summary: dict[str, Any], width: int, full: bool) -> None:
    grids = tables.grids(summary, full=full)
    plain = tables.to_plain(grids, width)
    assert plain.isascii()
    assert max(map(len, plain.split("\n"))) <= width
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=True, color_system="standard").print(tables.to_terminal(grids, width))
    assert "…" not in out.getvalue()  # nothing was cut off
    for name in summary["detectors"]:
        assert name in out.getvalue()


def test_what_is_said_below_one_table_is_not_said_again(summary: dict[str, Any]) -> None:
    text = tables.to_plain(tables.grids(summary, full=True))
    assert text.count("FPR: real called synthetic") == 1


def test_odd_names_stay_on_one_line(summary: dict[str, Any]) -> None:
    detector = summary["detectors"]["weak"]
    cells = [{**detector["by_dataset"][0], "name": name} for name in ("two\nlines", "x" * 60, "", "[red]")]
    grid = tables.breakdown({**detector, "by_dataset": cells}, "dataset")
    assert grid is not None
    names = [row[0] for row in grid.rows]
    assert names[0].startswith("two\\nlines")
    assert len(names[1]) <= tables.MAX_NAME + 2
    assert names[2].startswith("(not named)")
    out = io.StringIO()
    Console(file=out, width=120).print(tables.to_terminal([grid], 120))
    assert "[red]" in out.getvalue()


def test_importing_the_tables_imports_no_rich() -> None:
    code = "import sys, gasdet.reporting.tables; sys.exit('rich' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture(scope="module")
def private() -> dict[str, Any]:
    rows = []
    for detector, sharpness in (("weak", 0.3), ("strong", 2.0)):
        own = [{**r, "provenance": "public"} for r in records(detector, sharpness, 4, 5)]
        hidden = [
            {
                **r,
                "provenance": "holdout",
                "dataset": "image-holdout-7f3a1c",
                "sample_id": f"h{r['sample_id']}",
                "group": f"h{i}",
            }
            for i, r in enumerate(records(detector, sharpness / 2, 0, 6)[:50])
        ]
        rows += own + hidden
    return summarise(pa.Table.from_pylist(rows), resamples=60, modalities=dict.fromkeys(("weak", "strong"), "image"))


def test_public_data_and_holdouts_side_by_side(private: dict[str, Any], summary: dict[str, Any]) -> None:
    assert tables.generalisation(summary) is None
    grid = tables.generalisation(private)
    assert grid is not None
    text = tables.to_plain([grid])
    assert text in tables.to_plain(tables.grids(private))
    lines = text.split("\n")
    starts = [line.split("  ")[0] for line in lines if line.startswith(("weak: public", "strong: public"))]
    assert starts == ["strong: public", "weak: public"]  # best shared score first
    told = private["detectors"]["strong"]["by_provenance"]
    start = next(i for i, line in enumerate(lines) if line.startswith("strong: public"))
    cells = [told["parts"][0]["metrics"], told["parts"][1]["metrics"], told["gap"]]
    for offset, (name, metrics) in enumerate(zip(("strong: public", "  holdout *", "  gap"), cells, strict=True)):
        value, interval = lines[start + 2 * offset : start + 2 * offset + 2]
        assert value.startswith(name)
        assert value.split()[-6:] == [number(metrics[m]["value"]) for m in tables.HEADLINE]
        entries = [metrics[m] for m in tables.HEADLINE]
        assert interval.split()[-6:] == [f"{number(e['low'])}..{number(e['high'])}" for e in entries]
    shared = told["shared"]
    flat = " ".join(text.split())
    assert (
        f"strong: {number(shared['value'])} ({number(shared['low'])}..{number(shared['high'])}), errors as wrong"
        in flat
    )
    assert number(shared["errors_as_wrong"]) in flat
    assert "0.5 of the public combined score and 0.5 of the holdouts'" in flat
    assert "*: fewer than 30" in flat
