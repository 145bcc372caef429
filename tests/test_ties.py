"""What belongs together by ties that chain: as scipy finds it, in any order, without walking chains again and again."""

from __future__ import annotations

import random

import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from gasdet.ties import Ties, tied


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("density", [0.2, 0.6, 1.5])
def test_sets_are_the_connected_components(seed: int, density: float) -> None:
    count = 200
    pairs = np.random.default_rng(seed).integers(0, count, (int(count * density), 2))
    sets = Ties(count)
    joined = sum(sets.join(int(one), int(other)) for one, other in pairs)
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    components, labels = connected_components(graph, directed=False)
    first = [int(np.flatnonzero(labels == labels[item])[0]) for item in range(count)]
    assert [sets.first(item) for item in range(len(sets))] == first
    assert joined == count - components


def test_the_order_of_ties_has_no_bearing() -> None:
    pairs = [(3, 7), (1, 9), (9, 3), (4, 5), (0, 4)]
    found = set()
    for seed in range(20):
        random.Random(seed).shuffle(pairs)
        sets = Ties(10)
        for one, other in pairs:
            sets.join(other, one) if seed % 2 else sets.join(one, other)
        found.add(tuple(map(sets.first, range(10))))
    assert found == {(0, 1, 2, 1, 0, 0, 6, 1, 8, 1)}


class Counting(list):
    """A list that counts how often it is read."""

    reads = 0

    def __getitem__(self, place):
        self.reads += 1
        return super().__getitem__(place)


@pytest.mark.parametrize("count", [4_000, 16_000])
@pytest.mark.parametrize("order", ["to the first", "descending", "ascending", "halves"])
def test_work_grows_with_the_ties(count: int, order: str) -> None:
    """16,000 groups of one content, in descending order, once took 120 million steps."""
    sets = Ties(count)
    sets._parents = parents = Counting(sets._parents)
    places = list(range(count))
    pairs = {
        "to the first": [(count - 1, place) for place in reversed(places)],
        "descending": [(place, place - 1) for place in reversed(places[1:])],
        "ascending": [(place, place + 1) for place in places[:-1]],
        "halves": [(p, p + step) for step in (2**k for k in range(14)) for p in range(0, count - step, 2 * step)],
    }[order]
    for one, other in pairs:
        sets.join(one, other)
    assert len({sets.first(place) for place in places}) <= 3
    assert parents.reads < 20 * count


def test_groups_pairs_and_contents_tie_and_chain() -> None:
    groups = ["d", "c", "b", "b", "a", "e"]
    assert tied(groups) == groups
    assert tied(groups, ["", "", "", "", "", ""]) == groups
    assert tied(groups, ["p", "p", "", "q", "q", ""]) == ["c", "c", "a", "a", "a", "e"]
    assert tied(groups, ["p", "p", "", "", "", ""], [None, b"1", b"1", b"2", b"2", None]) == [*"aaaaa", "e"]


def test_kinds_of_ties_are_apart() -> None:
    assert tied(["a", "b"], ["x", ""], ["", "x"]) == ["a", "b"]


def test_ties_of_another_number_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        tied(["a", "b"], ["x"])
