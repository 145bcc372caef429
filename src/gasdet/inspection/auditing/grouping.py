"""Which samples belong together: those of a group, of a pair, or of the very same content, and whatever such ties chain."""

from __future__ import annotations

from collections.abc import Sequence

from gasdet.ties import tied
from gasdet.types import Sample


def together(samples: Sequence[Sample], contents: Sequence[bytes | None] | None = None) -> tuple[str, ...]:
    """A name for each sample, equal for samples that are tied: it is the first, by the alphabet, of their groups' names.

    Args:
        samples: [N].
        contents: [N]: what their contents are known by; None of those that are tied by it to no other.
    """
    pairs = [sample.pair for sample in samples]
    return tuple(tied([sample.group for sample in samples], pairs, *([contents] if contents else [])))
