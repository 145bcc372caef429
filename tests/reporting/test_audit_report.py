"""What a person reads of an audit: the tables, the sentences, and the HTML file."""

from __future__ import annotations

import base64
import re
from functools import cache
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest

from gasdet.reporting.audit_report import report_html
from gasdet.reporting.audit_tables import audit_grids, conclusion, conclusions, typical, typical_of_both
from gasdet.reporting.tables import to_plain


def figure(auroc: float | None, low: float | None, high: float | None, verdict: str, **more: Any) -> dict[str, Any]:
    return {"auroc": auroc, "low": low, "high": high, "verdict": verdict, "unseen": None, "lowered": False, **more}


def number(name: str, told: dict[str, Any], **more: Any) -> dict[str, Any]:
    entry = {
        "name": name,
        "kind": "number",
        "unit": "px",
        "meaning": f"About {name}.",
        **told,
        "way": "higher",
        "constant": False,
        "strong_excluded": False,
        "remedy": "crop",
        "advice": f"Crop the {name}.",
        "real": {"missing": 0.0, "median": 256.0, "p5": 200.0, "p95": 300.0},
        "synthetic": {"missing": 0.25, "median": 12345.6, "p5": 1.0, "p95": 2e4},
        "distribution": {
            "missing": [0, 5],
            "edges": [1.0, 10.0, 100.0],
            "logarithmic": True,
            "real": [20, 0],
            "synthetic": [0, 15],
        },
    }
    return entry | more


def category(name: str, told: dict[str, Any], value: str) -> dict[str, Any]:
    real = {"missing": 0.0, "value": value, "share": 0.9}
    synthetic = {"missing": 1.0, "value": None, "share": None}
    shown = {"missing": [0, 20], "values": [value], "others": [2, 0], "real": [18], "synthetic": [0]}
    return number(name, told, kind="category", unit="", real=real, synthetic=synthetic, distribution=shown)


def constant(name: str, missing: float) -> dict[str, Any]:
    about = {"missing": missing, "value": None if missing else "jpeg", "share": None if missing else 1.0}
    nothing = figure(0.5, 0.5, 0.5, "none")
    return number(name, nothing, unit="", constant=True, real=about, synthetic=about, distribution=None)


def measurement(model: dict[str, Any], *properties: dict[str, Any]) -> dict[str, Any]:
    counts = {"real": 20, "synthetic": 20, "real_groups": 20, "synthetic_groups": 12, "near_copies": 0}
    return {
        "counts": counts,
        "worst": model["verdict"],
        "model": model,
        "below_chance": None,
        "noise": 0.61,
        "properties": list(properties),
    }


FATAL, NOTHING = figure(0.99, 0.91, 1.0, "fatal"), figure(0.51, 0.5, 0.62, "none")
WIDE = figure(0.52, 0.5, 0.75, "undecided")
HOSTILE = "<script>alert(1)</script> $x_{2$ \u202e\udcff\n"


def audit(**more: Any) -> dict[str, Any]:
    before = measurement(
        FATAL,
        number("width", FATAL),
        category("maker", FATAL, HOSTILE),
        constant("container", 0.0),
        constant("software", 1.0),
    )
    after = measurement(
        NOTHING, number("width", NOTHING), constant("maker", 1.0), constant("container", 0.0), constant("software", 1.0)
    )
    section = {"overall": before, "datasets": {}, "one_class": {}}
    equalised = {"profile": "standard-1", "overall": after, "datasets": {}, "one_class": {}}
    document = {
        "gasdet": "0.1.0",
        "data": "photos & <more>",
        "fingerprint": "0123456789abcdef" * 4,
        "seed": 0,
        "worst": "none",
        "thresholds": {"weak": 0.55, "strong": 0.7, "fatal": 0.9},
        "left_out": {"image": {"synthetic": {"truncated": 3}}},
        "left_out_equalised": None,
        "modalities": {"image": {**section, "equalised": equalised}},
    }
    return document | more


