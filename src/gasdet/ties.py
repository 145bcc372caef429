"""Which of many items belong together, where ties between two of them chain (union-find)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any


class Ties:
    """Sets of items 0 to ``count - 1``, each alone at first; two become one where an item of each is tied to the other."""

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))
        self._sizes = [1] * count
        self._first = list(range(count))

    def __len__(self) -> int:
        """How many items there are."""
        return len(self._parents)

    def join(self, one: int, other: int) -> bool:
        """Make the sets of two items one.

        Returns:
            Whether they were two.
        """
        large, small = self._root(one), self._root(other)
        if large == small:
            return False
        if self._sizes[large] < self._sizes[small]:
            large, small = small, large
        self._parents[small] = large
        self._sizes[large] += self._sizes[small]
        self._first[large] = min(self._first[large], self._first[small])
        return True

    def first(self, item: int) -> int:
        """The first item of an item's set: equal for two that belong together, in whatever order they were tied."""
        return self._first[self._root(item)]

    def _root(self, item: int) -> int:
        parents = self._parents
        while parents[item] != item:
            parents[item] = parents[parents[item]]
            item = parents[item]
        return item


def tied(groups: Sequence[str], *ties: Sequence[Any]) -> list[str]:
    """A name for each of N items, equal for those of one group, those that share a tie, and those that a chain connects.

    Args:
        groups: [N].
        ties: [N] each: hashable values that items may share, every sequence a kind of its own; whatever is empty or None ties
            nothing.

    Returns:
        The first, by the alphabet, of the names of the groups that belong together.

    Raises:
        ValueError: Not all have N.
    """
    names = sorted(set(groups))
    places = {name: place for place, name in enumerate(names)}
    sets = Ties(len(names))
    for kind in ties:
        owners: dict[Hashable, int] = {}
        for group, tie in zip(groups, kind, strict=True):
            if tie:
                place = places[group]
                sets.join(place, owners.setdefault(tie, place))
    return [names[sets.first(places[group])] for group in groups]
