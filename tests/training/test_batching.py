"""Batches and their shares."""

from __future__ import annotations

import pytest

from gasdet.training.batching import make_batches, share_of


def test_no_row_is_dropped_and_no_batch_has_one_row() -> None:
    assert make_batches(list(range(7)), 3) == [[0, 1, 2], [3, 4, 5, 6]]
    assert make_batches(list(range(8)), 3) == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert make_batches([5], 3) == [[5]]
    assert make_batches([1, 2], 1) == [[1], [2]]


@pytest.mark.parametrize("count", range(1, 14))
@pytest.mark.parametrize(("processes", "accumulate"), [(1, 1), (2, 1), (2, 3), (3, 2)])
def test_shares_are_the_batch(count: int, processes: int, accumulate: int) -> None:
    batch = list(range(100, 100 + count))
    shares = [share_of(batch, rank, processes, accumulate) for rank in range(processes)]
    assert [row for share in shares for part, counts in share if counts for row in part] == batch
    assert all(share and all(part for part, _ in share) for share in shares), "everybody has something to do"
    sizes = [len(part) for share in shares for part, counts in share if counts]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("count", range(1, 14))
@pytest.mark.parametrize(("processes", "accumulate"), [(1, 1), (2, 1), (2, 3), (3, 2)])
def test_no_part_of_one_row_where_two_are_asked_for(count: int, processes: int, accumulate: int) -> None:
    batch = list(range(100, 100 + count))
    shares = [share_of(batch, rank, processes, accumulate, 2) for rank in range(processes)]
    assert [row for share in shares for part, counts in share if counts for row in part] == batch
    assert min(len(part) for share in shares for part, _ in share) >= min(2, count)
    assert max(len(share) for share in shares) <= accumulate
