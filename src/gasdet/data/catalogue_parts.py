"""A catalogue's entries to samples: fetched where they must be, and shared out as the catalogue says."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from gasdet.data.building import Part, make_sample
from gasdet.data.catalogue import Catalogue, CatalogueEntry
from gasdet.data.catalogue_counts import cap_each_archive, cap_local_archives
from gasdet.data.catalogue_keys import FORMATS
from gasdet.data.choosing import Choice
from gasdet.data.listing import Entry, Listing, counted
from gasdet.data.names import printable
from gasdet.data.nesting import ids_of_small
from gasdet.data.sampling import MODE_CAPS, Mode, select_nested, select_total
from gasdet.data.sources import part_of
from gasdet.data.tree import tree_samples
from gasdet.errors import DataError, about_lines
from gasdet.media import modality_of_name
from gasdet.progress import ProgressSink
from gasdet.types import Locator, MediaType, Modality, Sample


@dataclass(slots=True)
class CatalogueParts:
    """What a catalogue gives.

    Attributes:
        parts: One for each entry.
        notes: Lines about the catalogue as a whole.
        sources: For each entry its name, source, path, revision, licence and, where stated, generator family.
        shares: By data set.
        floors: By data set.
        first: By data set, of which a smaller mode fetches a part: the ids of the samples in that part. They are chosen before
            the others, so that what the smaller mode takes is among what a larger one takes.
        lines: By data set, of its entries.
        beyond: The samples that the catalogue's totals left out.
        has_own_total: Whether the catalogue states a total for the mode: it then stands in the place of the mode's cap.
    """

    parts: list[Part] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sources: list[Mapping[str, str]] = field(default_factory=list)
    shares: dict[str, Fraction] = field(default_factory=dict)
    floors: dict[str, int] = field(default_factory=dict)
    first: dict[str, frozenset[str]] = field(default_factory=dict)
    lines: dict[str, tuple[int, ...]] = field(default_factory=dict)
    beyond: list[Sample] = field(default_factory=list)
    has_own_total: bool = False


def parts_of_catalogue(
    catalogue: Catalogue,
    choice: Choice,
    *,
    mode: Mode,
    total: int | None,
    seed: int,
    offline: bool,
    progress: ProgressSink | None,
) -> CatalogueParts:
    """The samples of the entries that are asked for.

    Args:
        catalogue: Whose entries.
        choice: Which of them, and of their samples.
        mode: How much is fetched, and which of the catalogue's totals counts.
        total: A total that is asked for instead of the catalogue's; it is shared out by the caller.
        seed: Decides which samples are chosen.
        offline: Fetch nothing.
        progress: Told of downloads.

    Raises:
        DataError: None of the entries is asked for, or one cannot be had or read.
    """
    found = CatalogueParts(has_own_total=total is None and catalogue.totals.states(mode))
    entries = _usable(choice.entries(catalogue.entries), found.notes)
    entries = choice.takers(entries, found.notes)
    fetched = _mode_to_fetch(catalogue, mode)
    places = _places(catalogue, entries, fetched, offline, progress)
    chooses = total is not None or bool(catalogue.totals.stated)
    repeated = {name for name, times in Counter(entry.name for entry in entries).items() if times > 1}
    for entry, (path, revision, notes) in zip(entries, places, strict=True):
        with about_lines("unreadable", entry.line):
            part = _part(entry, path, choice)
            part.notes += notes
            if revision:
                part.notes.append(f"{entry.shown_location} at revision {revision}")
            if entry.name in repeated and entry.stated.media_type is not None:
                part.samples = [_below(sample, entry.stated.media_type) for sample in part.samples]
            capped = fetched == "full" and (chooses or entry.max_samples is not None)
            first = ids_of_small(entry, path, part.samples) if capped else None
            if first is not None or entry.name in repeated:
                inside = frozenset(s.sample_id for s in part.samples) if first is None else first
                found.first[entry.name] = found.first.get(entry.name, frozenset()) | inside
            _cap(part, entry, seed, first)
            found.parts.append(choice.one_split(part))
        found.lines[entry.name] = (*found.lines.get(entry.name, ()), entry.line)
        found.sources.append(_source(entry, revision))
        found.shares[entry.name] = entry.share
        found.floors[entry.name] = entry.min_samples
    if total is None:
        _apply_totals(catalogue, entries, found, mode, seed)
    return found


def _part(entry: CatalogueEntry, path: Path, choice: Choice) -> Part:
    """The samples of an entry whose data are at a path: of whatever ``part_of`` reads, or a single image, clip or recording."""
    stated = replace(entry.stated, annotations=choice.annotations)
    if not path.is_file() or modality_of_name(path.name) is None:
        return part_of(path, stated, form=expected_format(entry))
    where = f"{printable(str(path))}, the data of {entry.name}, is a single file"
    if stated.media_type is None:
        raise DataError(f"{where}: state its media_type.")
    if stated.filter_column or stated.data_columns or stated.group not in ("", "folder"):
        raise DataError(f"{where}, and filter_column, data_columns and group are for tables.")
    place = Locator("file", str(path), size=path.stat().st_size)
    return tree_samples(Listing([Entry(printable(path.name), place)]), entry.name, (), stated)


def _usable(entries: Sequence[CatalogueEntry], notes: list[str]) -> list[CatalogueEntry]:
    """Without those that gasdet has no use for."""
    for why, names in _by_reason(entries).items():
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        notes.append(f"{counted(len(names), 'data set')} left out ({shown}): {why}")
    return [entry for entry in entries if not entry.left_out]


def _by_reason(entries: Sequence[CatalogueEntry]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        if entry.left_out:
            reasons[entry.left_out].append(entry.name)
    return reasons


def _places(
    catalogue: Catalogue,
    entries: Sequence[CatalogueEntry],
    fetched: Mode,
    offline: bool,
    progress: ProgressSink | None,
) -> list[tuple[Path, str, tuple[str, ...]]]:
    """For each entry the path of its data on this machine, the revision, and lines for the user."""
    absent = [entry for entry in entries if entry.source == "local" and not entry.path.exists()]
    with about_lines("absent", *(entry.line for entry in absent)):
        for entry in absent:
            hub = ", or state source: huggingface for a data set of the hub" if entry.location.count("/") == 1 else ""
            raise DataError(
                f"there is nothing at {printable(str(entry.path))}, the path of {entry.name} "
                f"(line {entry.line} of {printable(str(catalogue.path))}); check it{hub}."
            )
    if all(entry.source == "local" for entry in entries):
        return [(entry.path, "", ()) for entry in entries]
    from gasdet.data.remote import local_copies

    copies = local_copies(entries, mode=fetched, offline=offline, progress=progress)
    return [(copy.path, copy.revision, copy.notes) for copy in copies]


def _mode_to_fetch(catalogue: Catalogue, mode: Mode) -> Mode:
    """The least mode whose cap leaves of each data set what the catalogue's own total for the mode may take of it."""
    if not catalogue.totals.states(mode):
        return mode
    largest = max(number for (stated, _), number in catalogue.totals.stated.items() if stated == mode)
    return next(name for name, cap in MODE_CAPS.items() if cap is None or cap >= largest)


