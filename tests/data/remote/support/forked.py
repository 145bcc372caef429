"""Commands in processes of their own that begin as copies of this one: they need not import anything first."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

_FORK = multiprocessing.get_context("fork")


def start(work: Callable[..., object], *arguments: Any) -> BaseProcess:
    """A process that does some work and ends."""
    process = _FORK.Process(target=work, args=arguments)
    process.start()
    return process


def start_command(arguments: list[object], environment: Mapping[str, str], errors: Path) -> BaseProcess:
    """A process that runs a ``gasdet`` command; its standard error goes to a file, its output nowhere."""
    return start(_run, list(map(str, arguments)), dict(environment), errors)


def _run(arguments: list[str], environment: dict[str, str], errors: Path) -> None:
    from gasdet.cli.group import gasdet

    os.environ.clear()
    os.environ.update(environment)
    with errors.open("w") as told, open(os.devnull, "w") as nowhere:
        sys.stdout, sys.stderr = nowhere, told
        gasdet(arguments, prog_name="gasdet")  # raises SystemExit, which is the process's exit code


@contextmanager
def holding(enter: Callable[[], object]) -> Iterator[str]:
    """A process that does something, tells what came of it as a text, and lives on until the end of this."""
    here, there = _FORK.Pipe()

    def work() -> None:
        kept = enter()
        there.send(str(kept))
        there.recv()

    process = start(work)
    try:
        yield here.recv()
    finally:
        here.send("end")
        process.join()
