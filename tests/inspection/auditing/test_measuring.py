"""A whole table: what is named first, what is called what, and that small data do not cry wolf."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from gasdet.inspection.auditing import Verdict, measure, verdict_of

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
        cried += found.worst is not Verdict.NONE
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
    assert sum(p.figure.verdict is not Verdict.NONE for p in found.properties) == 1


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
    assert found.counts == {"real": 30, "real_groups": 9, "synthetic": 30, "synthetic_groups": 9}
    assert found.properties[0].typical["real"]["median"] == 29.0


def test_the_verdict_goes_by_the_lower_bound_and_by_chance() -> None:
    bounds = (0.5, 0.549, 0.55, 0.699, 0.7, 0.899, 0.9, 1.0)
    found = [verdict_of(1.0, low) for low in bounds]
    assert [str(v) for v in found] == ["none", "none", "weak", "weak", "strong", "strong", "fatal", "fatal"]
    assert verdict_of(0.75, 0.6, noise=0.76) is Verdict.NONE
    assert verdict_of(0.77, 0.6, noise=0.76) is Verdict.WEAK
    assert Verdict.FATAL.reaches(Verdict.STRONG)
    assert not Verdict.NONE.reaches(Verdict.WEAK)
    assert not Verdict.UNDECIDED.reaches(Verdict.WEAK)


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
