"""Where an entry's data are to be had, and which folder on this machine they belong to."""

from __future__ import annotations

import hashlib
from urllib.parse import parse_qsl, urlsplit

from gasdet.data.catalogue import CatalogueEntry
from gasdet.data.remote.files import Source
from gasdet.data.remote.hub import HubSource
from gasdet.data.remote.patience import Patience
from gasdet.data.remote.s3 import S3Source
from gasdet.data.remote.secrets import without_secrets
from gasdet.data.remote.store import Identity
from gasdet.data.remote.web import WebSource
from gasdet.errors import DataError

REMOTE = ("huggingface", "s3", "http", "https")
_SIGNATURE = ("x-amz-", "x-goog-", "awsaccesskeyid", "signature", "expires", "token", "key", "sig", "policy", "auth")


def identity_of(entry: CatalogueEntry) -> Identity:
    """Which remote data set an entry is about; entries that differ in what they take of it share one.

    Raises:
        DataError: Its source is none that can be fetched from.
    """
    source, location = entry.source, entry.location.strip()
    if source not in REMOTE:
        raise DataError(
            f"{entry.name} (line {entry.line} of its catalogue) is to come from {source}, from which gasdet does not fetch: "
            "get it yourself and give its local path with source: local."
        )
    if source in ("http", "https"):
        query = [
            pair for pair in parse_qsl(urlsplit(location).query, keep_blank_values=True) if not _is_signature(pair[0])
        ]
        variant = hashlib.sha256(repr(sorted(query)).encode()).hexdigest()[:12] if query else ""
        return Identity("http", without_secrets(location), variant, "", entry.sha256)
    if source == "s3":
        return Identity("s3", "s3://" + location.removeprefix("s3://").strip("/"), "", "", entry.sha256)
    return Identity("huggingface", location.strip("/"), "", entry.revision, entry.sha256)


def _is_signature(parameter: str) -> bool:
    return parameter.lower().startswith(_SIGNATURE[:2]) or any(word in parameter.lower() for word in _SIGNATURE[2:])


def source_of(entry: CatalogueEntry, revision: str, patience: Patience) -> Source:
    """The place to fetch an entry's files from, at a revision (empty: the one that the entry asks for)."""
    if entry.source == "huggingface":
        return HubSource(entry.location, revision or entry.revision, patience)
    if entry.source == "s3":
        return S3Source(entry.location.strip(), patience)
    return WebSource(entry.location.strip(), patience)
