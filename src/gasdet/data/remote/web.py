"""HTTP(S) through fsspec: one file, or the files of a folder whose page lists them; and the hub's files."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from gasdet.data.addresses import VARIABLE, check_web_address, without_secrets
from gasdet.data.names import archive_kind
from gasdet.data.remote.files import MOST_FILES, Answer, Found, RemoteFile, Transient, checked_name
from gasdet.data.remote.patience import RETRIED, Patience, retry_after
from gasdet.data.remote.secrets import expanded, redacted, said
from gasdet.errors import FetchError
from gasdet.media import modality_of_name

if TYPE_CHECKING:
    import aiohttp

_CHUNK = 1 << 20
_CONNECT_S = 15.0
_DEEPEST = 8
_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
_COMPRESSED = (".gz", ".tgz", ".bz2", ".xz", ".zst", ".zip")
_AT_ONCE = 8
_PAGE_HEAD = 64
"""Bytes in which a page shows that it is one."""

_HERE = ("localhost", "127.0.0.1", "::1")


class Web:
    """Requests over one set of connections."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._system: Any = None

    async def _session(self) -> aiohttp.ClientSession:
        import aiohttp
        from fsspec.implementations.http import HTTPFileSystem

        if self._system is None:
            timeout = aiohttp.ClientTimeout(
                total=None, connect=None, sock_connect=_CONNECT_S, sock_read=self._patience.stall_s
            )
            # As the server has it: a length and a checksum are of the bytes that lie there, not of what they expand to.
            client = {"timeout": timeout, "auto_decompress": False, "trust_env": True}
            self._system = HTTPFileSystem(
                asynchronous=True, loop=asyncio.get_running_loop(), simple_links=False, client_kwargs=client,
                skip_instance_cache=True,
            )  # fmt: skip
        session: aiohttp.ClientSession = await self._system.set_session()
        return session

    async def close(self) -> None:
        """Close the connections."""
        if self._system is not None:
            await (await self._session()).close()
            self._system = None

    async def reach(self, address: str) -> None:
        """Make sure that a server answers at all, whatever it says.

        Raises:
            FetchError: None does.
        """
        import aiohttp

        try:
            async with (await self._session()).head(address, allow_redirects=False):
                return
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise FetchError(f"{without_secrets(address)} cannot be reached ({_said(error)})") from None

    async def links(self, address: str, shown: str) -> list[str]:
        """The addresses of all files below a folder's page, as fsspec reads them from its links and those of folders below."""
        import aiohttp

        await self._session()
        base, query, rest = address.partition("?")
        found: list[str] = []
        waiting, seen = [(base, 0)], {base}
        while waiting and len(found) <= MOST_FILES:
            folder, depth = waiting.pop()
            try:
                listed: list[str] = await self._system._ls_real(folder + query + rest, detail=False)
            except FileNotFoundError:
                continue  # also what fsspec makes of a page without a link
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                below = shown + folder.removeprefix(base)
                raise FetchError(f"{below} cannot be listed ({_said(error)})") from None
            for link in listed:
                if not link.startswith(folder) or "?" in link or "#" in link or link in seen:
                    continue  # up, aside, or the same page sorted otherwise
                seen.add(link)
                if not link.endswith("/"):
                    found.append(link)
                elif depth < _DEEPEST:
                    waiting.append((link, depth + 1))
        return found

    async def facts_of(self, address: str, name: str, shown: str) -> RemoteFile:
        """A file's size and version. Asked with HEAD, and where that is refused for the first byte.

        Args:
            address: Of the file.
            name: In its data set.
            shown: What to call it in a message.

        Raises:
            FetchError: There is no such file, or no permission.
        """
        async with self._retried("HEAD", address, {}, shown) as answer:
            if answer.status < 400:
                return RemoteFile(name, _length(answer.headers), version=_validator(answer.headers))
        async with self._retried("GET", address, {"Range": "bytes=0-0"}, shown) as answer:
            size = _total_of_range(answer.headers) if answer.status in (206, 416) else _length(answer.headers)
            if answer.status != 416:  # an empty file has no first byte
                self._check(answer, address, shown)
            return RemoteFile(name, size, version=_validator(answer.headers))

    @asynccontextmanager
    async def _retried(self, method: str, address: str, headers: Mapping[str, str], shown: str) -> AsyncIterator[Any]:
        """One request whose beginnings are tried again; its answer's status is not looked at beyond that."""
        import aiohttp

        failures = 0
        while True:
            wait: float | None = None
            try:
                session = await self._session()
                answer = await session.request(
                    method, self._system.encode_url(address), headers={**headers, "Accept-Encoding": "identity"},
                    allow_redirects=True,
                )  # fmt: skip
            except ValueError as error:
                raise FetchError(f"{shown} cannot be asked for ({_said(error)})") from None
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                why = said(error)
            else:
                async with answer:
                    if answer.status not in RETRIED:
                        yield answer
                        return
                    why, wait = f"it answers {answer.status}", retry_after(answer.headers)
            failures += 1
            if failures >= self._patience.attempts:
                raise FetchError(f"{shown} cannot be had: {why}, {failures} times in a row")
            await asyncio.sleep(self._patience.pause(failures, wait))

    @asynccontextmanager
    async def open(
        self, address: str, offset: int, validator: str, headers: Mapping[str, str] | None = None, *, shown: str
    ) -> AsyncIterator[Answer]:
        """Ask for a file's bytes from ``offset`` on.

        Args:
            address: Of the file.
            offset: Where to begin.
            validator: Of the version that is wanted; empty for any.
            headers: More of them.
            shown: What to call it in a message.

        Raises:
            Transient: The server says that it cannot at the moment, or answers something that makes no sense.
            FetchError: It says no.
        """
        session = await self._session()
        asked = {**(headers or {}), "Accept-Encoding": "identity"}
        if offset:
            asked["Range"] = f"bytes={offset}-"
            if validator:
                asked["If-Range"] = validator
        try:
            url = self._system.encode_url(address)
        except ValueError as error:
            raise FetchError(f"{shown} cannot be asked for ({_said(error)})") from None
        async with session.get(url, headers=asked) as answer:
            if answer.status == 416 and offset and _total_of_range(answer.headers) == offset:
                yield Answer(offset, offset, validator, "", _nothing())
                return
            self._check(answer, address, shown)
            start, total = 0, _length(answer.headers)
            if answer.status == 206:
                match = _RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
                if match is None or match[1] is None:
                    raise Transient("it sends a part without saying which")
                start, total = int(match[1]), None if match[3] == "*" else int(match[3])
            chunks: AsyncIterator[bytes] = answer.content.iter_chunked(_CHUNK)
            if start == 0 and _is_of_media(urlsplit(address).path):
                chunks = _no_page(chunks, answer.headers.get("Content-Type", ""), shown)
            yield Answer(start, total, _validator(answer.headers), "", chunks)

    def _check(self, answer: aiohttp.ClientResponse, address: str, shown: str) -> None:
        if answer.status in RETRIED:
            raise Transient(f"it answers {answer.status}", retry_after(answer.headers))
        if answer.status == 416:
            raise Transient("it has no such part of the file any more", anew=True)
        if answer.status in (401, 403):
            raise FetchError(
                f"{shown} answers {answer.status}: no permission; check your token, or that the address holds still"
            )
        if answer.status >= 400 or answer.status not in (200, 206):
            raise FetchError(f"{shown} answers {answer.status} {redacted(answer.reason or '')}".rstrip())
        way = [step.url for step in answer.history] + [answer.url]
        for before, after in itertools.pairwise(way):
            if before.scheme == "https" and after.scheme != "https" and after.host not in _HERE:
                raise FetchError(
                    f"{shown} leads from https to {after.scheme}, where a file could be changed on its way"
                )
        encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("", "identity") and not urlsplit(address).path.lower().endswith(_COMPRESSED):
            raise FetchError(f"{shown} is sent compressed ({encoding}) though it was not asked to be")


