"""Manifests: a table with one row a file, beside the files or in one archive with them."""

from __future__ import annotations

import csv
import io
import math
import os
import posixpath
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import IO, Any, Protocol

from gasdet.data.building import Part, Stated, left_out_notes, make_sample, merge_repeated, unknown_modality
from gasdet.data.columns import (
    LABEL_NAMES,
    PATH_NAMES,
    Roles,
    annotated,
    first_named,
    modality_of_word,
    roles_of,
)
from gasdet.data.filtering import RowFilter
from gasdet.data.labels import LABEL_WORDS, media_type_of_label, split_of_file
from gasdet.data.listing import HEAD_BYTES, Entry, Listing, Problem, counted, modality_by_name
from gasdet.data.names import ArchiveKind, printable, stem_of
from gasdet.data.reading import read_head
from gasdet.errors import DataError, MediaError
from gasdet.media import modality_of_name
from gasdet.types import Locator, MediaType, Modality, Reason, Sample

MANIFEST_NAMES = ("manifest.csv", "manifest.tsv", "metadata.csv", "metadata.tsv")
"""What a manifest inside a folder or archive is called, the first found being used."""


_PLAIN_PATH = re.compile(r"(?!~)(?:[^/.][^/]*/)*[^/.][^/]*\Z")
"""A relative path without ``.``, ``..`` or empty components."""


class Place(Protocol):
    """Where a manifest's paths lead."""

    def find(self, path: str) -> Entry:
        """The entry of a path as the manifest gives it; one with a problem where there is none."""


class FolderPlace:
    """Paths on disk, relative ones from a folder."""

    def __init__(self, folder: str) -> None:
        self._folder = os.path.abspath(folder)

    def find(self, path: str) -> Entry:
        """Look the file up; its size is known then."""
        if _PLAIN_PATH.match(path):  # by far the most; normalising costs more than the look-up
            whole, member = f"{self._folder}/{path}", path
        else:
            path = os.path.expanduser(path)
            whole = os.path.normpath(os.path.join(self._folder, path))
            inside = whole.startswith(self._folder.rstrip(os.sep) + os.sep)
            member = os.path.relpath(whole, self._folder) if inside or not os.path.isabs(path) else whole
        member = printable(member.replace(os.sep, "/"))
        try:
            status = os.stat(whole)
            if stat.S_ISREG(status.st_mode):
                return Entry(member, Locator("file", whole, size=status.st_size))
            problem = (Reason.UNSUPPORTED, f"{member} is no regular file")
        except (OSError, ValueError):
            problem = (Reason.FILE_MISSING, f"{member} is missing")
        return Entry(member, Locator("file", whole), problem)


class ArchivePlace:
    """Members of an archive, relative to the folder in it that holds the manifest."""

    def __init__(self, listing: Listing, kind: ArchiveKind, archive: str, folder: str, start: str) -> None:
        self._entries = {entry.member: entry for entry in listing.entries}
        self._kind: ArchiveKind = kind
        self._archive, self._folder, self._start = archive, folder, start

    def find(self, path: str) -> Entry:
        """Look the member up; the entry's own member begins with ``start``."""
        member = printable(posixpath.normpath(posixpath.join(self._folder, path)))
        found = self._entries.get(member)
        if found is not None:
            return replace(found, member=self._start + member)
        problem = (Reason.FILE_MISSING, f"{printable(self._archive)} has no member {member}")
        return Entry(self._start + member, Locator(self._kind, self._archive, member=member), problem)


@dataclass(frozen=True, slots=True)
class Row:
    """One row: where it stands ("line 7"), and its cells by column."""

    where: str
    cells: Mapping[str, Any]


def csv_samples(path: str, name: str, stated: Stated, *, split: str = "") -> Part:
    """Read a CSV or TSV manifest.

    Relative paths start from ``stated.data_root`` or the manifest's own folder. The file's name gives the split where
    it begins with one (``train.csv``) and there is no split column.

    Args:
        path: Of the file.
        name: Name of the data set.
        stated: What the user says of the whole.
        split: The split of rows that say none, instead of what the file's name says.

    Raises:
        DataError: The file cannot be read as a table, has no column with paths, or none of its labels or files is usable.
    """
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            rows, columns = _read_csv(file, printable(path))
    except OSError as error:
        raise DataError(f"{printable(path)} cannot be read ({error.strerror}).") from error
    place = FolderPlace(stated.data_root or os.path.dirname(os.path.abspath(path)))
    file_split = split or split_of_file(stem_of(os.path.basename(path)))
    return rows_samples(rows, columns, place, printable(path), name, stated, file_split)


