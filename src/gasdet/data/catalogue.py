"""YAML catalogues: several data sets in one file, in the keys that the field's catalogues use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gasdet.data import catalogue_keys as keys
from gasdet.data.addresses import check_location, looks_like_address, without_secrets
from gasdet.data.building import Stated
from gasdet.data.catalogue_keys import SamplingRule, nearest
from gasdet.data.catalogue_rules import GASBENCH_KEYS, below, conflicts, source_of
from gasdet.data.names import printable
from gasdet.data.sampling import Totals
from gasdet.errors import ConfigError, DataError
from gasdet.types import MediaType, Modality, Provenance

if TYPE_CHECKING:
    import yaml

STARTER = "starter"
"""What stands for the catalogue that is shipped with gasdet."""

_DEEPEST = 50


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One data set of a catalogue.

    Attributes:
        name: Its name.
        path: Absolute. Means something only where ``source`` is ``local``.
        source: Where it is: ``local`` or another of the known sources.
        source_format: What lies at the path; empty to find out.
        stated: What the entry says of all its samples.
        max_samples: At most that many samples, in any mode; None for all.
        licence: Of the data; empty where unknown.
        line: Where the entry begins in the catalogue, counted from 1.
        location: The text under ``path:`` as it stands: a path, "owner/name", "s3://bucket/prefix", "https://...". May hold
            a password or a signature: show ``shown_location``.
        revision: Of a hub's data set: the commit, branch or tag to take; empty for the newest.
        sha256: What a single fetched file must hash to; empty where unknown.
        archives_per_dataset: The most archives or Parquet files to fetch; None for all.
        media_per_archive: The most samples to take of one fetched archive or Parquet file; None for all.
        category: What the data show ("faces"); empty where unknown.
        generator_family: What kind of generator made the data, as GASBench has it; beside ``stated.generator``, which it is
            itself where nothing else names one.
        provenance: Public, or of a private holdout catalogue.
        min_samples: So many come before shares where a total is shared out.
        share: What part of a total the data set gets, in proportion to the others' shares.
        notes: What else there is to say of the data.
        left_out: Why gasdet has no use for the data, in words; empty where it has.
        catalogue: The catalogue's path as it was given, for commands that name it.
    """

    name: str
    path: Path
    source: str
    source_format: str
    stated: Stated
    max_samples: int | None
    licence: str
    line: int
    location: str = ""
    revision: str = ""
    sha256: str = ""
    archives_per_dataset: int | None = None
    media_per_archive: int | None = None
    category: str = ""
    generator_family: str = ""
    provenance: Provenance = Provenance.PUBLIC
    min_samples: int = 0
    share: Fraction = Fraction(1)
    notes: str = ""
    left_out: str = ""
    catalogue: str = ""

    @property
    def shown_location(self) -> str:
        """``location`` without what may be a secret: an address' user name, password, query and fragment."""
        away = self.source not in ("local", "modelscope") or looks_like_address(self.location)
        return printable(without_secrets(self.location) if away else self.location)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A whole catalogue.

    Attributes:
        path: Of the file.
        entries: In the file's order; at least one.
        totals: How many samples it is to give in all.
    """

    path: Path
    entries: tuple[CatalogueEntry, ...]
    totals: Totals = field(default_factory=Totals)


def is_catalogue(source: str | Path) -> bool:
    """Whether a source names a catalogue: an existing YAML file, or the one that is shipped."""
    path = Path(source).expanduser()
    return source == STARTER or (path.suffix.lower() in (".yaml", ".yml") and path.is_file())


def read_catalogue(path: str | Path, *, provenance: Provenance = Provenance.PUBLIC) -> list[CatalogueEntry]:
    """The data sets of a catalogue; see ``load_catalogue``."""
    return list(load_catalogue(path, provenance=provenance).entries)


def load_catalogue(path: str | Path, *, provenance: Provenance = Provenance.PUBLIC) -> Catalogue:
    """Read a catalogue: a ``datasets:`` list, or one list under each of ``image:``, ``video:`` and ``audio:``.

    Relative paths start from the catalogue's folder. Nothing is fetched, and no data are looked at.

    Args:
        path: Of the file, or ``"starter"`` for the catalogue that is shipped.
        provenance: What its data sets are.

    Raises:
        DataError: The file cannot be read.
        ConfigError: It is no YAML mapping, or has unknown keys or unusable values; the message has all of them, with lines.
    """
    import yaml

    asked = str(path)
    path = Path(__file__).with_name("starter.yaml") if path == STARTER else Path(path).expanduser()
    shown = printable(str(path))
    try:
        text = path.read_text(encoding="utf-8")
        node = _composed(text)
    except RecursionError as error:
        raise ConfigError(f"the catalogue {shown} is nested too deeply for a catalogue; check its brackets.") from error
    except OSError as error:
        raise DataError(f"the catalogue {shown} cannot be read ({error.strerror}).") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        at = getattr(error, "problem_mark", None)
        where = f" at line {at.line + 1}" if at else ""
        problem = getattr(error, "problem", None) or error
        raise ConfigError(f"the catalogue {shown} is no valid YAML{where}: {problem}.") from error
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"the catalogue {shown} must be a mapping with a list of data sets under datasets:.")
    reader = _Reader(path.absolute().parent, provenance)
    entries, totals = reader.read(node)
    if reader.problems:
        listed = "; ".join(f"line {line}: {problem}" for line, problem in sorted(reader.problems))
        count = len(reader.problems)
        raise ConfigError(f"the catalogue {shown} has {count} problem{'s' if count > 1 else ''}: {listed}.")
    if not entries:
        raise ConfigError(f"the catalogue {shown} lists no data sets; put them under datasets:.")
    return Catalogue(path, tuple(replace(entry, catalogue=asked) for entry in entries), totals)


def _composed(text: str) -> yaml.Node | None:
    """The nodes of a YAML text.

    Raises:
        RecursionError: It is nested deeper than any catalogue. libyaml's own recursion would end the process instead.
        yaml.YAMLError: It is no YAML.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise RecursionError
    return yaml.compose(text, Loader=loader)


