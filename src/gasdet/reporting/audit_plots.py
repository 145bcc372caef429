"""The plots of an audit's report, as SVG that needs nothing but itself. matplotlib is imported when the first one is drawn."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from gasdet.reporting.heatmap import REAL_COLOUR, SYNTHETIC_COLOUR
from gasdet.reporting.words import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

COLOURS = tuple("#" + "".join(f"{part:02x}" for part in colour) for colour in (REAL_COLOUR, SYNTHETIC_COLOUR))
"""Of real and of synthetic samples."""

_INK, _GREY = "#222222", "#8a8a8a"
_WIDTH = 11.0
"""Of the report's page, in inches."""

_VERDICT_COLOURS = {
    "none": (_GREY, "no shortcut, or undecided"),
    "undecided": (_GREY, "no shortcut, or undecided"),
    "weak": (_INK, "weak shortcut"),
    "strong": (COLOURS[1], "strong or fatal shortcut"),
    "fatal": (COLOURS[1], "strong or fatal shortcut"),
}
_LONGEST = 26
_STYLE: dict[str, Any] = {
    "svg.fonttype": "path",
    "svg.hashsalt": "gasdet",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _GREY,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


def ranking(
    model: Mapping[str, Any],
    properties: Sequence[Mapping[str, Any]],
    after: Mapping[str, Any] | None,
    thresholds: Mapping[str, float],
) -> str:
    """AUROCs with their intervals, one line a property below the model's; what is left after equalisation as open circles.

    Args:
        model: The model's figure.
        properties: Those to show, in this order.
        after: The equalised data's measurement, or None.
        thresholds: Where verdicts begin, by their names.
    """
    left = {} if after is None else {p["name"]: p for p in after["properties"]}
    rows = [("all together (model)", model, None if after is None else after["model"])]
    rows += [(p["name"], p, left.get(p["name"])) for p in properties]
    with _drawing(_WIDTH, 1.1 + 0.24 * len(rows)) as (figure, out):
        axes = figure.add_subplot()
        axes.axvline(0.5, color=_GREY, linewidth=1)
        for word, value in thresholds.items():
            axes.axvline(value, color=_GREY, linewidth=0.8, linestyle=":")
            axes.text(value, 1.005, f" {word}", transform=axes.get_xaxis_transform(), color=_GREY, fontsize=8)
        for place, (_, before, rest) in enumerate(rows):
            _interval(axes, place - (0.15 if rest else 0), before, filled=True)
            if rest:
                _interval(axes, place + 0.15, rest, filled=False)
        axes.set_yticks(range(len(rows)), [shortened(name, _LONGEST) for name, _, _ in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(0.48, 1.015)
        axes.set_xlabel("AUROC, with its 95 % interval")
        axes.tick_params(axis="y", length=0)
        shown = [one for _, *both in rows for one in both if one]
        figure.legend(handles=_meanings(shown, after is not None), loc="outside lower center", ncols=5, frameon=False)
    return out[0]


def property_plot(entry: Mapping[str, Any], after: Mapping[str, Any] | None) -> str:
    """A property's values in real and in synthetic samples; where there is one, what equalisation leaves of it beside them.

    Args:
        entry: The property, with its distribution.
        after: The same of the equalised samples, or None.
    """
    panels = [("as they are", entry), *([("equalised", after)] if after is not None else [])]
    with _drawing(_WIDTH * (0.6 if len(panels) == 1 else 1.0), 2.8) as (figure, out):
        for place, (title, one) in enumerate(panels):
            axes = figure.add_subplot(1, len(panels), place + 1)
            if len(panels) > 1:
                axes.set_title(title, fontsize=9, color=_INK)
            _draw(axes, one)
            if place == 0 and one["distribution"]:
                axes.legend(frameon=False, fontsize=8)
    return out[0]


def _draw(axes: Axes, entry: Mapping[str, Any]) -> None:
    told = entry["distribution"]
    if told is None:
        axes.text(0.5, 0.5, "the same in all samples", ha="center", va="center", transform=axes.transAxes, color=_GREY)
        axes.set_axis_off()
    elif "edges" in told:
        _numbers(axes, entry, told)
    else:
        _values(axes, told)


def _numbers(axes: Axes, entry: Mapping[str, Any], told: Mapping[str, Any]) -> None:
    for place, name in enumerate(("real", "synthetic")):
        total = max(1, sum(told[name]) + told["missing"][place])
        shares = [100 * count / total for count in told[name]]
        axes.stairs(shares, told["edges"], fill=True, alpha=0.35, color=COLOURS[place], label=name)
        axes.stairs(shares, told["edges"], color=COLOURS[place], linewidth=1)
    if told["logarithmic"]:
        axes.set_xscale("log")
    axes.set_xlabel(f"{entry['name']} ({entry['unit']})" if entry["unit"] else entry["name"])
    axes.set_ylabel("% of the class")
    missing = [count / max(1, sum(told[name]) + count) for name, count in _by_class(told["missing"])]
    if any(missing):
        axes.set_title(f"without one: {missing[0]:.0%} real, {missing[1]:.0%} synthetic", fontsize=8, color=_GREY)


def _values(axes: Axes, told: Mapping[str, Any]) -> None:
    names = [shortened(value, _LONGEST) for value in told["values"]]
    counts = [list(told["real"]), list(told["synthetic"])]
    for word, extra in (("(others)", told["others"]), ("(none)", told["missing"])):
        if any(extra):
            names.append(word)
            for own, count in zip(counts, extra, strict=True):
                own.append(count)
    for place, name in enumerate(("real", "synthetic")):
        total = max(1, sum(counts[place]))
        heights = [100 * count / total for count in counts[place]]
        at = [row + (place - 0.5) * 0.36 for row in range(len(names))]
        axes.barh(at, heights, height=0.34, color=COLOURS[place], label=name)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 103)
    axes.set_xlabel("% of the class")
    axes.tick_params(axis="y", length=0)


def _interval(axes: Axes, place: float, figure: Mapping[str, Any], *, filled: bool) -> None:
    colour = _VERDICT_COLOURS[figure["verdict"]][0]
    if figure["auroc"] is None:
        return
    axes.plot([figure["low"], figure["high"]], [place, place], color=colour, linewidth=1.4, solid_capstyle="butt")
    axes.plot(figure["auroc"], place, "o", markersize=5, color=colour, markerfacecolor=colour if filled else "white")


def _meanings(shown: Sequence[Mapping[str, Any]], equalised: bool) -> list[Line2D]:
    """What the legend explains: the colours that are there, and filled and open circles where there are both."""
    from matplotlib.lines import Line2D

    present = {figure["verdict"] for figure in shown}
    colours = dict(told for verdict, told in _VERDICT_COLOURS.items() if verdict in present)
    handles = [Line2D([], [], color=colour, linewidth=1.4, label=word) for colour, word in colours.items()]
    for label, face in (("as they are", _INK), ("equalised", "white")) if equalised else ():
        handles.append(
            Line2D([], [], color=_INK, marker="o", markersize=5, linewidth=0, markerfacecolor=face, label=label)
        )
    return handles


def _by_class(counts: Sequence[int]) -> list[tuple[str, int]]:
    return list(zip(("real", "synthetic"), counts, strict=True))


@contextmanager
def _drawing(width: float, height: float) -> Iterator[tuple[Figure, list[str]]]:
    """A figure to draw on, and after the block its SVG as the only element of the list. The same drawing is the same text."""
    import matplotlib
    from matplotlib.figure import Figure

    out: list[str] = []
    with matplotlib.rc_context(cast(Any, _STYLE)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a name in a script that the font lacks shows as boxes
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, out
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        out.append(file.getvalue())
