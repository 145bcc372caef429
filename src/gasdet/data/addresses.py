"""Addresses of data: what may be shown of one, and whether it is one at all."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

UNREADABLE = "an address that cannot be read"

VARIABLE = re.compile(r"\$\{(\w+)\}", re.ASCII)
"""The environment's value is meant."""

_KNOWN = re.compile(r"(https?|s3|hf|ftps?|gs)(\+\w+)?:", re.IGNORECASE)
_ANY = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_BUCKET = re.compile(r"[\w.-]+|arn:[\w.:-]+")
_ODD = re.compile(r"[\s\\\x00-\x1f\x7f]")


def looks_like_address(text: str) -> bool:
    """Whether a text begins like an address, a broken one too."""
    return bool(_KNOWN.match(text) or _ANY.match(text))


def without_secrets(address: str) -> str:
    """An address without user, password, query and fragment: what may be shown and recorded of it.

    A text that is no address, such as ``owner/name``, stays as it is up to a query or fragment. Where the parts cannot be told
    apart (one slash too few, a port that is no number), nothing is shown.
    """
    try:
        parts = urlsplit(VARIABLE.sub(_stand_in, address))
        parts.port  # noqa: B018  # a ValueError where it is no number, and then perhaps a part of a password
        if parts.scheme and not parts.netloc:
            return UNREADABLE
        parts = urlsplit(address)
    except ValueError:
        return UNREADABLE
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if parts.scheme else f"{host}{parts.path}"


def check_location(location: str, source: str) -> None:
    """Refuse what is no location for its source. Says nothing of the location itself, which may hold a password.

    Raises:
        ValueError: It is none; the message says what it must be.
    """
    if source in ("http", "https"):
        if not VARIABLE.match(location):
            check_web_address(VARIABLE.sub(_stand_in, location))
    elif source == "s3":
        bucket = location.removeprefix("s3://").strip("/").partition("/")[0]
        if not _BUCKET.fullmatch(bucket):
            raise ValueError("like s3://bucket/prefix, without user and password")
    elif source == "huggingface":
        if looks_like_address(location) or set(location) & set("@?#"):
            raise ValueError("like owner/name, for a data set of the hub")
    elif looks_like_address(location):
        raise ValueError(
            f"a path on this machine for source {source}; addresses begin with s3://, http:// or https:// (two slashes), and "
            "have that source"
        )


def check_web_address(address: str) -> None:
    """Refuse what is no HTTP(S) address, without repeating it.

    Raises:
        ValueError: It is none; the message says what it must be.
    """
    wrong = ValueError("an address like https://host/file.zip or https://host:8080/folder/, the port a number")
    try:
        parts = urlsplit(address)
        port_is_wrong = parts.netloc.endswith(":") or parts.port == 0
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port_is_wrong or _ODD.search(parts.netloc):
        raise wrong


def _stand_in(variable: re.Match[str]) -> str:
    """A digit for each variable: it may stand for a port."""
    return "1"
