"""From samples to tables of their properties, read in processes that can be killed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gasdet.inspection.auditing.probe import CONTENT, PRINT, PROBE
from gasdet.inspection.auditing.table import PropertyTable, TableBuilder
from gasdet.inspection.running import inspect
from gasdet.media.properties import PROPERTIES
from gasdet.progress import ProgressSink
from gasdet.types import Modality, Preprocessing, Sample


@dataclass
class Collected:
    """What was found out about some samples.

    Attributes:
        tables: A table for each modality that has samples with properties.
        left_out: Number of samples by modality (or "unknown"), by class ("real", "synthetic", "unlabelled"), by why there are
            no properties of them.
    """

    tables: dict[Modality, PropertyTable] = field(default_factory=dict)
    left_out: dict[str, dict[str, Counter[str]]] = field(default_factory=dict)

    def count(self, sample: Sample, why: str) -> None:
        """One more sample without properties."""
        of_modality = self.left_out.setdefault(str(sample.modality or "unknown"), {})
        of_modality.setdefault(class_of(sample), Counter())[why] += 1


def class_of(sample: Sample) -> str:
    """``real``, ``synthetic`` (semisynthetic too), or ``unlabelled``."""
    return "unlabelled" if sample.label is None else ("real", "synthetic")[sample.label]


def collect(
    samples: Sequence[Sample],
    *,
    equalise: Mapping[Modality, str] | None = None,
    workers: int | None = None,
    timeout: float = 30.0,
    progress: ProgressSink | None = None,
) -> Collected:
    """Read the properties of labelled samples; those without a label, or that cannot be read, are counted.

    Args:
        samples: Of any modalities.
        equalise: A profile by modality: read the properties of what the equalisation leaves of each sample. Samples of other
            modalities are left out without being counted.
        workers: Decode processes; None for one a processor, at most 16.
        timeout: Deadline for each sample, in seconds.
        progress: Told of every sample.

    Raises:
        RunError: Processes cannot be started.
    """
    collected = Collected()
    labelled = []
    for sample in samples:
        if equalise is not None and sample.modality not in equalise:
            continue
        if sample.label is None:
            collected.count(sample, str(sample.skip) if sample.skip is not None else "no label")
        else:
            labelled.append(sample)
    keys = {
        modality: Preprocessing.from_mapping(modality, {"equalise": profile}, where="--equalise")
        for modality, profile in (equalise or {}).items()
    }
    found = inspect(
        labelled,
        function=PROBE,
        preprocessing=keys,
        workers=workers,
        timeout=timeout,
        progress=progress,
        label="reading properties" if equalise is None else "equalising",
    )
    builders: dict[Modality, TableBuilder] = {}
    for inspection in found:
        sample = inspection.sample
        if inspection.reason is not None or sample.modality is None:
            collected.count(sample, str(inspection.reason))
            continue
        if sample.modality not in builders:
            builders[sample.modality] = TableBuilder(sample.modality, PROPERTIES[sample.modality])
        facts = inspection.facts
        builders[sample.modality].add(sample, facts, facts.get(CONTENT), facts.get(PRINT, b""))
    collected.tables = {modality: builder.table() for modality, builder in builders.items()}
    return collected
