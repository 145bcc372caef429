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


def share_of(
    batch: list[int], rank: int, processes: int, accumulate: int, least: int = 1
) -> list[tuple[list[int], bool]]:
    """A process's parts of a batch, in turn, and whether they count.

    The batch is cut into a share for each process, and each share into ``accumulate`` parts: consecutive pieces, as equal as
    they can be, longer ones first. There are fewer where a piece would otherwise have less than ``least`` rows. A process
    without a share gets the batch's first rows as a stand-in that does not count, since the others wait for its gradients.

    Args:
        batch: Rows, at least one.
        rank: Of the process.
        processes: How many there are.
        accumulate: Parts of a share.
        least: 2 where full batches have parts of 2 rows or more, so that no short batch ends in a part of a single row, of
            which BatchNorm can make no statistic.
    """
    shares = _pieces(batch, processes, least)
    if rank >= len(shares):
        return [(batch[:least], False)]
    return [(part, True) for part in _pieces(shares[rank], accumulate, least)]


def _pieces(rows: list[int], wanted: int, least: int) -> list[list[int]]:
    count = max(1, min(wanted, len(rows) // least))
    short, longer = divmod(len(rows), count)
    edges = [number * short + min(number, longer) for number in range(count + 1)]
    return [rows[start:end] for start, end in pairwise(edges)]
