"""From samples to tables of their properties, read in processes that can be killed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from gasdet.evaluation.options import MAX_DEFAULT_WORKERS
from gasdet.evaluation.pipeline import DecodePool
from gasdet.evaluation.processors import available_cpus
from gasdet.inspection.auditing.probe import PROBE
from gasdet.inspection.auditing.table import PropertyTable, TableBuilder
from gasdet.inspection.running import Inspection, inspect
from gasdet.media.properties import PROPERTIES
from gasdet.progress import ProgressSink, Silent
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
    if equalise is None:
        found: Iterable[Inspection] = inspect(
            labelled, function=PROBE, workers=workers, timeout=timeout, progress=progress, label="reading properties"
        )
    else:
        found = _equalised(labelled, equalise, workers, timeout, progress or Silent())
    builders: dict[Modality, TableBuilder] = {}
    for inspection in found:
        sample = inspection.sample
        if inspection.reason is not None or sample.modality is None:
            collected.count(sample, str(inspection.reason))
            continue
        if sample.modality not in builders:
            builders[sample.modality] = TableBuilder(sample.modality, PROPERTIES[sample.modality])
        builders[sample.modality].add(sample, inspection.facts)
    collected.tables = {modality: builder.table() for modality, builder in builders.items()}
    return collected


def _equalised(
    samples: Sequence[Sample],
    profiles: Mapping[Modality, str],
    workers: int | None,
    timeout: float,
    sink: ProgressSink,
) -> Iterator[Inspection]:
    """As ``inspect``, of what each modality's profile leaves of the samples."""
    planned = {m: [s for s in samples if s.modality is m and s.skip is None] for m in profiles}
    for sample in samples:
        if sample.skip is not None:
            yield Inspection(sample, {}, sample.skip, sample.skip_message)
    most = max((len(ones) for ones in planned.values()), default=0)
    if not most:
        return
    wanted = workers if workers is not None else min(MAX_DEFAULT_WORKERS, available_cpus())
    sink.start("equalising", sum(map(len, planned.values())))
    try:
        with DecodePool(workers=min(wanted, most), timeout=timeout, function=PROBE) as pool:
            for modality, ones in planned.items():
                keys = {"equalise": profiles[modality]}
                preprocessing = Preprocessing.from_mapping(modality, keys, where="--equalise")
                with closing(pool.run(ones, preprocessing)) as results:
                    for sample, result in zip(ones, results, strict=True):
                        sink.advance(1, int(result.reason is not None))
                        facts = {} if result.decoded is None else result.decoded.facts
                        yield Inspection(sample, facts, result.reason, result.message)
    finally:
        sink.finish()
