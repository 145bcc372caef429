"""Fetch the data sets of catalogues, look at what was fetched, and make room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gasdet.cachedir import cache_dir
from gasdet.data.catalogue import CatalogueEntry, load_catalogue
from gasdet.data.catalogue_rules import is_like_the_hubs
from gasdet.data.choosing import Choice
from gasdet.data.names import printable
from gasdet.data.sampling import Mode
from gasdet.errors import UsageError
from gasdet.progress import ProgressSink
from gasdet.types import Modality

if TYPE_CHECKING:
    from gasdet.data.remote.cleaning import Cleaned
    from gasdet.data.remote.downloading import Wanted
    from gasdet.data.remote.verifying import Verified

_MOST_TOLD = 5

__all__ = ["Planned", "clean", "download", "verify"]


@dataclass(frozen=True, slots=True)
class Planned:
    """What one data set of a catalogue takes.

    Attributes:
        name: Of the data set.
        source: ``huggingface``, ``s3``, ``http`` or ``https``.
        location: Without anything secret.
        revision: The hub's commit; empty for other sources.
        files: How many files are taken, as far as known.
        bytes: Of these, as far as the source states sizes.
        missing_files: Those that are not here.
        missing_bytes: Of these, as far as the source states sizes.
        missing_unsized: Of these, how many have a size that the source does not state.
        most_bytes: What must be fetched at most: where archives or tables are fetched one by one until they hold enough
            samples, that is all of them; else ``missing_bytes``.
        own_bytes: ``bytes`` without the files that an entry before it takes too, so that these add up; as the next two.
        own_missing_bytes: Of ``missing_bytes``.
        own_most_bytes: Of ``most_bytes``.
        path: Folder of the data set on this machine.
        error: Why it cannot be had, where it cannot even be listed.
    """

    name: str
    source: str
    location: str
    revision: str = ""
    files: int = 0
    bytes: int = 0
    missing_files: int = 0
    missing_bytes: int = 0
    missing_unsized: int = 0
    most_bytes: int = 0
    own_bytes: int = 0
    own_missing_bytes: int = 0
    own_most_bytes: int = 0
    path: str = ""
    error: str = ""


def download(
    catalogues: Sequence[str | Path],
    *,
    datasets: Sequence[str] = (),
    categories: Sequence[str] = (),
    modality: str | None = None,
    mode: Mode = "full",
    concurrent: int = 4,
    timeout: float = 30.0,
    data_dir: str | Path | None = None,
    update: bool = False,
    repair: bool = False,
    dry_run: bool = False,
    planned: Callable[[list[Planned]], None] | None = None,
    progress: ProgressSink | None = None,
) -> list[Planned]:
    """Fetch what catalogues list, resuming what was begun. docs/downloads.md says where it goes and what is checked.

    Args:
        catalogues: YAML files, or ``"starter"``.
        datasets: Patterns of names to keep.
        categories: Patterns of content categories to keep.
        modality: Only this one.
        mode: ``debug`` and ``small`` fetch only as many archives or tables as hold enough samples.
        concurrent: Files at once.
        timeout: Seconds without a byte after which a connection counts as dead.
        data_dir: The download folder; None for ``GASDET_DATA``, else ``datasets`` in the cache folder.
        update: Take what the sources list now, also where an earlier listing is here.
        repair: Read what is here, and fetch again what has another content than when it was fetched.
        dry_run: Only list and measure; nothing is written or removed.
        planned: Called with what is to be fetched, before anything is.
        progress: Told of bytes, and of files of which nothing says whether they are whole.

    Returns:
        For each remote data set what it takes now: nothing is missing any more, but of a dry run, and of those with an
        ``error``.

    Raises:
        DataError: The disk cannot hold it, an archive that arrived cannot be read, or nothing is asked for.
        FetchError: Some files cannot be had; what has arrived is kept.
        UsageError: ``concurrent`` or ``timeout`` is none.
    """
    from gasdet.data.remote.choosing import wanted_in
    from gasdet.data.remote.downloading import Downloader, Limits, told_of_unsure
    from gasdet.data.remote.patience import Patience

    if concurrent < 1 or timeout <= 0:
        raise UsageError("--concurrent must be at least 1, and --timeout more than 0.")
    asked = _entries(catalogues, datasets, categories, modality)
    if progress is not None and (line := _told_of_absent(asked)):
        progress.note(line)
    entries = _remote(asked)
    downloader = Downloader(
        entries,
        wanted_in(mode),
        _root(data_dir),
        Limits(concurrent, Patience(stall_s=timeout)),
        update=update,
        repair=repair,
        tolerant=True,
        progress=progress,
    )
    if not entries:
        return []
    plan = _told(downloader.plan(), downloader.failed)
    if planned is not None:
        planned(plan)
    downloader.check_room()
    if dry_run or not downloader.on_their_way:
        return plan
    downloader.entries = [one.entry for one in downloader.on_their_way]
    fetched = downloader.fetch()
    for one in fetched:
        if progress is not None and (names := one.unsure()):
            progress.note(f"{printable(one.entry.name)}: {told_of_unsure(names)}")
    return _told(fetched, downloader.failed)


def verify(
    catalogues: Sequence[str | Path] = (),
    *,
    datasets: Sequence[str] = (),
    categories: Sequence[str] = (),
    modality: str | None = None,
    mode: Mode | None = None,
    data_dir: str | Path | None = None,
    quick: bool = False,
    progress: ProgressSink | None = None,
) -> list[tuple[str, Verified]]:
    """Compare downloads with what was recorded when they were fetched.

    Args:
        catalogues: Whose data sets must be here; without one, everything in the download folder is looked at.
        datasets: Patterns of names to keep.
        categories: Patterns of content categories to keep.
        modality: Only this one.
        mode: What must be here; None for what was fetched, whatever the mode.
        data_dir: The download folder.
        quick: Compare sizes only.
        progress: Told of bytes.

    Returns:
        The names that a data set has in the catalogues (else its folder's) and its state, one for each folder.
    """
    from gasdet.data.remote.choosing import selection_key, wanted_in
    from gasdet.data.remote.manifest import read_manifest
    from gasdet.data.remote.places import REMOTE, identity_of
    from gasdet.data.remote.store import units_of
    from gasdet.data.remote.verifying import not_fetched, nowhere, verify_folder

    root = _root(data_dir)
    if not catalogues:
        if datasets or categories or modality or mode:
            raise UsageError("which data sets to verify is said of a catalogue; name one, or verify everything.")
        folders = [unit.path for unit in units_of(root)]
        return [(folder.name, verify_folder(folder, None, quick=quick, progress=progress)) for folder in folders]
    modes: tuple[Mode, ...] = ("full", "small") if mode is None else (mode,)
    by_folder: dict[Path, list[CatalogueEntry]] = {}
    results = []
    for entry in _remote(_entries(catalogues, datasets, categories, modality)):
        if entry.source in REMOTE:
            by_folder.setdefault(root / identity_of(entry).folder, []).append(entry)
        else:
            results.append((entry.name, nowhere(entry.source, entry.shown_location)))
    for folder, entries in by_folder.items():
        # Entries of one name are one data set, and each takes files of its own.
        keys = [(e.name, [selection_key(e, wanted_in(one)) for one in modes]) for e in entries]
        state = verify_folder(folder, [key for _, some in keys for key in some], quick=quick, progress=progress)
        if state.source:
            manifest = read_manifest(folder)
            made = manifest.selections if manifest else {}
            lacking = [name for name, some in keys if not any(key in made for key in some)]
            state = not_fetched(state, dict.fromkeys(lacking))
        results.append((", ".join(dict.fromkeys(name for name, _ in keys)), state))
    return results


def clean(
    max_size: int,
    *,
    data_dir: str | Path | None = None,
    decode_caches: Sequence[str | Path] = (),
    dry_run: bool = False,
) -> Cleaned:
    """Remove the downloads and the caches that were used longest ago, until the rest fits. What is in use stays.

    Args:
        max_size: Bytes that the download folder, the cache folder's own caches and ``decode_caches`` may take together.
        data_dir: The download folder.
        decode_caches: Further decode caches, beside the one in the cache folder.
        dry_run: Only say what would go.

    Raises:
        UsageError: ``max_size`` is negative, or one of ``decode_caches`` is none.
    """
    from gasdet.data.remote.cleaning import clean_folders, is_store

    if max_size < 0:
        raise UsageError("--max-size must be at least 0.")
    own = [Path(folder).expanduser().absolute() for folder in decode_caches]
    for folder in own:
        if not is_store(folder):
            raise UsageError(
                f"{printable(str(folder))} is no decode cache; name the folder that --decode-cache was given."
            )
    root, caches = _root(data_dir), cache_dir()
    others = sorted(folder for folder in caches.iterdir() if folder.is_dir()) if caches.is_dir() else []
    roots, stores = _once([root, *others]), _once([caches / "decode-cache", *own])
    return clean_folders(roots, max_size, decoded=stores, dry_run=dry_run)


def _once(folders: Sequence[Path]) -> list[Path]:
    """Folders without those that are one before by another path."""
    by_place: dict[Path, Path] = {}
    for folder in folders:
        by_place.setdefault(folder.resolve(), folder)
    return list(by_place.values())


def _root(data_dir: str | Path | None) -> Path:
    from gasdet.data.remote.store import data_dir as usual

    return Path(data_dir).expanduser().absolute() if data_dir is not None else usual()


def _entries(
    catalogues: Sequence[str | Path],
    datasets: Sequence[str],
    categories: Sequence[str],
    modality: str | None,
) -> list[CatalogueEntry]:
    choice = Choice(
        patterns=tuple(datasets),
        categories=tuple(categories),
        modality=Modality(modality) if modality else None,
    )
    return choice.entries([entry for one in catalogues for entry in load_catalogue(one).entries])


def _remote(entries: Sequence[CatalogueEntry]) -> list[CatalogueEntry]:
    return [entry for entry in entries if entry.source != "local" and not entry.left_out]


def _told_of_absent(entries: Sequence[CatalogueEntry]) -> str:
    """What to say of local data that are not there: nothing fetches them, and they may have been meant to be of the hub."""
    absent = [one for one in entries if one.source == "local" and not one.left_out and not one.path.exists()]
    if not absent:
        return ""
    listed = [f"{one.name} (line {one.line}: nothing at {one.shown_location})" for one in absent[:_MOST_TOLD]]
    more = f" and {len(absent) - _MOST_TOLD} more" if len(absent) > _MOST_TOLD else ""
    hub = any(is_like_the_hubs(one.location) for one in absent)
    hint = "; state source: huggingface for a data set of the hub" if hub else ""
    return printable(f"local, so not fetched, and not there: {', '.join(listed)}{more}{hint}")


def _told(wanted: Sequence[Wanted], failed: Sequence[tuple[CatalogueEntry, Exception]]) -> list[Planned]:
    plan = []
    counted: dict[Path, set[str]] = {}
    for one in wanted:
        everything = [*one.choice.fixed, *one.choice.one_by_one]
        most = one.missing if one.settled else one.folder.missing(everything, one.manifest)
        before = counted.setdefault(one.folder.path, set())
        own, own_missing, own_most = (
            one.size_of([name for name in names if name not in before]) for names in (one.names, one.missing, most)
        )
        before.update(one.names, most)
        plan.append(
            Planned(
                name=one.entry.name,
                source=one.entry.source,
                location=one.entry.shown_location,
                revision=one.manifest.revision,
                files=len(one.names),
                bytes=one.size_of(one.names),
                missing_files=len(one.missing),
                missing_bytes=one.size_of(one.missing),
                missing_unsized=sum(one.manifest.files[name].size is None for name in one.missing),
                most_bytes=one.size_of(most),
                own_bytes=own,
                own_missing_bytes=own_missing,
                own_most_bytes=own_most,
                path=str(one.folder.path),
            )
        )
    return plan + [Planned(e.name, e.source, e.shown_location, error=str(error).rstrip(".")) for e, error in failed]
