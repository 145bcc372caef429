"""Parquet files: the Hugging Face layout (media bytes in the table), or a manifest."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gasdet.data.building import Part, Stated, left_out_notes, make_sample, unknown_modality
from gasdet.data.columns import (
    LABEL_NAMES,
    Roles,
    annotated,
    first_named,
    modality_of_column,
    modality_of_word,
    roles_of,
)
from gasdet.data.filtering import RowFilter
from gasdet.data.labels import LABEL_WORDS, media_type_of_label, split_of_file, split_of_folder
from gasdet.data.listing import HEAD_BYTES, Problem
from gasdet.data.manifest import FolderPlace, Row, rows_samples
from gasdet.data.names import printable
from gasdet.data.parquet_cursor import BUFFER_BYTES, chunk_of
from gasdet.data.reading import read_head
from gasdet.errors import DataError, MediaError, first_line
from gasdet.media import modality_of_name, sniff
from gasdet.parquet_files import open_parquet
from gasdet.types import Locator, MediaType, Modality, Reason, Sample

if TYPE_CHECKING:
    import pyarrow as pa

    from gasdet.parquet_files import ParquetFile

_BATCH_ROWS = 16384


@dataclass(frozen=True, slots=True)
class MediaColumn:
    """A column with media bytes.

    Attributes:
        name: As the schema has it.
        bytes_leaf: Where the bytes are: the column itself, or ``name.bytes``.
        path_leaf: ``name.path`` where the struct has one, else empty.
        modality: What the schema's metadata or the column's name says.
    """

    name: str
    bytes_leaf: str
    path_leaf: str
    modality: Modality | None


def parquet_samples(files: Sequence[tuple[str, str]], name: str, stated: Stated) -> Part:
    """The samples of one or several Parquet files, in the order of files and rows.

    Only paths, labels and the like are read, never the media column. A file's name (``test-00000-of-00002.parquet``) or
    its folder's gives the split where there is no split column.

    Args:
        files: For each file its path below the data set's folder, and on disk.
        name: Name of the data set.
        stated: What the user says of the whole.

    Raises:
        DataError: A file cannot be read, which column has the media is not clear, or no label is known.
    """
    import pyarrow as pa

    part = Part(name)
    lacking: list[str] = []
    for member, path in files:
        shown = printable(path)
        try:
            found = _part_of_file(path, member, name, stated)
        except (OSError, pa.ArrowException, ValueError) as error:
            raise DataError(f"{shown} cannot be read as Parquet ({first_line(error)}).") from error
        part.samples += found.samples
        part.notes += found.notes
        lacking.append(found.unlabelled)
    part.unlabelled = lacking[0] if lacking and all(lacking) else ""
    return part


def _part_of_file(path: str, member: str, name: str, stated: Stated) -> Part:
    file = open_parquet(path, buffer_size=BUFFER_BYTES)
    try:
        columns = _media_columns(file.schema_arrow, stated, printable(path))
        if columns:
            return _TableReader(file, path, member, name, columns, stated).read()
        return _manifest(file, path, name, stated)
    finally:
        file.close(force=True)


def _manifest(file: ParquetFile, path: str, name: str, stated: Stated) -> Part:
    """A table without media: its rows name files."""
    columns: list[str] = file.schema_arrow.names
    table = file.read(columns=[c for c in columns if _is_plain(file.schema_arrow.field(c).type)], use_threads=False)
    class_names = _class_names(file.schema_arrow)
    rows = [
        Row(f"row {i}", {c: class_names.get(c, {}).get(value, value) for c, value in cells.items()})
        for i, cells in enumerate(table.to_pylist())
    ]
    place = FolderPlace(stated.data_root or os.path.dirname(os.path.abspath(path)))
    file_split = split_of_file(os.path.basename(path).partition(".")[0])
    return rows_samples(rows, table.column_names, place, printable(path), name, stated, file_split)


def _is_plain(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return not pa.types.is_nested(kind) and not _is_bytes(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _media_columns(schema: pa.Schema, stated: Stated, shown: str) -> list[MediaColumn]:
    """The columns with media: those the user names, else the only one, else the one whose name says so."""
    import pyarrow as pa

    features = _features(schema)
    found: list[MediaColumn] = []
    for field in schema:
        feature = features.get(field.name)
        said = modality_of_word(str(feature.get("_type", ""))) if isinstance(feature, Mapping) else None
        modality = said or modality_of_column(field.name)
        if _is_bytes(field.type):
            found.append(MediaColumn(field.name, field.name, "", modality))
        elif pa.types.is_struct(field.type):
            leaves = {leaf.name: leaf.type for leaf in field.type}
            if "bytes" in leaves and _is_bytes(leaves["bytes"]):
                path_leaf = f"{field.name}.path" if "path" in leaves else ""
                found.append(MediaColumn(field.name, f"{field.name}.bytes", path_leaf, modality))
    if not found:
        return []
    if stated.data_columns:
        by_name = {column.name: column for column in found}
        missing = [name for name in stated.data_columns if name not in by_name]
        if missing:
            raise DataError(
                f"{shown} has no media in the column {missing[0]}; the columns with bytes are {', '.join(by_name)}."
            )
        return [by_name[name] for name in stated.data_columns]
    if len(found) > 1:
        usual = [c for c in found if c.name.casefold() in ("image", "video", "audio")]
        if len(usual) != 1:
            raise DataError(
                f"{shown} has several columns with bytes ({', '.join(c.name for c in found)}); name the ones to use as "
                "data_columns in a catalogue."
            )
        return usual
    return found


def _features(schema: pa.Schema) -> Mapping[str, Any]:
    """The columns as Hugging Face's ``datasets`` describes them in the schema's metadata; empty where it does not."""
    try:
        described = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = described["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _class_names(schema: pa.Schema) -> dict[str, dict[int, str]]:
    """For each ClassLabel column what its numbers stand for."""
    return {
        column: dict(enumerate(map(str, feature["names"])))
        for column, feature in _features(schema).items()
        if isinstance(feature, Mapping) and isinstance(feature.get("names"), list)
    }


class _TableReader:
    """Makes a sample of each row (and media column) of one file."""

    def __init__(
        self, file: ParquetFile, path: str, member: str, name: str, columns: list[MediaColumn], stated: Stated
    ) -> None:
        self.file, self.path, self.shown, self.member, self.name = file, path, printable(path), member, name
        self.columns, self.stated = columns, stated
        schema = file.schema_arrow
        media = {column.name for column in columns}
        plain = [f.name for f in schema if f.name not in media and _is_plain(f.type)]
        self.roles: Roles = roles_of(plain, group=stated.group)
        self.class_names = _class_names(schema)
        self.filter = RowFilter(first_named(plain, [stated.filter_column]), stated.filter_values)
        self.annotated = annotated(plain, stated.annotations)
        for column in (stated.group, stated.filter_column):
            if column and not first_named(plain, [column]):
                raise DataError(f"{self.shown} has no column {column}; it has {', '.join(plain)}.")
        if stated.media_type is not None:
            self.roles = replace(self.roles, label="")
        parts = tuple(member.split("/"))
        by_folder = next((said for part in parts[:-1] if (said := split_of_folder(part))), "")
        self.file_split = split_of_file(parts[-1]) or by_folder
        self.place = FolderPlace(stated.data_root or os.path.dirname(os.path.abspath(path)))
        self.outside = {column.name for column in columns if column.path_leaf and self._holds_no_bytes(column)}
        self.used: set[str] = set()
        self.unread: dict[str, int] = {}
        self.sniffed: dict[str, Modality | None] = {}
        self.not_asked = self.other_modality = 0

    def read(self) -> Part:
        part = Part(self.name)
        row = 0
        for cells_of_batch in self._batches():
            for cells in cells_of_batch:
                if self._wanted(cells):
                    part.samples += [s for column in self.columns if (s := self._sample(row, column, cells))]
                row += 1
        self._check(part)
        return part

    def _holds_no_bytes(self, column: MediaColumn) -> bool:
        """Whether every row's bytes are null, going by the file's statistics: its paths lead to files on disk then."""
        metadata = self.file.metadata
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            chunk = chunk_of(group, column.bytes_leaf)
            if chunk is None or not chunk.is_stats_set or not chunk.statistics.has_null_count:
                return False
            if chunk.statistics.null_count < group.num_rows:
                return False
        return bool(metadata.num_rows)

    def _batches(self) -> Iterator[list[dict[str, Any]]]:
        """Rows as dictionaries by leaf name; the bytes are left in the file."""
        wanted = [name for name in self.roles.named() if name]
        more = (self.filter.column, *self.annotated.values())
        wanted += [name for name in dict.fromkeys(more) if name and name not in wanted]
        leaves = [*wanted, *(column.path_leaf for column in self.columns if column.path_leaf)]
        if not leaves:
            for group in range(self.file.metadata.num_row_groups):
                yield [{} for _ in range(self.file.metadata.row_group(group).num_rows)]
            return
        for batch in self.file.iter_batches(batch_size=_BATCH_ROWS, columns=leaves, use_threads=False):
            cells = {name: batch.column(name).to_pylist() for name in wanted}
            for column in self.columns:
                if column.path_leaf:
                    structs = batch.column(column.name).to_pylist()
                    cells[column.path_leaf] = [struct and struct["path"] for struct in structs]
            names, values = list(cells), zip(*cells.values(), strict=True)
            yield [dict(zip(names, row, strict=True)) for row in values]

    def _wanted(self, cells: Mapping[str, Any]) -> bool:
        column = self.filter.column
        return not column or self.filter.takes(cells[column], shown=self._text(cells, column))

    def _text(self, cells: Mapping[str, Any], column: str) -> str:
        """A cell as text; a ClassLabel's number as the name it stands for."""
        value = cells.get(column) if column else None
        return "" if value is None else printable(str(self.class_names.get(column, {}).get(value, value)))

    def _sample(self, row: int, column: MediaColumn, cells: Mapping[str, Any]) -> Sample | None:
        path = self._text(cells, column.path_leaf) or self._text(cells, self.roles.path)
        member = self._member(row, column, path)
        if not self.stated.accepts(member):
            self.not_asked += 1
            return None
        if path and column.name in self.outside:
            locator = self.place.find(path).locator
        else:
            locator = Locator("parquet", self.path, row=row, column=column.bytes_leaf)
        modality = self._modality(cells, column, path, locator)
        if not self.stated.fits(modality):
            self.other_modality += 1
            return None
        media_type, skip = self._label(cells, row)
        if modality is None and skip is None:
            skip = unknown_modality(member)
        return make_sample(
            self.stated.name or self._text(cells, self.roles.dataset) or self.name,
            member,
            locator,
            modality,
            media_type,
            generator=self.stated.generator or self._text(cells, self.roles.generator),
            group=self._text(cells, self.roles.group),
            split=self._text(cells, self.roles.split) or self.file_split or self.stated.split,
            weight=self._weight(cells, row),
            pair=self._text(cells, self.roles.pair),
            released=self._text(cells, self.roles.released) or self.stated.released,
            skip=skip,
            annotations={name: self._text(cells, name_here).strip() for name, name_here in self.annotated.items()},
        )

    def _member(self, row: int, column: MediaColumn, path: str) -> str:
        """File and the row's own path; the row's number where it has none or another row has the same."""
        member = f"{self.member}/{path.lstrip('/')}" if path else f"{self.member}/{row:06d}"
        if len(self.columns) > 1:
            member += f"#{column.name}"
        if member in self.used:
            member += f"#{row}"
        self.used.add(member)
        return member

    def _modality(self, cells: Mapping[str, Any], column: MediaColumn, path: str, locator: Locator) -> Modality | None:
        """The user's word, the row's, the column's, the path's; failing all, what the column's first bytes are."""
        said = self.stated.modality or modality_of_word(self._text(cells, self.roles.modality))
        said = said or column.modality or (modality_of_name(path) if path else None)
        if said is not None:
            return said
        if column.name not in self.sniffed:
            try:
                self.sniffed[column.name] = sniff(read_head(locator, HEAD_BYTES))
            except MediaError:
                return None
        return self.sniffed[column.name]

    def _label(self, cells: Mapping[str, Any], row: int) -> tuple[MediaType | None, Problem | None]:
        if not self.roles.label:
            return self.stated.media_type, None
        value = cells[self.roles.label]
        media_type = media_type_of_label(value, self.class_names.get(self.roles.label))
        if media_type is not None:
            return media_type, None
        text = self._text(cells, self.roles.label)
        self.unread[text] = self.unread.get(text, 0) + 1
        message = f"the label {text!r} in row {row} of {self.shown} is none of the known words"
        return None, (Reason.LABEL_UNREADABLE, message)

    def _weight(self, cells: Mapping[str, Any], row: int) -> float:
        value = cells.get(self.roles.weight) if self.roles.weight else None
        if value is None:
            return 1.0
        if not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise DataError(f"the weight {value!r} in row {row} of {self.shown} is no number of at least 0.")
        return float(value)

    def _check(self, part: Part) -> None:
        if not self.roles.label and self.stated.media_type is None:
            part.unlabelled = f"{self.shown} has no label column (one of {LABEL_NAMES})"
        if part.samples and sum(self.unread.values()) == len(part.samples):
            seen = ", ".join(repr(label) for label in list(self.unread)[:3])
            raise DataError(
                f"none of the labels in column {self.roles.label} of {self.shown} is known (they read {seen}); known "
                f"words are {LABEL_WORDS}."
            )
        part.notes += self.filter.notes()
        part.notes += left_out_notes(self.stated, self.not_asked, self.other_modality, "row")
        names = self.class_names.get(self.roles.label)
        if names:
            meant = ", ".join(f"{i} = {name}" for i, name in names.items())
            part.notes.append(f"labels of {self.shown} read by the names it gives them ({meant})")
