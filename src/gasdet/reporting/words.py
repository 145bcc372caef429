"""Names of files, cameras and programs as they can be shown: on one line, and no longer than a place bears."""

from __future__ import annotations


def printable(text: str) -> str:
    """Text with control characters, line breaks and undecodable bytes escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def shortened(text: str, most: int) -> str:
    """Printable text of at most so many characters; what goes is before its last six, since names differ at both ends.

    Args:
        text: Any.
        most: At least 9.
    """
    text = printable(text)
    return text if len(text) <= most else f"{text[: most - 8]}..{text[-6:]}"
