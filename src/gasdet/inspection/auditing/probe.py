"""What an audit calls for every sample in a decode process: its properties as facts."""

from __future__ import annotations

import numpy as np

from gasdet.data import read_source
from gasdet.evaluation.content import content_sha256
from gasdet.inspection.auditing.prints import print_of
from gasdet.media import Decoded, MediaLimits
from gasdet.media.properties import properties_of
from gasdet.types import Locator, Preprocessing

PROBE = "gasdet.inspection.auditing.probe:probe_sample"
"""Import path of :func:`probe_sample`, as the decode processes take it."""

CONTENT = "content"
"""The fact that is no property: what a sample's content is known by, equal for exact copies."""

PRINT = "print"
"""The other one: what its near copies are told by; absent where there is nothing to tell them by."""

_CONTENT_BYTES = 16
"""Of a SHA-256: enough to tell any number of samples apart."""


def probe_sample(locator: Locator, preprocessing: Preprocessing, limits: MediaLimits) -> Decoded:
    """The properties of one sample, or of what an equalisation leaves of it.

    Args:
        locator: Where it is.
        preprocessing: Its modality says what the sample is; where it names an equalisation, the properties are those of the
            equalised bytes, which have no name and so no extension.
        limits: Bounds.

    Returns:
        An empty array; the properties, ``CONTENT`` and ``PRINT`` (of the equalised bytes where there are such), as ``facts``.

    Raises:
        MediaError: The sample cannot be read, with the reason.
    """
    source = read_source(locator)
    name = locator.member or locator.path if locator.kind != "parquet" else ""
    modality = preprocessing.modality
    if preprocessing.equalise:
        from gasdet.media.equalising import equalise

        source, name = equalise(source, modality, preprocessing.equalise, limits), ""
    facts = properties_of(source, modality, name=name, limits=limits)
    content = bytes.fromhex(content_sha256(source))[:_CONTENT_BYTES]
    found = print_of(source, modality, limits)
    return Decoded(np.empty(0, np.uint8), "", facts={**facts, CONTENT: content, **({PRINT: found} if found else {})})
