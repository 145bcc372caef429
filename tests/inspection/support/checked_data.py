"""Data to check, written file by file, and what a check found in them by name."""

from __future__ import annotations

import csv
from pathlib import Path

from made_media import scene, write_picture

from gasdet.inspection.checking import CheckReport

Found = dict[str, list[tuple[str, ...]]]


class Manifest:
    """A folder with a manifest that is filled file by file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows = [("path", "label", "split", "group", "pair")]

    def add(self, name: str, label: str = "real", split: str = "", group: str = "", pair: str = "") -> Path:
        self.rows.append((name, label, split, group, pair))
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def picture(self, name: str, seed: int, *where: str, **options: object) -> Path:
        return write_picture(self.add(name, *where), scene(seed), **options)

    def write(self) -> Path:
        path = self.folder / "list.csv"
        with open(path, "w", newline="") as file:
            csv.writer(file).writerows(self.rows)
        return path


def names(report: CheckReport) -> Found:
    found: Found = {}
    for finding in report.findings:
        found.setdefault(finding.kind, []).append(tuple(sample.member for sample in finding.samples))
    return found
