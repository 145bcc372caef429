"""Sizes and lengths that recur: what a model learns by heart where frames of one source are taken for independent samples.

Frames of a film have its size, and versions of a recording its length. Where they are spread over the folds, whoever knows
each film's size knows its class, and has shown nothing of other films. Headers alone cannot tell that from data in which a
class really has these few sizes. What they can tell is how far a figure holds on sizes that were not seen.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from gasdet.evaluation.intervals import MIN_GROUPS
from gasdet.inspection.auditing.table import PropertyTable
from gasdet.ties import tied

SOURCE_PROPERTIES = frozenset({"width", "height", "duration", "frames"})
"""What samples of one source have in common, and others not, unless a whole class has it."""

OF_SIZE = SOURCE_PROPERTIES | {"aspect", "megapixels"}
"""What these say and nothing else: of them there are as many independent values as there are sizes or lengths."""


def tied_by_source(table: PropertyTable) -> tuple[str, ...] | None:
    """Groups in which samples of the same size and length are together as well; None where there are no more ties by it.

    Left as they are: samples whose group the data state, since these say what belongs together; and those whose values more
    than a tenth of a class has. They are what the class is like, or it has fewer than ten sources, too few to tell.
    """
    columns = [column.values for column in table.columns if column.spec.name in SOURCE_PROPERTIES]
    if not columns:
        return None
    values = np.stack(columns, axis=1)
    keys = [None if np.isnan(row).all() else row.tobytes() for row in values]
    samples, labels = table.samples, table.labels
    common = set()
    for label in (0, 1):
        counts = Counter(key for key, own in zip(keys, labels, strict=True) if own == label)
        common |= {key for key, count in counts.items() if count * MIN_GROUPS > counts.total()}
    ties = [
        None if key in common or sample.group != sample.sample_id else key
        for key, sample in zip(keys, samples, strict=True)
    ]
    found = tuple(tied(table.groups, ties))
    return None if len(set(found)) == len(set(table.groups)) else found
