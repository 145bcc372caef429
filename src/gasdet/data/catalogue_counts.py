"""``archives_per_dataset`` and ``media_per_archive`` of data that lie here already: what a download would have taken."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from gasdet.data.building import Part
from gasdet.data.catalogue import CatalogueEntry
from gasdet.data.listing import counted
from gasdet.data.names import archive_kind
from gasdet.data.sampling import select, select_per
from gasdet.types import Sample


def cap_local_archives(part: Part, entry: CatalogueEntry, path: Path) -> None:
    """Keep the samples of the archives and tables that a download of the same files would have fetched.

    They are chosen by a hash of their names, so that a copy of a data set gives what the data set itself does. Of single media
    ``archives_per_dataset`` x ``media_per_archive`` are kept.

    Args:
        part: The samples of one entry.
        entry: A local one.
        path: Where its data lie.
    """
    if entry.archives_per_dataset is None:
        return
    before = len(part.samples)
    packed = [sample for sample in part.samples if _is_packed(sample)]
    if len(packed) == before:
        kept = _archives_kept(packed, entry, path)
        part.samples = [sample for sample in packed if sample.locator.path in kept]
    elif entry.media_per_archive is not None:
        single = [sample for sample in part.samples if not _is_packed(sample)]
        most = entry.archives_per_dataset * entry.media_per_archive
        taken = {id(s) for s in select(single, most, 0)}  # the seed that files are chosen by elsewhere
        part.samples = [s for s in part.samples if _is_packed(s) or id(s) in taken]
    if len(part.samples) < before:
        left_out = counted(before - len(part.samples), "sample")
        part.notes.append(f"{left_out} beyond archives_per_dataset ({entry.archives_per_dataset}) left out")


def cap_each_archive(part: Part, entry: CatalogueEntry, seed: int) -> None:
    """Keep at most ``media_per_archive`` samples of each archive or table."""
    if entry.media_per_archive is None:
        return
    before = len(part.samples)
    packed = [sample for sample in part.samples if _is_packed(sample)]
    taken = {id(s) for s in select_per(packed, lambda s: s.locator.path, entry.media_per_archive, seed)}
    part.samples = [s for s in part.samples if not _is_packed(s) or id(s) in taken]
    if len(part.samples) < before:
        gone = counted(before - len(part.samples), "sample")
        part.notes.append(f"{gone} beyond media_per_archive ({entry.media_per_archive}) left out")


def _is_packed(sample: Sample) -> bool:
    """Whether a sample lies in an archive or table; a clip that is a folder of frames on the disk does not."""
    name = sample.locator.path.rpartition("/")[2]
    return sample.locator.kind != "file" and (archive_kind(name) is not None or name.lower().endswith(".parquet"))


def _archives_kept(packed: list[Sample], entry: CatalogueEntry, path: Path) -> set[str]:
    """The paths of the archives that count, in the order in which they would have been fetched."""
    from gasdet.data.remote.choosing import Choice, enough, order_of_choice

    most, each = entry.archives_per_dataset or 0, entry.media_per_archive
    by_name = {_name_of(place, path): place for place in {sample.locator.path for sample in packed}}
    ordered = sorted(by_name, key=lambda name: order_of_choice(entry, name))
    if not entry.stated.filter_column or each is None:
        return {by_name[name] for name in ordered[:most]}
    choice = Choice((), tuple(ordered), most * each)  # a filter leaves few rows of a table: the count is of rows then
    real = Counter(sample.locator.path for sample in packed if sample.label == 0)
    held = Counter(sample.locator.path for sample in packed)
    found: list[tuple[int, int]] = []
    while not enough(found, choice, entry.stated):
        where = by_name[ordered[len(found)]]
        of_real = min(real[where], each)
        found.append((of_real, min(held[where] - real[where], each - of_real)))
    return {by_name[name] for name in ordered[: len(found)]}


def _name_of(place: str, path: Path) -> str:
    file = Path(place)
    return file.relative_to(path).as_posix() if file != path and file.is_relative_to(path) else file.name
