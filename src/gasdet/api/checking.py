"""Decode a data set once, and say what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from gasdet.api.demo import make_demo_data
from gasdet.data import load_data
from gasdet.inspection.checking import (
    NEAR_DISTANCE,
    CheckReport,
    check_data,
    check_place,
    checked_kinds,
    write_csv,
)
from gasdet.progress import ProgressSink, Silent


def check(
    data: str | Path | Sequence[str | Path],
    *,
    split: str | None = None,
    datasets: Sequence[str] = (),
    categories: Sequence[str] = (),
    modality: str | None = None,
    mode: Literal["debug", "small", "full"] = "full",
    limit: int | None = None,
    total: int | None = None,
    seed: int = 0,
    near_distance: int | None = NEAR_DISTANCE,
    fail_on: Sequence[str] | None = None,
    csv: str | Path | None = None,
    offline: bool = False,
    workers: int | None = None,
    timeout: float = 30.0,
    progress: ProgressSink | None = None,
) -> CheckReport:
    """Decode every sample of a data set, and report damage, duplicates and leaks. docs/checking.md says what is looked for.

    Args:
        data: What ``evaluate`` takes: a folder, table, archive, catalogue or ``"demo"``, or several of them.
        split: Only this split; a check across splits wants None.
        datasets: Patterns of data set names to keep.
        categories: Patterns of categories of a catalogue's entries to keep.
        modality: Only this one.
        mode: How much of each data set; of a catalogue, no more is fetched than that takes.
        limit: At most so many samples.
        total: At most so many samples, by the shares of a catalogue.
        seed: Decides which samples ``mode``, ``limit`` and ``total`` choose, as for ``evaluate``.
        near_distance: Bits of 256 that the hashes of two pictures may differ in, 0 to 47; None looks for exact copies only.
        fail_on: Kinds of finding that make the check fail (``gasdet.inspection.checking.KINDS``); ``["any"]``, ``["none"]``;
            None for the serious ones.
        csv: A file for one row for each sample of each finding.
        offline: Fetch nothing.
        workers: Decode processes; None for one a processor.
        timeout: Seconds for one file.
        progress: Told of stages and notes.

    Returns:
        The report; ``report.ok`` is whether nothing was found that makes it fail.

    Raises:
        GasdetError: The data cannot be had, hold private holdouts, or the CSV file cannot be written.
    """
    sink = progress or Silent()
    kinds = checked_kinds(fail_on)
    if csv is not None:
        check_place(Path(csv))
    make_demo_data(data, sink)
    dataset = load_data(
        data,
        split=split,
        datasets=datasets,
        categories=categories,
        modality=modality,
        mode=mode,
        limit=limit,
        total=total,
        seed=seed,
        offline=offline,
        progress=sink,
    )
    report = check_data(
        dataset,
        near_distance=near_distance,
        fail_on=kinds,
        workers=workers,
        timeout=timeout,
        progress=sink,
    )
    if csv is not None:
        write_csv(report, Path(csv))
    return report