def archive_manifest_samples(
    listing: Listing, manifest: Entry, name: str, prefix: tuple[str, ...], stated: Stated
) -> Part:
    """Read a manifest that lies in an archive; paths are relative to its folder there, members begin with the prefix."""
    shown = f"{manifest.member} in {printable(manifest.locator.path)}"
    try:
        content = read_head(manifest.locator, max(manifest.locator.size, 0))
    except MediaError as error:
        raise DataError(f"{shown} cannot be read: {error}.") from error
    text = content.decode("utf-8-sig", "surrogateescape")
    rows, columns = _read_csv(io.StringIO(text, newline=""), shown)
    kind = manifest.locator.kind
    assert kind in ("zip", "tar")
    archive, start = manifest.locator.path, "".join(f"{p}/" for p in prefix)
    place = ArchivePlace(listing, kind, archive, posixpath.dirname(manifest.member), start)
    return rows_samples(rows, columns, place, shown, name, stated, split_of_file(stem_of(os.path.basename(archive))))


def _read_csv(file: IO[str], shown: str) -> tuple[list[Row], list[str]]:
    """All rows and the header's names. The delimiter is the one that splits the header into the most columns."""
    csv.field_size_limit(2**24)
    header = file.readline()
    if not header.strip():
        raise DataError(f"{shown} is empty; a manifest's first line names its columns, e.g. path,label.")
    delimiter = max(",\t;", key=header.count)
    file.seek(0)
    reader = csv.DictReader(file, delimiter=delimiter, restkey="")
    rows: list[Row] = []
    try:
        columns = list(reader.fieldnames or [])
        for cells in reader:
            rows.append(Row(f"line {reader.line_num}", cells))
    except csv.Error as error:
        raise DataError(f"{shown} cannot be read as a table: {error} at line {reader.line_num}.") from error
    return rows, columns


def rows_samples(
    rows: Sequence[Row], columns: list[str], place: Place, shown: str, name: str, stated: Stated, file_split: str
) -> Part:
    """Turn a manifest's rows into samples, in their order.

    Args:
        rows: Without the header.
        columns: The header's names.
        place: Where paths lead.
        shown: What the messages call the manifest.
        name: Name of the data set.
        stated: What the user says of the whole.
        file_split: The split of rows that say none.

    Raises:
        DataError: There is no column with paths, a weight is no number, or none of the labels or files is usable.
    """
    roles = roles_of(columns, group=stated.group, path=stated.data_columns[0] if stated.data_columns else "")
    _check_columns(roles, columns, shown, stated)
    if stated.media_type is not None or not any(_text(row.cells.get(roles.label)).strip() for row in rows):
        roles = replace(roles, label="")
    reader = _RowReader(roles, place, name, stated, file_split, shown)
    reader.filter = RowFilter(first_named(columns, [stated.filter_column]), stated.filter_values)
    reader.annotated = annotated(columns, stated.annotations)
    samples = list(reader.samples(rows))
    part = Part(name)
    part.samples = merge_repeated(samples, part.notes)
    if stated.media_type is None and not roles.label:
        part.unlabelled = f"{shown} has no label column (one of {LABEL_NAMES}), or an empty one"
    reader.check(shown)
    part.notes += reader.notes()
    return part


def _check_columns(roles: Roles, columns: list[str], shown: str, stated: Stated) -> None:
    if not roles.path:
        wanted = stated.data_columns[0] if stated.data_columns else f"one of {PATH_NAMES}"
        raise DataError(f"{shown} has no column with paths ({wanted}); its first line names {', '.join(columns)}.")
    if len(stated.data_columns) > 1:
        raise DataError(f"{shown} is a manifest, so data_columns names the one column with its paths.")
    for column in (stated.filter_column, stated.group):
        if column and not first_named(columns, [column]):
            raise DataError(f"{shown} has no column {column}; it has {', '.join(columns)}.")


