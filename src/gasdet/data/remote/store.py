"""The download folder: a folder for each remote data set, held while it is used, with a manifest of what is there."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import random
import shutil
import stat
import time
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gasdet.atomic_files import write_json
from gasdet.cache.folders import USED, CacheFolder, folders_below, hold, is_lock_of
from gasdet.cachedir import cache_dir
from gasdet.data.names import printable
from gasdet.data.remote.files import Found
from gasdet.data.remote.manifest import MANIFEST, Identity, Manifest, read_manifest
from gasdet.data.remote.transfer import PART, Fetched
from gasdet.errors import DataError

_WRITING = ".writing"
_FILES = "files"
_VIEWS = "views"
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
_TRIES_ALONE = 30
"""Some two seconds: two processes that update the same data at once get out of each other's way."""


def data_dir() -> Path:
    """The download folder: ``GASDET_DATA`` where that is set, else ``datasets`` in the cache folder."""
    own = os.environ.get("GASDET_DATA")
    return Path(own).expanduser().absolute() if own else cache_dir() / "datasets"


class _Hold:
    """A folder held against removal by this process, for as long as this object lives.

    Attributes:
        descriptor: Of the lock; None where there is none to be had, in a folder that cannot be written.
        writable: Whether the folder can be written.
    """

    def __init__(self, folder: Path) -> None:
        self.descriptor, self.writable = _held(folder)
        if self.descriptor is not None:
            weakref.finalize(self, os.close, self.descriptor)


_HOLDS: weakref.WeakValueDictionary[Path, _Hold] = weakref.WeakValueDictionary()
"""One for each folder: what this process reads does not keep the same process from updating it."""


def _held(folder: Path) -> tuple[int | None, bool]:
    try:
        return hold(folder), True
    except OSError as error:
        if error.errno not in _READ_ONLY or not (folder / MANIFEST).is_file():
            raise
    try:
        descriptor = os.open(folder / USED, os.O_RDONLY)
    except OSError:
        return None, False
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor, False


def _hold_of(folder: Path) -> _Hold:
    known = _HOLDS.get(folder)
    if known is None or (known.descriptor is not None and not is_lock_of(folder, known.descriptor)):
        known = _HOLDS[folder] = _Hold(folder)
    return known


class DatasetFolder:
    """The folder of one remote data set, held against removal for as long as this object lives.

    A folder that cannot be written is held if it can be, and read.

    Args:
        root: The download folder.
        identity: Of the data set.
        held: False to look without holding, and without making anything.

    Raises:
        DataError: It cannot be made.
    """

    def __init__(self, root: Path, identity: Identity, *, held: bool = True) -> None:
        self.path = root / identity.folder
        self.files = self.path / _FILES
        self._identity = identity
        try:
            self._hold = _hold_of(self.path) if held else None
        except OSError as error:
            raise DataError(f"{printable(str(self.path))} cannot be used ({error.strerror or error}).") from None
        self.writable = self._hold is not None and self._hold.writable
        self._views: dict[Path, CacheFolder] = {}

    def manifest(self) -> Manifest:
        """What is known of the data set; a fresh one where nothing is."""
        found = read_manifest(self.path)
        return found or Manifest(self._identity.source, self._identity.location, self._identity.revision)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Be the only process that writes here."""
        try:
            descriptor = os.open(self.path / _WRITING, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise DataError(
                f"{printable(str(self.path))} cannot be written ({error.strerror or error}); set GASDET_DATA to another folder."
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def update(self, change: Callable[[Manifest], None]) -> Manifest:
        """Change the manifest, one process after the other."""
        with self._writing():
            manifest = self.manifest()
            before = manifest.to_mapping()
            change(manifest)
            if (after := manifest.to_mapping()) != before:
                write_json(self.path / MANIFEST, after)
            return manifest

    def renew(self, found: Found, *, anew: bool) -> Manifest:
        """Record a listing, and remove what is another file in it than before.

        Args:
            found: The listing.
            anew: Also where there is one already, which else stays.

        Raises:
            DataError: Files would have to go, and another process uses the folder.
        """

        def change(manifest: Manifest) -> None:
            if anew or not manifest.files:
                manifest.take(found)

        return self._change(lambda manifest: manifest.replaced(found) if anew else [], change)

    def drop(self, names: Iterable[str]) -> Manifest:
        """Remove files that are not what was recorded.

        Raises:
            DataError: Another process uses the folder.
        """
        wrong = list(names)

        def change(manifest: Manifest) -> None:
            for name in wrong:
                manifest.have.pop(name, None)

        return self._change(lambda _: [name for name in wrong if os.path.lexists(self.file(name))], change)

    def _change(self, going: Callable[[Manifest], list[str]], change: Callable[[Manifest], None]) -> Manifest:
        """Change the manifest. Files that go do so first, and only while no other process uses the folder."""
        gone: list[str] = []

        def gently(manifest: Manifest) -> None:
            gone[:] = going(manifest)
            if not gone:
                change(manifest)

        def with_removal(manifest: Manifest) -> None:
            for name in sorted(going(manifest), key=lambda name: not self.file(name).is_dir()):
                # folders first: where one cannot go, nothing else has gone yet
                remove_file(self.file(name))
            shutil.rmtree(self.path / _VIEWS, ignore_errors=True)  # they may point there
            change(manifest)

        for _ in range(_TRIES_ALONE):
            manifest = self.update(gently)
            if not gone:
                return manifest
            with self._alone() as alone:
                if alone:
                    return self.update(with_removal)
            time.sleep(random.uniform(0.02, 0.1))
        raise DataError(
            f"{len(gone):,} files in {printable(str(self.path))} are to be replaced, and another process uses them; wait until "
            "it has ended."
        )

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether no other process holds the folder; where so, none begins to while this lasts."""
        descriptor = self._hold.descriptor if self._hold is not None else None
        if descriptor is None:
            yield False
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(descriptor, fcntl.LOCK_SH)  # the attempt has let go of it
            yield False
            return
        try:
            yield is_lock_of(self.path, descriptor)
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_SH)

    def file(self, name: str) -> Path:
        """A file's place."""
        return self.files.joinpath(*name.split("/"))

    def missing(self, names: Iterable[str], manifest: Manifest) -> list[str]:
        """Those that are not here, or not recorded as whole, or of another size than recorded."""
        return missing_files(self.path, names, manifest)

    def view(self, names: list[str], manifest: Manifest) -> Path:
        """A folder with these files and nothing else, so that what a reading takes does not depend on what else is here.

        It is in its place only when it has all links, and no link is ever taken from it while somebody reads.
        """
        if set(names) == set(manifest.files):
            return self.files
        digest = hashlib.sha256("\0".join(sorted(names)).encode()).hexdigest()[:16]
        view = self.path / _VIEWS / digest
        if _is_linked(view, names):
            return view
        if not self.writable:
            return self._view_elsewhere(digest, names)
        with self._writing():
            _make_links(view, names, self.files)
        return view

    def _view_elsewhere(self, digest: str, names: list[str]) -> Path:
        """A view in the cache folder, of data that cannot be written to."""
        folder = CacheFolder(cache_dir() / "views", {"folder": str(self.path), "view": digest})
        self._views[folder.path] = folder
        view = folder.path / _FILES
        with folder.writing():
            if not _is_linked(view, names):
                _make_links(view, names, self.files)
        return view


