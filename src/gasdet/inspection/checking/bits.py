"""Counting set bits in whole arrays."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt


def popcount(words: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The number of set bits of each word.

    Args:
        words: Unsigned integers of 16, 32 or 64 bits, of any shape.

    Returns:
        uint8, of the same shape.
    """
    if hasattr(np, "bitwise_count"):  # numpy 2
        counts: npt.NDArray[np.uint8] = np.bitwise_count(words)
        return counts
    return by_table(words)


def by_table(words: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The same, by a table of all 16-bit words: for numpy 1."""
    halves = np.ascontiguousarray(words).view(np.uint16).reshape(*words.shape, -1)
    counts: npt.NDArray[np.uint8] = _table()[halves].sum(axis=-1, dtype=np.uint8)
    return counts


@cache
def _table() -> npt.NDArray[np.uint8]:
    numbers = np.arange(1 << 16, dtype=np.uint16)
    counts: npt.NDArray[np.uint8] = np.unpackbits(numbers.view(np.uint8).reshape(-1, 2), axis=1).sum(1, dtype=np.uint8)
    return counts
