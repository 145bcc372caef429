"""Exact duplicates: samples whose decoded pixels or waveforms are equal, value for value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gasdet.data.listing import counted

Positions = npt.NDArray[np.int64]
"""int64 ``[K]``, ascending: positions in a sequence of digests."""


@dataclass(frozen=True, slots=True)
class Duplicates:
    """What of a training part is also in the part that it is judged on.

    Attributes:
        kept: Positions of the training samples that stay.
        dropped: Positions of those that are equal to a judged sample.
        judged: Positions of the judged samples that have a copy in the training part. They stay.
    """

    kept: Positions
    dropped: Positions
    judged: Positions

    def __str__(self) -> str:
        """One line for the user: how many were dropped, and because of how many."""
        return (
            f"{counted(len(self.dropped), 'training sample')} dropped, with the same decoded content as "
            f"{counted(len(self.judged), 'validation sample')}; {len(self.kept):,} remain"
        )


def find_duplicates(known: Sequence[str | None], asked: Sequence[str | None]) -> Positions:
    """Positions in ``asked`` of the samples that also are in ``known``.

    Args:
        known: Digests as ``gasdet.media.digest.digest`` gives them; None for a sample whose content is not known, which
            equals nothing.
        asked: The same of other samples.
    """
    contents = set(known) - {None}
    return np.array([i for i, content in enumerate(asked) if content in contents], np.int64)


def drop_duplicates(training: Sequence[str | None], judged: Sequence[str | None]) -> Duplicates:
    """Which training samples to drop so that none of the judged samples has been trained on.

    Only the training side loses samples: dropping judged ones would make the easy copies, or the hard ones, count less in
    what is reported.

    Args:
        training: Digests of the training part, as ``find_duplicates`` takes them.
        judged: Of the validation part (and of test parts, where they are known).
    """
    dropped = find_duplicates(judged, training)
    kept = np.setdiff1d(np.arange(len(training), dtype=np.int64), dropped, assume_unique=True)
    return Duplicates(kept, dropped, find_duplicates(training, judged))
