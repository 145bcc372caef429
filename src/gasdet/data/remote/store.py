"""The download folder: a folder for each remote data set, held while it is used, with a manifest of what is there."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gasdet.atomic_files import write_json
from gasdet.cachedir import cache_dir
from gasdet.data.names import printable
from gasdet.data.remote.files import Found, RemoteFile
from gasdet.data.remote.transfer import PART, Fetched
from gasdet.errors import DataError

_FORMAT = 1
_MANIFEST = "manifest.json"
_USED = ".used"
"""Held, shared, by every process that uses a data set; its time of change is that of the last use."""
_WRITING = ".writing"
_FILES = "files"
_VIEWS = "views"
_REMOVING = ".removing-"
_ODD = re.compile(r"[^A-Za-z0-9.]+")


def data_dir() -> Path:
    """The download folder: ``GASDET_DATA`` where that is set, else ``datasets`` in the cache folder."""
    own = os.environ.get("GASDET_DATA")
    return Path(own).expanduser().absolute() if own else cache_dir() / "datasets"


@dataclass(frozen=True, slots=True)
class Identity:
    """Which remote data set a folder is for. Holds no secret.

    Attributes:
        source: ``huggingface``, ``s3`` or ``http``.
        location: Without user, password and query.
        variant: Digest of the parts of a query that are no signature; empty without them.
        revision: As the catalogue asks for it.
        sha256: As the catalogue states it.
    """

    source: str
    location: str
    variant: str
    revision: str
    sha256: str

    @property
    def folder(self) -> str:
        """A name that a person can read and that no other data set has."""
        text = "\0".join((self.source, self.location, self.variant, self.revision, self.sha256))
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        readable = _ODD.sub("-", self.location.partition("://")[2] or self.location).strip("-.")[:60]
        return f"{self.source}-{readable}-{digest}"


@dataclass(slots=True)
class Manifest:
    """What a data set's folder says of itself.

    Attributes:
        source: Of the identity, as the next two.
        location: Without anything secret.
        asked: Revision as the catalogue asks for it.
        revision: The commit that everything here belongs to; empty where the source has none.
        files: Everything that the source listed.
        have: What is here whole.
        selections: What each way of reading the data set takes, in its order.
    """

    source: str = ""
    location: str = ""
    asked: str = ""
    revision: str = ""
    files: dict[str, RemoteFile] = field(default_factory=dict)
    have: dict[str, Fetched] = field(default_factory=dict)
    selections: dict[str, list[str]] = field(default_factory=dict)

    def to_mapping(self) -> dict[str, Any]:
        """As it is written."""
        return {
            "format": _FORMAT,
            "source": self.source,
            "location": self.location,
            "asked_revision": self.asked,
            "revision": self.revision,
            "files": {name: self.files[name].to_mapping() for name in sorted(self.files)},
            "have": {n: {"size": self.have[n].size, "sha256": self.have[n].sha256} for n in sorted(self.have)},
            "selections": {key: self.selections[key] for key in sorted(self.selections)},
        }

    @classmethod
    def from_mapping(cls, stated: Mapping[str, Any]) -> Manifest:
        """The reverse; ValueError, KeyError or TypeError where it is none."""
        if stated["format"] != _FORMAT:
            raise ValueError(f"format {stated['format']}")
        return cls(
            stated["source"],
            stated["location"],
            stated["asked_revision"],
            stated["revision"],
            {name: RemoteFile.from_mapping(name, facts) for name, facts in stated["files"].items()},
            {name: Fetched(facts["size"], facts["sha256"]) for name, facts in stated["have"].items()},
            {key: list(names) for key, names in stated["selections"].items()},
        )

    def take(self, found: Found) -> list[str]:
        """Go over to a new listing; what the source lists as another file than before is no longer here.

        Returns:
            The names of files that must go.
        """
        gone = [name for name in self.have if not _unchanged(self.files.get(name), found.files.get(name))]
        if found.files != self.files or found.revision != self.revision:
            self.selections = {}
        self.revision, self.files = found.revision, dict(found.files)
        self.have = {name: fetched for name, fetched in self.have.items() if name not in set(gone)}
        return gone


def _unchanged(before: RemoteFile | None, now: RemoteFile | None) -> bool:
    return before is not None and before == now and (before.pinned or bool(before.version))


class DatasetFolder:
    """The folder of one remote data set, held against removal for as long as this object lives.

    Raises:
        DataError: It cannot be made.
    """

    def __init__(self, root: Path, identity: Identity) -> None:
        self.path = root / identity.folder
        self.files = self.path / _FILES
        self._identity = identity
        try:
            descriptor = _hold(self.path)
        except OSError as error:
            raise DataError(f"{printable(str(self.path))} cannot be used ({error.strerror or error}).") from None
        self._release = weakref.finalize(self, os.close, descriptor)

    def manifest(self) -> Manifest:
        """What is known of the data set; a fresh one where nothing is."""
        found = read_manifest(self.path)
        return found or Manifest(self._identity.source, self._identity.location, self._identity.revision)

    def update(self, change: Callable[[Manifest], None]) -> Manifest:
        """Change the manifest, one process after the other."""
        descriptor = os.open(self.path / _WRITING, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            manifest = self.manifest()
            before = manifest.to_mapping()
            change(manifest)
            if (after := manifest.to_mapping()) != before:
                write_json(self.path / _MANIFEST, after)
            return manifest
        finally:
            os.close(descriptor)

    def file(self, name: str) -> Path:
        """A file's place."""
        return self.files.joinpath(*name.split("/"))

    def missing(self, names: Iterable[str], manifest: Manifest) -> list[str]:
        """Those that are not here, or not recorded as whole, or of another size than recorded."""
        return missing_files(self.path, names, manifest)

    def view(self, names: list[str], manifest: Manifest) -> Path:
        """A folder with these files and nothing else, so that what a reading takes does not depend on what else is here."""
        if set(names) == set(manifest.files):
            return self.files
        digest = hashlib.sha256("\0".join(sorted(names)).encode()).hexdigest()[:16]
        view = self.path / _VIEWS / digest
        if not all(os.path.lexists(view.joinpath(*name.split("/"))) for name in names):
            shutil.rmtree(view, ignore_errors=True)  # it was meddled with
            pending = view.with_name(f".{digest}-{uuid.uuid4().hex}")
            for name in names:
                link = pending.joinpath(*name.split("/"))
                link.parent.mkdir(parents=True, exist_ok=True)
                up = "../" * (name.count("/") + 2)
                link.symlink_to(f"{up}{_FILES}/{name}")
            try:
                pending.rename(view)
            except OSError:  # another process was faster
                shutil.rmtree(pending, ignore_errors=True)
        return view

    def forget(self, names: Iterable[str]) -> None:
        """Remove files and the views, which may point to them."""
        for name in names:
            self.file(name).unlink(missing_ok=True)
        shutil.rmtree(self.path / _VIEWS, ignore_errors=True)


