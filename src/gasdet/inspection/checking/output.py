"""The findings as a table of rows: one for each sample of each finding."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from gasdet.atomic_files import write_atomically
from gasdet.data.names import printable
from gasdet.errors import UsageError
from gasdet.inspection.checking.findings import CheckReport, sample_mapping

COLUMNS = (
    "kind",
    "serious",
    "finding",
    "dataset",
    "member",
    "split",
    "media_type",
    "generator",
    "reason",
    "distance",
    "message",
    "sample_id",
)


def write_csv(report: CheckReport, path: Path) -> None:
    """Write every sample of every finding as a row; ``finding`` numbers the findings, so that rows of one belong together.

    Raises:
        RunError: The file cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for number, finding in enumerate(report.findings, start=1):
        shared = {
            "kind": finding.kind,
            "serious": "yes" if finding.kind in report.fail_on else "no",
            "finding": number,
            "reason": finding.reason,
            "message": printable(finding.message),
        }
        distances = finding.distances or ("",) * len(finding.samples)
        for sample, distance in zip(finding.samples, distances, strict=True):
            writer.writerow({**shared, **sample_mapping(sample), "distance": distance})
    content = text.getvalue().encode("utf-8")
    write_atomically(path, lambda file: file.write(content))


def check_place(path: Path, what: str = "CSV file") -> None:
    """Refuse a place for a file before hours of decoding, not after.

    Args:
        path: Where it is to be.
        what: What the file is called.

    Raises:
        UsageError: It is a folder, or in a folder that does not exist.
    """
    if path.is_dir():
        raise UsageError(f"The {what} cannot be {path}: that is a folder; name a file in it.")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"The {what} {path} is to be in a folder that does not exist; make it first.")
