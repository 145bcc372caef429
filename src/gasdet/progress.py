"""How a run tells what it is doing, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class ProgressSink(Protocol):
    """Receives a run's progress. All calls come from the thread that runs the evaluation."""

    def start(self, label: str, total: int, unit: str = "samples") -> None:
        """A stage begins: what it is, and how many samples it has; a download's unit is "bytes", its total may be too low."""

    def advance(self, done: int, errors: int) -> None:
        """So many more samples are done, so many of them with an error (a skipped one is none).

        Of a download, ``done`` is negative where a file starts over, and first what earlier attempts had left.
        """

    def finish(self) -> None:
        """The stage is over, or was left."""

    def note(self, line: str) -> None:
        """Something the user should read, one line."""


class Silent:
    """Says nothing: the default."""

    def start(self, label: str, total: int, unit: str = "samples") -> None:
        """Ignore the beginning of a stage."""

    def advance(self, done: int, errors: int) -> None:
        """Ignore progress."""

    def finish(self) -> None:
        """Ignore the end of a stage."""

    def note(self, line: str) -> None:
        """Ignore a note."""