def _is_linked(view: Path, names: Iterable[str]) -> bool:
    return all(os.path.lexists(view.joinpath(*name.split("/"))) for name in names)


def _make_links(view: Path, names: Iterable[str], files: Path) -> None:
    """Make a folder of links, or put back those that somebody has removed. Nobody else does so meanwhile."""
    for left in view.parent.glob(f".{view.name}-*"):
        shutil.rmtree(left, ignore_errors=True)
    pending = view if view.is_dir() else view.with_name(f".{view.name}-{uuid.uuid4().hex}")
    for name in names:
        link = pending.joinpath(*name.split("/"))
        link.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(link):
            at_last = view.joinpath(*name.split("/")).parent
            link.symlink_to(os.path.relpath(files.joinpath(*name.split("/")), at_last))
    if pending != view:
        pending.rename(view)


def missing_files(folder: Path, names: Iterable[str], manifest: Manifest) -> list[str]:
    """Those of the names that are not in a data set's folder, or not recorded as whole, or of another size than recorded."""
    files = folder / _FILES
    return [name for name in names if not _is_whole(files.joinpath(*name.split("/")), manifest.have.get(name))]


def _is_whole(path: Path, recorded: Fetched | None) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return recorded is not None and stat.S_ISREG(status.st_mode) and status.st_size == recorded.size


def names_on_disk(folder: Path) -> list[str]:
    """The names of everything in a data set folder's ``files``, sorted, parts of unfinished files and links included."""
    root = folder / _FILES
    found = []
    for where, folders, names in os.walk(root):
        links = [name for name in folders if os.path.islink(os.path.join(where, name))]
        found += [Path(where, name).relative_to(root).as_posix() for name in (*names, *links)]
    return sorted(found)


def remove_file(path: Path) -> None:
    """Remove what is in a file's place: a file, a link, or an empty folder. Nothing there is well, too.

    Raises:
        DataError: It cannot be removed. A folder with something in it is nobody's download, and stays.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"{printable(str(path))} stands where a file is to be fetched to, and cannot be removed "
            f"({error.strerror or error}); move it away."
        ) from None


def is_unfinished(name: str) -> bool:
    """Whether a file is what an interrupted download left."""
    return name.endswith((PART, f"{PART}.json", f"{PART}.json.pending"))


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
    """Every folder below a root that its users hold by a ``.used`` file."""
    units = []
    for folder in folders_below(root):
        with suppress(FileNotFoundError):
            units.append(Unit(folder, _size(folder), (folder / USED).stat().st_mtime))
    return units


def _size(folder: Path) -> int:
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(where, name)).st_size
    return total
