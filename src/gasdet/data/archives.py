"""Zip and tar archives: what is in them, and one member's bytes. Nothing is ever unpacked to disk."""

from __future__ import annotations

import lzma
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable
from typing import IO, Protocol

from gasdet.data.containers import zip_directory_bytes
from gasdet.data.listing import HEAD_BYTES, Entry, Listing, NeedsHead, Problem, counted
from gasdet.data.names import ArchiveKind, archive_kind, is_litter, printable
from gasdet.errors import DataError, MediaError
from gasdet.types import Locator, Reason

MAX_MEMBER_BYTES = 512 * 2**20
"""A member that would expand to more is an error: it would have to be held in memory."""
MAX_RATIO = 200
"""Expanded bytes per compressed byte. Media are compressed already; what expands further is a bomb..."""
RATIO_FLOOR_BYTES = 64 * 2**20
"""...unless it is small: a silent recording or a black picture may well shrink a thousandfold."""
MAX_MEMBERS = 4_000_000
"""Members of one archive: three times ImageNet's. Each is a description in memory before anything can be chosen."""
MAX_DIRECTORY_BYTES = 768 * 2**20
"""Of a zip's central directory, which is read as a whole."""

# What the standard library raises for damaged archives; found by changing random bytes in good ones.
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    RuntimeError,
    OverflowError,
    IndexError,
)
_DRIVE = re.compile(r"^[A-Za-z]:")


class ArchiveReader(Protocol):
    """An open archive. Not safe for several threads at once."""

    def read(self, member: str, count: int | None = None) -> bytes:
        """A member's bytes, or its first ``count``. Raises MediaError."""

    def folder(self, folder: str) -> dict[str, str]:
        """The files that lie directly in a folder, in the archive's order: name to member. Raises MediaError."""

    def close(self) -> None:
        """Close the file."""


def open_archive(kind: ArchiveKind, path: str) -> ArchiveReader:
    """Open an archive for reading members by name.

    Raises:
        MediaError: The archive is missing or damaged.
    """
    try:
        return ZipReader(path) if kind == "zip" else TarReader(path)
    except FileNotFoundError as error:
        raise MediaError(Reason.FILE_MISSING, "the archive is not there") from error
    except _DAMAGE as error:
        message = f"the {kind} archive cannot be opened ({error})"
        raise MediaError(Reason.ARCHIVE_DAMAGED, message) from error


def list_archive(path: str, *, needs_head: NeedsHead) -> Listing:
    """List every file in a zip (sorted by path) or tar (in its own order, in which it can be read in one pass).

    A member that must not or cannot be read (a link, a device, a name that leaves the archive, an encrypted or doubled
    member, one that expands beyond the bounds) is an entry with a problem.

    Args:
        path: The archive; its name says which kind.
        needs_head: For which names to read the first bytes.

    Raises:
        DataError: The archive as a whole cannot be listed.
    """
    kind = archive_kind(os.path.basename(path))
    if kind is None:
        raise DataError(f"{printable(path)} is named neither like a zip nor like a tar archive.")
    listed = _ListedMembers(path, kind)
    try:
        if kind == "zip":
            with _opened_zip(path) as archive:
                _list_zip(archive, listed, needs_head)
        else:
            with tarfile.open(path, "r:*") as tar:
                _list_tar(tar, listed, needs_head)
    except MediaError as error:
        raise DataError(f"{printable(path)} cannot be listed: {error}; unpack it and give the folder.") from error
    except _DAMAGE as error:
        raise DataError(
            f"{printable(path)} is damaged or no {kind} archive ({error}); get it again, or unpack what can be saved "
            "and give the folder."
        ) from error
    return listed.finish()


class _ListedMembers:
    """Collects a listing: cleans names, leaves litter out, marks names that occur twice."""

    def __init__(self, path: str, kind: ArchiveKind) -> None:
        self.path = path
        self.kind: ArchiveKind = kind
        self.entries: list[Entry] = []
        self.litter = 0

    def add(self, name: str, size: int, problem: Problem | None) -> Entry | None:
        """Take in one member; None where it is litter."""
        member = clean_member(name)
        problem = name_problem(member) or problem
        if problem is None and any(is_litter(part) for part in member.split("/")):
            self.litter += 1
            return None
        place = len(self.entries) if self.kind == "tar" else -1
        entry = Entry(printable(member), Locator(self.kind, self.path, member=name, row=place, size=size), problem)
        self.entries.append(entry)
        return entry

    def finish(self) -> Listing:
        times = Counter(entry.member for entry in self.entries)
        kept: dict[str, Entry] = {}
        for entry in self.entries:
            if times[entry.member] > 1:
                message = f"the archive holds {times[entry.member]} members of this name"
                entry.problem, entry.doubled = (Reason.ARCHIVE_DAMAGED, message), True
            kept.setdefault(entry.member, entry)
        notes = [f"{counted(self.litter, 'hidden or system file')} left out"] if self.litter else []
        entries = list(kept.values())
        if self.kind == "zip":
            entries.sort(key=lambda entry: entry.member)
        return Listing(entries, notes)


