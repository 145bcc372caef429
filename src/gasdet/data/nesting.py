"""Which samples of a data set a smaller mode fetches: a larger one takes them before others, so that modes nest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gasdet.data.catalogue import CatalogueEntry
from gasdet.types import Sample


def ids_of_small(entry: CatalogueEntry, path: Path, samples: Sequence[Sample]) -> frozenset[str] | None:
    """The ids of those samples that lie in the files that modes ``debug`` and ``small`` fetch.

    Args:
        entry: Of a catalogue.
        path: Where all of its data lie on this machine.
        samples: All of its samples.

    Returns:
        None where a smaller mode fetches all of it, or nothing need be fetched.
    """
    if entry.source == "local" or not path.is_dir():
        return None
    from gasdet.data.remote.choosing import wanted_in
    from gasdet.data.remote.downloading import known
    from gasdet.data.remote.store import data_dir

    small = known(entry, wanted_in("small"), data_dir())
    if small is None:
        return None
    names = frozenset(small.names)
    first = frozenset(sample.sample_id for sample in samples if _file_of(sample, path) in names)
    return None if len(first) == len(samples) else first


def _file_of(sample: Sample, folder: Path) -> str:
    """The name, in a folder of downloads, of the file that a sample lies in."""
    file = Path(sample.locator.path)
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else ""
