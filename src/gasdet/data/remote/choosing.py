"""Which files of a remote data set a reading takes: by format, by the catalogue's patterns and counts, by mode."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from pathlib import Path

from gasdet.data.building import Stated
from gasdet.data.catalogue import CatalogueEntry
from gasdet.data.labels import media_type_of_folder, split_of_file, split_of_folder
from gasdet.data.names import archive_kind, is_litter, is_side_file
from gasdet.data.sampling import MODE_CAPS, Mode
from gasdet.errors import DataError
from gasdet.media import modality_of_name
from gasdet.types import sample_id

_TABLES = ("csv", "tsv")
_ARCHIVES = ("zip", "tar")
_MORE_FOR_LABELS = 4
"""Archives or tables that are fetched beyond those with enough samples, while only one label was seen."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a reading takes of a data set's files.

    Attributes:
        fixed: Always.
        one_by_one: Archives or tables, in the order in which they are fetched until they hold enough samples.
        enough: So many samples; None for all of ``one_by_one``.
    """

    fixed: tuple[str, ...]
    one_by_one: tuple[str, ...]
    enough: int | None


def selection_key(entry: CatalogueEntry, wanted: int | None) -> str:
    """Stands for everything of an entry that decides which files are taken."""
    stated = entry.stated
    parts = [
        entry.source_format,
        wanted,
        sorted(stated.include_paths),
        sorted(stated.exclude_paths),
        stated.filter_column,
        sorted(stated.filter_values),
        stated.split,
        stated.media_type,
        stated.modality,
        entry.archives_per_dataset,
        entry.media_per_archive,
        entry.max_samples,
        stated.name,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def choose(names: Iterable[str], entry: CatalogueEntry, wanted: int | None) -> Choice:
    """Choose among a data set's files.

    Files come in the order of a hash of their names, single media half of each label where folders say labels: the same on
    every machine.

    Args:
        names: Of all files.
        entry: The catalogue's entry.
        wanted: How many samples are to be read; None for all.

    Raises:
        DataError: No file is left.
    """
    usable = [name for name in sorted(names) if not any(is_litter(part) for part in name.split("/"))]
    kept = _of_split(_accepted(_of_format(usable, entry), entry.stated), entry.stated.split)
    if not kept:
        form = f" in the format {entry.source_format}" if entry.source_format else ""
        raise DataError(
            f"{entry.name} (line {entry.line} of its catalogue) has {len(usable):,} files, and none{form} is left after "
            "include_paths, exclude_paths and split; check these."
        )
    containers = [name for name in kept if _is_container(name)]
    media = [name for name in kept if name not in set(containers) and modality_of_name(name)]
    if containers and not media:
        others = tuple(name for name in kept if name not in set(containers))
        return _containers_choice(containers, others, entry, wanted)
    taken = set(_balanced(media, entry, _media_limit(entry, wanted)))
    return Choice(tuple(name for name in kept if name in taken or name not in set(media)), (), None)


def _containers_choice(
    containers: list[str], others: tuple[str, ...], entry: CatalogueEntry, wanted: int | None
) -> Choice:
    ordered = sorted(containers, key=lambda name: order_of_choice(entry, name))
    most = _positive(entry.archives_per_dataset)
    each = _positive(entry.media_per_archive)
    counts = [count for count in (wanted, entry.max_samples) if count is not None]
    if (
        entry.stated.filter_column and most and each
    ):  # a filter may leave few rows of a table: the count is of samples then
        counts.append(most * each)
        most = None
    ordered = ordered[:most] if most else ordered
    if not counts:
        return Choice((*others, *ordered), (), None)
    return Choice(others, tuple(ordered), min(counts))


def enough(found: Sequence[tuple[int, int]], choice: Choice, stated: Stated) -> bool:
    """Whether the containers fetched so far hold enough.

    Args:
        found: For each container how many real and how many other (or unlabelled) samples it holds.
        choice: What is to be had.
        stated: Of the entry.
    """
    if choice.enough is None or len(found) >= len(choice.one_by_one):
        return len(found) >= len(choice.one_by_one)
    real, other, reached = 0, 0, 0
    for count, (more_real, more_other) in enumerate(found, 1):
        real, other = real + more_real, other + more_other
        if real + other >= choice.enough and not reached:
            reached = count
    if not reached:
        return False
    both = min(real, other) >= min(choice.enough // 2, real + other)
    return stated.media_type is not None or both or len(found) >= reached + _MORE_FOR_LABELS


def samples_in(folder: Path, name: str, entry: CatalogueEntry) -> tuple[int, int]:
    """How many real and how many other samples one fetched archive or table holds, by the reader that will read it.

    Raises:
        DataError: It cannot be read.
    """
    from gasdet.data.sources import part_of

    wanted = entry.stated.split
    inside = () if entry.stated.accepts(name) else entry.stated.include_paths
    part = part_of(folder / name, replace(entry.stated, split="", labels_required=False, include_paths=inside))
    taken = [s for s in part.samples if s.skip is None and (not wanted or s.split in ("", wanted))]
    each = _positive(entry.media_per_archive)
    real = sum(sample.label == 0 for sample in taken)
    other = len(taken) - real
    return (min(real, each), min(other, max(0, each - real))) if each else (real, other)


def _of_format(names: list[str], entry: CatalogueEntry) -> list[str]:
    forms = [form.strip().lstrip(".").lower() for form in entry.source_format.split(",")]
    if any(form in ("", "folder", "frames", *_TABLES) for form in forms):
        return names
    suffixes = [f".{form}" for form in forms if form not in _ARCHIVES]
    suffixes += [".jpeg"] if ".jpg" in suffixes else [".jpg"] if ".jpeg" in suffixes else []
    if any(modality_of_name(f"x{suffix}") for suffix in suffixes):
        suffixes += [".csv", ".tsv"]  # they may say what single media are
    return [name for name in names if name.lower().endswith(tuple(suffixes)) or archive_kind(name) in forms]


def _accepted(names: list[str], stated: Stated) -> list[str]:
    """What the patterns leave. Patterns that fit no archive's own name are about what lies in them."""
    kept = [name for name in names if replace(stated, include_paths=()).accepts(name)]
    if not stated.include_paths:
        return kept
    fitting = {name for name in kept if stated.accepts(name)}
    containers = [name for name in kept if _is_container(name)]
    inside = not any(name in fitting for name in containers)
    return [
        name for name in kept
        if name in fitting or (inside and _is_container(name)) or (is_side_file(name) and not _is_container(name))
    ]  # fmt: skip


