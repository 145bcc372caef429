"""An audit as tables and sentences. Everything here takes what ``gasdet data audit --json`` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from gasdet.reporting.grid import Column, Grid
from gasdet.reporting.words import shortened

MAX_ROWS = 12
VERDICTS = {
    "undecided": "undecided",
    "none": "no shortcut",
    "weak": "weak",
    "strong": "STRONG",
    "fatal": "FATAL",
}
"""Verdicts as the tables show them."""

TOO_FEW = "too few groups"
"""What stands instead where nothing could be measured."""

SHORTCUTS = ("weak", "strong", "fatal")
_MANY = 0.005
_TYPICAL, _NAME = 16, 28


def audit_grids(audit: Mapping[str, Any], *, full: bool = False) -> list[Grid]:
    """For each modality the properties, best separating first, and its data sets where there are several.

    Args:
        audit: The JSON document.
        full: Every property and every data set, not the first dozen.
    """
    grids = []
    for modality, section in audit["modalities"].items():
        grids.append(_properties(modality, section, full))
        if section["datasets"]:
            grids.append(_datasets(modality, section, full))
    return grids


def conclusions(audit: Mapping[str, Any]) -> list[str]:
    """What it all means, a sentence or two for each modality, and what was left out."""
    lines = []
    for modality, section in audit["modalities"].items():
        lines.append(f"{modality}: {conclusion(section['overall'])}")
        if section["equalised"]:
            lines.append(
                f"{modality}, equalised ({section['equalised']['profile']}): {conclusion(section['equalised']['overall'])}"
            )
    lines += left_out_lines(audit["left_out"], "")
    if audit["left_out_equalised"]:
        lines += left_out_lines(audit["left_out_equalised"], " after equalisation")
    return lines


def conclusion(measured: Mapping[str, Any]) -> str:
    """What the model of all properties says of one set of samples."""
    model = measured["model"]
    if model["auroc"] is None:
        return "too few groups of a class (at least ten of each are needed) to measure anything."
    best = next((p for p in measured["properties"] if p["verdict"] in SHORTCUTS), None)
    alone = "" if best is None else f"{best['name']} alone is a {best['verdict']} shortcut"
    if measured["below_chance"] is not None:
        return (
            f"the model of all properties is wrong more often than chance is (AUROC {number(measured['below_chance'])}): "
            "copies or pairs straddle the folds, and what it could reach is not known. gasdet data check finds them; give them "
            f"a common group or pair.{f' {alone}.' if alone else ''}"
        )
    reached = f"AUROC {number(model['auroc'])} ({interval(model)})"
    if model["verdict"] in ("none", "undecided") and alone and not model["lowered"]:
        return f"all properties together reach {reached}, but {alone}."
    if model["verdict"] == "none":
        some = [p["name"] for p in measured["properties"] if p["verdict"] == "undecided"]
        more = f" So few samples do not exclude a strong one by {', '.join(some)} alone." if some else ""
        return f"no shortcut was found; all properties together reach {reached}.{more}"
    if model["lowered"]:
        return f"{_by_heart(model, reached)}{f' {alone}.' if alone else ''}"
    if model["verdict"] == "undecided":
        return f"undecided; all properties together reach {reached}: so few samples neither show nor exclude a strong shortcut."
    return f"a detector that never looks at the content could reach {reached}: a {model['verdict']} shortcut."


def _by_heart(model: Mapping[str, Any], reached: str) -> str:
    """Of a model that hardly knows sizes and lengths that it did not see: what that means, and what decides."""
    shown = "undecided" if model["verdict"] == "undecided" else f"a {model['verdict']} shortcut"
    return (
        f"{shown}; all properties together reach {reached}, but {number(model['unseen'])} on sizes and lengths that were not "
        "seen. Frames or copies of one source are known by their size: give them a common group. Where they are independent, "
        "and a class has these sizes and no others, it is a shortcut: give each sample a group of its own, and audit again."
    )


def copies_told(measured: Mapping[str, Any]) -> list[str]:
    """What was done about near copies and about sizes that recur, a line each."""
    lines = []
    copies = measured["counts"]["near_copies"]
    if copies is None:
        lines.append("Near copies of clips are not looked for: gasdet data check finds them; give them a common group.")
    elif copies:
        lines.append(f"{copies:,} samples are near copies of others, and kept together with them.")
    names = [p["name"] for p in measured["properties"] if p["lowered"]]
    if names:
        lines.append(
            f"Not shown on sizes and lengths that were not seen (those of one size held out together): {', '.join(names)}."
        )
    return lines


def left_out_lines(left_out: Mapping[str, Any], when: str) -> list[str]:
    """What has no properties, by class and reason: a class that fails more often is a shortcut too."""
    lines = []
    for modality, classes in left_out.items():
        told = [
            f"{sum(reasons.values()):,} {name} ({', '.join(f'{n:,} {why}' for why, n in sorted(reasons.items()))})"
            for name, reasons in classes.items()
        ]
        lines.append(f"{modality}: left out{when}: {'; '.join(told)}.")
    return lines


def _properties(modality: str, section: Mapping[str, Any], full: bool) -> Grid:
    overall = section["overall"]
    after = section["equalised"]["overall"] if section["equalised"] else None
    left = {p["name"]: p for p in after["properties"]} if after else {}
    shown, same, hidden = _chosen(overall, after, full)
    rows = [_row("all together (model)", overall["model"], after and after["model"], "", "", "")]
    for entry in shown:
        unit = f" ({entry['unit']})" if entry["unit"] else ""
        advised = entry["remedy"] if entry["verdict"] in SHORTCUTS else ""
        rows.append(
            _row(entry["name"] + unit, entry, left.get(entry["name"]), *typical_of_both(entry, unit=False), advised)
        )
    headings = ["AUROC", "95 % interval", "verdict", *(["left"] if after else []), "real", "synthetic", "remedy"]
    columns = (
        Column("property", "left"),
        *(Column(h, "left" if h in ("verdict", "remedy") else "right") for h in headings),
    )
    counts = overall["counts"]
    title = f"{modality}: {counts['real']:,} real, {counts['synthetic']:,} synthetic"
    groups = (counts["real_groups"], counts["synthetic_groups"])
    if groups != (counts["real"], counts["synthetic"]):
        title += f" ({groups[0]:,} and {groups[1]:,} groups)"
    return Grid(title, columns, tuple(rows), tuple(_notes(overall, shown, same, hidden, bool(left))))


def _chosen(
    overall: Mapping[str, Any], after: Mapping[str, Any] | None, full: bool
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]], int]:
    """Properties to show, those that are the same in all samples, and how many others there are."""
    same = [p for p in overall["properties"] if p["constant"]]
    varying = [p for p in overall["properties"] if not p["constant"]]
    if full:
        return varying, same, 0
    worse = {p["name"] for p in after["properties"] if p["verdict"] in SHORTCUTS} if after else set()
    shown = [p for i, p in enumerate(varying) if i < MAX_ROWS or p["verdict"] in SHORTCUTS or p["name"] in worse]
    return shown, same, len(varying) - len(shown)


def _notes(
    overall: Mapping[str, Any],
    shown: Sequence[Mapping[str, Any]],
    same: Sequence[Mapping[str, Any]],
    hidden: int,
    left: bool,
) -> list[str]:
    notes = [
        "AUROC: on samples that had no part in how a property is read; 0.5 is chance. Of numbers, medians.",
        "A shortcut's word goes by the interval's lower bound; no shortcut: its upper bound excludes a strong one.",
    ]
    if left:
        notes.append("left: the AUROC once both classes are equalised.")
    if overall["noise"] is not None:
        notes.append(f"The best of these properties reaches {number(overall['noise'])} by chance, once in 20 times.")
    notes += copies_told(overall)
    if hidden:
        notes.append(f"{hidden} more separate less (--full shows them).")
    notes += same_in_all(same)
    advice: dict[str, list[str]] = {}
    for entry in shown:
        if entry["verdict"] in SHORTCUTS:
            advice.setdefault(f"{entry['remedy']}: {entry['advice']}", []).append(entry["name"])
    notes += [f"{', '.join(names)}: {text}" for text, names in advice.items()]
    if advice:
        notes.append("--equalise brings both classes through one crop, size and codec, here and in evaluate and train.")
    return notes


def _datasets(modality: str, section: Mapping[str, Any], full: bool) -> Grid:
    after = section["equalised"]["datasets"] if section["equalised"] else None
    found = ranked_datasets(section)
    rows = []
    for name, measured in found if full else found[:MAX_ROWS]:
        counts = measured["counts"]
        rest = after[name]["model"] if after and name in after else None
        best = best_property(measured)
        told = f"{best['name']} {number(best['auroc'])}" if best else "-"
        figures = _row(shortened(name, _NAME), measured["model"], rest, told)
        cells = [figures[0], f"{counts['real']:,}", f"{counts['synthetic']:,}", *figures[1:]]
        if after is not None and rest is None:
            cells.insert(6, "-")
        rows.append(tuple(cells))
    headings = ["real", "synth.", "AUROC", "95 % interval", "verdict", *(["left"] if after is not None else [])]
    columns = (
        Column("dataset", "left"),
        *(Column(h, "left" if h == "verdict" else "right") for h in headings),
        Column("best property", "left"),
    )
    notes = []
    if len(rows) < len(found):
        notes.append(f"{len(found) - len(rows)} more reach less (--full shows them).")
    if section["one_class"]:
        names = sorted(section["one_class"])
        more = f" and {len(names) - MAX_ROWS} more" if len(names) > MAX_ROWS else ""
        notes.append(f"Of one class, and in the figures of all together only: {', '.join(names[:MAX_ROWS])}{more}.")
    return Grid(f"{modality}: data sets, all properties together", columns, tuple(rows), tuple(notes))


def same_in_all(properties: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of these properties, those that have one value in all samples, and those that none has; a line each."""
    constant = [p for p in properties if p["constant"]]
    present = [f"{p['name']} ({typical(p, 'real')})" for p in constant if p["real"]["missing"] < 1]
    absent = [p["name"] for p in constant if p["real"]["missing"] == 1]
    told = (("The same in all samples", present), ("In no sample", absent))
    return [f"{words}: {', '.join(names)}." for words, names in told if names]


