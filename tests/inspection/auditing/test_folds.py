"""Folds: groups whole, classes shared out evenly, the same for any order of the samples."""

from __future__ import annotations

import numpy as np

from gasdet.inspection.auditing.folds import FOLDS, frame_of


def fold_of_sample(labels: np.ndarray, groups: list[str], seed: int = 0) -> np.ndarray:
    frame = frame_of(labels, groups, seed=seed)
    assert frame is not None
    fold = np.empty(labels.size, dtype=int)
    for number, block in enumerate(frame.blocks):
        fold[frame.order[block]] = number
    return fold


def test_a_group_lies_in_one_fold() -> None:
    rng = np.random.default_rng(0)
    groups = [f"g{number}" for number in rng.integers(0, 40, 500)]
    labels = rng.integers(0, 2, 500)
    fold = fold_of_sample(labels, groups)
    assert len({(group, number) for group, number in zip(groups, fold, strict=True)}) == len(set(groups))


def test_each_fold_has_its_share_of_each_class() -> None:
    labels = np.repeat([0, 1], [103, 57])
    fold = fold_of_sample(labels, [str(i) for i in range(160)])
    for label, count in ((0, 103), (1, 57)):
        sizes = np.bincount(fold[labels == label], minlength=FOLDS)
        assert set(sizes) <= {count // FOLDS, count // FOLDS + 1}


def test_large_groups_are_balanced_by_small_ones() -> None:
    groups = ["large"] * 100 + [f"s{i}" for i in range(400)] + [f"t{i}" for i in range(50)]
    labels = np.repeat([0, 1], [500, 50])
    assert np.bincount(fold_of_sample(labels, groups)[:500]).tolist() == [100] * FOLDS


def test_the_order_of_the_samples_has_no_effect_and_the_seed_has_one() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 200)
    groups = [f"g{number}" for number in rng.integers(0, 60, 200)]
    order = rng.permutation(200)
    fold = fold_of_sample(labels, groups)
    assert (fold_of_sample(labels[order], [groups[i] for i in order]) == fold[order]).all()
    assert (fold_of_sample(labels, groups, seed=1) != fold).any()


def test_too_few_groups_of_a_class() -> None:
    labels = np.repeat([0, 1], [100, 100])
    assert frame_of(labels, [str(i) for i in range(100)] + [f"s{i % 9}" for i in range(100)]) is None
    assert frame_of(labels, [str(i) for i in range(100)] + [f"s{i % 10}" for i in range(100)]) is not None


def test_groups_of_both_classes_are_told() -> None:
    labels = np.array([0, 1] * 12)
    frame = frame_of(labels, [f"{i // 2}" if i < 20 else f"own{i}" for i in range(24)])
    assert frame is not None
    assert int(frame.mixed.sum()) == 10
    assert frame.class_groups == (12, 12)