def _of_split(names: list[str], split: str) -> list[str]:
    """Without what says by its own or a folder's name that it is of another split."""
    return [name for name in names if not split or _split_of(name) in ("", split)]


def _split_of(name: str) -> str:
    *folders, last = name.split("/")
    return split_of_file(last) or next((said for part in folders if (said := split_of_folder(part))), "")


def _is_container(name: str) -> bool:
    return archive_kind(name) is not None or name.lower().endswith(".parquet")


def _media_limit(entry: CatalogueEntry, wanted: int | None) -> int | None:
    counts = [wanted, entry.max_samples]
    most, each = _positive(entry.archives_per_dataset), _positive(entry.media_per_archive)
    if most and each:  # as GASBench counts single media: what so many archives would have given
        counts.append(most * each)
    return min((count for count in counts if count is not None), default=None)


def _balanced(media: list[str], entry: CatalogueEntry, limit: int | None) -> list[str]:
    """At most so many media, in turn from each label that folders say."""
    if limit is None or len(media) <= limit:
        return media
    by_label: dict[str, list[str]] = defaultdict(list)
    for name in sorted(media, key=lambda name: order_of_choice(entry, name)):
        by_label[_label_of(name) if entry.stated.media_type is None else ""].append(name)
    in_turn = chain.from_iterable(zip_longest(*(by_label[label] for label in sorted(by_label))))
    return [name for name in in_turn if name is not None][:limit]


def _label_of(name: str) -> str:
    folders = name.split("/")[:-1]
    return next((str(label) for part in reversed(folders) if (label := media_type_of_folder(part)) is not None), "")


def order_of_choice(entry: CatalogueEntry, name: str) -> bytes:
    """The place in the order of choice; of a single file as of its sample under seed 0."""
    return hashlib.blake2b(b"0\0" + sample_id(entry.name, name).encode(), digest_size=16).digest()


def wanted_in(mode: Mode) -> int | None:
    """How many samples of a data set a mode needs at most. Debug and small take the same files, so that their samples nest."""
    return None if mode == "full" else MODE_CAPS["small"]


def _positive(count: int | None) -> int | None:
    return count if count is not None and count > 0 else None
