"""Decode processes that start at once: forked from one that has imported what each of them would import.

A decode process takes 0.4 s of a processor to import its libraries, and the suite starts some thousand of them. What is forked
here has the arguments, the environment, the descriptors and the import path of ``subprocess.Popen``'s, answers the same
requests with the same code, and is killed and waited for as that is. It differs in its parent alone, which is the starter; so
the tests of the processes themselves, in tests/evaluation/test_pipeline.py, have the real ones, and so has every command that
a test runs in a process of its own.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LARGEST = 1 << 20
"""Bytes of a request, which holds an environment and an import path."""
DECODERS = ("PIL.Image", "cv2", "simplejpeg", "av", "decord", "soundfile", "soxr")


class Starter:
    """Our end of the process that forks; it is started with the first decode process, and ends with this one."""

    def __init__(self) -> None:
        self._channel: socket.socket | None = None

    def popen(self, command: Sequence[str], **options: Any) -> Forked | subprocess.Popen[bytes]:
        """In place of ``subprocess.Popen`` for a decode process; anything else is started as it was."""
        if list(command[1:3]) != ["-m", "gasdet.evaluation.worker"]:
            return subprocess.Popen(command, **options)
        if self._channel is None:
            self._channel = _started(options["env"])
        ours, theirs = socket.socketpair()
        request = {"arguments": command[3:], "env": dict(options["env"]), "cwd": os.getcwd()}
        (descriptor,) = options["pass_fds"]
        with theirs:
            fds = [descriptor, options["stdout"].fileno(), theirs.fileno()]
            socket.send_fds(self._channel, [json.dumps(request).encode()], fds)
        return Forked(command, ours)

    def stop(self) -> None:
        if self._channel is not None:
            self._channel.close()


class Forked:
    """What :class:`gasdet.evaluation.processes.WorkerProcess` asks of a ``Popen``."""

    def __init__(self, command: Sequence[str], news: socket.socket) -> None:
        self._command, self._news = command, news
        self._code: int | None = None
        self.pid = int.from_bytes(news.recv(8), "big")

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(timeout=0)
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        if self._code is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._news, selectors.EVENT_READ)
                if not selector.select(timeout):
                    raise subprocess.TimeoutExpired(self._command, timeout or 0.0)
            self._code = int.from_bytes(self._news.recv(8), "big", signed=True)
            self._news.close()
        return self._code

    def kill(self) -> None:
        if self._code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def __del__(self) -> None:
        self._news.close()


def _started(environment: Mapping[str, str]) -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST)
    with theirs:
        command = [sys.executable, __file__, str(theirs.fileno())]
        env = {**environment, "TMPDIR": os.environ.get("TMPDIR", "/tmp")}
        subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),), env=env)
    return ours


# --- The process that forks ------------------------------------------------------------------------------------------


def serve(channel: socket.socket) -> None:
    """Fork a decode process for each request and tell how each ends, until the other side hangs up."""
    waker, woken = socket.socketpair()
    for end in (waker, woken):
        end.setblocking(False)
    signal.set_wakeup_fd(woken.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    running: dict[int, socket.socket] = {}
    selector = selectors.DefaultSelector()
    selector.register(channel, selectors.EVENT_READ)
    selector.register(waker, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is waker:
                with contextlib.suppress(BlockingIOError):
                    waker.recv(4096)
                _tell_ends(running)
                continue
            content, fds, _, _ = socket.recv_fds(channel, LARGEST, 3)
            if not content:
                return
            descriptor, noise, told = fds
            news = socket.socket(fileno=told)
            pid = os.fork()
            if not pid:
                signal.set_wakeup_fd(-1)
                selector.close()
                for other in (channel, waker, woken, news, *running.values()):
                    other.close()
                _decode(json.loads(content), descriptor, noise)
            os.close(descriptor)
            os.close(noise)
            running[pid] = news
            news.send(pid.to_bytes(8, "big"))


def _tell_ends(running: dict[int, socket.socket]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with running.pop(pid) as news, contextlib.suppress(OSError):  # nobody may listen any more
            news.send(os.waitstatus_to_exitcode(status).to_bytes(8, "big", signed=True))


def _decode(request: Mapping[str, Any], descriptor: int, noise: int) -> None:
    """Be the process that ``python -m gasdet.evaluation.worker`` would be. Never returns."""
    code = 1
    try:
        os.dup2(noise, 1)
        os.dup2(noise, 2)
        os.close(noise)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.clear()
        os.environ.update(request["env"])
        os.chdir(request["cwd"])
        here = [path for path in sys.path if path != str(Path(__file__).parent)]
        sys.path[:] = dict.fromkeys([*request["env"]["PYTHONPATH"].split(os.pathsep), *here])
        importlib.invalidate_caches()
        from gasdet.evaluation.worker import main

        main([str(descriptor), *request["arguments"][1:]])
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    for name in ("gasdet.evaluation.worker", *DECODERS):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    serve(socket.socket(fileno=int(sys.argv[1])))
