"""One file from a source to its place: resumed, checked, and under its final name only when it is whole."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from gasdet.data.remote.files import Answer, RemoteFile, Source, Transient
from gasdet.data.remote.patience import Patience
from gasdet.data.remote.secrets import said
from gasdet.errors import DataError, FetchError

PART = ".part"
_STATE = ".part.json"
WORTH_RESUMING = 1 << 18
"""A smaller file is fetched again as a whole: remembering where it stood costs more."""

_READ = 1 << 20
_WAIT_FOR_OTHER_S = 0.2
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fetched:
    """A whole file.

    Attributes:
        size: In bytes.
        sha256: Of its content, as it was received.
        sure: Whether a length or a checksum said that it is whole. Where neither did, the end of the connection was taken for
            the end of the file.
    """

    size: int
    sha256: str
    sure: bool = field(default=True, compare=False)


async def fetch_file(
    source: Source, file: RemoteFile, target: Path, patience: Patience, report: Callable[[int], None]
) -> Fetched | None:
    """Fetch a file, from where an earlier attempt (of this or of a killed process) stopped.

    Args:
        source: Where it can be had.
        file: What the listing says of it. Where that names a checksum, the file must have it.
        target: Its place. Beside it, ``.part`` holds what has arrived, and ``.part.json`` which version that belongs to.
        patience: How long and how often to try.
        report: Told of bytes: those already here, those that arrive, and (negative) those that were of no use. Called from
            the thread that runs this.

    Returns:
        None where another process made the file meanwhile.

    Raises:
        FetchError: The source says no, nothing new came in several tries in a row, or the checksum is wrong twice.
        DataError: The disk cannot take it.
    """
    async with _claimed(target, file, report) as part:
        if part is None:
            return None
        failures = mismatches = 0
        while True:
            before, wait = part.received, None
            try:
                return await _attempt(source, file, part, patience)
            except _Wrong as error:
                mismatches += 1
                if mismatches > 1:
                    raise FetchError(
                        f"{file.name} of {source.shown} {error}; it was fetched twice, and not kept"
                    ) from None
                why = str(error)
            except Transient as error:
                why, wait = str(error), error.wait_s
                if error.anew:
                    part.begin("", file)
                    part.tell()
            except (DataError, FetchError):
                raise
            except Exception as error:  # of the transport: a connection that broke, or bytes that are no HTTP
                why = "nothing arrives any more" if isinstance(error, TimeoutError) else said(error)
            failures = 1 if part.received > before else failures + 1
            if failures >= patience.attempts:
                raise FetchError(
                    f"{file.name} of {source.shown} cannot be had: {why}, {failures} times in a row without anything new"
                )
            await asyncio.sleep(patience.pause(failures, wait))


class _Wrong(Exception):  # noqa: N818  # what happened, not what went wrong in here
    """All bytes arrived, and they are others than the source states."""


async def _attempt(source: Source, file: RemoteFile, part: _Part, patience: Patience) -> Fetched:
    offset = await _in_thread(part.resume)
    part.tell()
    stated = file.size if file.pinned else None
    if stated is not None and offset == stated > 0:
        return await _settled(part, "", sure=True)
    answers = source.open(file, offset, part.validator)
    answer: Answer = await asyncio.wait_for(answers.__aenter__(), patience.stall_s)
    try:
        if stated is not None and answer.total not in (None, stated):
            raise Transient(f"it states {answer.total} bytes instead of {stated}")
        if answer.start == 0:
            part.begin(answer.validator, file)
        elif not file.pinned and answer.validator != part.validator:
            raise Transient("it was changed meanwhile", anew=True)
        elif answer.start != offset:
            raise Transient(f"it sends from byte {answer.start} instead of {offset}")
        total = stated if stated is not None else answer.total
        part.tell()
        await _receive(answer, part, total, patience)
        return await _settled(part, answer.md5, sure=total is not None or bool(answer.md5) or file.pinned)
    finally:
        with suppress(Exception):  # closing a broken connection says nothing new
            await answers.__aexit__(None, None, None)


async def _settled(part: _Part, md5: str, *, sure: bool) -> Fetched:
    try:
        return replace(await _in_thread(part.settle, md5), sure=sure)
    finally:
        part.tell()


async def _in_thread(work: Callable[..., T], *arguments: object) -> T:
    """Run in a thread, to its end even when cancelled: what it works on is closed afterwards."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def _receive(answer: Answer, part: _Part, total: int | None, patience: Patience) -> None:
    chunks = aiter(answer.chunks)
    while True:
        try:
            chunk = await asyncio.wait_for(anext(chunks), patience.stall_s)
        except StopAsyncIteration:
            break
        if total is not None and part.received + len(chunk) > total:
            raise Transient(f"it sends more than the {total} bytes that it states", anew=True)
        part.write(chunk)
        part.tell()
    if total is not None and part.received < total:
        raise Transient(f"it broke off after {part.received} of {total} bytes")