def ranked_datasets(section: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Data sets with both classes, the one whose model reaches most first."""
    return sorted(section["datasets"].items(), key=lambda pair: (-(pair[1]["model"]["auroc"] or 0.0), pair[0]))


def best_property(measured: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The best separating one; None where nothing was measured or nothing differs."""
    best: Mapping[str, Any] = measured["properties"][0]
    return best if best["auroc"] is not None and not best["constant"] else None


def typical(entry: Mapping[str, Any], name: str, *, unit: bool = True) -> str:
    """What a class mostly is like: a median, or the most frequent value with its share; short enough for a column."""
    about = entry[name]
    missing = f", {about['missing']:.0%} none" if about["missing"] >= _MANY else ""
    if "median" in about:
        if about["median"] is None:
            return "none"
        value = about["median"]
        shown = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
        return f"{shown} {entry['unit']}{missing}" if unit and entry["unit"] else f"{shown}{missing}"
    if about["value"] is None:
        return "none"
    share = f" {about['share']:.0%}" if about["share"] < 1 else ""
    return f"{shortened(about['value'], _TYPICAL)}{share}{missing}"


def typical_of_both(entry: Mapping[str, Any], *, unit: bool = True) -> tuple[str, str]:
    """As ``typical``, of real and of synthetic samples; values that are shortened are shown where they differ."""
    both = ("real", "synthetic")
    shown = [typical(entry, name, unit=unit) for name in both]
    values = [entry[name].get("value") or "" for name in both]
    if values[0] == values[1] or shortened(values[0], _TYPICAL) != shortened(values[1], _TYPICAL):
        return shown[0], shown[1]
    differ = next(i for i, (one, other) in enumerate(zip_longest(*values)) if one != other)
    start = max(values[0].rfind(" ", 0, differ) + 1, differ - _TYPICAL // 2)
    for place, value in enumerate(values):
        rest = value[start:]
        part = f"{'..' if start else ''}{rest if len(rest) <= _TYPICAL - 4 else f'{rest[: _TYPICAL - 4]}..'}"
        shown[place] = shown[place].replace(shortened(value, _TYPICAL), shortened(part, _TYPICAL), 1)
    return shown[0], shown[1]


def verdict_word(entry: Mapping[str, Any], words: Mapping[str, str] = VERDICTS) -> str:
    """A figure's verdict in words."""
    return TOO_FEW if entry["auroc"] is None else words[entry["verdict"]]


def number(value: float | None) -> str:
    """Three decimals, or a dash."""
    return "-" if value is None else f"{value:.3f}"


def interval(entry: Mapping[str, Any]) -> str:
    """An interval's bounds, or a dash."""
    return "-" if entry["low"] is None else f"{entry['low']:.3f}..{entry['high']:.3f}"


def _row(name: str, entry: Mapping[str, Any], left: Mapping[str, Any] | None, *rest: str) -> tuple[str, ...]:
    """A name, its figure, what equalisation leaves of it where that is known, and more."""
    after = (number(left["auroc"]),) if left else ()
    return name, number(entry["auroc"]), interval(entry), verdict_word(entry), *after, *rest