def clean_member(name: str) -> str:
    r"""A member's path with forward slashes and without ``./``: some tools write backslashes, tar a leading dot."""
    member = name if "/" in name else name.replace("\\", "/")
    while member.startswith("./"):
        member = member[2:]
    return member


def name_problem(member: str) -> Problem | None:
    """Why a member's name is not accepted: it is absolute, or would leave the archive's folder."""
    if member.startswith(("/", "\\")) or _DRIVE.match(member) or ".." in re.split(r"[/\\]", member):
        return Reason.UNSUPPORTED, "the member has a path that leaves its archive"
    return None


def size_problem(member: str, size: int, compressed: int | None) -> Problem | None:
    """Why a member is too large to be read into memory, going by what the archive says of it."""
    if size > MAX_MEMBER_BYTES:
        bound = f"more than {MAX_MEMBER_BYTES:,}"
    elif compressed is not None and size > RATIO_FLOOR_BYTES and size > MAX_RATIO * max(compressed, 1):
        bound = f"more than {MAX_RATIO} times its compressed size"
    else:
        return None
    return Reason.TOO_LARGE, f"the member expands to {size:,} bytes, {bound}; unpack it to use it"


def _raise(problem: Problem | None) -> None:
    if problem is not None:
        raise MediaError(*problem)


# Zip


def _opened_zip(path: str) -> zipfile.ZipFile:
    """An archive whose directory was measured before zipfile makes an object of each of its records.

    Raises:
        MediaError: TOO_LARGE: it has too many members.
        BadZipFile: It is no zip.
    """
    with open(path, "rb") as file:
        size = zip_directory_bytes(file)
    if size > MAX_DIRECTORY_BYTES:
        message = f"the zip archive's directory has {size:,} bytes, over {MAX_DIRECTORY_BYTES:,}"
        raise MediaError(Reason.TOO_LARGE, message)
    archive = zipfile.ZipFile(path)
    if len(archive.filelist) > MAX_MEMBERS:
        archive.close()
        raise _too_many("zip")
    return archive


def _too_many(kind: ArchiveKind) -> MediaError:
    return MediaError(Reason.TOO_LARGE, f"the {kind} archive holds more than {MAX_MEMBERS:,} members")


def _list_zip(archive: zipfile.ZipFile, listed: _ListedMembers, needs_head: NeedsHead) -> None:
    total = sum(info.file_size for info in archive.infolist())
    _refuse_bomb(listed.path, total)
    for info in archive.infolist():
        if info.is_dir():
            continue
        entry = listed.add(info.filename, info.file_size, _zip_problem(info))
        if entry is not None and entry.problem is None and needs_head(entry.name):
            try:
                entry.head = _read_zip(archive, info, HEAD_BYTES)
            except MediaError as error:
                entry.problem = (error.reason, str(error))


def _zip_problem(info: zipfile.ZipInfo) -> Problem | None:
    if stat.S_ISLNK(info.external_attr >> 16):
        return Reason.UNSUPPORTED, "the member is a symbolic link"
    if info.flag_bits & 0x1:
        return Reason.UNSUPPORTED, "the member is encrypted"
    return size_problem(info.filename, info.file_size, info.compress_size)


def _read_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo, count: int | None) -> bytes:
    """A member's bytes. zipfile reads no further than the size that was checked, and checks the CRC at the end."""
    try:
        with archive.open(info) as file:
            content = file.read(-1 if count is None else count)
    except NotImplementedError as error:
        message = f"the member is compressed in a way that cannot be read ({error})"
        raise MediaError(Reason.UNSUPPORTED, message) from error
    except _DAMAGE as error:
        message = f"the member is damaged ({str(error).replace(repr(info.filename), 'its content')})"
        raise MediaError(Reason.ARCHIVE_DAMAGED, message) from error
    return content


class ZipReader:
    """An open zip: members in any order."""

    def __init__(self, path: str) -> None:
        self._archive = _opened_zip(path)
        self._folders: dict[str, dict[str, str]] | None = None

    def folder(self, folder: str) -> dict[str, str]:
        """The files that lie directly in a folder: name to member."""
        if self._folders is None:
            self._folders = _by_folder(info.filename for info in self._archive.infolist() if not info.is_dir())
        return self._folders.get(folder, {})

    def read(self, member: str, count: int | None = None) -> bytes:
        """A member's bytes, or its first ``count``."""
        try:
            info = self._archive.getinfo(member)
        except KeyError as error:
            message = "the zip archive has no such member"
            raise MediaError(Reason.FILE_MISSING, message) from error
        _raise(name_problem(clean_member(member)) or _zip_problem(info))
        return _read_zip(self._archive, info, count)

    def close(self) -> None:
        """Close the file."""
        self._archive.close()


