"""Every error that a user of gasdet can cause, under one base class.

An error's message is one sentence that says what is wrong, where, and what to do. The command line prints it without a
traceback (``--debug`` shows one) and exits with the error's ``exit_code``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gasdet.types import Reason


class GasdetError(Exception):
    """Base class of all errors that a user can meet.

    Attributes:
        exit_code: What the command line exits with: 1 for a failure, 2 for a wrong use.
        lines: Of an error about entries of a catalogue, their lines; of other errors, nothing.
        kind: What is the matter with these entries, as ``about_lines`` was told.
    """

    exit_code = 1
    lines: tuple[int, ...] = ()
    kind: str = ""


class UsageError(GasdetError):
    """The command or call was used wrongly: an unknown name, options that contradict each other, a missing choice."""

    exit_code = 2


class ConfigError(GasdetError):
    """A configuration (model_config.yaml, a catalogue, preprocessing keys) has an unknown key or an unusable value."""

    exit_code = 2


class PluginError(GasdetError):
    """A plugin cannot be loaded, collides with another, or does not keep the contract of its hook."""


class BundleError(GasdetError):
    """A model bundle is incomplete, refused by a check, or its model does not load."""


class OutputError(BundleError):
    """A model's output is no [batch, classes] tensor of logits; evaluation records it as ``bad_output``."""


class WeightsError(GasdetError):
    """Weights cannot be found, do not have the stated sha256, are no safetensors file, or do not fit the model."""


class FetchError(WeightsError):
    """A file could not be had for a reason outside of it: no network, no such repository, no permission."""


class DataError(GasdetError):
    """A dataset as a whole cannot be read: the path does not exist, columns are missing, an archive is unsafe."""


class RunError(GasdetError):
    """A run cannot start or go on: its folder belongs to another configuration, is locked, or is damaged."""


class MetricError(GasdetError, ValueError):
    """A metric or calibrator is asked about labels, scores or weights for which it has no meaning, such as NaN scores."""


class MediaError(GasdetError):
    """One sample's media cannot be turned into an array.

    It becomes the sample's ``error`` record; it never ends a run.

    Attributes:
        reason: The code that the record carries.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[MediaError], tuple[Reason, str]]:
        """Keep both arguments when the error crosses a process boundary."""
        return (type(self), (self.reason, str(self)))


class GasdetWarning(UserWarning):
    """A condition that a user should know of and that does not stop the work."""


@contextmanager
def about_lines(kind: str, *lines: int) -> Iterator[None]:
    """Give whatever is raised meanwhile, unless it has them already, the lines of the catalogue's entries that it is about.

    Args:
        kind: What is the matter: ``absent``, ``away`` (not on this machine, and not to be had), ``unreadable`` or ``twice``.
        lines: Of the entries.
    """
    try:
        yield
    except Exception as error:
        if lines and not vars(error).get("lines"):
            vars(error).update(lines=tuple(sorted(set(lines))), kind=kind)
        raise


def first_line(error: BaseException) -> str:
    """The first line of an error's message without its full stop; the error's type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