def missing_files(folder: Path, names: Iterable[str], manifest: Manifest) -> list[str]:
    """Those of the names that are not in a data set's folder, or not recorded as whole, or of another size than recorded."""
    files = folder / _FILES
    return [name for name in names if not _is_whole(files.joinpath(*name.split("/")), manifest.have.get(name))]


def _is_whole(path: Path, recorded: Fetched | None) -> bool:
    try:
        return recorded is not None and path.stat().st_size == recorded.size
    except OSError:
        return False


def read_manifest(folder: Path) -> Manifest | None:
    """A data set folder's manifest; None where there is none.

    Raises:
        DataError: It is damaged, or of another version of gasdet.
    """
    path = folder / _MANIFEST
    try:
        return Manifest.from_mapping(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise DataError(
            f"{printable(str(path))} cannot be read as the manifest of a download; remove its folder and fetch again."
        ) from None


def names_on_disk(folder: Path) -> Iterator[str]:
    """The names of everything in a data set folder's ``files``, sorted, parts of unfinished files included."""
    root = folder / _FILES
    for path in sorted(root.rglob("*")):
        if not path.is_dir() or path.is_symlink():
            yield path.relative_to(root).as_posix()


def is_unfinished(name: str) -> bool:
    """Whether a file is what an interrupted download left."""
    return name.endswith((PART, f"{PART}.json", f"{PART}.json.pending"))


def _hold(path: Path) -> int:
    """A descriptor with the shared lock."""
    while True:
        path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path / _USED, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        with suppress(FileNotFoundError):
            if os.stat(path / _USED).st_ino == os.fstat(descriptor).st_ino:  # not removed between opening and locking
                os.utime(path / _USED)
                return descriptor
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Unit:
    """A folder that can be made or fetched again.

    Attributes:
        path: Of the folder.
        size: Bytes of everything in it; links do not count.
        last_use: Seconds since 1970.
    """

    path: Path
    size: int
    last_use: float


def units_of(root: Path) -> list[Unit]:
    """Every folder below a root that its users hold by a ``.used`` file; what a removal left half done is finished."""
    if not root.is_dir():
        return []
    for left in root.glob(f"{_REMOVING}*"):
        shutil.rmtree(left, ignore_errors=True)
    units = []
    for lock in sorted(root.glob(f"*/{_USED}")):
        with suppress(FileNotFoundError):
            units.append(Unit(lock.parent, _size(lock.parent), lock.stat().st_mtime))
    return units


def _size(folder: Path) -> int:
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(where, name)).st_size
    return total


@contextmanager
def unused(folder: Path) -> Iterator[bool]:
    """Whether nobody uses a folder; where so, nobody begins to while this lasts."""
    try:
        descriptor = os.open(folder / _USED, os.O_RDWR)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


def remove_unit(folder: Path) -> bool:
    """Remove a folder unless somebody uses it; whoever wants it meanwhile gets a new one."""
    with unused(folder) as free:
        if not free:
            return False
        away = folder.with_name(f"{_REMOVING}{folder.name}-{uuid.uuid4().hex[:8]}")
        os.rename(folder, away)
    shutil.rmtree(away, ignore_errors=True)
    return True
