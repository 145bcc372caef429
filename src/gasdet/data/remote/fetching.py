"""Many files, several at once, each recorded when it is whole."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from gasdet.data.remote.files import RemoteFile, Source
from gasdet.data.remote.manifest import Manifest
from gasdet.data.remote.patience import Patience
from gasdet.data.remote.store import DatasetFolder
from gasdet.data.remote.transfer import PART, Fetched, fetch_file
from gasdet.errors import FetchError, about_lines
from gasdet.progress import ProgressSink

_RECORD_EVERY_S = 5.0
_MOST_FAILURES = 3
"""After so many files that cannot be had, the others are not begun."""

_READ = 1 << 20


@dataclass(frozen=True, slots=True)
class Job:
    """A file to fetch: where from, what it is, where to, and the folder that records it."""

    source: Source
    file: RemoteFile
    target: Path
    folder: DatasetFolder
    lines: list[int] = field(default_factory=list)

    def arrived(self) -> int:
        """Bytes of it that an earlier attempt left."""
        try:
            return self.target.with_name(self.target.name + PART).stat().st_size
        except OSError:
            return 0


async def fetch_jobs(jobs: Sequence[Job], concurrent: int, patience: Patience, progress: ProgressSink) -> None:
    """Fetch files, ``concurrent`` at once. Interrupted, what has arrived stays and what is whole is recorded.

    Raises:
        FetchError: Some files cannot be had; the others were fetched, or not begun after three failures.
        DataError: The disk cannot take them.
    """
    if not jobs:
        return
    recorder = _Recorder()
    waiting = deque(jobs)
    errors: list[FetchError] = []
    lines: list[int] = []

    async def work() -> None:
        while waiting:
            job = waiting.popleft()
            received = _Received(progress, arrived[job.target])
            try:
                fetched = await fetch_file(job.source, job.file, job.target, patience, received)
                if fetched is None:
                    fetched = await asyncio.to_thread(_made_by_another, job)
                    received.whole(fetched.size)
            except FetchError as error:
                errors.append(error)
                lines.extend(job.lines)
                if len(errors) >= _MOST_FAILURES:
                    waiting.clear()
                continue
            recorder.add(job, fetched)

    arrived = {job.target: job.arrived() for job in jobs}
    progress.start("downloading", sum(job.file.size or 0 for job in jobs), unit="bytes")
    if found := sum(arrived.values()):
        progress.advance(found, 0)  # at once and before all others: a rate is of what comes after the first
    workers = [asyncio.ensure_future(work()) for _ in range(min(concurrent, len(jobs)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        recorder.write()
        progress.finish()
    if errors:
        more = f"; and {len(errors) - 1} more files failed" if len(errors) > 1 else ""
        with about_lines("away", *lines):
            raise FetchError(
                f"{errors[0]}{more}; files that are whole are kept, and the same command goes on from there."
            )


class _Received:
    """One file's bytes to the progress sink; those of no use, of a file that starts over, are taken back.

    Args:
        progress: Knows already of the bytes that were here.
        arrived: So many.
    """

    def __init__(self, progress: ProgressSink, arrived: int) -> None:
        self._progress, self._told, self._count = progress, arrived, 0

    def __call__(self, count: int) -> None:
        self.whole(self._count + count)

    def whole(self, count: int) -> None:
        """So many of the file are here in all."""
        self._count = count
        more, self._told = count - self._told, count
        if more:
            self._progress.advance(more, 0)


def _made_by_another(job: Job) -> Fetched:
    """What another process put in the file's place.

    Raises:
        FetchError: It is not what the source states.
    """
    try:
        fetched = recorded_of(job.target, job.file)
    except OSError as error:
        why = f"cannot be read ({error.strerror or error})"
    else:
        if fits(fetched, job.file):
            return fetched
        why = "is not as its source states"
    raise FetchError(f"{job.file.name} of {job.source.shown} is here, and {why}")


class _Recorder:
    """Writes whole files into their manifests, now and then and at the end."""

    def __init__(self) -> None:
        self._pending: dict[Path, tuple[DatasetFolder, dict[str, Fetched]]] = {}
        self._next = time.monotonic() + _RECORD_EVERY_S

    def add(self, job: Job, fetched: Fetched) -> None:
        self._pending.setdefault(job.folder.path, (job.folder, {}))[1][job.file.name] = fetched
        if time.monotonic() >= self._next:
            self.write()

    def write(self) -> None:
        for folder, have in self._pending.values():

            def change(manifest: Manifest, have: dict[str, Fetched] = have) -> None:
                manifest.have.update(have)

            folder.update(change)
        self._pending = {}
        self._next = time.monotonic() + _RECORD_EVERY_S


def hashed(path: Path) -> Fetched:
    """Size and SHA-256 of a file."""
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while chunk := file.read(_READ):
            digest.update(chunk)
            size += len(chunk)
    return Fetched(size, digest.hexdigest())


def recorded_of(path: Path, stated: RemoteFile) -> Fetched:
    """What there is to record of a file that is here under its final name, and was not recorded when it arrived."""
    return replace(hashed(path), sure=stated.pinned or stated.size is not None)


def fits(fetched: Fetched, stated: RemoteFile) -> bool:
    """Whether a file is what its source states, as far as it does."""
    if stated.sha256 and stated.sha256.lower() != fetched.sha256:
        return False
    return not stated.pinned or stated.size == fetched.size
