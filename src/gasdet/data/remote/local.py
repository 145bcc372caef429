"""What a reader of data sees of remote data: paths on this machine."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gasdet.data.catalogue import CatalogueEntry
from gasdet.data.names import printable
from gasdet.data.remote.choosing import wanted_in
from gasdet.data.remote.downloading import Downloader, Limits, Wanted, known, remember, told_of_unsure
from gasdet.data.remote.places import refuse_mixed
from gasdet.data.remote.store import DatasetFolder, data_dir
from gasdet.data.sampling import Mode
from gasdet.errors import DataError, about_lines
from gasdet.progress import ProgressSink

_HELD: dict[Path, DatasetFolder] = {}
"""Data sets that this process reads: they must not be removed before it ends."""

_MOST_TOLD = 5


@dataclass(frozen=True, slots=True)
class LocalCopy:
    """An entry's data on this machine.

    Attributes:
        path: A local entry's own path; of a remote one, a folder that holds what its reading takes and nothing else.
        revision: The hub's commit; empty for other sources.
        notes: Lines for the user.
    """

    path: Path
    revision: str
    notes: tuple[str, ...] = ()


def local_copies(
    entries: Sequence[CatalogueEntry],
    *,
    mode: Mode = "full",
    offline: bool = False,
    progress: ProgressSink | None = None,
) -> list[LocalCopy]:
    """Have the data of entries on this machine, fetching what is missing into the download folder.

    What is here already is taken as it is, without asking any server: a hub's data set stays at the commit at which it was
    first listed (``gasdet data download --update`` moves it on). The folders are held until this process ends.

    Args:
        entries: Of a catalogue.
        mode: ``debug`` and ``small`` fetch only as many archives or tables as hold enough samples.
        offline: Touch no network.
        progress: Told of the bytes; no data set's name is.

    Returns:
        One for each entry, in their order.

    Raises:
        FetchError: A source says no, or some files cannot be had; what has arrived is kept.
        DataError: A source is none that can be fetched from, an entry takes no file, the disk cannot take the data, or
            ``offline`` is set and something is missing.
    """
    remote = [entry for entry in entries if entry.source != "local"]
    refuse_mixed(remote)
    wanted = wanted_in(mode)
    fetched = _without_network(remote, wanted, mode) if offline else _all_here(remote, wanted)
    if fetched is None:
        fetched = Downloader(remote, wanted, data_dir(), Limits(), progress=progress).fetch()
    by_entry = {id(one.entry): one for one in fetched}
    return [_copy(by_entry[id(entry)]) if entry.source != "local" else LocalCopy(entry.path, "") for entry in entries]


def _copy(one: Wanted) -> LocalCopy:
    remember(one)
    unsure = one.unsure()
    notes = (told_of_unsure(unsure),) if unsure else ()
    path = one.folder.view(one.names, one.manifest)
    _HELD.setdefault(path, one.folder)
    return LocalCopy(path, one.manifest.revision, notes)


def _all_here(entries: Sequence[CatalogueEntry], wanted: int | None) -> list[Wanted] | None:
    """Every entry's data, if nothing must be fetched."""
    found = []
    for entry in entries:
        one = known(entry, wanted, data_dir())
        if one is None or not one.settled or one.missing:
            return None
        found.append(one)
    return found


def _without_network(entries: Sequence[CatalogueEntry], wanted: int | None, mode: Mode) -> list[Wanted]:
    found, lacking = [], []
    for entry in entries:
        one = known(entry, wanted, data_dir())
        if one is None:
            lacking.append((entry, f"{entry.name} ({entry.shown_location}: nothing of it is here)"))
        elif one.missing or not one.settled:
            more = "" if one.settled else ", and perhaps more"
            have = f"{len(one.missing):,} of {len(one.names):,} files, {one.size_of(one.missing) / 1e6:,.1f} MB{more}"
            lacking.append((entry, f"{entry.name} ({entry.shown_location}: {have})"))
        else:
            found.append(one)
    if lacking:
        told = ", ".join(text for _, text in lacking[:_MOST_TOLD])
        more = f" and {len(lacking) - _MOST_TOLD} more" if len(lacking) > _MOST_TOLD else ""
        only = f" --datasets '{lacking[0][0].name}'" if len(lacking) == 1 else ""
        catalogues = dict.fromkeys(shlex.quote(printable(entry.catalogue or "CATALOGUE")) for entry, _ in lacking)
        how = f"gasdet data download {' '.join(catalogues)}{only}" + (f" --mode {mode}" if mode != "full" else "")
        with about_lines("away", *(entry.line for entry, _ in lacking)):
            raise DataError(
                f"not on this machine, and nothing is fetched offline: {told}{more}; '{how}' fetches what is missing."
            )
    return found
