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
from gasdet.data.listing import counted
from gasdet.data.names import printable
from gasdet.data.remote.choosing import selection_key, wanted_in
from gasdet.data.remote.fetching import Job, fetch_jobs
from gasdet.data.remote.files import Found, Source
from gasdet.data.remote.manifest import Manifest, read_manifest
from gasdet.data.remote.patience import Patience
from gasdet.data.remote.places import REMOTE, identity_of, refuse_mixed, source_of
from gasdet.data.remote.store import DatasetFolder, data_dir, missing_files
from gasdet.data.remote.wanted import Wanted, chosen, damaged, drop_damaged, known, recovered, remember, settle
from gasdet.errors import DataError, FetchError, GasdetError, about_lines
from gasdet.progress import ProgressSink, Silent

__all__ = ["Downloader", "Limits", "Wanted", "is_at_hand", "known", "remember"]

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


def is_at_hand(entry: CatalogueEntry, root: Path | None = None) -> bool:
    """Whether an entry's data are on this machine: a local path that exists, or a download that is complete for some mode.

    Args:
        entry: Of a catalogue.
        root: The download folder; None for the usual one.
    """
    if entry.source == "local":
        return entry.path.exists()
    if entry.source not in REMOTE:
        return False
    folder = (root or data_dir()) / identity_of(entry).folder  # looked at without holding it: looking is no use of it
    manifest = read_manifest(folder)
    if manifest is None:
        return False
    modes = {selection_key(entry, wanted_in("full")), selection_key(entry, wanted_in("small"))}
    taken = [names for key, names in manifest.selections.items() if key in modes]
    return any(not missing_files(folder, names, manifest) for names in taken)


