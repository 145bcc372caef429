"""An audit: everything together and data set by data set, before an equalisation and after it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gasdet.inspection.auditing.collecting import Collected
from gasdet.inspection.auditing.measuring import Measurement, measure
from gasdet.inspection.auditing.table import PropertyTable
from gasdet.inspection.auditing.verdicts import THRESHOLDS, Verdict
from gasdet.progress import ProgressSink, Silent
from gasdet.types import Modality

CLASSES = ("real", "synthetic")


@dataclass(frozen=True, slots=True)
class Section:
    """The audit of one modality.

    Attributes:
        table: The raw properties.
        overall: Of all samples together.
        datasets: Of each data set that has both classes, where there are several data sets.
        one_class: Of the other data sets, how many samples of each class.
    """

    table: PropertyTable
    overall: Measurement
    datasets: Mapping[str, Measurement]
    one_class: Mapping[str, Mapping[str, int]]

    def to_mapping(self) -> dict[str, Any]:
        """As JSON has it; the distributions of a data set's properties only where they are a shortcut."""
        return {
            "overall": self.overall.to_mapping(),
            "datasets": {name: found.to_mapping(brief=True) for name, found in self.datasets.items()},
            "one_class": {name: dict(counts) for name, counts in self.one_class.items()},
        }


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found.

    Attributes:
        about: What was audited: ``data``, ``fingerprint``, ``seed``, ``gasdet`` (the version).
        before: A section for each modality with real and synthetic samples.
        after: The same of the equalised samples; empty where no equalisation was asked for.
        profiles: The equalisation by modality; empty where none was asked for.
        left_out: As ``Collected.left_out``, before and after.
    """

    about: Mapping[str, Any]
    before: Mapping[Modality, Section]
    after: Mapping[Modality, Section]
    profiles: Mapping[Modality, str]
    left_out: tuple[Mapping[str, Mapping[str, Mapping[str, int]]], ...]

    @property
    def worst(self) -> Verdict:
        """The worst verdict over all samples of a modality: of what the equalisation leaves, where there is one."""
        found = [(self.after.get(modality) or section).overall.worst for modality, section in self.before.items()]
        return max(found, key=list(Verdict).index)

    def to_mapping(self) -> dict[str, Any]:
        """As ``gasdet data audit --json`` prints it; docs/audit.md describes the keys."""
        modalities = {}
        for modality, section in self.before.items():
            after = self.after.get(modality)
            equalised = None if after is None else {"profile": self.profiles[modality], **after.to_mapping()}
            modalities[str(modality)] = {**section.to_mapping(), "equalised": equalised}
        left_out = [
            {m: {c: dict(w) for c, w in classes.items()} for m, classes in one.items()} for one in self.left_out
        ]
        return {
            **self.about,
            "worst": str(self.worst),
            "thresholds": {str(verdict): value for verdict, value in THRESHOLDS.items()},
            "left_out": left_out[0],
            "left_out_equalised": left_out[1] if len(left_out) > 1 else None,
            "modalities": modalities,
        }


def sections(collected: Collected, *, seed: int = 0, progress: ProgressSink | None = None) -> dict[Modality, Section]:
    """Measure each modality of which there are real and synthetic samples."""
    found = {}
    for modality, table in collected.tables.items():
        if set(table.labels.tolist()) == {0, 1}:
            found[modality] = _section(table, seed, progress or Silent())
    return found


def _section(table: PropertyTable, seed: int, sink: ProgressSink) -> Section:
    rows: dict[str, list[int]] = defaultdict(list)
    for row, sample in enumerate(table.samples):
        rows[sample.dataset].append(row)
    several = sorted(rows.items()) if len(rows) > 1 else []
    sink.start(f"measuring {table.modality} data sets", 1 + len(several))
    try:
        return _measured(table, several, seed, sink)
    finally:
        sink.finish()


def _measured(table: PropertyTable, several: Sequence[tuple[str, list[int]]], seed: int, sink: ProgressSink) -> Section:
    """All samples together, and each of several data sets."""
    overall = measure(table, seed=seed)
    sink.advance(1, 0)
    datasets, one_class = {}, {}
    for name, own in several:
        part = table.take(np.array(own, dtype=np.int64))
        real, synthetic = np.bincount(part.labels, minlength=2).tolist()
        if real and synthetic:
            datasets[name] = measure(part, seed=seed)
        else:
            one_class[name] = dict(zip(CLASSES, (real, synthetic), strict=True))
        sink.advance(1, 0)
    return Section(table, overall, datasets, one_class)