def expected_format(entry: CatalogueEntry) -> str:
    """The entry's format as one of ours; GASBench also names the archives' or files' suffix (``tar.gz``, ``jpg``).

    Returns:
        One of folder, csv, parquet, zip, tar, frames, or an empty string to find out.
    """
    text = entry.source_format
    if text in FORMATS or not text:
        return text
    if text == "tsv":
        return "csv"
    return "tar" if text.startswith(("tar", "tgz", "tbz", "txz")) else "folder"


def _cap(part: Part, entry: CatalogueEntry, seed: int, first: Collection[str] | None) -> None:
    """What the entry's own numbers leave: archives (where it is local; else no more were fetched), of each, and in all."""
    if entry.source == "local":
        cap_local_archives(part, entry, entry.path)
    cap_each_archive(part, entry, seed)
    if entry.max_samples is not None:
        part.samples = select_nested(part.samples, entry.max_samples, seed, first)


def _source(entry: CatalogueEntry, revision: str) -> dict[str, str]:
    """Where an entry's data came from, for a run's record."""
    told = {
        "name": entry.name,
        "source": entry.source,
        "path": entry.shown_location,
        "revision": revision,
        "licence": entry.licence,
    }
    return told | ({"generator_family": entry.generator_family} if entry.generator_family else {})


def _apply_totals(
    catalogue: Catalogue, entries: Sequence[CatalogueEntry], found: CatalogueParts, mode: Mode, seed: int
) -> None:
    """Share the catalogue's totals out, for each modality its own.

    A mode without a total of its own is a part of mode full: the total of that counts, and the mode's cap comes after it.
    """
    groups: dict[Modality | None, list[Sample]] = defaultdict(list)
    for entry, part in zip(entries, found.parts, strict=True):
        for sample in part.samples:
            groups[entry.stated.modality or sample.modality].append(sample)
    kept: set[int] = set()
    for modality, samples in groups.items():
        total = catalogue.totals.of(mode if found.has_own_total else "full", modality)
        if total is not None and total < len(samples):
            told = f"{total:,} of {counted(len(samples), f'{modality} sample' if modality else 'sample')} taken"
            found.notes.append(f"{told}, the catalogue's total")
            samples = select_total(samples, total, seed, found.shares, found.floors, first=found.first)
        kept.update(id(sample) for sample in samples)
    for part in found.parts:
        found.beyond += [sample for sample in part.samples if id(sample) not in kept]
        part.samples = [sample for sample in part.samples if id(sample) in kept]


def _below(sample: Sample, media_type: MediaType) -> Sample:
    """The sample with its label as the first folder: entries of one name may hold files of the same names."""
    skip = (sample.skip, sample.skip_message) if sample.skip is not None else None
    return make_sample(
        sample.dataset,
        f"{media_type}/{sample.member}",
        sample.locator,
        sample.modality,
        sample.media_type,
        generator=sample.generator,
        group=sample.group if sample.group != sample.sample_id else "",
        split=sample.split,
        weight=sample.weight,
        pair=sample.pair,
        released=sample.released,
        skip=skip,
        annotations=sample.annotations,
    )