def _refuse_bomb(path: str, total: int) -> None:
    """Refuse an archive whose members together are far larger than itself, as where a zip's members share their bytes."""
    if total > RATIO_FLOOR_BYTES * 16 and total > MAX_RATIO * os.path.getsize(path):
        raise DataError(
            f"{printable(path)} expands to more than {MAX_RATIO} times its size, as no media do; if it is "
            "what you want, unpack it and give the folder."
        )


def _by_folder(members: Iterable[str]) -> dict[str, dict[str, str]]:
    """Every folder's files: folder, name, member. Of a name that occurs twice the first counts; listing tells of it."""
    folders: dict[str, dict[str, str]] = {}
    for member in members:
        folder, _, name = clean_member(member).rpartition("/")
        folders.setdefault(folder, {}).setdefault(name, member)
    return folders


# Tar


def _list_tar(tar: tarfile.TarFile, listed: _ListedMembers, needs_head: NeedsHead) -> None:
    total = members = 0
    while (info := _next(tar)) is not None:
        total, members = total + info.size, members + 1
        _refuse_bomb(listed.path, total)
        if members > MAX_MEMBERS:
            raise _too_many("tar")
        if info.isdir():
            continue
        entry = listed.add(info.name, info.size, _tar_problem(info))
        if entry is not None and entry.problem is None and needs_head(entry.name):
            entry.head = _read_at(tar, info.offset_data, min(info.size, HEAD_BYTES))


def _next(tar: tarfile.TarFile) -> tarfile.TarInfo | None:
    """The next member. TarFile would keep every member's description; an archive may have millions."""
    info = tar.next()
    tar.members.clear()  # type: ignore[attr-defined]
    return info


def _tar_problem(info: tarfile.TarInfo) -> Problem | None:
    if info.issym() or info.islnk():
        return Reason.UNSUPPORTED, "the member is a link"
    if not info.isreg() or info.issparse():
        return Reason.UNSUPPORTED, "the member is no regular file"
    return size_problem(info.name, info.size, None)


def _read_at(tar: tarfile.TarFile, offset: int, count: int) -> bytes:
    file: IO[bytes] = tar.fileobj  # type: ignore[assignment]
    file.seek(offset)
    return file.read(count)


class TarReader:
    """An open tar, read forwards: members asked for in the archive's order cost one pass, also where compressed."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._tar = tarfile.open(path, "r:*")  # noqa: SIM115 - closed by close()
        self._known: dict[str, tuple[int, int, Problem | None]] = {}
        self._at_end = False
        self._folders: dict[str, dict[str, str]] | None = None

    def folder(self, folder: str) -> dict[str, str]:
        """The files that lie directly in a folder: name to member. The first call goes through the whole archive once."""
        if self._folders is None:
            try:
                while not self._at_end:
                    self._take_next()
            except _DAMAGE as error:
                message = f"the tar archive is damaged ({error})"
                raise MediaError(Reason.ARCHIVE_DAMAGED, message) from error
            self._folders = _by_folder(self._known)
        return self._folders.get(folder, {})

    def read(self, member: str, count: int | None = None) -> bytes:
        """A member's bytes, or its first ``count``."""
        try:
            offset, size, problem = self._find(member)
            _raise(name_problem(clean_member(member)) or problem)
            wanted = size if count is None else min(size, count)
            content = _read_at(self._tar, offset, wanted)
        except _DAMAGE as error:
            message = f"the tar archive is damaged here or before ({error})"
            raise MediaError(Reason.ARCHIVE_DAMAGED, message) from error
        if len(content) < wanted:
            message = "the tar archive ends inside this member"
            raise MediaError(Reason.ARCHIVE_DAMAGED, message)
        return content

    def _find(self, member: str) -> tuple[int, int, Problem | None]:
        while member not in self._known and not self._at_end:
            self._take_next()
        if member not in self._known:
            raise MediaError(Reason.FILE_MISSING, "the tar archive has no such member")
        return self._known[member]

    def _take_next(self) -> None:
        info = _next(self._tar)
        if info is None:
            self._at_end = True
        elif not info.isdir():
            self._known[info.name] = (info.offset_data, info.size, _tar_problem(info))

    def close(self) -> None:
        """Close the file."""
        self._tar.close()
