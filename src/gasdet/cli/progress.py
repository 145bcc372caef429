"""Progress on stderr: a bar on a terminal, otherwise one plain line now and then. Both take notes in between."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from gasdet.cli.sizes import size_text

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

FIRST_LINE_S = 2.0
"""Work that is done before this many seconds prints no progress."""

EVERY_S = 5.0
"""Seconds between two lines off the terminal."""

_RATE_AFTER_S = 1.0
"""Seconds of results before a rate is told: less says little, and processes often answer several at once."""

_UNITS: dict[str, Callable[[int], str]] = {"bytes": size_text}
"""How amounts of a unit read; numbers by themselves where it is none of these."""


class _Rate:
    """How fast results come, from the first one on: what was done until then took the start of processes and models, too."""

    def __init__(self) -> None:
        self._done = self._first_done = 0
        self._first_at: float | None = None

    def add(self, done: int, now: float) -> None:
        """So many more are done. Fewer, where something starts over: that takes back nothing of how fast it went."""
        self._done += done
        if done < 0:
            self._first_done += done
            return
        if self._first_at is None and done:
            self._first_done, self._first_at = done, now

    def per_second(self, now: float) -> float | None:
        """None where too little is known yet."""
        if self._first_at is None or now - self._first_at < _RATE_AFTER_S or self._done <= self._first_done:
            return None
        return (self._done - self._first_done) / (now - self._first_at)


class PlainProgress:
    """One line every few seconds: what a log of an unattended run should hold."""

    def __init__(self, *, first: float = FIRST_LINE_S, every: float = EVERY_S) -> None:
        self._first, self._every = first, every
        self._label, self._total, self._done, self._errors = "", 0, 0, 0
        self._next = time.monotonic()
        self._rate = _Rate()
        self._shown_at: int | None = None
        self._show: Callable[[int], str] = str

    def start(self, label: str, total: int, unit: str = "samples") -> None:
        """Begin a piece of work of ``total`` samples (or bytes, where that is the unit)."""
        self._show = _UNITS.get(unit, str)
        self._label, self._total, self._done, self._errors, self._shown_at = label, total, 0, 0, None
        self._rate = _Rate()
        self._next = time.monotonic() + self._first

    def advance(self, done: int, errors: int) -> None:
        """So many more samples are done, so many of them without a score."""
        self._done += done
        self._errors += errors
        now = time.monotonic()
        self._rate.add(done, now)
        if now >= self._next:
            self._next = now + self._every
            self._line(now)

    def finish(self) -> None:
        """The piece of work is over; its last line is printed where an earlier one was."""
        if self._shown_at not in (None, self._done):
            self._line(time.monotonic())
        self._shown_at = None

    def note(self, line: str) -> None:
        """Print a line."""
        click.echo(line, err=True)

    def result(self, line: str) -> None:
        """Print a line of the results, on standard output."""
        click.echo(line)

    def _line(self, now: float) -> None:
        self._shown_at = self._done
        parts = [f"{self._label}: {self._show(self._done)} of {self._show(self._total)}"]
        if self._errors:
            parts.append(_errors(self._errors))
        rate = self._rate.per_second(now)
        if rate is not None:
            parts.append(_rate(rate, self._show))
            if self._done < self._total:
                parts.append(f"{_duration((self._total - self._done) / rate)} left")
        click.echo(", ".join(parts), err=True)


class BarProgress:
    """rich's progress bar with rate and time left. rich is imported when the first piece of work starts."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._errors = 0
        self._rate = _Rate()
        self._show: Callable[[int], str] = str

    def start(self, label: str, total: int, unit: str = "samples") -> None:
        """Begin a piece of work of ``total`` samples (or bytes, where that is the unit)."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self.finish()
        self._errors = 0
        self._rate = _Rate()
        self._show = _UNITS.get(unit, str)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            DownloadColumn(binary_units=True) if unit == "bytes" else MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TextColumn("{task.fields[errors]}", markup=False, style="red"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,  # it would carry results from a pipe to the terminal
            redirect_stderr=False,
        )
        self._bar.start()
        self._task = self._bar.add_task(label, total=total, rate="", errors="")

    def advance(self, done: int, errors: int) -> None:
        """So many more samples are done, so many of them without a score."""
        if self._bar is None or self._task is None:
            return
        self._errors += errors
        now = time.monotonic()
        self._rate.add(done, now)
        rate = self._rate.per_second(now)
        told = "" if rate is None else _rate(rate, self._show)
        self._bar.update(self._task, advance=done, rate=told, errors=_errors(self._errors))

    def finish(self) -> None:
        """Take the bar away; the results that follow say what it said."""
        if self._bar is not None:
            self._bar.stop()
        self._bar = self._task = None

    def note(self, line: str) -> None:
        """Print a line above the bar."""
        if self._bar is not None:
            self._above(line)
        else:
            click.echo(line, err=True)

    def result(self, line: str) -> None:
        """Print a line of the results on standard output: above the bar, where both are on the terminal."""
        if self._bar is not None and sys.stdout.isatty():
            self._above(line)
        else:
            click.echo(line)

    def _above(self, line: str) -> None:
        assert self._bar is not None
        self._bar.console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)


def progress() -> PlainProgress | BarProgress:
    """A bar where stderr is a terminal, lines elsewhere."""
    return BarProgress() if sys.stderr.isatty() else PlainProgress()


def _rate(rate: float, show: Callable[[int], str]) -> str:
    return f"{rate:.1f}/s" if show is str else f"{show(int(rate))}/s"


def _errors(count: int) -> str:
    return f"{count} error{'s' if count > 1 else ''}" if count else ""


def _duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
