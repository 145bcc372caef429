"""An audit as one HTML file that needs nothing else: no script, no network, plots inside."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from gasdet.reporting.audit_plots import property_plot, ranking
from gasdet.reporting.audit_tables import (
    SHORTCUTS,
    VERDICTS,
    best_property,
    conclusion,
    copies_told,
    interval,
    left_out_lines,
    number,
    ranked_datasets,
    same_in_all,
    typical_of_both,
    verdict_word,
)
from gasdet.reporting.words import printable

RANKED = 15
"""Properties in the ranking's plot; those that are a shortcut are all there."""

_WORDS = {verdict: word.lower() for verdict, word in VERDICTS.items()}
_KINDS = {"AUROC": ' class="n"', "real": ' class="n"', "synthetic": ' class="n"', "what": ' class="wide"'}
"""Attributes of a table's cells by the first word of their heading."""

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; color: #222; background: #fff;
  max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #ddd; }
h3 { font-size: 1rem; margin: 1.6rem 0 .3rem; }
p { max-width: 62rem; } .about, .note { color: #666; font-size: .87rem; } .lead { font-size: 1.05rem; }
table { border-collapse: collapse; font-size: .87rem; width: 100%; } caption { text-align: left; color: #666; }
th, td { padding: .25rem .5rem; border-bottom: 1px solid #e6e6e6; text-align: left; vertical-align: top;
  overflow-wrap: anywhere; }
th { border-bottom: 2px solid #bbb; } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td:first-child { white-space: nowrap; overflow-wrap: normal; font-weight: 600; } td.wide { min-width: 14rem; }
.scroll { overflow-x: auto; } img { max-width: 100%; height: auto; }
.v { white-space: nowrap; padding: 0 .4rem; border-radius: .6rem; background: #eee; }
.v-weak { background: #fbe7b5; } .v-strong { background: #f3b49b; } .v-fatal { background: #b2182b; color: #fff; }
"""
_METHOD = """\
<h2>How to read this</h2>
<p>An AUROC of 0.5 is chance; 1 tells every real sample from every synthetic one. Each figure is of samples that had no part in
how the property is read (five folds, groups kept whole), so that it is 0.5 on average where a property says nothing. The model
is gradient-boosted trees on all properties: what it reaches, a detector can reach without looking at the content. A word for
a shortcut goes by the lower bound of the 95&nbsp;% interval: {begin}, and only where
the figure is above what the best property reaches by chance. "No shortcut" stands where the upper bound excludes a strong one;
where there are too few samples to exclude it, "undecided".</p>"""


def report_html(audit: Mapping[str, Any]) -> str:
    """The report of an audit, from what ``gasdet data audit --json`` prints."""
    parts = [_head(audit)]
    for modality, section in audit["modalities"].items():
        parts += _section(modality, section, audit["thresholds"])
    parts.append(_method(audit["thresholds"]))
    body = "\n".join(parts)
    title = escape(printable(f"Audit of {audit['data']}"))
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _head(audit: Mapping[str, Any]) -> str:
    lines = [
        "<h1>What tells real from synthetic, apart from the content</h1>",
        f'<p class="about">{_text(audit["data"])} &middot; data fingerprint {_text(audit["fingerprint"][:16])} &middot; '
        f"seed {audit['seed']} &middot; gasdet {_text(audit['gasdet'])}</p>",
    ]
    for modality, section in audit["modalities"].items():
        sentence = _text(f"{modality}: {conclusion(section['overall'])}")
        lines.append(f'<p class="lead">{_worst(section["overall"])} {sentence}</p>')
        after = section["equalised"]
        if after:
            sentence = _text(f"{modality}, equalised ({after['profile']}): {conclusion(after['overall'])}")
            lines.append(f'<p class="lead">{_worst(after["overall"])} {sentence}</p>')
    missing = left_out_lines(audit["left_out"], "")
    if audit["left_out_equalised"]:
        missing += left_out_lines(audit["left_out_equalised"], " after equalisation")
    lines += [f'<p class="note">{_text(line)}</p>' for line in missing]
    return "\n".join(lines)


def _method(thresholds: Mapping[str, float]) -> str:
    return _METHOD.format(begin=", ".join(f"{word} from {value:.2f}" for word, value in thresholds.items()))


def _section(modality: str, section: Mapping[str, Any], thresholds: Mapping[str, float]) -> list[str]:
    overall = section["overall"]
    after = section["equalised"]["overall"] if section["equalised"] else None
    counts = overall["counts"]
    parts = [
        f"<h2>{_text(modality)}</h2>",
        f'<p class="about">{counts["real"]:,} real samples in {counts["real_groups"]:,} groups, {counts["synthetic"]:,} '
        f"synthetic in {counts['synthetic_groups']:,}.</p>",
    ]
    varying = [p for p in overall["properties"] if not p["constant"]]
    if overall["model"]["auroc"] is not None:
        shown = [p for i, p in enumerate(varying) if i < RANKED or p["verdict"] in SHORTCUTS]
        parts.append(
            _image(ranking(overall["model"], shown, after, thresholds), "AUROC of the model and of each property")
        )
        chance = number(overall["noise"])
        parts.append(f'<p class="note">The best of these properties reaches {chance} by chance, once in 20 times.</p>')
    parts.append(_properties(overall, varying, after))
    parts += _plots(varying, after)
    parts += [
        f'<p class="note">{_text(line)}</p>' for line in (*copies_told(overall), *same_in_all(overall["properties"]))
    ]
    if section["datasets"]:
        parts.append(_datasets(section))
    return parts


def _properties(
    overall: Mapping[str, Any], varying: Sequence[Mapping[str, Any]], after: Mapping[str, Any] | None
) -> str:
    left = {} if after is None else {p["name"]: p for p in after["properties"]}
    heads = ["property", "AUROC", "verdict", "real", "synthetic"]
    heads += ["AUROC equalised", "verdict equalised"] if after is not None else []
    heads.append("what to do")
    rows = [["all together (model)", _auroc(overall["model"]), _badge(overall["model"]), "", ""]]
    if after is not None:
        rows[0] += [_auroc(after["model"]), _badge(after["model"])]
    rows[0].append("")
    for p in varying:
        name = f'<span title="{escape(printable(p["meaning"]))}">{_text(p["name"])}</span>'
        row = [name, _auroc(p), _badge(p), *map(_text, typical_of_both(p))]
        if after is not None:
            row += [_auroc(left[p["name"]]), _badge(left[p["name"]])]
        row.append(f"<b>{_text(p['remedy'])}</b>: {_text(p['advice'])}" if p["verdict"] in SHORTCUTS else "")
        rows.append(row)
    return _table(
        "Properties that differ between samples, the best separating first; of numbers the medians.", heads, rows
    )


def _plots(varying: Sequence[Mapping[str, Any]], after: Mapping[str, Any] | None) -> list[str]:
    """A plot of each property that is, or stays, a strong or fatal shortcut."""
    left = {} if after is None else {p["name"]: p for p in after["properties"]}
    parts = []
    for entry in varying:
        rest = left.get(entry["name"])
        if not any(one and one["verdict"] in ("strong", "fatal") for one in (entry, rest)):
            continue
        parts.append(f"<h3>{_text(entry['name'])} {_badge(entry)}</h3>")
        parts.append(f'<p class="note">{_text(entry["meaning"])} {_text(entry["advice"])}</p>')
        parts.append(_image(property_plot(entry, rest), f"{entry['name']} in real and in synthetic samples"))
    return parts


def _datasets(section: Mapping[str, Any]) -> str:
    after = section["equalised"]["datasets"] if section["equalised"] else None
    heads = ["dataset", "real", "synthetic", "AUROC of all properties", "verdict"]
    heads += ["AUROC equalised", "verdict equalised"] if after is not None else []
    heads.append("best property")
    rows = []
    for name, one in ranked_datasets(section):
        row = [_text(name), f"{one['counts']['real']:,}", f"{one['counts']['synthetic']:,}"]
        row += [_auroc(one["model"]), _badge(one["model"])]
        if after is not None:
            row += [_auroc(after[name]["model"]), _badge(after[name]["model"])] if name in after else ["-", "-"]
        best = best_property(one)
        row.append(f"{_text(best['name'])} {number(best['auroc'])} {_badge(best)}" if best else "")
        rows.append(row)
    table = _table("Each data set by itself.", heads, rows)
    if section["one_class"]:
        names = ", ".join(sorted(section["one_class"]))
        table += f'\n<p class="note">Of one class, and in the figures of all together only: {_text(names)}.</p>'
    return f"<h3>Data sets</h3>\n{table}"


def _table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    kinds = [_KINDS.get(head.split(" ")[0], "") for head in heads]
    top = "".join(f"<th{kind}>{_text(head)}</th>" for head, kind in zip(heads, kinds, strict=True))
    body = "\n".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table><caption>{_text(caption)}</caption>\n<thead><tr>{top}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _auroc(entry: Mapping[str, Any]) -> str:
    return "-" if entry["auroc"] is None else f"{number(entry['auroc'])}<br><small>{interval(entry)}</small>"


def _worst(measured: Mapping[str, Any]) -> str:
    return _badge({"auroc": measured["model"]["auroc"], "verdict": measured["worst"]})


def _badge(figure: Mapping[str, Any]) -> str:
    return f'<span class="v v-{figure["verdict"]}">{verdict_word(figure, _WORDS)}</span>'


def _image(svg: str, alt: str) -> str:
    data = base64.b64encode(svg.encode("utf-8")).decode("ascii")
    return f'<img alt="{escape(printable(alt))}" src="data:image/svg+xml;base64,{data}">'


def _text(text: str) -> str:
    return escape(printable(text))
