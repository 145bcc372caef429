"""Entries of a catalogue to files on this machine."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gasdet.data.catalogue import CatalogueEntry
from gasdet.data.names import printable
from gasdet.data.remote.choosing import Choice, choose, enough, samples_in, selection_key, wanted_in
from gasdet.data.remote.fetching import Job, fetch_jobs
from gasdet.data.remote.files import Found, Source
from gasdet.data.remote.patience import Patience
from gasdet.data.remote.places import REMOTE, identity_of, source_of
from gasdet.data.remote.store import (
    DatasetFolder,
    Manifest,
    data_dir,
    is_unfinished,
    missing_files,
    names_on_disk,
    read_manifest,
)
from gasdet.errors import DataError, FetchError, GasdetError
from gasdet.progress import ProgressSink, Silent

KEEP_FREE = 256 << 20
"""Bytes that a download leaves free on the disk."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How a download goes about it.

    Attributes:
        concurrent: Files at once.
        patience: With servers.
    """

    concurrent: int = 4
    patience: Patience = field(default_factory=Patience)


@dataclass(slots=True)
class Wanted:
    """One entry on its way.

    Attributes:
        entry: Of the catalogue.
        folder: Its data set's.
        manifest: As last read or written.
        key: Of its selection.
        choice: What it takes.
        names: The files it takes, as far as known: all of them where ``settled``.
        settled: Whether ``names`` is final; else further archives or tables may be needed.
        missing: Those of ``names`` that are not here.
    """

    entry: CatalogueEntry
    folder: DatasetFolder
    manifest: Manifest
    key: str
    choice: Choice
    names: list[str] = field(default_factory=list)
    settled: bool = False
    missing: list[str] = field(default_factory=list)
    held: list[tuple[int, int]] = field(default_factory=list)

    def size_of(self, names: Sequence[str]) -> int:
        """Bytes of files, as far as the source says."""
        return sum(self.manifest.files[name].size or 0 for name in names if name in self.manifest.files)

    def look(self) -> None:
        """See what is here now."""
        self.missing = self.folder.missing(self.names, self.manifest)


def known(entry: CatalogueEntry, wanted: int | None, root: Path) -> Wanted | None:
    """What is known of an entry without a network: None where its data set was never listed."""
    identity = identity_of(entry)
    if read_manifest(root / identity.folder) is None:
        return None
    folder = DatasetFolder(root, identity)
    manifest = folder.manifest()
    if not manifest.files:
        return None
    one = _chosen(entry, folder, manifest, wanted)
    while not (one.settled or one.missing):
        _settle(one)
    return one


def is_at_hand(entry: CatalogueEntry) -> bool:
    """Whether an entry's data are on this machine: a local path that exists, or a download that is complete for some mode."""
    if entry.source == "local":
        return entry.path.exists()
    if entry.source not in REMOTE:
        return False
    folder = data_dir() / identity_of(entry).folder  # looked at without holding it: looking is no use of it
    manifest = read_manifest(folder)
    if manifest is None:
        return False
    modes = {selection_key(entry, wanted_in("full")), selection_key(entry, wanted_in("small"))}
    taken = [names for key, names in manifest.selections.items() if key in modes]
    return any(not missing_files(folder, names, manifest) for names in taken)


def _chosen(entry: CatalogueEntry, folder: DatasetFolder, manifest: Manifest, wanted: int | None) -> Wanted:
    choice = choose(manifest.files, entry, wanted)
    key = selection_key(entry, wanted)
    on_its_way = Wanted(entry, folder, manifest, key, choice)
    names = manifest.selections.get(key)
    on_its_way.settled = names is not None or not choice.one_by_one
    on_its_way.names = [*choice.fixed, *choice.one_by_one[:1]] if names is None else names
    on_its_way.look()
    return on_its_way