class WebSource:
    """A file at an address, or with a "/" at its end the folder that a page lists. ``${NAME}`` in it is the environment's."""

    def __init__(self, location: str, patience: Patience) -> None:
        self._address = expanded(location)
        self.shown = without_secrets(location)
        self._location = location
        self._web = Web(patience)
        try:
            check_web_address(self._address)
        except ValueError as error:
            raise FetchError(f"{self.shown} must be {error}") from None
        self._folder = urlsplit(self._address).path.endswith("/") or not urlsplit(self._address).path

    async def find(self) -> Found:
        """The one file, or those that the folder's page and the pages below it link to."""
        if not self._folder:
            last = without_secrets(self._location).rpartition("/")[
                2
            ]  # variables by their names: the value may be a token
            name = checked_name(unquote(VARIABLE.sub(r"\1", last)), self.shown)
            return Found("", {name: await self._web.facts_of(self._address, name, self.shown)})
        base = self._address.partition("?")[0].partition("#")[0]
        links = await self._web.links(self._address, self.shown)
        names = {checked_name(unquote(link.removeprefix(base)), self.shown) for link in links}
        if not names or len(names) > MOST_FILES:
            raise FetchError(
                f"{self.shown} lists {len(names):,} files; give the address of a file, or of a page with links"
            )
        gate = asyncio.Semaphore(_AT_ONCE)

        async def sized(name: str) -> RemoteFile:
            async with gate:
                return await self._web.facts_of(self._of(name), name, self.shown + name)

        found = await asyncio.gather(*map(sized, sorted(names)))
        return Found("", {file.name: file for file in found})

    def _of(self, name: str) -> str:
        if not self._folder:
            return self._address
        base, query, rest = self._address.partition("?")
        return base + quote(name) + query + rest

    @asynccontextmanager
    async def open(self, file: RemoteFile, offset: int, validator: str) -> AsyncIterator[Answer]:
        """Ask for a file's bytes."""
        shown = self.shown + file.name if self._folder else self.shown
        async with self._web.open(self._of(file.name), offset, validator, shown=shown) as answer:
            yield answer

    async def close(self) -> None:
        """Close the connections."""
        await self._web.close()


