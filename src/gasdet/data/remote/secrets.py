"""Keeping tokens out of what is shown, recorded and raised."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit, urlunsplit

_SECRETS = (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ACCESS_KEY_ID",
)
_ADDRESS = re.compile(r"\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s'\"<>]+")
_SHORTEST = 4


def without_secrets(address: str) -> str:
    """An address without user, password, query and fragment: what may be shown and recorded of it."""
    try:
        parts = urlsplit(address)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path, "", ""))
    except ValueError:
        return "an address that cannot be read"


def redacted(text: str) -> str:
    """A message of a library with the addresses in it cut down and the values of token variables gone."""
    text = _ADDRESS.sub(lambda match: without_secrets(match[0]), text)
    values = [value for name in _SECRETS if len(value := os.environ.get(name, "")) >= _SHORTEST]
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, "***")
    return text


def said(error: BaseException) -> str:
    """What went wrong in a library, in one line without secrets."""
    lines = str(error).strip().splitlines()
    name = type(error).__name__
    return f"{name}: {redacted(lines[0]).rstrip('.')[:300]}" if lines else name
