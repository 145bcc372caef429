"""Intervals and chance: against scipy and scikit-learn, with known coverage, over groups."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq
from sklearn.metrics import roc_auc_score

from gasdet.inspection.auditing import uncertainty
from gasdet.inspection.auditing.folds import Frame, frame_of
from gasdet.inspection.auditing.separation import read
from gasdet.inspection.auditing.uncertainty import held_out_auroc, intervals, newcombe, noise

from .tables import table


def frame(labels: np.ndarray, groups: np.ndarray | None = None) -> Frame:
    found = frame_of(labels, [f"{g}" for g in (np.arange(labels.size) if groups is None else groups)])
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("auroc", "real", "synthetic"), [(0.5, 20, 30), (0.8, 40, 15), (0.97, 100, 100), (1.0, 10, 12)]
)
def test_newcombe_solves_its_equation(auroc: float, real: int, synthetic: int) -> None:
    star = (real + synthetic) / 2 - 1

    def equation(value: float) -> float:
        spread = 1 + star * (1 - value) / (2 - value) + star * value / (1 + value)
        return (auroc - value) ** 2 - 1.959963984540054**2 * value * (1 - value) * spread / (real * synthetic)

    low, high = newcombe(auroc, real, synthetic)
    assert low == pytest.approx(brentq(equation, 1e-9, auroc - 1e-9 if auroc < 1 else 1 - 1e-6), abs=1e-6)
    if auroc < 1:
        assert high == pytest.approx(brentq(equation, auroc + 1e-9, 1 - 1e-9), abs=1e-6)
    else:
        assert high == pytest.approx(1, abs=1e-9)


def test_weights_count_as_in_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    found = frame(rng.integers(0, 2, 200))
    values, weights = np.round(rng.normal(size=200), 1), rng.exponential(size=(3, 200))
    for row, result in zip(weights, held_out_auroc(values, found, weights), strict=True):
        won = pairs = 0.0
        for block in found.blocks:
            own, w = found.labels[block], row[block]
            count = w[own == 1].sum() * w[own == 0].sum()
            won += count * roc_auc_score(own, values[block], sample_weight=w)
            pairs += count
        assert result == pytest.approx(won / pairs, abs=1e-12)


def test_the_interval_covers_the_truth() -> None:
    labels = np.repeat([0, 1], 50)
    truth, covered = 0.760250, 0  # of two normal distributions that are one standard deviation apart: Phi(1 / sqrt(2))
    for seed in range(150):
        rng = np.random.default_rng(seed)
        found = frame(labels)
        ((low, high),) = intervals([rng.normal(size=100) + found.labels], found, seed=seed)
        covered += low <= truth <= high
    assert 0.91 <= covered / 150 <= 1.0


def test_copies_within_a_group_are_no_evidence() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], 40)
    values = rng.normal(size=80) + labels
    single = frame(labels)
    ((low, high),) = intervals([values[single.order]], single)
    groups = np.repeat(np.arange(80), 10)
    many = frame(np.repeat(labels, 10), groups)
    ((low_many, high_many),) = intervals([np.repeat(values, 10)[many.order]], many)
    assert high_many - low_many == pytest.approx(high - low, abs=0.03)
    alone = frame(np.repeat(labels, 10))
    ((low_alone, high_alone),) = intervals([np.repeat(values, 10)[alone.order]], alone)
    assert high_alone - low_alone < 0.5 * (high - low)


def test_a_perfect_figure_has_a_lower_bound_that_grows_with_the_data() -> None:
    bounds = []
    for count in (10, 40, 400):
        found = frame(np.repeat([0, 1], count))
        ((low, high),) = intervals([found.labels.astype(float)], found)
        assert high == 1
        bounds.append(low)
    assert bounds == sorted(bounds)
    assert bounds[0] < 0.85
    assert bounds[2] > 0.99


def test_no_interval_lies_below_one_half() -> None:
    found = frame(np.repeat([0, 1], 30))
    ((low, high),) = intervals([-found.labels.astype(float)], found)
    assert low == 0.5
    assert high > 0.55  # a figure of chance is not known better than that


def test_very_large_data_get_fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    found = frame(np.repeat([0, 1], 500))
    values = rng.normal(size=1000) + found.labels
    ((low, high),) = intervals([values], found)
    monkeypatch.setattr(uncertainty, "_WORK", 1)
    ((fewer_low, fewer_high),) = intervals([values], found)
    assert (fewer_low, fewer_high) == pytest.approx((low, high), abs=0.01)
    assert (fewer_low, fewer_high) != (low, high)


def test_chance_grows_with_the_number_of_properties_and_shrinks_with_the_data() -> None:
    rng = np.random.default_rng(3)

    def chance(properties: int, count: int) -> float:
        labels = np.repeat([0, 1], count)
        found = table(labels.tolist(), {f"p{i}": rng.normal(size=2 * count).tolist() for i in range(properties)})
        folds = frame_of(found.labels, [s.group for s in found.samples])
        assert folds is not None
        return noise([read(column, folds) for column in found.columns], folds)

    one, twenty, twenty_of_many = chance(1, 30), chance(20, 30), chance(20, 300)
    assert 0.5 < one < twenty < 0.85
    assert twenty_of_many < twenty - 0.08


@pytest.mark.parametrize("mixed", [False, True])
def test_shuffled_labels_keep_groups_as_they_are(mixed: bool) -> None:
    labels = np.tile([0, 0, 1, 1] if mixed else [0, 0, 0, 0, 1, 1, 1, 1], 60)
    groups = np.arange(labels.size) // 4
    found = frame(labels, groups)
    (shuffled,) = list(uncertainty._shuffled(found, 5, 10, 0))
    assert len({row.tobytes() for row in shuffled}) == 5
    for row in shuffled:
        counts = np.bincount(found.group, weights=row)
        assert set(counts) == ({2.0} if mixed else {0.0, 4.0})
        assert row.sum() == labels.sum()
