"""Public data against holdouts: gap and shared score against plain numpy and the public metric functions."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gasdet.builtin.metrics import STANDARD
from gasdet.errors import UsageError
from gasdet.evaluation.provenance import DEFAULT_SHARE
from gasdet.evaluation.summary import CELL_INTERVALS, summarise


def rows(provenance: str, count: int, seed: int, *, sharpness: float = 1.0, errors: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        label = number % 2
        score = float(1 / (1 + np.exp(-rng.normal((2 * label - 1) * sharpness, 1.0))))
        found.append(
            {
                "run_id": "r",
                "detector": "d",
                "sample_id": f"{provenance}{number:08d}",
                "dataset": f"{provenance} set",
                "provenance": provenance,
                "media_type": ("real", "synthetic")[label],
                "group": f"{provenance} {number // 2 if provenance == 'public' else number}",
                "label": label,
                "p_synthetic": None if number < errors else score,
                "weight": float(rng.integers(1, 3)),
                "status": "error" if number < errors else "ok",
                "reason": "truncated" if number < errors else "",
            }
        )
    return found


def summary(found: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    told = summarise(pa.Table.from_pylist(found), **{"resamples": 0, **options})
    json.dumps(told, allow_nan=False)
    detector = told["detectors"]["d"]
    assert isinstance(detector, dict)
    return detector


@pytest.fixture(scope="module")
def both() -> list[dict[str, Any]]:
    return rows("public", 300, 1, sharpness=1.5, errors=7) + rows("holdout", 160, 2, sharpness=0.6, errors=3)


def metric(name: str, found: list[dict[str, Any]], provenance: str, *, wrong: bool = False) -> float:
    own = [r for r in found if r["provenance"] == provenance and (wrong or r["status"] == "ok")]
    scores = [1.0 - r["label"] if r["p_synthetic"] is None else r["p_synthetic"] for r in own]
    return float(STANDARD[name]([r["label"] for r in own], scores, [r["weight"] for r in own]))


def test_the_gap_is_the_difference_of_the_metric_on_each_side(both: list[dict[str, Any]]) -> None:
    told = summary(both)["by_provenance"]
    assert [part["name"] for part in told["parts"]] == ["public", "holdout"]
    assert [part["counts"]["planned"] for part in told["parts"]] == [300, 160]
    assert [part["counts"]["error"] for part in told["parts"]] == [7, 3]
    assert set(told["gap"]) == set(CELL_INTERVALS)
    for name, entry in told["gap"].items():
        sides = [metric(name, both, side) for side in ("public", "holdout")]
        assert [part["metrics"][name]["value"] for part in told["parts"]] == pytest.approx(sides, abs=1e-10)
        assert entry["value"] == pytest.approx(sides[0] - sides[1], abs=1e-10), name
        wrong = [metric(name, both, side, wrong=True) for side in ("public", "holdout")]
        assert entry["errors_as_wrong"] == pytest.approx(wrong[0] - wrong[1], abs=1e-10), name
    assert told["gap"]["auroc"]["value"] > 0.1  # the holdouts are harder
    assert told["gap"]["brier"]["value"] < 0


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_the_shared_score(both: list[dict[str, Any]], share: float) -> None:
    told = summary(both, holdout_share=share)["by_provenance"]["shared"]
    for key, wrong in (("value", False), ("errors_as_wrong", True)):
        sides = [metric("combined_score", both, side, wrong=wrong) for side in ("public", "holdout")]
        assert told[key] == pytest.approx((1 - share) * sides[0] + share * sides[1], abs=1e-10)
    assert told["share"] == share


def test_the_interval_of_the_gap_is_that_of_two_independent_bootstraps(both: list[dict[str, Any]]) -> None:
    """Against a bootstrap in plain numpy that draws whole groups, by another random stream."""
    told = summary(both, resamples=1500)["by_provenance"]
    rng = np.random.default_rng(99)
    drawn = []
    for side in ("public", "holdout"):
        own = [r for r in both if r["provenance"] == side and r["status"] == "ok"]
        groups = sorted({r["group"] for r in own})
        synthetic = {r["group"] for r in own if r["label"]}
        apart = not synthetic & {r["group"] for r in own if not r["label"]}
        strata = (
            [[g for g in groups if g in synthetic], [g for g in groups if g not in synthetic]] if apart else [groups]
        )
        members = {g: [r for r in own if r["group"] == g] for g in groups}
        values = []
        for _ in range(1500):
            chosen = [r for stratum in strata for g in rng.choice(stratum, len(stratum)) for r in members[g]]
            weight = np.array([r["weight"] for r in chosen])
            right = np.array([(r["p_synthetic"] > 0.5) == r["label"] for r in chosen])
            values.append(float((weight * right).sum() / weight.sum()))
        drawn.append(np.array(values))
    low, high = np.percentile(drawn[0] - drawn[1], [2.5, 97.5])
    found = told["gap"]["accuracy"]
    assert found["low"] == pytest.approx(low, abs=0.012)
    assert found["high"] == pytest.approx(high, abs=0.012)
    assert high - low > 0.1


def test_equal_sides_are_drawn_independently() -> None:
    """With one stream of draws for both, the gap of equal data would have an interval of width 0."""
    public = rows("public", 200, 5)
    for row in public:
        row["group"] = row["sample_id"]
    holdout = [
        {**r, "provenance": "holdout", "sample_id": f"h{r['sample_id']}", "group": f"h{r['group']}"} for r in public
    ]
    gap = summary(public + holdout, resamples=300)["by_provenance"]["gap"]["accuracy"]
    assert gap["value"] == 0
    assert gap["low"] < -0.02 < 0.02 < gap["high"]


def test_what_does_not_depend_on_the_holdouts_stays_as_it_was(both: list[dict[str, Any]]) -> None:
    public = [r for r in both if r["provenance"] == "public"]
    alone, part = summary(public, resamples=50), summary(both, resamples=50)["by_provenance"]["parts"][0]
    assert "by_provenance" not in alone
    assert part["metrics"]["auroc"] == alone["metrics"]["auroc"]  # to the last bit, interval included
    assert summary([{k: v for k, v in r.items() if k != "provenance"} for r in public], resamples=50) == alone


def test_order_has_no_effect(both: list[dict[str, Any]]) -> None:
    assert summary(both, resamples=40)["by_provenance"] == summary(both[::-1], resamples=40)["by_provenance"]


def test_a_side_that_is_empty_or_of_one_class_has_no_score_to_share() -> None:
    only = summary(rows("holdout", 80, 3), resamples=20)["by_provenance"]
    assert [part["counts"]["planned"] for part in only["parts"]] == [0, 80]
    assert set(only["gap"]["accuracy"].values()) == {None}
    assert (only["shared"]["value"], only["shared"]["low"], only["shared"]["share"]) == (None, None, DEFAULT_SHARE)
    alone = summary(rows("holdout", 80, 3), resamples=20, holdout_share=1.0)["by_provenance"]
    assert alone["shared"]["value"] == alone["parts"][1]["metrics"]["combined_score"]["value"]
    assert alone["shared"]["low"] == pytest.approx(alone["parts"][1]["metrics"]["combined_score"]["low"], abs=0.05)
    real = [r for r in rows("holdout", 80, 3) if not r["label"]]
    one = summary(rows("public", 80, 4) + real, resamples=20)["by_provenance"]
    assert one["shared"]["value"] is None
    assert one["gap"]["accuracy"]["value"] is not None
    assert one["gap"]["auroc"]["value"] is None


def test_few_groups_have_no_interval() -> None:
    few = summary(rows("public", 100, 6) + rows("holdout", 12, 7), resamples=20)["by_provenance"]
    assert few["gap"]["accuracy"]["value"] is not None
    assert few["gap"]["accuracy"]["low"] is None
    assert few["shared"]["low"] is None


def test_a_share_outside_0_to_1_is_refused(both: list[dict[str, Any]]) -> None:
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match="share"):
            summary(both, holdout_share=share)
