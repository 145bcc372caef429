"""Rows in batches, and batches in the parts that processes and accumulation make of them."""

from __future__ import annotations

from itertools import pairwise


def make_batches(rows: list[int], size: int) -> list[list[int]]:
    """Rows in batches, in their order.

    A last batch of a single row goes to the one before: a batch statistic of one sample is none, and no sample is dropped.
    """
    found = [rows[at : at + size] for at in range(0, len(rows), size)]
    if len(found) > 1 and len(found[-1]) == 1 and size > 1:
        found[-2:] = [found[-2] + found[-1]]
    return found


def share_of(batch: list[int], rank: int, processes: int, accumulate: int) -> list[tuple[list[int], bool]]:
    """A process's parts of a batch, in turn, and whether they count.

    The batch is cut into ``processes * accumulate`` consecutive pieces, as equal as they can be, longer ones first. A process
    whose pieces are all empty gets the batch's first row as a stand-in that does not count, since the others wait for its
    gradients.
    """
    short, longer = divmod(len(batch), processes * accumulate)
    edges = [number * short + min(number, longer) for number in range(processes * accumulate + 1)]
    pieces = [batch[start:end] for start, end in pairwise(edges)]
    own = [(piece, True) for piece in pieces[rank * accumulate : (rank + 1) * accumulate] if piece]
    return own or [(batch[:1], False)]
