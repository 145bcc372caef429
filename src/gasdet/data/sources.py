"""One source (a folder, an archive, a table) to its samples: finds out which kind it is."""

from __future__ import annotations

import posixpath
from dataclasses import replace
from pathlib import Path

from gasdet.data.archives import list_archive
from gasdet.data.building import Part, Stated, keep_split
from gasdet.data.frames import clips_of
from gasdet.data.listing import Entry, Listing, counted, head_where_name_says_nothing
from gasdet.data.manifest import MANIFEST_NAMES, archive_manifest_samples, csv_samples
from gasdet.data.names import archive_kind, dataset_name, is_side_file, printable
from gasdet.data.parquet import parquet_samples
from gasdet.data.tree import has_label_folders, tree_samples
from gasdet.data.walking import walk
from gasdet.errors import DataError
from gasdet.media import modality_of_name
from gasdet.types import Modality, Reason, Sample

_TABLES = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}


def part_of(path: Path, stated: Stated, *, form: str = "", split_of_rows: str = "") -> Part:
    """The samples of whatever lies at a path.

    Args:
        path: A folder, zip, tar, CSV, TSV or Parquet file.
        stated: What the user says of it. Without a name there, the path's last part gives one.
        form: folder, csv, parquet, zip or tar where the user says which it must be; frames for clips as folders of images, on
            disk or in archives.
        split_of_rows: The split of a CSV or TSV file's rows that say none, whatever the file is called.

    Raises:
        DataError: There is nothing, it is of no known kind, or it cannot be read.
    """
    path = path.expanduser().absolute()
    shown = printable(str(path))
    if path.is_dir():
        part = _folder_part(path, stated, form)
    elif path.is_file():
        part = _file_part(path, stated, form, split_of_rows)
    else:
        raise DataError(f"there is no file or folder {shown}; check the path.")
    if stated.labels_required and part.unlabelled and stated.media_type is None:
        raise DataError(f"{shown} has no labels ({part.unlabelled}); state its media_type.")
    part.samples = _label_gaps_skipped(part.samples)
    if stated.split and (others := keep_split(part, stated.split)):
        names = ", ".join(sorted(split or "without one" for split in others))
        part.notes.append(f"{counted(others.total(), 'sample')} of other splits left out ({names})")
    return part


def _file_part(path: Path, stated: Stated, form: str, split_of_rows: str) -> Part:
    found = archive_kind(path.name) or _TABLES.get(path.suffix.lower(), "")
    shown = printable(str(path))
    if not found:
        raise DataError(
            f"{shown} is no data set: give a folder, a .csv, .tsv, .parquet, .zip or .tar(.gz) file or a .yaml catalogue, "
            "or score single files with gasdet detect."
        )
    if form == "frames" and found in ("zip", "tar"):
        name, prefix = dataset_name(str(path), "archive")
        return _frames_part(path, list_archive(str(path), needs_head=_never), stated, stated.name or name, prefix)
    if form and form != found:
        raise DataError(f"{shown} is not in the stated format {form} but {found}.")
    name, prefix = dataset_name(str(path), "archive" if found in ("zip", "tar") else "table")
    name = stated.name or name
    if found == "csv":
        return csv_samples(str(path), name, stated, split=split_of_rows)
    if found == "parquet":
        return parquet_samples([(printable(path.name), str(path))], name, stated)
    return _archive_part(path, stated, name, prefix)


def _archive_part(path: Path, stated: Stated, name: str, prefix: tuple[str, ...]) -> Part:
    listing = list_archive(str(path), needs_head=head_where_name_says_nothing)
    _refuse_table_options(stated, path, listing)
    if stated.media_type is None and not has_label_folders(listing, prefix):
        manifest = _manifest_in(listing)
        if manifest is not None:
            return archive_manifest_samples(listing, manifest, name, prefix, stated)
    return tree_samples(listing, name, prefix, stated)


def _folder_part(path: Path, stated: Stated, form: str) -> Part:
    """A folder of Parquet files, of archives, with label folders, with a manifest, or just of files: in this order."""
    name, prefix = dataset_name(str(path), "folder")
    name = stated.name or name
    if form == "frames":
        return _folder_of_frames_part(path, stated, name, prefix)
    listing = walk(path, needs_head=head_where_name_says_nothing)
    has_media = any(modality_of_name(entry.name) for entry in listing.entries)
    tables = [e for e in listing.entries if e.name.casefold().endswith(".parquet") and e.problem is None]
    archives = [e for e in listing.entries if archive_kind(e.name) and e.problem is None]
    if form == "parquet" or (not form and tables and not has_media):
        chosen = [e for e in tables if stated.accepts(e.member)]
        if not chosen:
            raise DataError(f"{printable(str(path))} holds no Parquet files to take.")
        start = "".join(f"{p}/" for p in prefix)
        files = [(start + e.member, e.locator.path) for e in chosen]
        return parquet_samples(files, name, replace(stated, include_paths=(), exclude_paths=()))
    if form in ("zip", "tar") or (not form and archives and not has_media):
        return _archives_part(path, archives, stated, name, prefix, form)
    manifest = _manifest_in(listing)
    if form == "csv" and manifest is None:
        raise DataError(f"{printable(str(path))} holds no {' or '.join(MANIFEST_NAMES)}; give the manifest's own path.")
    if manifest is not None:
        if form == "csv" or (stated.media_type is None and not has_label_folders(listing, prefix)):
            return csv_samples(manifest.locator.path, name, stated)
        listing.notes.append(
            f"{manifest.member} not used, because the labels are known without it; give its path to use it"
        )
    _refuse_table_options(stated, path, listing)
    return tree_samples(listing, name, prefix, stated)