class Downloader:
    """Lists, sizes up and fetches the data of several entries.

    Args:
        entries: Remote ones.
        wanted: How many samples of each are to be read; None for all.
        root: The download folder.
        limits: How to go about it.
        update: List anew what was listed before.
        tolerant: Go on without entries that cannot be listed; they stand in ``failed``.
        progress: Told of bytes; no name is.
    """

    def __init__(
        self,
        entries: Sequence[CatalogueEntry],
        wanted: int | None,
        root: Path,
        limits: Limits | None = None,
        *,
        update: bool = False,
        tolerant: bool = False,
        progress: ProgressSink | None = None,
    ) -> None:
        self.entries, self.wanted, self.root, self.update = list(entries), wanted, root, update
        self.limits = limits or Limits()
        self.progress = progress or Silent()
        self.on_their_way: list[Wanted] = []
        self.failed: list[tuple[CatalogueEntry, GasdetError]] = []
        self._tolerant = tolerant
        self._sources: dict[str, Source] = {}

    def plan(self) -> list[Wanted]:
        """List every data set that is not listed yet, and say what each entry takes and lacks.

        Raises:
            FetchError: A source says no, or cannot be reached.
            DataError: Nothing is left of an entry's files, or the folder cannot be written.
        """
        _run(self._closing(self._plan()))
        return self.on_their_way

    def fetch(self) -> list[Wanted]:
        """Plan, and fetch what is missing.

        Raises:
            FetchError: Some files cannot be had; what has arrived stays, and the same call goes on from there.
            DataError: The disk cannot take it, or an archive or table that arrived cannot be read.
        """
        _run(self._closing(self._fetch()))
        return self.on_their_way

    async def _closing(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        finally:
            for source in self._sources.values():
                await source.close()
            self._sources = {}

    async def _plan(self) -> None:
        gate = asyncio.Semaphore(self.limits.concurrent)

        async def planned(entry: CatalogueEntry) -> Wanted | None:
            async with gate:
                try:
                    return await self._planned(entry)
                except (FetchError, DataError) as error:
                    if not self._tolerant:
                        raise
                    self.failed.append((entry, error))
                    return None

        # One after the other for entries of one data set: they share its folder, and list it once.
        groups: dict[str, list[CatalogueEntry]] = {}
        for entry in self.entries:
            try:
                groups.setdefault(identity_of(entry).folder, []).append(entry)
            except DataError as error:
                if not self._tolerant:
                    raise
                self.failed.append((entry, error))

        async def group(entries: list[CatalogueEntry]) -> list[Wanted]:
            return [one for entry in entries if (one := await planned(entry)) is not None]

        tasks = [asyncio.ensure_future(group(entries)) for entries in groups.values()]
        try:
            results = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        by_entry = {id(one.entry): one for result in results for one in result}
        self.on_their_way = [by_entry[id(entry)] for entry in self.entries if id(entry) in by_entry]

    async def _planned(self, entry: CatalogueEntry) -> Wanted:
        identity = identity_of(entry)
        folder = DatasetFolder(self.root, identity)
        manifest = folder.manifest()
        listed_now = identity.folder in self._sources
        if not manifest.files or (self.update and not listed_now):
            source = self._source(entry, "")
            found = await source.find()
            if entry.sha256:
                if len(found.files) > 1:
                    raise DataError(f"{entry.name} has {len(found.files)} files, and sha256 is for a single one.")
                found = replace(found, files={n: replace(f, sha256=entry.sha256) for n, f in found.files.items()})
            manifest = _taken(folder, found, anew=self.update)
        manifest = await asyncio.to_thread(_recover, folder, manifest)
        return _chosen(entry, folder, manifest, self.wanted)

    def _source(self, entry: CatalogueEntry, revision: str) -> Source:
        key = identity_of(entry).folder
        if key not in self._sources:
            self._sources[key] = source_of(entry, revision, self.limits.patience)
        return self._sources[key]

    async def _fetch(self) -> None:
        await self._plan()
        while True:
            jobs = self._jobs()
            self.check_room()
            await fetch_jobs(jobs, self.limits.concurrent, self.limits.patience, self.progress)
            for one in self.on_their_way:
                one.manifest = one.folder.manifest()
                one.look()
                if not one.settled:
                    await asyncio.to_thread(_settle, one)
            if all(one.settled and not one.missing for one in self.on_their_way):
                for one in self.on_their_way:
                    remember(one)
                return

    def _jobs(self) -> list[Job]:
        """What is missing, every file once; smaller data sets' files are not held up by a large one's."""
        jobs: dict[Path, Job] = {}
        for one in self.on_their_way:
            for name in one.missing:
                target = one.folder.file(name)
                if target not in jobs:
                    source = self._source(one.entry, one.manifest.revision)
                    jobs[target] = Job(source, one.manifest.files[name], target, one.folder)
        return list(jobs.values())

    def check_room(self) -> None:
        """Refuse a download that the disk cannot hold.

        Raises:
            DataError: It would leave less than ``KEEP_FREE`` free.
        """
        check_room(self.root, sum(max(0, (job.file.size or 0) - job.arrived()) for job in self._jobs()))


def check_room(root: Path, needed: int) -> None:
    """Refuse a download that the disk cannot hold.

    Raises:
        DataError: It would leave less than ``KEEP_FREE`` free.
    """
    above = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(above).free
    if needed and needed + KEEP_FREE > free:
        raise DataError(
            f"{needed / 1e9:,.1f} GB are to be fetched into {printable(str(root))}, and {free / 1e9:,.1f} GB are free there; "
            "take less (--mode small, --datasets), free space (gasdet data clean), or set GASDET_DATA."
        )


def _taken(folder: DatasetFolder, found: Found, *, anew: bool) -> Manifest:
    """Record a listing; one that another process recorded meanwhile stays, unless it is to be renewed."""
    gone: list[str] = []
    manifest = folder.update(lambda m: gone.extend(m.take(found)) if anew or not m.files else None)
    if gone:
        folder.forget(gone)
    return manifest


def _settle(one: Wanted) -> None:
    """Count what the archives and tables here hold; once that is enough the selection stands, else ask for one more."""
    names = one.choice.one_by_one
    have = names[: len(one.names) - len(one.choice.fixed)]
    while len(one.held) < len(have):
        one.held.append(samples_in(one.folder.files, have[len(one.held)], one.entry))
    if enough(one.held, one.choice, one.entry.stated):
        one.settled = True
    else:
        one.names = [*one.choice.fixed, *names[: len(have) + 1]]
        one.look()


def remember(one: Wanted) -> None:
    """Write down what an entry takes, now that all of it is here."""
    names = list(one.names)
    if one.manifest.selections.get(one.key) == names:
        return

    def change(manifest: Manifest) -> None:
        manifest.selections[one.key] = names

    one.manifest = one.folder.update(change)


def _recover(folder: DatasetFolder, manifest: Manifest) -> Manifest:
    """Write down files that a killed process had finished and not recorded. They are whole, or had no final name."""
    from gasdet.data.remote.fetching import hashed

    lost = [
        n for n in names_on_disk(folder.path) if n in manifest.files and n not in manifest.have and not is_unfinished(n)
    ]
    found = {}
    for name in lost:
        fetched = hashed(folder.file(name))
        stated = manifest.files[name]
        if (stated.sha256 and stated.sha256.lower() != fetched.sha256) or (
            stated.pinned and stated.size != fetched.size
        ):
            folder.file(name).unlink(missing_ok=True)
        else:
            found[name] = fetched
    return folder.update(lambda m: m.have.update(found)) if found else manifest


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end; in a thread of its own where this thread runs a loop already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    errors: list[BaseException] = []

    def body() -> None:
        try:
            asyncio.run(work)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
