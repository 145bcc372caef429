"""Sizes that recur: what is learned by heart is not called a shortcut, and what a class is like still is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gasdet.inspection.auditing import Measurement, Verdict, measure
from gasdet.inspection.auditing.recurring import tied_by_source

from .tables import table


def frames(sources: int, count: int, seed: int = 0) -> tuple[list[int], dict[str, list[Any]], list[str]]:
    """Of each class so many sources of random sizes, and of each so many frames; and the sources' names."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], sources * count).tolist()
    width, height = (np.repeat(rng.integers(100, 4000, 2 * sources), count).astype(float).tolist() for _ in range(2))
    return labels, {"width": width, "height": height}, [f"source {i // count}" for i in range(len(labels))]


def test_frames_of_one_source_are_not_a_shortcut() -> None:
    labels, columns, names = frames(12, 8)
    found = measure(table(labels, columns))
    assert found.model.auroc is not None
    assert found.model.auroc > 0.95, "a model knows the sizes of other frames"
    assert found.model.unseen is not None
    assert found.model.unseen < 0.8
    assert found.model.verdict is Verdict.UNDECIDED
    assert found.model.lowered
    assert not found.worst.reaches(Verdict.WEAK)
    grouped = measure(table(labels, columns, groups=names))
    assert grouped.counts["real_groups"] == 12
    assert grouped.model.unseen is None, "the data say what belongs together"
    assert not grouped.worst.reaches(Verdict.WEAK)


def test_samples_that_the_data_call_independent_are_taken_so() -> None:
    labels, columns, _ = frames(12, 8)
    found = measure(table(labels, columns, groups=range(len(labels))))
    assert found.model.verdict is Verdict.FATAL
    assert found.model.unseen is None
    assert not found.model.lowered


def sized(real: list[int], synthetic: list[int]) -> Measurement:
    """Audit squares of these sides."""
    sides = [float(side) for side in real + synthetic]
    return measure(table([0] * len(real) + [1] * len(synthetic), {"width": sides, "height": sides}))


@pytest.mark.parametrize(
    "synthetic", [[512] * 120, [512, 768, 1024] * 40, [512] * 60 + [640 + 64 * i for i in range(30)] * 2]
)
def test_the_few_sizes_of_a_generator_are_a_shortcut(synthetic: list[int]) -> None:
    real = np.random.default_rng(1).integers(200, 4000, 120).tolist()
    found = sized(real, synthetic)
    assert found.worst.reaches(Verdict.STRONG)
    assert not found.model.lowered


def test_one_size_for_each_class_is_a_shortcut() -> None:
    assert sized([256] * 40, [320] * 40).model.verdict is Verdict.FATAL


def test_what_is_seen_at_any_size_is_a_shortcut_beside_sizes_that_are_known_by_heart() -> None:
    labels, columns, _ = frames(12, 8)
    columns["quality"] = [90 - 15 * label for label in labels]
    found = measure(table(labels, columns))
    told = {p.spec.name: p.figure for p in found.properties}
    assert found.model.verdict is Verdict.FATAL
    assert found.model.unseen == 1
    assert told["quality"].verdict is Verdict.FATAL
    assert told["quality"].unseen == 1
    assert not told["quality"].lowered
    assert not told["width"].verdict.reaches(Verdict.WEAK)


def test_a_shortcut_that_is_partly_known_by_heart_is_as_bad_as_the_rest_of_it() -> None:
    """Nine tenths of the pairs are told by the quality, everything by the sizes."""
    labels, columns, _ = frames(30, 5, seed=2)
    rng = np.random.default_rng(3)
    columns["quality"] = (rng.normal(size=len(labels)) + 1.8 * np.array(labels)).tolist()
    found = measure(table(labels, columns))
    assert found.model.auroc is not None
    assert found.model.unseen is not None
    assert found.model.auroc - found.model.unseen > 0.1
    assert found.model.lowered
    assert found.model.verdict in (Verdict.WEAK, Verdict.STRONG)
    assert next(p for p in found.properties if p.spec.name == "quality").figure.verdict is Verdict.STRONG


def test_samples_of_one_size_are_tied_and_common_sizes_are_not() -> None:
    sides = [100.0, 100.0, *range(200, 218), 400.0, 400.0, 400.0, *range(500, 517)]
    found = tied_by_source(table([0] * 20 + [1] * 20, {"width": sides}))
    assert found is not None
    assert found[0] == found[1], "two of twenty are a tenth of a class, and no more"
    assert len(set(found)) == 39, "three of twenty are what the class is like"


@pytest.mark.parametrize(
    "columns", [{"quality": [1.0] * 40}, {"width": list(range(40))}, {"width": [None] * 40}, {"width": [7.0] * 40}]
)
def test_nothing_recurs(columns: dict[str, list[Any]]) -> None:
    assert tied_by_source(table([0] * 20 + [1] * 20, columns)) is None


def test_a_size_that_both_classes_have_ties_them() -> None:
    sides = [float(i) for i in range(40)] * 2
    found = tied_by_source(table([0] * 40 + [1] * 40, {"width": sides}))
    assert found is not None
    assert found[:40] == found[40:]