def _archives_part(
    folder: Path, archives: list[Entry], stated: Stated, name: str, prefix: tuple[str, ...], form: str
) -> Part:
    """A folder of archives is one data set; an archive's own path is the first part of its members'."""
    chosen = [e for e in archives if not form or archive_kind(e.name) == form]
    if not chosen:
        raise DataError(f"{printable(str(folder))} holds no {form or 'zip or tar'} archives.")

    def part_of_archive(entry: Entry) -> Part:
        return _archive_part(Path(entry.locator.path), stated, name, (*prefix, *entry.member.split("/")))

    return _together(name, [(entry.member, part_of_archive(entry)) for entry in chosen])


def _together(name: str, parts: list[tuple[str, Part]]) -> Part:
    """The parts of a folder's archives, each with the archive's path, as one data set."""
    whole = Part(name)
    for member, part in parts:
        whole.samples += part.samples
        whole.notes += [f"{member}: {note}" for note in part.notes]
    whole.unlabelled = parts[0][1].unlabelled if all(part.unlabelled for _, part in parts) else ""
    return whole


def _never(name: str) -> bool:
    """No first bytes: of frames, the names decide."""
    return False


def _folder_of_frames_part(path: Path, stated: Stated, name: str, prefix: tuple[str, ...]) -> Part:
    """Folders of frames on disk; or in the archives of a folder that holds no images itself."""
    listing = walk(path, needs_head=_never)
    archives = [e for e in listing.entries if archive_kind(e.name) and e.problem is None]
    if not archives or any(modality_of_name(entry.name) for entry in listing.entries):
        return _frames_part(path, listing, stated, name, prefix)
    parts = []
    for entry in archives:
        inner = list_archive(entry.locator.path, needs_head=_never)
        below = (*prefix, *entry.member.split("/"))
        parts.append((entry.member, _frames_part(Path(entry.locator.path), inner, stated, name, below)))
    return _together(name, parts)


def _frames_part(path: Path, listing: Listing, stated: Stated, name: str, prefix: tuple[str, ...]) -> Part:
    """One sample for each folder of images."""
    shown = printable(str(path))
    if stated.modality not in (None, Modality.VIDEO):
        raise DataError(
            f"source_format: frames is for clips, and the data set of {shown} is stated as {stated.modality}."
        )
    clips = clips_of(listing, top=printable(path.name))
    if not clips.entries:
        raise DataError(f"{shown} holds no folders of images, which source_format: frames takes as clips.")
    _refuse_table_options(stated, path, clips)
    return tree_samples(clips, name, prefix, stated)


def _manifest_in(listing: Listing) -> Entry | None:
    """A manifest at the top of a folder or archive, or in its only folder."""
    tops = {e.member.partition("/")[0] if "/" in e.member else "" for e in listing.entries}
    folder = f"{tops.pop()}/" if len(tops) == 1 and "" not in tops else ""
    by_member = {e.member: e for e in listing.entries if is_side_file(e.name) and e.problem is None}
    return next((by_member[m] for n in MANIFEST_NAMES if (m := posixpath.join(folder, n)) in by_member), None)


def _refuse_table_options(stated: Stated, path: Path, listing: Listing) -> None:
    """What names a column has no meaning for a tree, and leaving it unsaid would give other samples than were meant."""
    columns = {
        "filter_column": stated.filter_column,
        "data_columns": stated.data_columns,
        "data_root": stated.data_root,
    }
    if stated.group != "folder":
        columns["group"] = stated.group
    for key, column in columns.items():
        if column:
            what = f"{counted(len(listing.entries), 'file')} and no table that is used"
            hint = "; group: folder groups a tree by folders" if key == "group" else ""
            raise DataError(f"{key} is for tables, and {printable(str(path))} holds {what}{hint}.")


def _label_gaps_skipped(samples: list[Sample]) -> list[Sample]:
    """In data of which some samples have a label, those without are skipped: they are mistakes, not unlabelled data."""
    if all(sample.media_type is None for sample in samples):
        return samples
    message = "it has no label, as other samples of its data set do"
    return [
        replace(sample, skip=Reason.LABEL_UNREADABLE, skip_message=f"{sample.member}: {message}")
        if sample.media_type is None and sample.skip is None
        else sample
        for sample in samples
    ]
