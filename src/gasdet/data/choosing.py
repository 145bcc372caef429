"""What the user takes of the data: splits, data sets, categories, modalities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TypeVar

from gasdet.data.building import Part, keep_split
from gasdet.data.catalogue import CatalogueEntry
from gasdet.data.listing import counted
from gasdet.errors import DataError, UsageError
from gasdet.types import Modality, Sample

E = TypeVar("E", bound=StrEnum)


def member_of(words: type[E], text: str | None, option: str) -> E | None:
    """The word that an option's text is; None for None and for an empty text.

    Raises:
        UsageError: It is none of the words.
    """
    if not text:
        return None
    try:
        return words(text)
    except ValueError:
        raise UsageError(f"{option} must be one of {', '.join(words)}, not {text!r}.") from None


@dataclass(frozen=True, slots=True)
class Choice:
    """What to take.

    Attributes:
        split: That split only; None for all.
        patterns: Data sets with such a name.
        categories: A catalogue's data sets with such a category.
        modality: That modality only; None for all.
        modalities: Those that the chosen detectors take; None where that does not matter. What it leaves out is noted.
        annotations: Columns of tables whose cells the samples keep.
    """

    split: str | None = None
    patterns: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    modality: Modality | None = None
    modalities: Collection[Modality] | None = None
    annotations: tuple[str, ...] = ()

    def wants_dataset(self, name: str) -> bool:
        """Whether a data set's name is asked for."""
        return not self.patterns or _matches(name, self.patterns)

    def entries(self, entries: Sequence[CatalogueEntry]) -> list[CatalogueEntry]:
        """The entries of a catalogue that are asked for.

        Raises:
            DataError: None is; the message says what there is.
        """
        chosen = [entry for entry in entries if self.wants_dataset(entry.name)]
        if not chosen:
            raise _none_called(self.patterns, [entry.name for entry in entries])
        if self.categories:
            there = sorted({entry.category for entry in chosen if entry.category})
            chosen = [entry for entry in chosen if _matches(entry.category, self.categories)]
            if not chosen:
                told = f"there are {_listed(there)}" if there else "none of the data sets states one"
                raise DataError(f"no data set's category matches {' or '.join(self.categories)}; {told}.")
        if self.modality is not None:
            chosen = [entry for entry in chosen if _may_be(entry, {self.modality})]
        if not chosen:
            raise DataError(f"the catalogue has no {self.modality} data sets among those that are asked for.")
        return chosen

    def takers(self, entries: Sequence[CatalogueEntry], notes: list[str]) -> list[CatalogueEntry]:
        """Those entries that need not be fetched in vain: of a modality that a chosen detector takes. The rest is noted."""
        if self.modalities is None:
            return list(entries)
        kept = [entry for entry in entries if entry.source == "local" or _may_be(entry, self.modalities)]
        if len(kept) < len(entries):
            told = counted(len(entries) - len(kept), "data set")
            notes.append(f"{told} not fetched: no chosen detector takes their modality")
        return kept

    def one_split(self, part: Part) -> Part:
        """Keep the asked split of a part."""
        if self.split is not None:
            keep_split(part, self.split)
        return part

    def choose(self, samples: list[Sample], notes: list[str]) -> list[Sample]:
        """Keep what is asked for of samples; what ``modalities`` leaves out is noted."""
        if self.patterns and samples:
            names = list(dict.fromkeys(sample.dataset for sample in samples))
            samples = [sample for sample in samples if self.wants_dataset(sample.dataset)]
            if not samples:
                raise _none_called(self.patterns, names)
        if self.modality is not None:
            samples = [sample for sample in samples if sample.modality is self.modality]
        if self.modalities is None:
            return samples
        others = Counter(s.modality for s in samples if s.modality is not None and s.modality not in self.modalities)
        for modality, count in sorted(others.items()):
            notes.append(f"{counted(count, f'{modality} sample')} left out: no chosen detector takes them")
        return [s for s in samples if s.modality is None or s.modality in self.modalities]


def _matches(text: str, patterns: Sequence[str]) -> bool:
    folded = text.casefold()
    return any(fnmatchcase(folded, pattern.casefold()) for pattern in patterns)


def _may_be(entry: CatalogueEntry, modalities: Collection[Modality]) -> bool:
    """Whether an entry's data may be of such a modality: it is stated, or not known before the data are looked at."""
    return entry.stated.modality is None or entry.stated.modality in modalities


def _none_called(patterns: Sequence[str], names: Sequence[str]) -> DataError:
    return DataError(f"no data set's name matches {' or '.join(patterns)}; there are {_listed(names)}.")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
