"""What a remote data set consists of, as every kind of source tells it."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from gasdet.data.names import printable
from gasdet.errors import FetchError

MOST_FILES = 1_000_000
"""Files of one data set; a listing with more is refused."""

_LONGEST_NAME = 240
"""Bytes of one part of a path: common file systems allow 255, and a file that is being fetched has a longer name."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a remote data set.

    Attributes:
        name: Its path below the data set, parts separated by "/"; no part is empty, ".", or "..".
        size: In bytes; None where the server does not say.
        sha256: 64 hex digits where the source states them, else empty.
        git_sha1: Git's blob id (of the bytes behind a header with their count) where the source states it, else empty.
        version: What the source calls this version of the file (an ETag, a date of change), where it has no checksum.
    """

    name: str
    size: int | None = None
    sha256: str = ""
    git_sha1: str = ""
    version: str = ""

    @property
    def pinned(self) -> bool:
        """Whether the listing says which bytes it must be, so that its size holds whatever a server says later."""
        return bool(self.sha256 or self.git_sha1)

    def to_mapping(self) -> dict[str, Any]:
        """For a manifest; what is not known is left out."""
        return {
            key: value for key, value in dataclasses.asdict(self).items() if key != "name" and value not in ("", None)
        }

    @classmethod
    def from_mapping(cls, name: str, stated: Mapping[str, Any]) -> RemoteFile:
        """The reverse."""
        return cls(
            name, stated.get("size"), stated.get("sha256", ""), stated.get("git_sha1", ""), stated.get("version", "")
        )


@dataclass(frozen=True, slots=True)
class Found:
    """A data set as its source lists it now.

    Attributes:
        revision: The hub's commit; empty for sources that have none.
        files: By name.
    """

    revision: str
    files: Mapping[str, RemoteFile]


@dataclass(slots=True)
class Answer:
    """A server's answer to a request for a file.

    Attributes:
        start: Where in the file the bytes begin: as asked, or 0 where the server sends it from the beginning.
        total: Size of the whole file; None where the server does not say.
        validator: What names this very version (an ETag, or a date of change); empty where the server gives none.
        md5: Where the source states one.
        chunks: The bytes.
    """

    start: int
    total: int | None
    validator: str
    md5: str
    chunks: AsyncIterator[bytes]


class Source(Protocol):
    """A place where a data set's files can be had. Errors are FetchError, or Transient where trying again may help."""

    shown: str
    """What to call it in a message; holds no secret."""

    async def find(self) -> Found:
        """List the data set."""

    def open(self, file: RemoteFile, offset: int, validator: str) -> AbstractAsyncContextManager[Answer]:
        """Ask for a file from ``offset`` on, if it still is the version that ``validator`` names."""

    async def close(self) -> None:
        """Let go of connections."""


class Transient(Exception):  # noqa: N818  # never leaves this package: it becomes another try, or a FetchError
    """A failure that another try may mend.

    Attributes:
        wait_s: How long the server asks to wait; None where it does not say.
        anew: Whether what has arrived is of no use any more.
    """

    def __init__(self, message: str, wait_s: float | None = None, *, anew: bool = False) -> None:
        super().__init__(message)
        self.wait_s = wait_s
        self.anew = anew


def checked_name(name: str, shown: str) -> str:
    """A file's name as the source gives it, if it can be a file's name here.

    Raises:
        FetchError: It leads out of the data set's folder, or no file here can be called so.
    """
    parts = name.split("/")
    odd = any(not part or part in (".", "..") or len(part.encode("utf-8", "replace")) > _LONGEST_NAME for part in parts)
    if odd or "\\" in name or any(ord(c) < 32 or ord(c) == 127 for c in name) or printable(name) != name:
        raise FetchError(
            f"{shown} lists a file called {name[:200]!r}, which is no path inside a folder; nothing was fetched."
        )
    return name