@cache
def report() -> str:
    """The report of that audit, drawn once."""
    return report_html(audit())


class Page(HTMLParser):
    """Every tag, every address, all text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_report_needs_nothing_but_itself() -> None:
    html = report()
    page = Page(html)
    assert not page.open
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert all(address.startswith("data:image/svg+xml;base64,") for address in page.addresses)
    assert "http" not in html.replace("data:image/svg+xml", "")
    html.encode("utf-8")


def test_the_report_has_a_ranking_and_a_plot_of_every_strong_property() -> None:
    plots = [base64.b64decode(address.split(",")[1]) for address in Page(report()).addresses]
    assert len(plots) == 3
    for plot in plots:
        root = ElementTree.fromstring(plot)
        assert root.tag.endswith("svg")
        assert len(list(root.iter())) > 50


def test_the_same_audit_gives_the_same_report() -> None:
    assert report_html(audit()) == report()


def test_where_verdicts_begin_is_told_as_the_audit_has_it() -> None:
    assert "weak from 0.55, strong from 0.70, fatal from 0.90, and only" in " ".join(Page(report()).text.split())
    moved = report_html(audit(thresholds={"weak": 0.6, "fatal": 0.95}))
    assert "weak from 0.60, fatal from 0.95, and only" in " ".join(Page(moved).text.split())
    assert Page(moved).addresses[0] != Page(report()).addresses[0], "the lines in the ranking"


def test_near_copies_are_told() -> None:
    document = audit()
    section = document["modalities"]["image"]["overall"]
    for count, words in ((7, "7 samples are near copies of others"), (None, "Near copies of clips are not looked for")):
        section["counts"]["near_copies"] = count
        assert words in to_plain(audit_grids(document), 200)
        assert words in Page(report_html(document)).text
    section["counts"]["near_copies"] = 0
    assert "ear copies" not in to_plain(audit_grids(document), 200)


def test_what_is_known_by_heart_is_told() -> None:
    model = figure(0.99, 0.95, 1.0, "undecided", unseen=0.52, lowered=True)
    width = number("width", figure(0.9, 0.8, 0.95, "undecided", unseen=0.5, lowered=True))
    document = audit()
    document["modalities"]["image"]["overall"] = measurement(model, width)
    document["modalities"]["image"]["equalised"] = None
    told = conclusions(document)[0]
    assert told.startswith(
        "image: undecided; all properties together reach AUROC 0.990 (0.950..1.000), but 0.520 on sizes"
    )
    assert "give them a common group" in told
    line = "Not shown on sizes and lengths that were not seen (those of one size held out together): width."
    assert line in to_plain(audit_grids(document), 200)
    assert line in Page(report_html(document)).text
    quality = number("quality", figure(0.9, 0.8, 0.95, "strong"))
    both = measurement(model | {"verdict": "weak"}, quality, width)
    assert conclusion(both).startswith("a weak shortcut; all properties together reach AUROC 0.990")
    assert conclusion(both).endswith("quality alone is a strong shortcut.")


def test_names_are_shown_and_not_interpreted() -> None:
    text = Page(report()).text
    assert "photos & <more>" in text
    assert "<script>" in text.replace("\n", "")


def test_the_report_says_what_is_there() -> None:
    text = " ".join(Page(report()).text.split())
    assert "could reach AUROC 0.990 (0.910..1.000): a fatal shortcut" in text
    assert "image, equalised (standard-1): no shortcut was found" in text
    assert "crop: Crop the width." in text
    assert "The same in all samples: container (jpeg)." in text
    assert "In no sample: software." in text
    assert "left out: 3 synthetic (3 truncated)" in text
    assert "20 real samples in 20 groups, 20 synthetic in 12" in text


def test_the_tables_fit_and_name_remedies() -> None:
    text = to_plain(audit_grids(audit()), 120)
    assert max(map(len, text.splitlines())) <= 120
    assert "image: 20 real, 20 synthetic (20 and 12 groups)" in text
    row = next(line for line in text.splitlines() if line.startswith("width (px)"))
    assert re.split(r"  +", row) == [
        "width (px)",
        "0.990",
        "0.910..1.000",
        "FATAL",
        "0.510",
        "256",
        "12,346, 25% none",
        "crop",
    ]
    assert "width: crop: Crop the width." in text
    assert "The same in all samples: container (jpeg)." in text
    assert "\n" not in next(line for line in text.splitlines() if line.startswith("maker"))


def test_a_dozen_rows_unless_all_are_asked_for_and_never_without_a_shortcut() -> None:
    many = [number(f"p{i}", NOTHING) for i in range(20)]
    document = audit()
    section = document["modalities"]["image"] | {"equalised": None}
    section["overall"] = measurement(NOTHING, *many, number("late", figure(0.8, 0.6, 0.9, "weak")))
    document["modalities"]["image"] = section
    short, full = (to_plain(audit_grids(document, full=flag), 120) for flag in (False, True))
    assert "p11 " in short
    assert "p12 " not in short
    assert "late (px)" in short
    assert "8 more separate less (--full shows them)." in short
    assert "p19 " in full


def test_data_sets_stand_below_each_other() -> None:
    document = audit()
    section = document["modalities"]["image"]
    section["datasets"] = {"bad": section["overall"], "good": measurement(NOTHING, number("width", NOTHING))}
    section["equalised"]["datasets"] = {"bad": measurement(NOTHING, number("width", NOTHING))}
    section["one_class"] = {"lonely": {"real": 5, "synthetic": 0}}
    text = to_plain(audit_grids(document), 120)
    rows = [re.split(r"  +", line) for line in text.splitlines() if line.startswith(("bad", "good"))]
    assert rows == [
        ["bad", "20", "20", "0.990", "0.910..1.000", "FATAL", "0.510", "width 0.990"],
        ["good", "20", "20", "0.510", "0.500..0.620", "no shortcut", "-", "width 0.510"],
    ]
    assert "lonely" in text
    assert "lonely" in Page(report_html(document)).text


@pytest.mark.parametrize(
    ("model", "properties", "words"),
    [
        (figure(0.98, 0.95, 1.0, "fatal"), [], "a fatal shortcut"),
        (
            figure(0.52, 0.5, 0.56, "none"),
            [],
            "no shortcut was found; all properties together reach AUROC 0.520 (0.500..0.560).",
        ),
        (NOTHING, [number("width", WIDE)], "So few samples do not exclude a strong one by width alone."),
        (WIDE, [], "undecided; all properties together reach AUROC 0.520 (0.500..0.750): so few samples neither"),
        (WIDE, [number("width", figure(0.7, 0.6, 0.8, "weak"))], "but width alone is a weak shortcut"),
        (NOTHING, [number("width", figure(0.7, 0.6, 0.8, "weak"))], "but width alone is a weak shortcut"),
        (figure(None, None, None, "undecided"), [], "too few groups"),
    ],
)
def test_conclusions(model: dict[str, Any], properties: list[dict[str, Any]], words: str) -> None:
    assert words in conclusion(measurement(model, *properties))


def test_too_few_groups_are_shown_without_figures() -> None:
    undecided = figure(None, None, None, "undecided")
    document = audit()
    section = measurement(undecided, number("width", undecided)) | {"noise": None}
    document["modalities"]["image"] = {"overall": section, "datasets": {}, "one_class": {}, "equalised": None}
    text = to_plain(audit_grids(document), 120)
    assert re.search(r"width \(px\) +- +- +too few groups +256", text)
    assert "too few groups" in Page(report_html(document)).text
    assert any("at least ten of each" in line for line in conclusions(document))


def test_what_so_few_samples_do_not_exclude_is_called_undecided() -> None:
    document = audit()
    document["modalities"]["image"]["overall"] = measurement(WIDE, number("width", WIDE), number("height", NOTHING))
    document["modalities"]["image"]["equalised"] = None
    text = to_plain(audit_grids(document), 120)
    assert re.search(r"all together \(model\) +0\.520 +0\.500\.\.0\.750 +undecided", text)
    assert re.search(r"width \(px\) +0\.520 +0\.500\.\.0\.750 +undecided", text)
    assert re.search(r"height \(px\) +0\.510 +0\.500\.\.0\.620 +no shortcut", text)
    assert "A shortcut's word goes by the interval's lower bound" in text
    html = report_html(document)
    assert html.count(">undecided</span>") == 3
    assert html.count(">no shortcut</span>") == 1
    assert "too few groups" not in text + html


def test_a_model_that_is_worse_than_chance_is_told() -> None:
    document = audit()
    section = measurement(figure(0.5, 0.5, 0.55, "undecided"), number("width", figure(0.7, 0.6, 0.8, "weak")))
    document["modalities"]["image"]["overall"] = section | {"below_chance": 0.059}
    told = conclusions(document)[0]
    assert "(AUROC 0.059): copies or pairs straddle the folds" in told
    assert "gasdet data check" in told
    assert "width alone is a weak shortcut" in told
    assert "copies or pairs straddle the folds" in Page(report_html(document)).text


def test_the_ranking_explains_its_colours_and_circles() -> None:
    before, after = report(), audit()
    after["modalities"]["image"]["equalised"] = None
    widths = []
    for html in (before, report_html(after)):
        plot = ElementTree.fromstring(base64.b64decode(Page(html).addresses[0].split(",")[1]))
        widths.append(float(plot.attrib["width"].removesuffix("pt")) / 72)
        assert any(one.attrib.get("id", "").startswith("legend") for one in plot.iter())
    assert min(widths) > 10  # inches: the report's page


def test_values_that_are_shortened_are_shown_where_they_differ() -> None:
    def values(real: str, synthetic: str) -> list[str]:
        entry = category("structure", FATAL, "")
        entry |= {
            name: {"missing": 0.0, "value": v, "share": 1.0}
            for name, v in zip(("real", "synthetic"), (real, synthetic), strict=True)
        }
        return list(typical_of_both(entry))

    head, tail = "APP0:JFIF DQT", "DHT SOS EOI and more"
    assert values("jpeg", "png") == ["jpeg", "png"]
    assert values(f"{head} {tail}", f"{head} {tail}") == ["APP0:JFI..d more"] * 2
    assert values(f"{head} SOF0 {tail}", f"{head} SOF2 {tail}") == ["..SOF0 DHT SOS..", "..SOF2 DHT SOS.."]
    shown = values(f"{head} {tail}", f"{head} {tail} d more")
    assert shown[0] != shown[1]
    assert all(len(one) <= 16 for one in shown)
    document = audit()
    entry = category("structure", FATAL, "")
    for name, frame in (("real", "SOF0"), ("synthetic", "SOF2")):
        entry[name] = {"missing": 0.0, "value": f"{head} {frame} {tail}", "share": 0.9}
    document["modalities"]["image"]["overall"] = measurement(FATAL, entry)
    document["modalities"]["image"]["equalised"] = None
    row = next(line for line in to_plain(audit_grids(document), 120).splitlines() if line.startswith("structure"))
    assert re.search(r"\.\.SOF0 DHT SOS\.\. 90% +\.\.SOF2 DHT SOS\.\. 90%", row)


def test_typical_values() -> None:
    entry = number("width", FATAL)
    assert typical(entry, "real") == "256 px"
    assert typical(entry, "synthetic") == "12,346 px, 25% none"
    maker = category("maker", FATAL, "a camera with a very long name")
    assert typical(maker, "real") == "a camera..g name 90%"
    assert typical(maker, "synthetic") == "none"
