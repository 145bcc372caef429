"""Which samples belong together: those of a group, of a pair, or of the very same content, and whatever such ties chain."""

from __future__ import annotations

from collections.abc import Sequence

from gasdet.types import Sample


def together(samples: Sequence[Sample], contents: Sequence[bytes | None] | None = None) -> tuple[str, ...]:
    """A name for each sample, equal for samples that are tied: it is the first, by the alphabet, of their groups' names.

    Args:
        samples: [N].
        contents: [N]: what their contents are known by; None of those that are tied by it to no other.
    """
    above: dict[str, str] = {}

    def root(group: str) -> str:
        while (higher := above.get(group, group)) != group:
            above[group] = above.get(higher, higher)
            group = higher
        return group

    first: dict[tuple[str, str | bytes], str] = {}
    for sample, content in zip(samples, contents or [None] * len(samples), strict=True):
        for kind, tie in (("pair", sample.pair), ("content", content)):
            if tie:
                one, other = root(first.setdefault((kind, tie), sample.group)), root(sample.group)
                above[max(one, other)] = min(one, other)
    return tuple(root(sample.group) for sample in samples)
