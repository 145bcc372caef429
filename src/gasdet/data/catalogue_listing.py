"""What a catalogue holds and what of it is on this machine, for people and programs that choose among it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gasdet.data.catalogue import CatalogueEntry, load_catalogue
from gasdet.data.choosing import Choice, member_of
from gasdet.types import Modality


@dataclass(frozen=True, slots=True)
class ListedDataset:
    """One data set of a catalogue.

    Attributes:
        entry: What the catalogue says.
        at_hand: Whether its data are on this machine: a local path exists, a download is finished.
        size_bytes: Of a local file; None where it is not known without a walk or a question to a server.
    """

    entry: CatalogueEntry
    at_hand: bool
    size_bytes: int | None

    def to_json(self) -> dict[str, Any]:
        """The facts as plain values. What may be a secret in an address is left out."""
        entry, stated = self.entry, self.entry.stated
        return {
            "name": entry.name,
            "line": entry.line,
            "modality": stated.modality,
            "media_type": stated.media_type,
            "source": entry.source,
            "path": entry.shown_location,
            "revision": entry.revision,
            "source_format": entry.source_format,
            "include_paths": list(stated.include_paths),
            "exclude_paths": list(stated.exclude_paths),
            "category": entry.category,
            "generator": stated.generator,
            "generator_family": entry.generator_family,
            "released": stated.released,
            "licence": entry.licence,
            "split": stated.split,
            "max_samples": entry.max_samples,
            "min_samples": entry.min_samples,
            "share": float(entry.share),
            "archives_per_dataset": entry.archives_per_dataset,
            "media_per_archive": entry.media_per_archive,
            "notes": entry.notes,
            "left_out": entry.left_out,
            "at_hand": self.at_hand,
            "size_bytes": self.size_bytes,
        }


def list_catalogue(
    catalogue: str | Path,
    *,
    datasets: Sequence[str] = (),
    categories: Sequence[str] = (),
    modality: Modality | str | None = None,
    data_dir: str | Path | None = None,
) -> list[ListedDataset]:
    """The data sets of a catalogue that are asked for, in its order. Nothing is fetched and no server is asked.

    Args:
        catalogue: Path of a YAML catalogue, or ``"starter"``.
        datasets: Only those with such a name (``*``, ``?``, in any case).
        categories: Only those with such a category.
        modality: Only those of this modality, or that state none.
        data_dir: The download folder to look in; None for ``GASDET_DATA``, else ``datasets`` in the cache folder.

    Raises:
        DataError: The catalogue cannot be read, or nothing in it is asked for.
        ConfigError: It has unknown keys or unusable values.
        UsageError: ``modality`` is none.
    """
    choice = Choice(
        patterns=tuple(datasets),
        categories=tuple(categories),
        modality=member_of(Modality, modality, "--modality"),
    )
    root = Path(data_dir).expanduser().absolute() if data_dir is not None else None
    return [_listed(entry, root) for entry in choice.entries(load_catalogue(catalogue).entries)]


def _listed(entry: CatalogueEntry, root: Path | None) -> ListedDataset:
    if entry.source == "local":
        size = entry.path.stat().st_size if entry.path.is_file() else None
        return ListedDataset(entry, entry.path.exists(), size)
    from gasdet.data.remote import is_at_hand

    return ListedDataset(entry, is_at_hand(entry, root), None)