class _Reader:
    """Reads nodes and collects what is wrong with them instead of stopping at the first."""

    def __init__(self, folder: Path, provenance: Provenance) -> None:
        self.folder = folder
        self.provenance = provenance
        self.problems: list[tuple[int, str]] = []
        self.rules: dict[str, tuple[int, SamplingRule]] = {}
        self.is_gasbench = False

    def read(self, top: yaml.MappingNode) -> tuple[tuple[CatalogueEntry, ...], Totals]:
        """Everything in the file."""
        import yaml

        found = self._keys(top, keys.TOP_KEYS)
        totals, defaults = self._top(found)
        self.is_gasbench = any(key in found for key in keys.BENCHMARK_SIZES)
        entries: list[CatalogueEntry] = []
        for key, (line, node) in found.items():
            if key != "datasets" and key not in tuple(Modality):
                continue
            if not isinstance(node, yaml.SequenceNode):
                self.problems.append((line, f"{key} must be a list of data sets"))
                continue
            for item in node.value:
                if isinstance(item, yaml.MappingNode):
                    entries += self._entry(item, "" if key == "datasets" else key, defaults)
                else:
                    self.problems.append((item.start_mark.line + 1, "a data set must be a mapping with name and path"))
        return tuple(entries), totals

    def _top(self, found: dict[str, tuple[int, yaml.Node]]) -> tuple[Totals, SamplingRule]:
        """The totals, and what holds for data sets that say nothing of their own."""
        import yaml

        rule: dict[str, Any] = {}
        line, node = found.get("sampling", (0, None))
        if isinstance(node, yaml.MappingNode):
            rule = self._sampling(node, ("total", *keys.SAMPLING_KEYS))
        elif node is not None:
            self.problems.append((line, f"sampling must be a mapping of total, {', '.join(keys.SAMPLING_KEYS)}"))
        totals = rule.pop("total", Totals())
        sizes = self._benchmark_sizes(found)
        if sizes.stated and totals.stated:
            self.problems.append((line, "a total and a benchmark_size say the same; give one of them"))
        return (totals if totals.stated else sizes), SamplingRule(**rule)

    def _benchmark_sizes(self, found: dict[str, tuple[int, yaml.Node]]) -> Totals:
        """GASBench's totals of mode full, one for all modalities or one for each; the latter go before."""
        sizes: dict[str, Any] = {}
        for key in keys.BENCHMARK_SIZES:
            if key in found:
                line, node = found[key]
                with self._told(line, key):
                    number = keys.sampling_value("max_samples", keys.constructed(node))
                    sizes[key.removesuffix("benchmark_size").rstrip("_")] = number
        by_modality = {modality: number for modality, number in sizes.items() if modality}
        return keys.totals_of(by_modality or sizes[""]) if sizes else Totals()

    def _sampling(self, node: yaml.MappingNode, known: tuple[str, ...]) -> dict[str, Any]:
        """The keys of a ``sampling`` mapping with their values."""
        rule: dict[str, Any] = {}
        for key, (line, value) in self._keys(node, known).items():
            with self._told(line, key):
                rule[key] = keys.sampling_value(key, keys.constructed(value))
        if rule.get("min_samples", 0) > rule.get("max_samples", math.inf):
            self.problems.append((node.start_mark.line + 1, "min_samples must be no larger than max_samples"))
        return rule

    @contextmanager
    def _told(self, line: int, key: str) -> Iterator[None]:
        """A ValueError within becomes a problem of that key."""
        try:
            yield
        except ValueError as error:
            self.problems.append((line, f"{key} must be {error}"))

    def _keys(self, node: yaml.MappingNode, known: tuple[str, ...]) -> dict[str, tuple[int, yaml.Node]]:
        """A mapping's keys with their lines and values; unknown and repeated ones are problems, null is no value."""
        import yaml

        found: dict[str, tuple[int, yaml.Node]] = {}
        seen: set[str] = set()
        for key_node, value in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append((line, "a key must be a word"))
                continue
            key = str(key_node.value)
            if key not in known:
                self.problems.append((line, f"unknown key {key!r}{nearest(key, known)}"))
            elif key in seen:
                self.problems.append((line, f"{key} is given twice"))
            elif not keys.is_null(value):
                found[key] = (line, value)
            seen.add(key)
        return found

    def _entry(self, node: yaml.MappingNode, group_modality: str, defaults: SamplingRule) -> Iterator[CatalogueEntry]:
        import yaml

        line = node.start_mark.line + 1
        before = len(self.problems)
        values: dict[str, Any] = {"modality": group_modality} if group_modality else {}
        given = self._keys(node, keys.KNOWN_KEYS)
        for key, (key_line, value_node) in given.items():
            if key == "sampling" and isinstance(value_node, yaml.MappingNode):
                values[key] = SamplingRule(**self._sampling(value_node, keys.SAMPLING_KEYS))
                continue
            with self._told(key_line, key):
                value = keys.value_of(key, value_node)
                target = keys.SAME_AS.get(key, key)
                both = isinstance(value, tuple) and isinstance(values.get(target), tuple)
                values[target] = values[target] + value if both else value
        location, source = "", ""
        if values.get("path"):
            location, source = source_of(values, gasbench=self.is_gasbench or bool(GASBENCH_KEYS & given.keys()))
            with self._told(given["path"][0], "path"):
                check_location(location, source)
        if "source" in given and "source" not in values:
            source = ""  # one that was refused: what goes with it is not known
        self.problems += [(line, told) for told in conflicts(given, values, source)]
        self.problems += [(line, told) for told in self._named_twice(values, line)]
        if len(self.problems) == before:
            yield self._built(values, location, source, line, defaults)

    def _named_twice(self, values: dict[str, Any], line: int) -> Iterator[str]:
        """Entries of one name are one data set, with one share."""
        name, rule = values.get("name", ""), values.get("sampling", SamplingRule())
        first_line, first = self.rules.setdefault(name, (line, rule))
        if name and (first.share, first.min_samples) != (rule.share, rule.min_samples):
            yield f"{name} states another share or min_samples than at line {first_line}, and is one data set with it"

    def _built(
        self, values: dict[str, Any], location: str, source: str, line: int, defaults: SamplingRule
    ) -> CatalogueEntry:
        path = os.path.expanduser(location)
        root = values.get("data_root", "")
        name = values.get("name") or printable(Path(urlsplit(path).path if "://" in path else path).name)
        rule = values.get("sampling", SamplingRule()).over(defaults)
        media_type = values.get("media_type", "")
        rendered = media_type == keys.RENDERED
        return CatalogueEntry(
            name=name,
            path=self.folder / path,
            source=source,
            source_format=values.get("source_format", ""),
            stated=Stated(
                name=name,
                media_type=MediaType(media_type) if media_type and not rendered else None,
                modality=Modality(values["modality"]) if "modality" in values else None,
                generator=next((values[key] for key in keys.GENERATORS if values.get(key)), ""),
                split=values.get("split", ""),
                released=values.get("released", ""),
                group=values.get("group", ""),
                include_paths=values.get("include_paths", ()) + below(location, values.get("s3_prefixes", ())),
                exclude_paths=values.get("exclude_paths", ()),
                archive_include_paths=values.get("archive_include_paths", ()),
                archive_exclude_paths=values.get("archive_exclude_paths", ()),
                data_columns=values.get("data_columns", ()),
                filter_column=values.get("filter_column", ""),
                filter_values=values.get("filter_value", ()),
                data_root=str(self.folder / os.path.expanduser(root)) if root else "",
                labels_required=True,
            ),
            max_samples=rule.max_samples,
            licence=values.get("licence", ""),
            line=line,
            location=location,
            revision=values.get("revision", ""),
            sha256=values.get("sha256", ""),
            archives_per_dataset=values.get("archives_per_dataset"),
            media_per_archive=values.get("media_per_archive"),
            category=values.get("category", ""),
            generator_family=values.get("generator_family", ""),
            provenance=self.provenance,
            min_samples=rule.min_samples or 0,
            share=Fraction(1) if rule.share is None else rule.share,
            notes=values.get("notes", ""),
            left_out="computer graphics (media_type rendered) are neither real nor synthetic" if rendered else "",
        )
