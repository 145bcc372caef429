"""One decode process as its owner sees it: started, fed, heard, killed, and what its end says."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

import numpy.typing as npt

from gasdet.data.holdouts import KEY_VARIABLE
from gasdet.errors import RunError
from gasdet.evaluation import wire
from gasdet.evaluation.decode_cache import DecodeCache
from gasdet.evaluation.text import one_line
from gasdet.types import Locator, Modality

_ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "OPENCV_FOR_THREADS_NUM",
        "ARROW_IO_THREADS",
    ),
    "1",
)
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(128 * 2**20)}
"""glibc's malloc keeps the memory of one frame for the next, rather than have the kernel clear it anew for each."""

_STALLED_MESSAGE_S = 30
"""A process that stops in the middle of an answer (stopped by a signal, say) is taken for dead after this time."""
_UNKILLABLE_S = 5.0


Needs = tuple[Modality, str]
"""What a process has to import for a job: the decoders of a modality, and what finds a region (empty: nothing)."""


@dataclass(slots=True)
class Task:
    """One sample to decode. ``job`` is its owner's; ``attempts`` counts the processes that it has ended."""

    job: Any
    index: int
    locator: Locator
    attempts: int = 0


class WorkerProcess:
    """A decode process and the tasks it has been given, oldest first: the first is the one at work.

    Each has a socket of its own, so that killing it can neither hold another's lock nor cut another's message.

    Attributes:
        channel: Our end of the socket; readable when an answer, or the process's end, waits.
        outstanding: Tasks given and not yet answered.
        since: When the first of them began (``time.monotonic``), or when the process was asked to prepare.
        served: How many tasks it has answered.
        ready_for: What it has imported the code for; None before that.
        storing: Whether the task at work is decoded, and its result on the way into the decode cache.
        retry: A task whose process ended, to be tried alone in this fresh one.
        last_words: After its end: the last line that it had written to stderr, or "".
    """

    def __init__(self, function: str, timeout: float, scratch: str, cache: DecodeCache | None = None) -> None:
        if not sys.executable:
            raise RunError("Decode processes cannot be started: this Python does not know its own executable.")
        self.outstanding: deque[Task] = deque()
        self.since = time.monotonic()
        self.served = 0
        self.asked_for: Needs | None = None
        self.ready_for: Needs | None = None
        self.storing = False
        self.retry: Task | None = None
        self._folder = tempfile.mkdtemp(dir=scratch)
        self.last_words = ""
        self._noise: IO[bytes] = tempfile.TemporaryFile(mode="a+b", dir=scratch)  # noqa: SIM115 (closed by end)
        self.channel, theirs = socket.socketpair()
        with theirs:
            arguments = [str(theirs.fileno()), function, repr(timeout), scratch]
            if cache is not None:
                arguments += [str(cache.folder.absolute()), str(cache.max_bytes)]
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gasdet.evaluation.worker", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=self._noise,
                stderr=self._noise,
                pass_fds=(theirs.fileno(),),
                env=_environment(os.environ, self._folder),
            )
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self.channel.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", _STALLED_MESSAGE_S, 0))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ask_to_prepare(self, needs: Needs) -> None:
        """Have it import what a job needs; it answers ``{"ready": needs}``."""
        self.asked_for, self.ready_for = needs, None
        self.since = time.monotonic()
        self._send({"prepare": needs})

    def give(self, tasks: list[Task], preprocessing: Any, limits: Any, cache_key: str = "") -> None:
        """Give it tasks to do in this order; with a decode cache, ``cache_key`` is that of the preprocessing."""
        if not self.outstanding:
            self.since = time.monotonic()
        self.outstanding.extend(tasks)
        self._send(
            {
                "tasks": [(t.index, t.locator) for t in tasks],
                "preprocessing": preprocessing,
                "limits": limits,
                "cache_key": cache_key,
            }
        )

    def _send(self, message: dict[str, Any]) -> None:
        try:
            wire.send(self.channel, message)
        except OSError:
            # So that it reads as gone, which is where its end is dealt with.
            with contextlib.suppress(OSError):
                self.channel.shutdown(socket.SHUT_RDWR)

    @property
    def has_answered(self) -> bool:
        """Whether an answer, or its end, waits to be heard."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.channel, selectors.EVENT_READ)
            return bool(selector.select(0))

    def hear(self) -> tuple[dict[str, Any], npt.NDArray[Any] | None]:
        """Receive one answer.

        Raises:
            EOFError: It is gone.
            OSError: It is gone, or has stopped in the middle of an answer.
        """
        return wire.receive(self.channel)

    def end(self, *, patience: float = 0.0) -> str:
        """End it, at once or after giving it time to leave by itself, and say in words how it ended."""
        self.channel.close()
        try:
            code = self._process.wait(timeout=patience) if patience else self._process.poll()
        except subprocess.TimeoutExpired:
            code = None
        if code is None:
            self._process.kill()
            try:
                code = self._process.wait(timeout=_UNKILLABLE_S)
            except subprocess.TimeoutExpired:  # waits for a dead disk or network mount: nothing can be done about it
                code = -signal.SIGKILL
        shutil.rmtree(self._folder, ignore_errors=True)
        with self._noise as noise:
            noise.seek(max(0, noise.seek(0, os.SEEK_END) - 4096))
            lines = [line for line in noise.read().decode("utf-8", "replace").splitlines() if line.strip()]
        self.last_words = one_line(lines[-1]) if lines else ""
        return _ending(code)


def _ending(code: int) -> str:
    if code >= 0:
        return f"exited with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was ended by {name}" + (" (most often a lack of memory)" if -code == signal.SIGKILL else "")


def _environment(inherited: Mapping[str, str], folder: str) -> dict[str, str]:
    """A decode process's environment: one thread, our import path, its own folder for temporary files.

    Without the key of holdouts: a decoder that a hostile file takes over is not to find it.
    """
    return {
        **{name: value for name, value in inherited.items() if name != KEY_VARIABLE},
        **_ONE_THREAD,
        **_KEEP_MEMORY,
        "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path),
        "PYTHONSAFEPATH": "1",
        "TMPDIR": folder,
    }