def _said(error: Exception) -> str:
    """What went wrong. Of an address that cannot be used, the client names a part, which may be a password: not repeated."""
    import aiohttp

    if isinstance(error, ValueError) and not isinstance(error, aiohttp.ClientConnectionError):
        return "it is no address that can be asked"
    return said(error)


def _length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


def _total_of_range(headers: Mapping[str, str]) -> int | None:
    match = _RANGE.fullmatch(headers.get("Content-Range", "").strip())
    return int(match[3]) if match is not None and match[3] != "*" else None


def _validator(headers: Mapping[str, str]) -> str:
    """A strong ETag, else the date of the last change: what If-Range takes (RFC 9110, 13.1.5)."""
    tag = headers.get("ETag", "").strip()
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "").strip()


def _is_of_media(path: str) -> bool:
    name = unquote(path.rpartition("/")[2])
    return archive_kind(name) is not None or modality_of_name(name) is not None or name.lower().endswith(".parquet")


async def _no_page(chunks: AsyncIterator[bytes], kind: str, shown: str) -> AsyncIterator[bytes]:
    """The chunks of an archive, a table or a medium, unless they are a page for people: a login, or an apology with status 200.

    Raises:
        FetchError: They are.
    """
    head = b""
    async for chunk in chunks:
        if len(head) < _PAGE_HEAD:
            head = (head + chunk).lstrip(b"\xef\xbb\xbf \t\r\n")[:_PAGE_HEAD]
            is_html = kind.partition(";")[0].strip().lower() in ("text/html", "application/xhtml+xml")
            if head.lower().startswith((b"<!doctype html", b"<html")) or (is_html and head.startswith(b"<")):
                raise FetchError(
                    f"{shown} sends a page to look at instead of the file; open it in a browser to see what it asks for"
                )
        yield chunk


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""
