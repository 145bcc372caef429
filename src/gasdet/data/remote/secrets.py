"""Keeping tokens out of what is shown, recorded and raised."""

from __future__ import annotations

import os
import re
from urllib.parse import quote

from gasdet.data.addresses import VARIABLE, without_secrets
from gasdet.errors import FetchError

_SECRETS = (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ACCESS_KEY_ID",
)
_ADDRESS = re.compile(r"\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s'\"<>]+")
_SHORTEST = 4


_EXPANDED: set[str] = set()
"""Values of the environment that stand in addresses, and the same as addresses quote them."""


def expanded(location: str) -> str:
    """An address with the environment's values for ``${NAME}``, which no message says from now on.

    Raises:
        FetchError: One is not set.
    """

    def value_of(variable: re.Match[str]) -> str:
        value = os.environ.get(variable[1])
        if value is None:
            raise FetchError(f"{without_secrets(location)} needs {variable[1]}, which is not set in the environment")
        _EXPANDED.update((value, quote(value), quote(value, safe="")))
        return value

    return VARIABLE.sub(value_of, location)


def redacted(text: str) -> str:
    """A message of a library with the addresses in it cut down and the values of token variables gone."""
    text = _ADDRESS.sub(lambda match: without_secrets(match[0]), text)
    values = [os.environ.get(name, "") for name in _SECRETS] + list(_EXPANDED)
    for value in sorted(values, key=len, reverse=True):
        if len(value) >= _SHORTEST:
            text = text.replace(value, "***")
    return text


def said(error: BaseException) -> str:
    """What went wrong in a library, in one line without secrets."""
    lines = str(error).strip().splitlines()
    name = type(error).__name__
    return f"{name}: {redacted(lines[0]).rstrip('.')[:300]}" if lines else name
