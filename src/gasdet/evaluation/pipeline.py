"""Decoding in processes that can be killed, in plan order, with bounded memory.

A supervising thread owns the decode processes: it hands out tasks, collects answers, and ends a process whose file is past
its deadline. Why not a library's pool: docs/decisions/0002-decode-processes.md. POSIX systems only.
"""

from __future__ import annotations

import contextlib
import selectors
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from types import TracebackType
from typing import Any

from gasdet.errors import RunError
from gasdet.evaluation.decode_cache import CacheCounts, DecodeCache
from gasdet.evaluation.decode_key import cache_key
from gasdet.evaluation.job import DecodeResult, Job
from gasdet.evaluation.processes import Needs, Task, WorkerProcess
from gasdet.evaluation.regions import region_finder
from gasdet.media import Decoded, MediaLimits
from gasdet.types import Preprocessing, Reason, Sample

__all__ = ["DecodePool", "DecodeResult"]

DECODE_FUNCTION = "gasdet.evaluation.worker:decode_sample"
"""Import path of what a decode process calls for each sample. Tests put hostile decoders in its place."""

RECYCLE_AFTER = 5000
"""Files after which a decode process is replaced: native decoders leak."""

START_TIMEOUT_S = 120.0
"""How long a decode process may take to start and import its decoders."""

STORE_TIMEOUT_S = 600.0
"""How long a decoded sample may take into the decode cache, where many old ones may have to make room."""

MAX_FAILED_STARTS = 5
"""After so many processes in a row that did not start, decoding cannot work and the run is told so."""

_TICK_S = 0.5
_STOOD_STILL_S = 2.0
"""Time in which this process itself did not run (stopped by Ctrl-Z, starved) is held against no file."""

_MIN_DEPTH, _MAX_DEPTH = 2, 32
_DEPTH_MS = 10.0


