"""YAML catalogues: several data sets in one file, in the keys that the field's catalogues use."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gasdet.data.building import Stated
from gasdet.data.dates import days_of
from gasdet.data.names import printable
from gasdet.errors import ConfigError, DataError
from gasdet.types import MediaType, Modality

if TYPE_CHECKING:
    import yaml

_TEXT_KEYS = [
    "name",
    "path",
    "modality",
    "media_type",
    "source",
    "source_format",
    "split",
    "filter_column",
    "generator",
    "group",
    "licence",
    "data_root",
]
_LIST_KEYS = ("include_paths", "exclude_paths", "data_columns")
_OTHER_KEYS = ("filter_value", "released", "sampling")
# Other names of our keys, and GASBench's keys that have no effect on local data.
_SAME_AS = {
    "image_columns": "data_columns",
    "archive_include_paths": "include_paths",
    "archive_exclude_paths": "exclude_paths",
    "license": "licence",
}
_GENERATORS = ("generator", "generator_variant", "generator_family")
_NO_EFFECT = ("notes", "content_category", "media_per_archive", "archives_per_dataset", "original_name")
KNOWN_KEYS = (*_TEXT_KEYS, *_LIST_KEYS, *_OTHER_KEYS, *_SAME_AS, *_GENERATORS[1:], *_NO_EFFECT)
_TOP_KEYS = ("datasets", *Modality, "benchmark_size", *(f"{m}_benchmark_size" for m in Modality))
_SOURCES = ("local", "huggingface", "modelscope", "s3", "http", "https")
_FORMATS = ("folder", "csv", "parquet", "zip", "tar")


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One data set of a catalogue.

    Attributes:
        name: Its name.
        path: Absolute.
        source: Where it is: ``local`` or another of the known sources.
        source_format: What lies at the path; empty to find out.
        stated: What the entry says of all its samples.
        max_samples: ``sampling``: at most that many, in any mode; None for all.
        licence: Of the data; empty where unknown.
        line: Where the entry begins in the catalogue, counted from 1.
    """

    name: str
    path: Path
    source: str
    source_format: str
    stated: Stated
    max_samples: int | None
    licence: str
    line: int


def read_catalogue(path: Path) -> list[CatalogueEntry]:
    """Read a catalogue: a ``datasets:`` list, or one list under each of ``image:``, ``video:`` and ``audio:``.

    Relative paths start from the catalogue's folder.

    Raises:
        DataError: The file cannot be read.
        ConfigError: It is no YAML mapping, or has unknown keys or unusable values; the message has all of them, with lines.
    """
    import yaml

    shown = printable(str(path))
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        raise DataError(f"the catalogue {shown} cannot be read ({error.strerror}).") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        at = getattr(error, "problem_mark", None)
        where = f" at line {at.line + 1}" if at else ""
        problem = getattr(error, "problem", None) or error
        raise ConfigError(f"the catalogue {shown} is no valid YAML{where}: {problem}.") from error
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"the catalogue {shown} must be a mapping with a list of data sets under datasets:.")
    reader = _Reader(path.absolute().parent)
    entries = list(reader.entries(node))
    if reader.problems:
        listed = "; ".join(f"line {line}: {problem}" for line, problem in sorted(reader.problems))
        raise ConfigError(f"the catalogue {shown} has {len(reader.problems)} problems: {listed}.")
    if not entries:
        raise ConfigError(f"the catalogue {shown} lists no data sets; put them under datasets:.")
    return entries