class Downloader:
    """Lists, sizes up and fetches the data of several entries.

    Args:
        entries: Remote ones.
        wanted: How many samples of each are to be read; None for all.
        root: The download folder.
        limits: How to go about it.
        update: List anew what was listed before.
        repair: Read what is here, and fetch again what has another content than when it was fetched.
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
        repair: bool = False,
        tolerant: bool = False,
        progress: ProgressSink | None = None,
    ) -> None:
        self.entries, self.wanted, self.root, self.update = list(entries), wanted, root, update
        self.limits = limits or Limits()
        self.progress = progress or Silent()
        self.on_their_way: list[Wanted] = []
        self.failed: list[tuple[CatalogueEntry, GasdetError]] = []
        self._tolerant, self._repair = tolerant, repair
        self._sources: dict[str, Source] = {}
        self._listed: dict[str, Found] = {}
        self._damaged: dict[str, list[str]] = {}
        self._reading = asyncio.Lock()

    def plan(self) -> list[Wanted]:
        """List every data set that is not listed yet, and say what each entry takes and lacks. Writes and removes nothing.

        Raises:
            FetchError: A source says no, or cannot be reached.
            DataError: Nothing is left of an entry's files.
        """
        _run(self._closing(self._plan(writing=False)))
        return self.on_their_way

    def fetch(self) -> list[Wanted]:
        """Plan, and fetch what is missing. What an earlier plan has listed is not listed again.

        Raises:
            FetchError: Some files cannot be had; what has arrived stays, and the same call goes on from there.
            DataError: The disk cannot take it, an archive or table that arrived cannot be read, or files must be replaced that
                another process uses.
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

    async def _plan(self, *, writing: bool) -> None:
        refuse_mixed([entry for entry in self.entries if entry.source in REMOTE])
        gate = asyncio.Semaphore(self.limits.concurrent)

        async def planned(entry: CatalogueEntry) -> Wanted | None:
            async with gate:
                try:
                    with about_lines("away", entry.line):
                        return await self._planned(entry, writing=writing)
                except (FetchError, DataError) as error:
                    if not self._tolerant:
                        raise
                    self.failed.append((entry, error))
                    return None

        # One after the other for entries of one data set: they share its folder, and list it once.
        groups: dict[str, list[CatalogueEntry]] = {}
        for entry in self.entries:
            try:
                with about_lines("away", entry.line):
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

    async def _planned(self, entry: CatalogueEntry, *, writing: bool) -> Wanted:
        identity = identity_of(entry)
        folder = DatasetFolder(self.root, identity, held=writing)
        manifest = folder.manifest()
        if manifest.files:
            manifest = await asyncio.to_thread(recovered, folder, manifest)
        if not manifest.files or self.update:
            found = await self._found(entry)
            if writing:
                manifest = await asyncio.to_thread(folder.renew, found, anew=self.update)
            else:
                manifest.take(found)
        if self._repair:
            async with self._reading:  # one after the other, for the disk and for the progress
                if identity.folder not in self._damaged:
                    self._damaged[identity.folder] = await self._read_all(folder, manifest)
            wrong = self._damaged[identity.folder]
            if writing:
                manifest = await asyncio.to_thread(folder.drop, wrong)
                self._damaged[identity.folder] = []
            else:
                manifest.have = {name: fetched for name, fetched in manifest.have.items() if name not in wrong}
        return chosen(entry, folder, manifest, self.wanted)

    async def _read_all(self, folder: DatasetFolder, manifest: Manifest) -> list[str]:
        """The damaged files; the reading is another thread's work, and telling of it this one's."""
        loop = asyncio.get_running_loop()

        def advance(done: int, errors: int) -> None:
            loop.call_soon_threadsafe(self.progress.advance, done, errors)

        self.progress.start("verifying", sum(fetched.size for fetched in manifest.have.values()), unit="bytes")
        try:
            return await asyncio.to_thread(damaged, folder, manifest, advance)
        finally:
            self.progress.finish()

    async def _found(self, entry: CatalogueEntry) -> Found:
        """The listing of an entry's data set, asked for once."""
        key = identity_of(entry).folder
        if key not in self._listed:
            found = await self._source(entry, "").find()
            if entry.sha256:
                if len(found.files) > 1:
                    raise DataError(f"{entry.name} has {len(found.files)} files, and sha256 is for a single one.")
                found = replace(found, files={n: replace(f, sha256=entry.sha256) for n, f in found.files.items()})
            self._listed[key] = found
        return self._listed[key]

    def _source(self, entry: CatalogueEntry, revision: str) -> Source:
        key = identity_of(entry).folder
        if key not in self._sources:
            self._sources[key] = source_of(entry, revision, self.limits.patience)
        return self._sources[key]

    async def _fetch(self) -> None:
        await self._plan(writing=True)
        while True:
            await self._drop_damaged()
            jobs = self._jobs()
            self.check_room()
            try:
                await fetch_jobs(jobs, self.limits.concurrent, self.limits.patience, self.progress)
            finally:
                self._look_again()
            for one in self.on_their_way:
                if not one.settled:
                    with about_lines("unreadable", one.entry.line):
                        await asyncio.to_thread(settle, one)
            if all(one.settled and not one.missing for one in self.on_their_way):
                self._look_again()
                return

    def _look_again(self) -> None:
        """See what is here by now, and write down what is complete, also where something else has failed."""
        for one in self.on_their_way:
            one.manifest = one.folder.manifest()
            one.look()
            if one.settled and not one.missing:
                remember(one)

    async def _drop_damaged(self) -> None:
        """Make way for what is fetched; a data set in which that cannot be does not stop the others."""
        for one in list(self.on_their_way):
            try:
                with about_lines("away", one.entry.line):
                    await asyncio.to_thread(drop_damaged, one)
            except DataError as error:
                if not self._tolerant:
                    raise
                self.failed.append((one.entry, error))
                self.on_their_way.remove(one)

    def _jobs(self) -> list[Job]:
        """What is missing, every file once; smaller data sets' files are not held up by a large one's."""
        jobs: dict[Path, Job] = {}
        for one in self.on_their_way:
            for name in one.missing:
                target = one.folder.file(name)
                if target not in jobs:
                    source = self._source(one.entry, one.manifest.revision)
                    jobs[target] = Job(source, one.manifest.files[name], target, one.folder)
                jobs[target].lines.append(one.entry.line)
        return list(jobs.values())

    def check_room(self) -> None:
        """Refuse a download that the disk cannot hold.

        Raises:
            DataError: It would leave less than ``KEEP_FREE`` free.
        """
        check_room(self.root, sum(max(0, (job.file.size or 0) - job.arrived()) for job in self._jobs()))


def told_of_unsure(names: Sequence[str]) -> str:
    """What to say of files that nothing said the length of."""
    return (
        f"{counted(len(names), 'file')} came without a length or a checksum ({printable(names[0])}"
        f"{', ...' if len(names) > 1 else ''}), so that nothing says whether they are whole"
    )


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
