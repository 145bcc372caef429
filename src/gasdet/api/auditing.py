"""Measure how far properties other than the content separate real from synthetic."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from gasdet.api.demo import make_demo_data
from gasdet.api.equalising import check_equalise
from gasdet.atomic_files import write_atomically
from gasdet.data import Dataset, load_data
from gasdet.equalise_profiles import only_for
from gasdet.errors import DataError
from gasdet.evaluation.intervals import MIN_GROUPS
from gasdet.inspection.auditing import CLASSES, Audit, Collected, Section, collect, sections, together
from gasdet.inspection.checking import check_place
from gasdet.progress import ProgressSink, Silent
from gasdet.reporting.audit_report import report_html
from gasdet.types import Modality, Sample
from gasdet.version import __version__

Mode = Literal["debug", "small", "full"]


def audit(
    data: str | Path | Sequence[str | Path],
    *,
    split: str | None = None,
    datasets: Sequence[str] = (),
    categories: Sequence[str] = (),
    modality: str | None = None,
    mode: Mode = "full",
    limit: int | None = None,
    seed: int = 0,
    equalise: str | None = None,
    report: str | Path | None = None,
    values: str | Path | None = None,
    offline: bool = False,
    workers: int | None = None,
    timeout: float = 30.0,
    progress: ProgressSink | None = None,
) -> Audit:
    """Audit labelled data: each property's AUROC, and that of a model of all of them. docs/audit.md says what is computed.

    Args:
        data: What ``evaluate`` takes: a folder, table, archive, catalogue or ``"demo"``, or several of them.
        split: Only this split. None is the test split of the demo data, and everything of other data.
        datasets: Patterns of data set names to keep.
        categories: Patterns of categories of a catalogue's entries to keep.
        modality: Only this one.
        mode: How much of each data set.
        limit: At most so many samples.
        seed: Of the sampling, the folds, the model and the resamples.
        equalise: A profile: audit what an equalisation leaves of the same samples too.
        report: A file for the HTML report.
        values: A file for the properties of every sample, as CSV.
        offline: Fetch nothing.
        workers: Decode processes; None for one a processor, at most 16.
        timeout: Seconds for one file.
        progress: Told of stages and notes.

    Returns:
        The audit: ``audit.to_mapping()`` is what ``--json`` prints, ``audit.worst`` the worst verdict.

    Raises:
        DataError: No modality has both real and synthetic samples (which is told before any is read) whose properties can
            be read.
        GasdetError: The data cannot be had, the profile is unusable, or a file cannot be written.
    """
    sink = progress or Silent()
    for place, what in ((report, "report"), (values, "CSV file")):
        if place is not None:
            check_place(Path(place), what)
    make_demo_data(data, sink)
    dataset = load_data(
        data,
        split=split,
        datasets=datasets,
        categories=categories,
        modality=modality,
        mode=mode,
        limit=limit,
        seed=seed,
        offline=offline,
        progress=sink,
    )
    for note in dataset.notes:
        sink.note(note)
    profiles = _profiles(equalise, dataset.samples)
    _check_labels(dataset, sink)
    collected = [collect(dataset.samples, workers=workers, timeout=timeout, progress=sink)]
    if not any(set(table.labels.tolist()) == {0, 1} for table in collected[0].tables.values()):
        raise DataError(f"{dataset.description}: {_lacking(collected[0])}; an audit compares both.")
    if profiles:
        both = collect(dataset.samples, equalise=profiles, workers=workers, timeout=timeout, progress=sink)
        collected.append(both)
    found = [sections(one, seed=seed, progress=sink) for one in collected]
    about = {
        "gasdet": __version__,
        "data": dataset.description,
        "fingerprint": dataset.fingerprint,
        "seed": seed,
    }
    left_out = tuple(one.left_out for one in collected)
    result = Audit(about, found[0], found[1] if profiles else {}, profiles, left_out)
    if values is not None:
        write_values(result, Path(values))
    if report is not None:
        html = report_html(result.to_mapping()).encode("utf-8")
        write_atomically(Path(report), lambda file: file.write(html))
    return result


def write_values(found: Audit, path: Path) -> None:
    """Write the properties of every sample as CSV, one row a sample, before an equalisation and after it.

    Raises:
        RunError: The file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(dict.fromkeys(c.spec.name for section in found.before.values() for c in section.table.columns))
    writer.writerow(["sample_id", "dataset", "member", "modality", "label", "generator", "group", "equalised", *names])
    for part, equalised in ((found.before, ""), (found.after, "yes")):
        for section in part.values():
            writer.writerows(_rows(section, names, equalised))
    content = text.getvalue().encode("utf-8", "backslashreplace")
    write_atomically(path, lambda file: file.write(content))


def _rows(section: Section, names: Sequence[str], equalised: str) -> Iterator[list[Any]]:
    columns = {column.spec.name: column for column in section.table.columns}
    for index, sample in enumerate(section.table.samples):
        yield [
            sample.sample_id,
            sample.dataset,
            sample.member,
            str(section.table.modality),
            sample.label,
            sample.generator,
            sample.group,
            equalised,
            *(columns[name].text(index) if name in columns else "" for name in names),
        ]


def _profiles(equalise: str | None, samples: Sequence[Sample]) -> dict[Modality, str]:
    """The canonical profile of each modality that the data have."""
    if equalise is None:
        return {}
    present = [m for m in Modality if any(s.modality is m and s.label is not None for s in samples)]
    check_equalise(equalise, present)
    return {one: only_for(equalise, str(one), where="--equalise") for one in present}


def _check_labels(dataset: Dataset, sink: ProgressSink) -> None:
    """Say what the labels alone tell, before thousands of files are read.

    Raises:
        DataError: No modality has both classes.
    """
    readable = [s for s in dataset.samples if s.label is not None and s.skip is None and s.modality is not None]
    groups: dict[Modality, tuple[set[str], set[str]]] = {}
    for sample, name in zip(readable, together(readable), strict=True):
        assert sample.modality is not None
        assert sample.label is not None
        groups.setdefault(sample.modality, (set(), set()))[sample.label].add(name)
    if not any(all(both) for both in groups.values()):
        told = " and ".join(
            f"all {sum(s.modality is modality for s in readable)} labelled {modality} samples are "
            f"{'synthetic' if both[1] else 'real'}"
            for modality, both in groups.items()
        )
        raise DataError(f"{dataset.description}: {told or 'there are no labelled samples'}; an audit compares both.")
    for modality, both in groups.items():
        for name, found in zip(CLASSES, both, strict=True):
            if len(found) < MIN_GROUPS:
                sink.note(
                    f"{modality}: {len(found)} groups of {name} samples; at least {MIN_GROUPS} of each class are needed to "
                    "measure anything"
                )


def _lacking(collected: Collected) -> str:
    """What there is too little of, in words."""
    if not collected.tables:
        return "there are no labelled samples whose properties can be read"
    parts = []
    for modality, table in collected.tables.items():
        label = "synthetic" if table.labels.any() else "real"
        parts.append(f"all {len(table.samples)} {modality} samples whose properties can be read are {label}")
    return " and ".join(parts)
