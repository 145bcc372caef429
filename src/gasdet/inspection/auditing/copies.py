"""Near copies among samples: the same picture saved anew or at another size, the same recording encoded anew."""

from __future__ import annotations

from collections.abc import Sequence

from gasdet.inspection.checking.check import NEAR_DISTANCE
from gasdet.inspection.checking.near import near_images, near_recordings
from gasdet.types import Modality

Contents = Sequence[bytes | None]


def with_near_copies(
    modality: Modality, contents: Contents, prints: Sequence[bytes]
) -> tuple[Contents, tuple[bool, ...] | None]:
    """What samples are known by, the same for near copies; and which samples have one that is no exact copy.

    The second is None of clips, whose near copies are not looked for.

    Args:
        modality: Of all samples.
        contents: [N]: what exact copies are told by.
        prints: [N]: hashes or fingerprints as :func:`gasdet.inspection.auditing.prints.print_of` gives them.
    """
    if modality is Modality.VIDEO:
        return contents, None
    known, near = list(contents), [False] * len(prints)
    sets = near_recordings(prints) if modality is Modality.AUDIO else near_images(prints, NEAR_DISTANCE)
    for members in sets.together():
        first = known[members[0]] or prints[members[0]]
        several = len({contents[item] for item in members}) > 1
        for item in members:
            known[item], near[item] = first, several
    return known, tuple(near)