class DecodePool:
    """Decode processes under one supervisor, for any number of runs one after the other.

    A file that takes longer than ``timeout`` costs its process and gets ``decode_timeout``. A file whose process ends is
    tried once more, alone in a fresh process (the one before it may have damaged the process's memory), and gets
    ``decoder_crashed`` if that ends too. Whatever else the process had been given goes to the others.

    Args:
        workers: Number of decode processes.
        timeout: Deadline for each file, in seconds.
        limits: Bounds on a file's size, passed to the decoders.
        recycle_after: Files after which a process is replaced.
        function: Import path of what a process calls for each sample, ``"package.module:function"``, where it is not to decode
            for a model: takes a locator, a preprocessing and limits, and returns a ``Decoded``.
        cache: Where decoded samples are kept between runs; None keeps nothing. Not with a ``function``, which decodes for
            no model. What is in the cache is held there as long as the pool is open.
        counts: Where it is counted what the cache does, of several pools together; None counts for this pool alone.

    Attributes:
        cache_counts: What the cache did so far.
    """

    def __init__(
        self,
        *,
        workers: int,
        timeout: float,
        limits: MediaLimits | None = None,
        recycle_after: int = RECYCLE_AFTER,
        function: str = "",
        cache: DecodeCache | None = None,
        counts: CacheCounts | None = None,
    ) -> None:
        if workers < 1 or timeout <= 0 or recycle_after < 1:
            raise ValueError("workers and recycle_after must be at least 1, timeout above 0")
        if function and cache is not None:
            raise ValueError("a decode cache holds what is decoded for models, and not what another function finds")
        self._wanted = workers
        self._timeout = timeout
        self._limits = limits if limits is not None else MediaLimits()
        self._recycle_after = recycle_after
        self._function = function or DECODE_FUNCTION
        self._cache = cache
        self.cache_counts = CacheCounts() if counts is None else counts
        # Guards _job and everything in it, _stopping and _failure. A plain lock, not a condition: Ctrl-C may raise in the
        # main thread between any two lines of Python, and threading.Condition is Python; interrupted there it would keep
        # the lock for ever.
        self._lock = threading.Lock()
        self._job: Job | None = None
        self._stopping = False
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None
        # What follows belongs to the supervising thread.
        self._workers: list[WorkerProcess] = []
        self._retiring: list[WorkerProcess] = []
        self._failed_starts = 0
        self._typical_ms = _DEPTH_MS
        self._last_turn = 0.0

    def __enter__(self) -> DecodePool:
        with contextlib.ExitStack() as opened:
            if self._cache is not None:
                opened.enter_context(contextlib.closing(self._cache.begin_job()))
            self._selector = opened.enter_context(selectors.DefaultSelector())
            self._wake_in, self._wake_out = map(opened.enter_context, socket.socketpair())
            self._wake_in.setblocking(False)
            self._wake_out.setblocking(False)
            self._selector.register(self._wake_out, selectors.EVENT_READ)
            self._scratch = tempfile.mkdtemp(prefix="gasdet-")
            opened.callback(shutil.rmtree, self._scratch, ignore_errors=True)
            thread = threading.Thread(target=self._supervise, name="gasdet-decode", daemon=True)
            thread.start()
            self._thread = thread
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every decode process and the supervising thread. Safe to call twice."""
        if self._thread is None:
            return
        with self._lock:
            self._stopping = True
        self._wake()
        self._thread.join()
        self._thread = None
        self._opened.close()

    def run(self, samples: Sequence[Sample], preprocessing: Preprocessing) -> Generator[DecodeResult, None, None]:
        """Decode samples: exactly one result for each, in their order, decoded ahead within fixed bounds.

        Leaving the iterator early is safe; what was under way is thrown away.

        Raises:
            RunError: Decode processes cannot be started, or what finds the region cannot be loaded in one.
            GasdetError: What finds the preprocessing's region cannot be had.
        """
        if self._thread is None:
            raise RuntimeError("a DecodePool is used inside a with statement")
        if preprocessing.region:
            region_finder(preprocessing.region)
        key = "" if self._cache is None else cache_key(preprocessing, self._limits)
        job = Job(samples, preprocessing, key)
        with self._lock:
            if self._job is not None:
                raise RuntimeError("a DecodePool does one run at a time")
            self._job = job
        self._wake()
        try:
            for index in range(len(samples)):
                yield self._await(job, index)
        finally:
            with self._lock:
                job.closed = True
                job.results.clear()
                if self._job is job:
                    self._job = None

    def _await(self, job: Job, index: int) -> DecodeResult:
        while True:
            with self._lock:
                if index in job.results:
                    result = job.take(index)
                    starved, job.starved = job.starved, False
                    break
                if self._failure is not None:
                    raise self._failure
                if self._stopping:
                    raise RuntimeError("the DecodePool was closed")
            job.news.get()
        if starved:
            self._wake()
        self.cache_counts.count(result.cached)
        return result

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # so many calls wait already that it will surely wake
            self._wake_in.send(b"w")

    # The supervising thread.

    def _supervise(self) -> None:
        self._last_turn = time.monotonic()
        try:
            while True:
                with self._lock:
                    if self._stopping:
                        break
                    self._staff()
                    self._assign()
                self._listen()
                self._enforce_deadlines()
        except BaseException as error:
            with self._lock:
                self._failure = error
        finally:
            for worker in (*self._workers, *self._retiring):
                worker.channel.close()  # all of them hear it at the same time
            for worker in (*self._workers, *self._retiring):
                worker.end(patience=0.0 if worker.outstanding else 1.0)
            with self._lock:
                if self._job is not None:
                    self._job.news.put(None)

    def _staff(self) -> None:
        """Start the processes that are missing, and have each import what the job needs."""
        while len(self._workers) < self._wanted:
            self._start_worker()
        if self._job is not None:
            needs = _needs(self._job.preprocessing)
            for worker in self._workers:
                if worker.asked_for != needs and not worker.outstanding:
                    worker.ask_to_prepare(needs)

    def _start_worker(self, retry: Task | None = None) -> None:
        try:
            worker = WorkerProcess(self._function, self._timeout, self._scratch, self._cache)
        except OSError as error:
            raise RunError(f"A decode process cannot be started: {error}; fewer workers may do.") from error
        worker.retry = retry
        self._workers.append(worker)
        self._selector.register(worker.channel, selectors.EVENT_READ, worker)

    def _assign(self) -> None:
        """Hand out tasks evenly: a process with a short queue is served before one with a long one."""
        job = self._job
        if job is None:
            return
        free = [w for w in self._workers if w.ready_for == _needs(job.preprocessing)]
        given: dict[WorkerProcess, list[Task]] = {}
        for worker in free:
            if worker.retry is not None and not worker.outstanding:
                retry, worker.retry = worker.retry, None
                if not retry.job.closed:
                    worker.give([retry], job.preprocessing, self._limits, job.cache_key)
        # Quick files are handed out many at a time, slow ones singly with one in reserve.
        depth = min(_MAX_DEPTH, _MIN_DEPTH + int(_DEPTH_MS / max(self._typical_ms, 0.1)))
        free = [w for w in free if len(w.outstanding) <= depth // 2 and not _alone(w)]
        in_flight = sum(len(w.outstanding) for w in (*self._workers, *self._retiring))
        for level in range(depth):
            for worker in free:
                if len(worker.outstanding) + len(given.get(worker, ())) > level:
                    continue
                task = job.next_task(in_flight)
                if task is None:
                    break
                in_flight += 1
                given.setdefault(worker, []).append(task)
        for worker, tasks in given.items():
            worker.give(tasks, job.preprocessing, self._limits, job.cache_key)

    def _listen(self) -> None:
        for key, _ in self._selector.select(self._patience()):
            worker = key.data
            if worker is None:
                _drain(self._wake_out)
                continue
            try:
                message, array = worker.hear()
            except Exception:  # EOF as a rule; whatever a dying process leaves in its channel is no answer
                self._bury(worker)
                continue
            if message.get("lacks"):  # for every file: told once, and not as each one's error
                region = message["ready"][1]
                raise RunError(f"A decode process cannot use the preprocessor {region!r}: {message['lacks']}")
            if "storing" in message:
                worker.storing, worker.since = True, time.monotonic()
            elif "ready" in message:
                worker.ready_for = message["ready"]
                self._failed_starts = 0
            elif not worker.outstanding or worker.outstanding[0].index != message["index"]:
                self._bury(worker)  # an answer to nothing that was asked: its memory is damaged
            else:
                self._accept(worker, message, array)

    def _accept(self, worker: WorkerProcess, message: dict[str, Any], array: Any) -> None:
        task = worker.outstanding.popleft()
        worker.storing, worker.since = False, time.monotonic()
        worker.served += 1
        decoded = None if message["decoded"] is None else Decoded(array=array, **message["decoded"])
        elapsed = message["decode_ms"]
        self._typical_ms += 0.1 * (elapsed - self._typical_ms)
        result = DecodeResult(task.index, decoded, message["reason"], message["message"], elapsed, message["cached"])
        self._finish(task, result)
        if worker.served >= self._recycle_after and worker in self._workers:
            self._workers.remove(worker)  # _staff starts another; this one finishes what it has
            self._retiring.append(worker)
        if worker in self._retiring and not worker.outstanding:
            self._dismiss(worker, patience=1.0)

    def _finish(self, task: Task, result: DecodeResult) -> None:
        with self._lock:
            if not task.job.closed:
                task.job.store(result)
                if result.index == task.job.head:
                    task.job.news.put(None)

    def _dismiss(self, worker: WorkerProcess, *, patience: float = 0.0) -> str:
        """Take a process off the books and end it; what it had been given and not begun goes back."""
        self._selector.unregister(worker.channel)
        for group in (self._workers, self._retiring):
            if worker in group:
                group.remove(worker)
        ending = worker.end(patience=patience)
        with self._lock:
            for task in reversed(worker.outstanding):
                task.job.returned.appendleft(task)
        return ending

    def _bury(self, worker: WorkerProcess) -> None:
        """A process has ended by itself: its file is tried once more or given up."""
        elapsed = (time.monotonic() - worker.since) * 1000
        culprit = worker.outstanding.popleft() if worker.outstanding else None
        ending = self._dismiss(worker, patience=2.0)
        if worker.ready_for is None:
            self._count_failed_start(f"it {ending}: {worker.last_words or 'no message'}")
            culprit = worker.retry
        if culprit is None:
            return
        if worker.ready_for is not None:
            culprit.attempts += 1
        if culprit.attempts < 2:
            self._start_worker(retry=culprit)
            return
        message = f"the decode process {ending}" + (f": {worker.last_words}" if worker.last_words else "")
        self._finish(culprit, DecodeResult(culprit.index, None, Reason.DECODER_CRASHED, message, elapsed))

    def _patience(self) -> float:
        """Seconds until the next deadline, at most a tick."""
        deadlines = [w.since + self._allowed(w) for w in (*self._workers, *self._retiring) if w.outstanding]
        return min(_TICK_S, max(0.0, min(deadlines, default=_TICK_S + time.monotonic()) - time.monotonic()) + 0.001)

    def _allowed(self, worker: WorkerProcess) -> float:
        """Seconds that it may take for what it is at."""
        if worker.asked_for is not None and worker.ready_for is None:
            return START_TIMEOUT_S
        return STORE_TIMEOUT_S if worker.storing else self._timeout

    def _enforce_deadlines(self) -> None:
        now = time.monotonic()
        stood_still = now - self._last_turn - _TICK_S
        self._last_turn = now
        for worker in (*self._workers, *self._retiring):
            if stood_still > _STOOD_STILL_S:
                worker.since += stood_still
            starting = worker.asked_for is not None and worker.ready_for is None
            allowed = self._allowed(worker)
            if now - worker.since <= allowed or not (starting or worker.outstanding) or worker.has_answered:
                continue
            culprit = worker.retry if starting else worker.outstanding.popleft()
            self._dismiss(worker)
            if starting:
                self._count_failed_start(f"it was not ready after {allowed:g} s")
                self._start_worker(retry=culprit)
            elif culprit is not None:
                message = f"decoding took longer than {self._timeout:g} s"
                elapsed = (now - worker.since) * 1000
                self._finish(culprit, DecodeResult(culprit.index, None, Reason.DECODE_TIMEOUT, message, elapsed))

    def _count_failed_start(self, what: str) -> None:
        self._failed_starts += 1
        if self._failed_starts >= MAX_FAILED_STARTS:
            raise RunError(
                f"Decode processes do not start ({what}); see that the installation is complete and memory is free."
            )


def _needs(preprocessing: Preprocessing) -> Needs:
    return preprocessing.modality, preprocessing.region


def _alone(worker: WorkerProcess) -> bool:
    """Whether the process is busy with a second try, or due for one: it gets nothing else meanwhile."""
    return worker.retry is not None or (bool(worker.outstanding) and worker.outstanding[0].attempts > 0)


def _drain(channel: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        while channel.recv(4096):
            pass
