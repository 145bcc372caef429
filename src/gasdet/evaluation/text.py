"""Text that can be stored anywhere: one line, bounded, and without code points that UTF-8 cannot hold."""

from __future__ import annotations

from gasdet.data.names import printable

MAX_MESSAGE = 300


def one_line(text: str) -> str:
    """The text on one line, as UTF-8 can hold it, control characters replaced by spaces, cut to ``MAX_MESSAGE`` characters."""
    clean = " ".join("".join(c if c.isprintable() else " " for c in printable(text)).split())
    return clean if len(clean) <= MAX_MESSAGE else clean[: MAX_MESSAGE - 1] + "…"


def error_line(error: BaseException) -> str:
    """What an exception is, in one line: its type and the first line of what it says."""
    said = next((line for line in str(error).splitlines() if line.strip()), "")
    return one_line(f"{type(error).__name__}: {said}" if said else type(error).__name__)