class _Reader:
    """Reads nodes and collects what is wrong with them instead of stopping at the first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: list[tuple[int, str]] = []

    def entries(self, top: yaml.MappingNode) -> Iterator[CatalogueEntry]:
        """Every entry of the whole file."""
        import yaml

        for key, (line, node) in self._keys(top, tuple(_TOP_KEYS)).items():
            if "benchmark_size" in key:
                continue
            if not isinstance(node, yaml.SequenceNode):
                self.problems.append((line, f"{key} must be a list of data sets"))
                continue
            for item in node.value:
                if isinstance(item, yaml.MappingNode):
                    yield from self._entry(item, "" if key == "datasets" else key)
                else:
                    self.problems.append((item.start_mark.line + 1, "a data set must be a mapping with name and path"))

    def _keys(self, node: yaml.MappingNode, known: tuple[str, ...]) -> dict[str, tuple[int, yaml.Node]]:
        """A mapping's keys with their lines and values; unknown and repeated ones are problems."""
        found: dict[str, tuple[int, yaml.Node]] = {}
        for key_node, value in node.value:
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                self.problems.append((line, f"unknown key {key!r}" + (f" (did you mean {near[0]!r}?)" if near else "")))
            elif key in found:
                self.problems.append((line, f"{key} is given twice"))
            else:
                found[key] = (line, value)
        return found

    def _entry(self, node: yaml.MappingNode, group_modality: str) -> Iterator[CatalogueEntry]:
        line = node.start_mark.line + 1
        before = len(self.problems)
        values: dict[str, Any] = {"modality": group_modality} if group_modality else {}
        for key, (key_line, value_node) in self._keys(node, KNOWN_KEYS).items():
            try:
                value = self._value(key, _constructed(value_node))
            except ValueError as error:
                self.problems.append((key_line, f"{key} must be {error}"))
            else:
                target = _SAME_AS.get(key, key)
                values[target] = values[target] + value if isinstance(values.get(target), tuple) else value
        if not values.get("path"):
            self.problems.append((line, "a data set needs a path"))
        if bool(values.get("filter_column")) != ("filter_value" in values):
            self.problems.append((line, "filter_column and filter_value go together"))
        if len(self.problems) == before:
            yield self._built(values, line)

    def _value(self, key: str, value: Any) -> Any:
        """A key's value in its own type; ValueError says what it must be."""
        if key in _NO_EFFECT:
            return value
        if key in _LIST_KEYS or _SAME_AS.get(key) in _LIST_KEYS:
            items = [value] if isinstance(value, str) else value
            if not isinstance(items, list) or not all(isinstance(item, str) and item for item in items):
                raise ValueError("a text or a list of texts")
            return tuple(items)
        if key == "filter_value":
            items = value if isinstance(value, list) else [value]
            if not items or any(isinstance(item, dict | list) or item is None for item in items):
                raise ValueError("a value or a list of values")
            return tuple(str(item) for item in items)
        if key == "sampling":
            return _max_samples(value)
        if value is None or isinstance(value, dict | list):
            raise ValueError("a text")
        text = str(value).strip()
        choices = {"modality": tuple(Modality), "media_type": tuple(MediaType), "source": _SOURCES}.get(key)
        if choices is not None:
            if text.lower() not in choices:
                raise ValueError(f"one of {', '.join(choices)}, not {text!r}")
            return text.lower()
        if key == "released" and days_of(text) is None:
            raise ValueError(f"a date like 2024-08 or 2024-08-31, not {text!r}")
        return text

    def _built(self, values: dict[str, Any], line: int) -> CatalogueEntry:
        path = os.path.expanduser(values["path"])
        root = values.get("data_root", "")
        name = values.get("name") or printable(Path(path).name)
        return CatalogueEntry(
            name=name,
            path=self.folder / path,
            source=values.get("source", "local"),
            source_format=values.get("source_format", "").lower(),
            stated=Stated(
                name=name,
                media_type=MediaType(values["media_type"]) if "media_type" in values else None,
                modality=Modality(values["modality"]) if "modality" in values else None,
                generator=next((values[key] for key in _GENERATORS if values.get(key)), ""),
                split=values.get("split", ""),
                released=values.get("released", ""),
                group=values.get("group", ""),
                include_paths=values.get("include_paths", ()),
                exclude_paths=values.get("exclude_paths", ()),
                data_columns=values.get("data_columns", ()),
                filter_column=values.get("filter_column", ""),
                filter_values=values.get("filter_value", ()),
                data_root=str(self.folder / os.path.expanduser(root)) if root else "",
                labels_required=True,
            ),
            max_samples=values.get("sampling"),
            licence=values.get("licence", ""),
            line=line,
        )


def _constructed(node: yaml.Node) -> Any:
    """The plain value of a node. Dates stay text: YAML would turn 2024-08-31 into an object."""
    import yaml

    if isinstance(node, yaml.ScalarNode) and node.tag.endswith(":timestamp"):
        return node.value
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(f"a plain value ({getattr(error, 'problem', error)})") from error
    finally:
        loader.dispose()


def _max_samples(value: Any) -> int:
    if isinstance(value, dict):
        if set(value) != {"max_samples"}:
            raise ValueError("a number, or a mapping with max_samples")
        value = value["max_samples"]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError("a whole number of at least 1 (the most samples to take)")
    return value


def require_local(entries: list[CatalogueEntry], catalogue: Path) -> None:
    """Refuse data that would have to be fetched first.

    Raises:
        DataError: Some of the entries are not local, or in a format that cannot be read yet.
    """
    shown = printable(str(catalogue))
    for entry in entries:
        where = f"{entry.name} (line {entry.line} of {shown})"
        if entry.source != "local":
            raise DataError(
                f"{where} is to come from {entry.source}, and fetching data comes with a later version: get it yourself and "
                "give its local path with source: local."
            )
        if entry.source_format == "frames":
            raise DataError(f"{where} is in the format frames, which comes with a later version: give videos instead.")
        if not entry.path.exists():
            raise DataError(
                f"there is nothing at {printable(str(entry.path))}, the path of {where}; a data set of a hub must be "
                "fetched first, which comes with a later version."
            )


def expected_format(entry: CatalogueEntry) -> str:
    """The entry's format as one of ours; GASBench also names the archives' or files' suffix (``tar.gz``, ``jpg``).

    Returns:
        One of folder, csv, parquet, zip, tar, or an empty string to find out.
    """
    text = entry.source_format.lstrip(".")
    if text in _FORMATS or not text:
        return text
    if text == "tsv":
        return "csv"
    return "tar" if text in ("tgz", "tar.gz", "tar.bz2", "tar.xz") else "folder"
