"""From an AUROC with its interval to a word."""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """What a property's AUROC says of data that are to judge, or to train, a detector of content."""

    NONE = "none"
    UNDECIDED = "undecided"
    WEAK = "weak"
    STRONG = "strong"
    FATAL = "fatal"

    def reaches(self, other: Verdict) -> bool:
        """Whether it is at least as bad."""
        return list(Verdict).index(self) >= list(Verdict).index(other)


THRESHOLDS = {Verdict.WEAK: 0.55, Verdict.STRONG: 0.70, Verdict.FATAL: 0.90}
"""Where the verdicts begin: each at an interval's lower bound. What is printed takes them from the audit's document."""

WEAK, STRONG, FATAL = THRESHOLDS.values()


def verdict_of(auroc: float, low: float, high: float, noise: float = 0.5) -> Verdict:
    """The verdict by the interval: a shortcut by its lower bound, none only where its upper bound excludes a strong one.

    Args:
        auroc: 0.5 to 1.
        low: Lower bound of its 95 % interval.
        high: Upper bound.
        noise: What the best of all properties reaches by chance; what does not exceed it is no shortcut.
    """
    if auroc <= noise or low < WEAK:
        return Verdict.NONE if high < STRONG else Verdict.UNDECIDED
    return Verdict.FATAL if low >= FATAL else Verdict.STRONG if low >= STRONG else Verdict.WEAK
