"""A whole table: what is named first, what is called what, and that small data do not cry wolf."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gasdet.inspection.auditing import THRESHOLDS, Verdict, measure, verdict_of

from .tables import table


def chance(rng: np.random.Generator, count: int) -> dict[str, list[Any]]:
    """Thirty properties of all kinds that say nothing."""
    columns: dict[str, list[Any]] = {f"number{i}": rng.normal(size=count).tolist() for i in range(12)}
    columns |= {f"whole{i}": rng.integers(0, 4, count).tolist() for i in range(6)}
    columns |= {f"category{i}": [f"v{v}" for v in rng.integers(0, 3 + 5 * i, count)] for i in range(6)}
    columns |= {f"flag{i}": (rng.random(count) < 0.2).tolist() for i in range(6)}
    return columns


def test_small_data_do_not_cry_wolf() -> None:
    """The best of thirty has a verdict in at most one table of twenty by chance; three of ten would be no chance."""
    cried = 0
    for seed in range(10):
        found = measure(table([0, 1] * 15, chance(np.random.default_rng(seed), 30)))
        cried += found.worst.reaches(Verdict.WEAK)
    assert cried <= 2


def test_a_shortcut_among_others_is_named_first() -> None:
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 60)
    columns = chance(rng, 120) | {"planted": [40 if label else 60 for label in labels]}
    found = measure(table(labels.tolist(), columns))
    first = found.properties[0]
    assert first.spec.name == "planted"
    assert first.figure.auroc == 1
    assert first.figure.verdict is Verdict.FATAL
    assert first.way == "lower"
    assert first.typical == {
        "real": {"missing": 0.0, "median": 60.0, "p5": 60.0, "p95": 60.0},
        "synthetic": {"missing": 0.0, "median": 40.0, "p5": 40.0, "p95": 40.0},
    }
    assert found.model.verdict is Verdict.FATAL
    assert sum(p.figure.verdict.reaches(Verdict.WEAK) for p in found.properties) == 1


def test_of_equals_the_first_in_the_list_is_named_first() -> None:
    labels = np.tile([0, 1], 30)
    columns = {name: labels.tolist() for name in ("zeta", "alpha", "mu")}
    found = measure(table(labels.tolist(), columns))
    assert [p.spec.name for p in found.properties] == ["zeta", "alpha", "mu"]


def test_what_only_two_properties_together_tell_is_the_models() -> None:
    rng = np.random.default_rng(1)
    left, right = rng.integers(0, 2, 600), rng.integers(0, 2, 600)
    labels = left ^ right
    columns = {"left": [f"v{v}" for v in left], "right": (right == 1).tolist()}
    found = measure(table(labels.tolist(), columns))
    assert found.model.auroc == pytest.approx(1, abs=0.01)
    assert found.worst is Verdict.FATAL
    assert all(p.figure.verdict is Verdict.NONE for p in found.properties)


def test_the_model_does_not_know_the_groups_it_is_judged_on() -> None:
    labels = np.repeat([0, 1], 300)
    groups = np.arange(600) // 15
    found = measure(table(labels.tolist(), {"serial": [f"n{g % 40}" for g in groups]}, groups=groups.tolist()))
    assert found.model.auroc is not None
    assert found.model.auroc < 0.6
    ungrouped = measure(table(labels.tolist(), {"serial": [f"n{g % 40}" for g in groups]}))
    assert ungrouped.model.auroc is not None
    assert ungrouped.model.auroc > 0.95


def paired_sizes(rng: np.random.Generator, count: int) -> tuple[list[int], dict[str, list[float]]]:
    """Real samples and their synthetic versions, of the same random width and height."""
    width, height = (rng.integers(200, 4000, count).astype(float).tolist() for _ in range(2))
    return [0] * count + [1] * count, {"width": width * 2, "height": height * 2}


def test_a_sample_and_the_one_made_from_it_stay_together() -> None:
    rng = np.random.default_rng(0)
    labels, columns = paired_sizes(rng, 150)
    pairs = [f"p{i}" for i in range(150)] * 2
    apart, found = (measure(table(labels, columns, pairs=given)) for given in (None, pairs))
    assert apart.below_chance is not None
    assert apart.below_chance < 0.2
    assert apart.model.verdict is Verdict.UNDECIDED, "no verdict on what straddles the folds"
    assert found.below_chance is None
    assert found.model.auroc is not None
    assert found.model.auroc < 0.6
    assert found.counts["real_groups"] == found.counts["synthetic_groups"] == 150
    shortcut = {"quality": np.r_[rng.normal(0, 1, 150), rng.normal(0.9, 1, 150)].tolist()}
    hidden, shown = (measure(table(labels, columns | shortcut, pairs=given)) for given in (None, pairs))
    assert shown.model.auroc is not None
    assert hidden.model.auroc is not None
    assert shown.model.auroc > 0.65 > hidden.model.auroc


def test_exact_copies_stay_together() -> None:
    """Those of one class repeat: which exact size occurs several times says nothing of new samples."""
    rng = np.random.default_rng(0)
    labels = [0] * 250 + [1] * 250
    sizes = [*rng.random(250).tolist(), *np.repeat(rng.random(50), 5).tolist()]
    contents = [size.hex().encode() for size in sizes]
    apart, found = (measure(table(labels, {"bytes": sizes}, contents=given)) for given in (None, contents))
    assert apart.model.auroc is not None
    assert apart.model.auroc > 0.75
    assert found.model.auroc is not None
    assert found.model.auroc < 0.65
    assert not found.worst.reaches(Verdict.WEAK)
    assert found.counts == {"real": 250, "real_groups": 250, "synthetic": 250, "synthetic_groups": 50, "near_copies": 0}


def test_chance_is_not_called_worse_than_chance() -> None:
    told = [
        measure(table([0, 1] * 40, {f"n{i}": np.random.default_rng([s, i]).random(80).tolist() for i in range(5)}))
        for s in range(12)
    ]
    assert [one.below_chance for one in told] == [None] * 12


def test_too_few_samples_do_not_exclude_a_shortcut() -> None:
    columns = {"x": np.random.default_rng(0).random(24).tolist()}
    small = measure(table([0, 1] * 12, columns))
    assert small.model.high is not None
    assert small.model.high > 0.7
    assert small.worst is Verdict.UNDECIDED
    assert small.to_mapping()["properties"][0]["strong_excluded"] is False
    large = measure(table([0, 1] * 300, {"x": np.random.default_rng(0).random(600).tolist()}))
    assert large.worst is Verdict.NONE
    assert large.to_mapping()["properties"][0]["strong_excluded"] is True


def test_the_figures_do_not_depend_on_the_order() -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 80).tolist()
    columns = chance(rng, 80)
    groups = rng.integers(0, 50, 80).tolist()
    one = measure(table(labels, columns, groups=groups), seed=3)
    other = measure(table(labels, columns, groups=groups, order=rng.permutation(80).tolist()), seed=3)
    assert json.dumps(one.to_mapping()) == json.dumps(other.to_mapping())


def test_constants_stand_last_and_say_so() -> None:
    labels = [0, 1] * 15
    columns = {"same": ["jpeg"] * 30, "absent": [None] * 30, "differs": list(range(30)), "some": [1.0] * 29 + [None]}
    found = measure(table(labels, columns))
    assert {p.spec.name: p.constant for p in found.properties} == {
        "differs": False,
        "some": False,
        "same": True,
        "absent": True,
    }
    assert found.properties[-1].figure.auroc == 0.5
    assert found.properties[-1].distribution is None


def test_nothing_differs() -> None:
    found = measure(table([0, 1] * 15, {"same": [7] * 30}))
    assert (found.model.auroc, found.noise, found.worst) == (0.5, 0.5, Verdict.NONE)


def test_too_few_groups_are_not_measured() -> None:
    found = measure(table([0, 1] * 30, {"x": list(range(60))}, groups=[i % 9 for i in range(60)]))
    assert found.worst is Verdict.UNDECIDED
    assert found.model.auroc is None
    assert found.counts == {"real": 30, "real_groups": 9, "synthetic": 30, "synthetic_groups": 9, "near_copies": 0}
    assert found.properties[0].typical["real"]["median"] == 29.0


def test_the_verdict_goes_by_the_lower_bound_and_by_chance() -> None:
    bounds = (0.5, 0.549, 0.55, 0.699, 0.7, 0.899, 0.9, 1.0)
    found = [verdict_of(1.0, low, 1.0) for low in bounds]
    assert [str(v) for v in found] == ["undecided"] * 2 + ["weak", "weak", "strong", "strong", "fatal", "fatal"]
    assert [str(verdict_of(0.52, 0.5, high)) for high in (0.6, 0.699, 0.7, 0.9)] == ["none"] * 2 + ["undecided"] * 2
    assert verdict_of(0.6, 0.56, 0.64, noise=0.61) is Verdict.NONE
    assert verdict_of(0.75, 0.6, 0.9, noise=0.76) is Verdict.UNDECIDED
    assert verdict_of(0.77, 0.6, 0.9, noise=0.76) is Verdict.WEAK
    assert Verdict.FATAL.reaches(Verdict.STRONG)
    assert not Verdict.NONE.reaches(Verdict.WEAK)
    assert not Verdict.UNDECIDED.reaches(Verdict.WEAK)


def test_the_verdicts_of_the_docs_are_those_of_the_code() -> None:
    text = (Path(__file__).parents[3] / "docs" / "audit.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (weak|strong|fatal) \| (\d\.\d\d) or more \|", text, re.MULTILINE))
    assert rows == {str(verdict): f"{value:.2f}" for verdict, value in THRESHOLDS.items()}
    for verdict, value in THRESHOLDS.items():
        assert verdict_of(1.0, value, 1.0) is verdict
        assert verdict_of(1.0, value - 1e-9, 1.0) is not verdict
    assert f"below {THRESHOLDS[Verdict.WEAK]:.2f}, or the AUROC" in text
    assert text.count(f"the upper bound is {THRESHOLDS[Verdict.STRONG]:.2f} or more") == 1


def test_distributions_count_every_sample_once() -> None:
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 2, 300)
    columns = {
        "bytes": [None if i % 10 == 0 else float(v) for i, v in enumerate(rng.lognormal(8, 2, 300))],
        "ratio": rng.normal(size=300).tolist(),
        "codec": [None if i % 7 == 0 else f"v{i % 23}" for i in range(300)],
    }
    told = {p.spec.name: p.distribution for p in measure(table(labels.tolist(), columns)).properties}
    for name, one in told.items():
        assert one is not None
        others = one.get("others", [0, 0])
        for place, (key, count) in enumerate((("real", (labels == 0).sum()), ("synthetic", (labels == 1).sum()))):
            assert sum(one[key]) + one["missing"][place] + others[place] == count, name
    assert told["bytes"]["logarithmic"]
    assert not told["ratio"]["logarithmic"]
    assert len(told["codec"]["values"]) == 10
    assert len(told["bytes"]["edges"]) == len(told["bytes"]["real"]) + 1
