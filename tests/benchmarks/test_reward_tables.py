"""The reward study's tables: their scores are the metrics, their thresholds the best ones, their differences paired."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from gasdet.builtin import metrics


@pytest.fixture
def study(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import reward_tables

    monkeypatch.setitem(sys.modules, "reward_tables", reward_tables)
    return reward_tables


def margins(seed: int, count: int = 400, bias: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(count) < 0.4).astype(np.int64)
    return 2.0 * (2 * labels - 1) + 1.5 * rng.standard_normal(count) + bias, labels


def test_scores_are_the_metric_of_whole_and_of_resampled_images(study: ModuleType) -> None:
    z, y = margins(0)
    p = study.sigmoid(z)
    parts = study.columns(study.Variant(z > 0, p), y)
    assert study.score_of(parts.sum(axis=0)) == pytest.approx(metrics.combined_score(y, p), abs=1e-12)
    times = study.resampled(y, resamples=5)
    assert (times[:, y == 1].sum(axis=1) == (y == 1).sum()).all()
    assert (times[:, y == 0].sum(axis=1) == (y == 0).sum()).all()
    for row, value in zip(times, study.score_of(times @ parts), strict=True):
        assert value == pytest.approx(metrics.combined_score(y, p, row), abs=1e-6)


@pytest.mark.parametrize("ties", [False, True])
def test_the_threshold_is_the_best_of_all(study: ModuleType, ties: bool) -> None:
    z, y = margins(1, bias=1.5)
    z = np.round(z * 2) / 2 if ties else z
    at = study.best_threshold(z, y)
    every = [metrics.mcc(y, (z > t).astype(float)) for t in [*np.unique(z), z.min() - 1]]
    assert metrics.mcc(y, (z > at).astype(float)) == pytest.approx(max(every), abs=1e-12)


def test_platt_and_threshold_come_from_the_calibration_part(study: ModuleType) -> None:
    (cz, cy), (z, y) = margins(2, 2000, bias=2.0), margins(3, 2000, bias=2.0)
    found = study.Scores(cz, cy, z, y).variants
    plain = metrics.combined_score(y, found["as it is"].scores)
    assert metrics.combined_score(y, found["Platt"].scores) > plain + 0.05
    # thresholding moves decisions alone
    assert np.array_equal(found["threshold"].scores, found["as it is"].scores)
    shifted = study.score_of(study.columns(found["threshold"], y).sum(axis=0))
    assert shifted > plain
    # labels of the test part have no part in it
    other = study.Scores(cz, cy, z, 1 - y).variants
    assert np.array_equal(other["Platt"].scores, found["Platt"].scores)
    assert np.array_equal(other["threshold"].decisions, found["threshold"].decisions)


def test_tables_pair_the_seeds_and_name_the_best_control(study: ModuleType) -> None:
    found = {}
    for seed in (0, 1):
        calibration = margins(10 + seed, 3000)
        z, y = margins(99, 3000)
        noise = np.random.default_rng(seed).standard_normal(len(z))
        for arm, size in (("CE", 0.5), ("worse", 2.0), ("same", 0.5), ("tuned", 0.0)):
            found[arm, seed] = study.Scores(*calibration, z + size * noise, y)
    text = study.tables(found, reference="CE", tuned=["tuned"], negative="same")
    rows = {
        line.split(" | ")[0].strip("| "): line
        for line in text.split("paired by seed")[1].split("reweighted")[0].splitlines()
    }
    assert rows["same"].count("+0.0000 ± 0.0000 (+0.0000 to +0.0000)") == 3
    assert rows["tuned"].split(" | ")[1].startswith("+0.0")
    assert rows["worse"].split(" | ")[1].startswith("-0.")
    each = [
        metrics.combined_score(found["tuned", s].labels, study.sigmoid(found["tuned", s].test))
        - metrics.combined_score(found["CE", s].labels, study.sigmoid(found["CE", s].test))
        for s in (0, 1)
    ]
    stated = f"{np.mean(each):+.4f} ± {abs(each[0] - each[1]) / 2:.4f}"
    assert stated in rows["tuned"]
    closing = text.split("best control there, ")[1]
    assert closing.startswith("CE,")
    judged = [
        study.score_of(study.columns(found["tuned", s].variants["Platt"], found["tuned", s].labels).sum(axis=0))
        for s in (0, 1)
    ]
    control = [
        study.score_of(study.columns(found["same", s].variants["Platt"], found["same", s].labels).sum(axis=0))
        for s in (0, 1)
    ]
    assert f"{np.mean(np.subtract(judged, control)):+.4f} ± " in closing.split("| tuned | ")[1]
