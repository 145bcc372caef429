"""What a file's name tells."""

from __future__ import annotations


def extension_of(name: str) -> str | None:
    """The extension of a file's name in lower case, without its dot; None where it has none."""
    stem, dot, suffix = name.replace("\\", "/").rpartition("/")[2].rpartition(".")
    return suffix.lower() if dot and stem else None
