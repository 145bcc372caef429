"""Whether downloads are what they were: complete, whole, and nothing besides."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from gasdet.data.remote.damage import damage_of
from gasdet.data.remote.manifest import Manifest, read_manifest
from gasdet.data.remote.store import is_unfinished, names_on_disk
from gasdet.errors import DataError
from gasdet.progress import ProgressSink, Silent

Trouble = Literal["missing", "short", "corrupt", "extra", "unfinished", "unreadable", "not downloaded"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        trouble: ``missing``: a file that a reading takes is not here, or is a link that leads nowhere. ``short``: it has fewer
            bytes than it had. ``corrupt``: it has others, or came without a length or a checksum and cannot be opened.
            ``extra``: a file that the source does not list. ``unfinished``: the rest of an interrupted download.
            ``unreadable``: the disk does not give it, or the manifest. ``not downloaded``: nothing of the data set is here,
            or not all that the entry takes was ever fetched.
        file: Its path in the data set; empty where it is about the whole.
        message: What was found, in words.
    """

    trouble: Trouble
    file: str
    message: str


@dataclass(frozen=True, slots=True)
class Verified:
    """One data set's state.

    Attributes:
        folder: Where it lies; None where it does not.
        source: As in the catalogue.
        location: Without anything secret.
        revision: The hub's commit.
        files: How many files its readings take.
        bytes: Of those that are here.
        findings: What is wrong.
    """

    folder: Path | None
    source: str
    location: str
    revision: str
    files: int
    bytes: int
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Nothing is wrong. The rest of an interrupted download alone does no harm."""
        return all(finding.trouble == "unfinished" for finding in self.findings)


def verify_folder(
    folder: Path, keys: Iterable[str] | None, *, quick: bool, progress: ProgressSink | None = None
) -> Verified:
    """Look at one data set folder.

    Args:
        folder: A data set's folder.
        keys: The selections that must be here; None for all that were ever made.
        quick: Compare sizes only, and read nothing.
        progress: Told of bytes.
    """
    progress = progress or Silent()
    try:
        manifest = read_manifest(folder)
    except DataError as error:
        return Verified(folder, "", folder.name, "", 0, 0, (Finding("unreadable", "", str(error).rstrip(".")),))
    if manifest is None:
        nothing = Finding("not downloaded", "", "nothing of it was fetched yet")
        return Verified(folder, "", folder.name, "", 0, 0, (nothing,))
    chosen = manifest.selections.values() if keys is None else [manifest.selections.get(key) for key in keys]
    wanted = {name for names in chosen if names is not None for name in names}
    findings = []
    if not wanted:
        findings.append(Finding("not downloaded", "", "no way of reading it was fetched to its end yet"))
    files = folder / "files"
    there = names_on_disk(folder)
    progress.start("verifying", sum(manifest.have[n].size for n in there if n in manifest.have), unit="bytes")
    present = 0
    try:
        for name in there:
            finding = _look(files / name, name, manifest, quick=quick)
            if finding is not None:
                findings.append(finding)
            if name in manifest.have:
                present += _size(files / name)
                progress.advance(manifest.have[name].size, int(finding is not None))
    finally:
        progress.finish()
    missing = sorted((wanted | set(manifest.have)) - set(there))
    findings += [
        Finding("missing", name, "a folder is in its place" if (files / name).is_dir() else "the file is gone")
        for name in missing
    ]
    files_wanted = len(wanted or manifest.have)
    return Verified(
        folder, manifest.source, manifest.location, manifest.revision, files_wanted, present, tuple(findings)
    )


def _look(path: Path, name: str, manifest: Manifest, *, quick: bool) -> Finding | None:
    if is_unfinished(name):
        return Finding("unfinished", name, "the rest of an interrupted download")
    if name not in manifest.files:
        return Finding("extra", name, "the source lists no such file")
    recorded = manifest.have.get(name)
    if recorded is None:  # finished by a process that was killed before it could record it
        return Finding("unfinished", name, "never recorded as whole; the next download checks it")
    damage = damage_of(path, recorded, quick=quick)
    return None if damage is None else Finding(damage.kind, name, damage.message)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def not_fetched(state: Verified, names: Iterable[str]) -> Verified:
    """A state with the entries of a catalogue added whose files were never fetched to their end."""
    told = tuple(Finding("not downloaded", "", f"{name} was not fetched to its end yet") for name in names)
    plain = [finding for finding in state.findings if not (told and finding.trouble == "not downloaded")]
    return replace(state, findings=(*told, *plain))


def nowhere(source: str, location: str) -> Verified:
    """The state of data that gasdet cannot fetch."""
    finding = Finding("not downloaded", "", f"gasdet does not fetch from {source}")
    return Verified(None, source, location, "", 0, 0, (finding,))
