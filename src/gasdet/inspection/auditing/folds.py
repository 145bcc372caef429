"""Which samples are held out together: five folds that keep groups whole and have the same share of each class."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from gasdet.evaluation.intervals import MIN_GROUPS
from gasdet.inspection.auditing.table import IntArray

FOLDS = 5


@dataclass(frozen=True)
class Frame:
    """Samples in an order in which each fold is one block.

    Attributes:
        order: int64 [N]: which sample of the table stands at each place.
        labels: int64 [N], 0 real or 1 synthetic.
        group: int64 [N], 0 to G - 1.
        blocks: A slice a fold.
    """

    order: IntArray
    labels: IntArray
    group: IntArray
    blocks: tuple[slice, ...]

    @cached_property
    def groups(self) -> int:
        """Number of groups."""
        return int(self.group.max()) + 1

    @cached_property
    def class_groups(self) -> tuple[int, int]:
        """In how many groups there are real samples, and synthetic ones."""
        real, synthetic = (np.unique(self.group[self.labels == label]).size for label in (0, 1))
        return real, synthetic

    @cached_property
    def mixed(self) -> npt.NDArray[np.bool_]:
        """Whether a group has both classes, bool [G]."""
        share = np.bincount(self.group, weights=self.labels) / np.bincount(self.group)
        result: npt.NDArray[np.bool_] = (share > 0) & (share < 1)
        return result


def frame_of(labels: IntArray, groups: Sequence[str], *, seed: int = 0) -> Frame | None:
    """Deal groups to folds: of each kind (real, synthetic, mixed) the larger first, each to the fold with the fewest samples.

    Among equally large groups a hash of seed and name decides, so that the order of the samples has no effect.

    Args:
        labels: [N], 0 or 1.
        groups: [N], names; samples of one name are kept together.
        seed: At least 0.

    Returns:
        None where a class has fewer than ten groups: too few to say anything of others.
    """
    names, group = np.unique(np.asarray(groups, dtype=object), return_inverse=True)
    group = group.astype(np.int64)
    sizes = np.bincount(group)
    synthetic = np.bincount(group, weights=labels)
    if min(int((synthetic < sizes).sum()), int((synthetic > 0).sum())) < MIN_GROUPS:
        return None
    kind = np.where(synthetic == 0, 0, np.where(synthetic == sizes, 1, 2))
    prefix = f"{seed}\0".encode()
    keys = [hashlib.sha256(prefix + str(name).encode("utf-8", "surrogateescape")).digest() for name in names]
    fold = np.zeros(names.size, dtype=np.int64)
    for one in range(3):
        loads = [(0, number) for number in range(FOLDS)]
        for index in sorted(np.flatnonzero(kind == one).tolist(), key=lambda i: (-sizes[i], keys[i])):
            load, number = heapq.heappop(loads)
            fold[index] = number
            heapq.heappush(loads, (load + int(sizes[index]), number))
    order = np.argsort(fold[group], kind="stable")
    ends = np.cumsum(np.bincount(fold[group], minlength=FOLDS)).tolist()
    blocks = tuple(slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True))
    return Frame(order, labels[order], group[order], blocks)