class _Part:
    """What has arrived of a file."""

    def __init__(self, descriptor: int, target: Path, file: RemoteFile, report: Callable[[int], None]) -> None:
        self.file = file
        self.received = 0
        self.validator = ""
        self._descriptor, self._target, self._report = descriptor, target, report
        self._state = target.with_name(target.name + _STATE)
        self._digests = _digests(file)
        self._fresh = True
        self._told = 0

    def tell(self) -> None:
        """Report what has changed since the last time: apart from the work itself, which is done in other threads too."""
        told, self._told = self._told, self.received
        self._report(self.received - told)

    def resume(self) -> int:
        """Where to go on: after what an earlier attempt left, if it is known which version that was."""
        if not self._fresh:
            if not (self.validator or self.file.pinned):
                self.begin("", self.file)
            return self.received
        self._fresh = False
        state = self._read_state()
        if state is None:
            self.begin("", self.file)
            return 0
        self.validator = state
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        while chunk := os.read(self._descriptor, _READ):
            self._take(chunk)
        if self.file.pinned and self.file.size is not None and self.received > self.file.size:
            self.begin("", self.file)
        return self.received

    def begin(self, validator: str, file: RemoteFile) -> None:
        """Start over with the version that the validator names."""
        self._fresh = False
        self.received, self.validator, self._digests = 0, validator, _digests(file)
        with _disk(self._target):
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            if (validator or file.pinned) and (file.size is None or file.size >= WORTH_RESUMING):
                state = {"validator": validator, **file.to_mapping()}
                pending = self._state.with_name(self._state.name + ".pending")
                pending.write_text(json.dumps(state, sort_keys=True), encoding="utf-8")
                os.replace(pending, self._state)
            else:
                self._state.unlink(missing_ok=True)

    def write(self, chunk: bytes) -> None:
        """Append bytes."""
        with _disk(self._target):
            rest = memoryview(chunk)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        self._take(chunk)

    def settle(self, md5: str) -> Fetched:
        """Check the whole and give it its name.

        Raises:
            _Wrong: It is not what the source states; nothing is kept of it.
        """
        found = {name: digest.hexdigest() for name, digest in self._digests.items()}
        stated = {"sha256": self.file.sha256.lower(), "git_sha1": self.file.git_sha1.lower(), "md5": md5}
        for name, value in stated.items():
            if value and found.get(name, value) != value:
                self.begin("", self.file)
                raise _Wrong(f"has the {name.removeprefix('git_')} {found[name]} instead of {value}")
        with _disk(self._target):
            os.fsync(self._descriptor)
            os.replace(self._target.with_name(self._target.name + PART), self._target)
            # The folder is not brought to the disk: a name that is lost with the power leads to one more download.
            self._state.unlink(missing_ok=True)
        return Fetched(self.received, found["sha256"])

    def _take(self, chunk: bytes) -> None:
        for digest in self._digests.values():
            digest.update(chunk)
        self.received += len(chunk)

    def _read_state(self) -> str | None:
        """The validator of what lies here, if it is of the file that is wanted now."""
        try:
            state = json.loads(self._state.read_text(encoding="utf-8"))
            validator = state.pop("validator")
        except (OSError, ValueError, KeyError, AttributeError):
            return None
        if self.file.pinned:
            return str(validator) if state == self.file.to_mapping() else None
        return str(validator) or None  # an answer's validator tells whether the file has changed


def _digests(file: RemoteFile) -> dict[str, Any]:
    digests: dict[str, Any] = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
    if file.pinned:
        del digests["md5"]
    if file.git_sha1:
        digests["git_sha1"] = hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
    return digests


@asynccontextmanager
async def _claimed(target: Path, file: RemoteFile, report: Callable[[int], None]) -> AsyncIterator[_Part | None]:
    """Be the only one, of all processes, that fetches this file; None where another has finished it meanwhile."""
    part = target.with_name(target.name + PART)
    while True:
        with _disk(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(part, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            while not _locked(descriptor):
                await asyncio.sleep(_WAIT_FOR_OTHER_S)
            if target.exists():
                if _same(descriptor, part):
                    part.unlink(missing_ok=True)
                    target.with_name(target.name + _STATE).unlink(missing_ok=True)
                yield None
                return
            if _same(descriptor, part):  # else its former holder gave it the final name, and somebody removed that
                yield _Part(descriptor, target, file, report)
                return
        finally:
            os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _same(descriptor: int, path: Path) -> bool:
    try:
        return os.fstat(descriptor).st_ino == os.stat(path).st_ino
    except FileNotFoundError:
        return False


@contextmanager
def _disk(target: Path) -> Iterator[None]:
    """Turns what a disk refuses into a sentence; it is told apart from what a network refuses."""
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise DataError(f"{target.parent} cannot be written ({why}); free space there, or set GASDET_DATA.") from None
