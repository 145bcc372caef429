"""From an AUROC with its interval to a word."""

from __future__ import annotations

from enum import StrEnum

WEAK, STRONG, FATAL = 0.55, 0.70, 0.90
"""Where the verdicts begin: each at an interval's lower bound."""


class Verdict(StrEnum):
    """What a property's AUROC says of data that are to judge, or to train, a detector of content."""

    UNDECIDED = "undecided"
    NONE = "none"
    WEAK = "weak"
    STRONG = "strong"
    FATAL = "fatal"

    @property
    def words(self) -> str:
        """As a person reads it."""
        return _WORDS[self]

    def reaches(self, other: Verdict) -> bool:
        """Whether it is at least as bad."""
        return list(Verdict).index(self) >= list(Verdict).index(other)


_WORDS = {
    Verdict.UNDECIDED: "too few groups",
    Verdict.NONE: "no shortcut",
    Verdict.WEAK: "weak shortcut",
    Verdict.STRONG: "strong shortcut",
    Verdict.FATAL: "fatal shortcut",
}


def verdict_of(auroc: float, low: float, noise: float = 0.5) -> Verdict:
    """The verdict by the lower bound of the interval; none for what chance reaches too.

    Args:
        auroc: 0.5 to 1.
        low: Lower bound of its 95 % interval.
        noise: What the best of all properties reaches by chance.
    """
    if auroc <= noise or low < WEAK:
        return Verdict.NONE
    return Verdict.FATAL if low >= FATAL else Verdict.STRONG if low >= STRONG else Verdict.WEAK
