"""What one entry takes of its data set, and what of that is here."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from gasdet.data.catalogue import CatalogueEntry
from gasdet.data.remote.choosing import Choice, choose, enough, samples_in, selection_key
from gasdet.data.remote.damage import damage_of
from gasdet.data.remote.fetching import fits, recorded_of
from gasdet.data.remote.manifest import Manifest, read_manifest
from gasdet.data.remote.places import identity_of
from gasdet.data.remote.store import DatasetFolder, is_unfinished, names_on_disk, remove_file


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
        """Bytes of files: of those that are here as they are, of others as far as the source says."""
        have, listed = self.manifest.have, self.manifest.files
        return sum(
            have[name].size if name in have else listed[name].size or 0
            for name in names
            if name in have or name in listed
        )

    def unsure(self) -> list[str]:
        """Those of ``names`` that came without a length or a checksum: whether they are whole is not known."""
        return [name for name in self.names if name in self.manifest.have and not self.manifest.have[name].sure]

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
    one = chosen(entry, folder, manifest, wanted)
    if one.missing and (found := recovered(folder, manifest)) is not manifest:
        one = chosen(entry, folder, found, wanted)
    while not (one.settled or one.missing):
        settle(one)
    return one


def chosen(entry: CatalogueEntry, folder: DatasetFolder, manifest: Manifest, wanted: int | None) -> Wanted:
    """What an entry takes of a data set."""
    choice = choose(manifest.files, entry, wanted)
    key = selection_key(entry, wanted)
    on_its_way = Wanted(entry, folder, manifest, key, choice)
    names = manifest.selections.get(key)
    on_its_way.settled = names is not None or not choice.one_by_one
    on_its_way.names = [*choice.fixed, *choice.one_by_one[:1]] if names is None else names
    on_its_way.look()
    return on_its_way


def settle(one: Wanted) -> None:
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
    if one.manifest.selections.get(one.key) == names or not one.folder.writable:
        return

    def change(manifest: Manifest) -> None:
        manifest.selections[one.key] = names

    one.manifest = one.folder.update(change)


_NO_FILE = (errno.ENOENT, errno.EISDIR, errno.ELOOP)
"""A link that leads nowhere, a folder, a link that leads to itself."""


def recovered(folder: DatasetFolder, manifest: Manifest) -> Manifest:
    """The manifest with files that a killed process had finished and not recorded. They are whole, or had no final name.

    They are written down where the folder is held and can be written; else they only count. What is not as the source states
    is removed, or does not count.
    """
    lost = [
        n for n in names_on_disk(folder.path) if n in manifest.files and n not in manifest.have and not is_unfinished(n)
    ]
    found = {}
    for name in lost:
        path = folder.file(name)
        try:
            fetched = recorded_of(path, manifest.files[name])
        except OSError as error:
            if error.errno in _NO_FILE and folder.writable:
                remove_file(path)
            continue  # a disk, or a limit, that fails for once says nothing about the file
        if fits(fetched, manifest.files[name]):
            found[name] = fetched
        elif folder.writable:
            remove_file(path)
    if not found:
        return manifest
    if folder.writable:
        return folder.update(lambda m: m.have.update(found))
    return replace(manifest, have={**manifest.have, **found})


def drop_damaged(one: Wanted) -> None:
    """Remove what has another size than was recorded: it counts as missing, and would stand in the way of what is fetched.

    Raises:
        DataError: Another process uses the folder, or something in a file's place cannot be removed.
    """
    wrong = [
        name
        for name in one.missing
        if os.path.lexists(path := one.folder.file(name)) and (name in one.manifest.have or path.is_dir())
    ]
    if wrong:
        one.manifest = one.folder.drop(wrong)


def damaged(folder: DatasetFolder, manifest: Manifest, advance: Callable[[int, int], None]) -> list[str]:
    """The names of files that are not what was recorded when they were fetched. Every file is read.

    Args:
        folder: Of the data set.
        manifest: Its manifest.
        advance: Told of the bytes of each file, and of 1 where it is damaged.
    """
    wrong = []
    for name, recorded in sorted(manifest.have.items()):
        path = folder.file(name)
        is_wrong = os.path.lexists(path) and damage_of(path, recorded) is not None
        wrong += [name] if is_wrong else []
        advance(recorded.size, int(is_wrong))
    return wrong
