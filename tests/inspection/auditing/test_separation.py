"""One property alone: equal to a slow reference, fair to chance, and able to read numbers that are no order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from gasdet.inspection.auditing.folds import frame_of
from gasdet.inspection.auditing.separation import read, scores, separate
from gasdet.inspection.auditing.table import PropertyTable
from gasdet.inspection.auditing.uncertainty import held_out_auroc

from .tables import table


def measured(found: PropertyTable) -> tuple[float, list[int], Any]:
    """AUROC, the ways the folds took, and everything else."""
    frame = frame_of(found.labels, [s.group for s in found.samples])
    assert frame is not None
    reading = read(found.columns[0], frame)
    result = separate(reading, frame, frame.labels[None])
    # What the intervals are made of is the same figure.
    own = scores(reading, frame, result)
    assert held_out_auroc(own, frame)[0] == pytest.approx(result.auroc[0], abs=1e-12)
    return float(result.auroc[0]), result.way[0].tolist(), (frame, reading)


def auroc(labels: Sequence[int], values: Sequence[Any], groups: Sequence[object] | None = None) -> float:
    return measured(table(labels, {"x": values}, groups=groups))[0]


def test_a_number_equals_scikit_learn_within_folds() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    values = np.round(rng.normal(0.8 * labels), 1)  # with ties
    found = table(labels.tolist(), {"x": values.tolist()})
    result, ways, (frame, _) = measured(found)
    won = pairs = 0.0
    for block in frame.blocks:
        own, rows = frame.labels[block], frame.order[block]
        count = own.sum() * (1 - own).sum()
        won += roc_auc_score(own, found.columns[0].values[rows]) * count
        pairs += count
    assert ways == [0] * 5
    assert result == pytest.approx(won / pairs, abs=1e-12)
    assert result == pytest.approx(roc_auc_score(labels, values), abs=0.02)


def test_categories_equal_a_slow_reference() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 300)
    values = [None if v == 6 else f"v{v}" for v in (rng.poisson(1.5 + labels) % 7)]
    groups = rng.integers(0, 90, 300)
    found = table(labels.tolist(), {"x": values}, groups=groups.tolist())
    result, _, (frame, _) = measured(found)

    fold = np.empty(300, dtype=int)
    for number, block in enumerate(frame.blocks):
        fold[frame.order[block]] = number
    own = [found.columns[0].text(i) for i in range(300)]
    won = pairs = 0.0
    for number in range(5):
        rest = np.flatnonzero(fold != number)
        overall = found.labels[rest].mean()
        counts: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for i in rest:
            counts[own[i]][found.labels[i]] += 1
        share = {v: (s + 2 * overall) / (r + s + 2) for v, (r, s) in counts.items()}
        held = np.flatnonzero(fold == number)
        for i in held[found.labels[held] == 1]:
            for j in held[found.labels[held] == 0]:
                left, right = share.get(own[i], overall), share.get(own[j], overall)
                won += 0.5 if left == pytest.approx(right, abs=1e-12) else float(left > right)
                pairs += 1
    assert result == pytest.approx(won / pairs, abs=1e-9)
    assert result > 0.6


@pytest.mark.parametrize("sign", [1, -1])
def test_either_direction_is_found(sign: int) -> None:
    labels = np.repeat([0, 1], 30)
    values = sign * (labels * 10.0 + np.arange(60) % 5)
    result, ways, _ = measured(table(labels.tolist(), {"x": values.tolist()}))
    assert result == 1
    assert ways == [0 if sign > 0 else 1] * 5


def test_chance_is_one_half_on_average_where_folding_is_not() -> None:
    honest, folded = [], []
    labels = np.repeat([0, 1], 20)
    for seed in range(120):
        rng = np.random.default_rng(seed)
        values = rng.normal(size=40)
        area = roc_auc_score(labels, values)
        folded.append(max(area, 1 - area))
        honest.append(auroc(labels.tolist(), values.tolist()))
    assert np.mean(folded) > 0.56
    assert np.mean(honest) == pytest.approx(0.5, abs=0.03)


def test_chance_is_one_half_for_categories_of_many_values() -> None:
    labels = np.repeat([0, 1], 25)
    found = []
    for seed in range(120):
        values = [f"v{v}" for v in np.random.default_rng(seed).integers(0, 15, 50)]
        found.append(auroc(labels.tolist(), values))
    assert np.mean(found) == pytest.approx(0.5, abs=0.03)


def test_a_name_of_its_own_for_each_sample_says_nothing() -> None:
    labels = np.repeat([0, 1], 40)
    assert auroc(labels.tolist(), [f"name{i}" for i in range(80)]) == 0.5


def test_a_value_shared_by_a_group_only_says_nothing() -> None:
    labels = np.repeat([0, 1], 60)
    groups = np.arange(120) // 6
    assert auroc(labels.tolist(), [f"serial number {g}" for g in groups], groups.tolist()) == pytest.approx(
        0.5, abs=1e-9
    )
    # The same without groups is told: others of the same camera are among the other folds.
    assert auroc(labels.tolist(), [f"serial number {g}" for g in groups]) > 0.9


def test_a_number_whose_values_are_special_and_not_large_or_small() -> None:
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1], 60)
    values = np.where(labels == 1, 16000, rng.choice([8000, 44100], 120))
    result, ways, (_, reading) = measured(table(labels.tolist(), {"x": values.tolist()}))
    assert result == 1
    assert ways == [2 * len(reading.ranks)] * 5


def test_a_distribution_that_is_only_wider_counts_by_its_order() -> None:
    rng = np.random.default_rng(4)
    labels = np.repeat([0, 1], 2000)
    values = rng.normal(size=4000) * (1 + 0.3 * labels)
    result, ways, (_, reading) = measured(table(labels.tolist(), {"x": values.tolist()}))
    assert 2 * len(reading.ranks) not in ways
    assert result == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("missing", [0, 1])
def test_a_missing_number_is_told_from_others(missing: int) -> None:
    rng = np.random.default_rng(5)
    labels = np.repeat([0, 1], 40)
    values = [None if label == missing else float(v) for label, v in zip(labels, rng.normal(size=80), strict=True)]
    assert auroc(labels.tolist(), values) == 1


def test_a_missing_category_is_told_from_others() -> None:
    labels = np.repeat([0, 1], 40)
    values = [None if label else f"camera {i % 3}" for i, label in enumerate(labels)]
    assert auroc(labels.tolist(), values) == 1


def test_rare_values_count_as_one() -> None:
    labels = np.repeat([0, 1], 400)
    values = ["none" if label == 0 else f"v{i % 100}" for i, label in enumerate(labels)]
    result, _, (_, reading) = measured(table(labels.tolist(), {"x": values}))
    assert reading.count == 3  # the frequent one, the others, and missing
    assert result == 1


def test_as_many_values_as_there_is_room_for_are_all_kept() -> None:
    values = [f"v{i % 64}" for i in range(400)]
    _, _, (_, reading) = measured(table([0, 1] * 200, {"x": values}))
    assert reading.count == 65
    values = [f"v{i % 64}" if i else "one more" for i in range(400)]
    _, _, (_, reading) = measured(table([0, 1] * 200, {"x": values}))
    assert reading.count < 65


def test_several_labellings_at_once_equal_each_alone() -> None:
    rng = np.random.default_rng(6)
    found = table(rng.integers(0, 2, 90).tolist(), {"x": rng.normal(size=90).tolist()})
    frame = frame_of(found.labels, [s.group for s in found.samples])
    assert frame is not None
    reading = read(found.columns[0], frame)
    labellings = np.stack([rng.permutation(frame.labels) for _ in range(20)])
    together = separate(reading, frame, labellings).auroc
    alone = [separate(reading, frame, one[None]).auroc[0] for one in labellings]
    np.testing.assert_array_equal(together, alone)
