"""Text of a file's metadata as a category."""

from __future__ import annotations

from typing import Any


def clean(value: Any, longest: int = 80) -> str | None:
    """A piece of metadata on one line, without what cannot be printed, cut to a length; None where nothing is left."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return None
    printable = "".join(c if c.isprintable() else " " for c in value)
    return " ".join(printable.split())[:longest] or None


def maker_of(make: Any, model: Any) -> str | None:
    """A camera's make and model as one text; the make once where the model begins with it."""
    made, modelled = clean(make) or "", clean(model) or ""
    return (modelled if modelled.startswith(made) else f"{made} {modelled}".strip()) or None