class _RowReader:
    """Makes a sample of each row and counts what goes wrong."""

    def __init__(self, roles: Roles, place: Place, name: str, stated: Stated, file_split: str, shown: str) -> None:
        self.roles, self.place, self.name, self.stated = roles, place, name, stated
        self.file_split, self.shown = file_split, shown
        self.filter = RowFilter("", ())
        self.annotated: dict[str, str] = {}
        self.unread_labels: Counter[str] = Counter()
        self.empty_labels = self.rows = self.missing = self.not_asked = self.other_modality = 0

    def samples(self, rows: Iterable[Row]) -> Iterator[Sample]:
        for row in rows:
            if not self._wanted(row):
                continue
            sample = self._sample(row)
            if sample is not None:
                self.rows += 1
                yield sample

    def check(self, shown: str) -> None:
        """Raise where nothing in the whole table can be used: that is a mistake in the table, not in its rows."""
        if self.rows and self.unread_labels.total() and self.unread_labels.total() + self.empty_labels == self.rows:
            seen = ", ".join(repr(label) for label, _ in self.unread_labels.most_common(3))
            raise DataError(
                f"none of the labels in column {self.roles.label} of {shown} is known (they read {seen}); known words "
                f"are {LABEL_WORDS}."
            )
        if self.rows and self.missing == self.rows:
            raise DataError(
                f"none of the {self.rows:,} files that {shown} lists exists; relative paths start from the manifest's "
                "folder, so move it there or write the paths in full."
            )

    def notes(self) -> list[str]:
        found = []
        if self.missing:
            found.append(f"{counted(self.missing, 'file')} listed in {self.shown} {_be(self.missing)} missing")
        found += self.filter.notes()
        found += left_out_notes(self.stated, self.not_asked, self.other_modality, "row")
        return found

    def _wanted(self, row: Row) -> bool:
        cell = row.cells.get(self.filter.column)
        return self.filter.takes(cell, shown=_text(cell))

    def _sample(self, row: Row) -> Sample | None:
        roles, stated = self.roles, self.stated
        path = _text(row.cells.get(roles.path))
        dataset = stated.name or printable(_text(row.cells.get(roles.dataset))) or self.name
        if not path:
            problem = (Reason.FILE_MISSING, f"{row.where} of {self.shown} has no path")
            return make_sample(dataset, f"({row.where})", Locator("file", ""), None, None, skip=problem)
        entry = self.place.find(path)
        if not stated.accepts(entry.member):
            self.not_asked += 1
            return None
        modality = self._modality(row, entry)
        if not stated.fits(modality):
            self.other_modality += 1
            return None
        if entry.problem is not None and entry.problem[0] is Reason.FILE_MISSING:
            self.missing += 1
        media_type, skip = self._label(row)
        if entry.doubled:
            skip = entry.problem
        elif modality is None and skip is None:
            skip = entry.problem or unknown_modality(entry.member)
        return make_sample(
            dataset,
            entry.member,
            entry.locator,
            stated.modality or modality,
            media_type,
            generator=stated.generator or printable(_text(row.cells.get(roles.generator))),
            group=printable(_text(row.cells.get(roles.group))),
            split=printable(_text(row.cells.get(roles.split))) or self.file_split or stated.split,
            weight=_weight(row, roles.weight, self.shown),
            pair=printable(_text(row.cells.get(roles.pair))),
            released=printable(_text(row.cells.get(roles.released))) or stated.released,
            skip=skip,
            annotations={name: _text(row.cells.get(column)).strip() for name, column in self.annotated.items()},
        )

    def _modality(self, row: Row, entry: Entry) -> Modality | None:
        """The row's own word, else the stated modality, else by name, else by content."""
        said = modality_of_word(_text(row.cells.get(self.roles.modality)))
        if said is not None:
            return said
        by_name = modality_of_name(entry.name)
        if by_name is None and entry.head is None and entry.problem is None:
            try:
                entry.head = read_head(entry.locator, HEAD_BYTES)
            except MediaError as error:
                entry.problem = (error.reason, str(error))
        return by_name or modality_by_name(entry) or self.stated.modality

    def _label(self, row: Row) -> tuple[MediaType | None, Problem | None]:
        if not self.roles.label:
            return self.stated.media_type, None
        text = _text(row.cells.get(self.roles.label)).strip()
        media_type = media_type_of_label(text)
        if media_type is not None:
            return media_type, None
        if not text:
            self.empty_labels += 1
            return None, (Reason.LABEL_UNREADABLE, f"{row.where} of {self.shown} has no label")
        self.unread_labels[printable(text)] += 1
        message = f"the label {printable(text)!r} in {row.where} of {self.shown} is none of the known words"
        return None, (Reason.LABEL_UNREADABLE, message)


def _be(count: int) -> str:
    return "is" if count == 1 else "are"


def _text(cell: object) -> str:
    """A cell as text; an empty one, a missing one and a table tool's NaN are alike."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    return str(cell)


def _weight(row: Row, column: str, shown: str) -> float:
    text = _text(row.cells.get(column)) if column else ""
    if not text:
        return 1.0
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise DataError(f"the weight {printable(text)!r} in {row.where} of {shown} is no number of at least 0.")
    return weight
