"""Where an entry's data are to be had, and which folder on this machine they belong to."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from urllib.parse import parse_qsl, urlsplit

from gasdet.data.addresses import without_secrets
from gasdet.data.catalogue import CatalogueEntry
from gasdet.data.remote.files import Source
from gasdet.data.remote.hub import HubSource
from gasdet.data.remote.manifest import Identity
from gasdet.data.remote.patience import Patience
from gasdet.data.remote.s3 import S3Source
from gasdet.data.remote.web import WebSource
from gasdet.errors import DataError, about_lines

REMOTE = ("huggingface", "s3", "http", "https")
_SIGNATURE_PREFIXES = ("x-amz-", "x-goog-")
_SIGNATURE = frozenset(
    [
        *(
            "awsaccesskeyid",
            "googleaccessid",
            "signature",
            "expires",
            "key-pair-id",
            "policy",
        ),  # S3 and GCS v2, CloudFront
        *("sig", "se", "sp", "sv", "sr", "st", "spr", "sip", "si"),  # Azure's shared access signatures
        *("skoid", "sktid", "skt", "ske", "sks", "skv", "saoid", "suoid", "scid", "sdd"),
        *("token", "access_token"),
    ]
)
"""Parameters of a query that say who may read and until when, and not what; in small letters."""


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
    return parameter.lower().startswith(_SIGNATURE_PREFIXES) or parameter.lower() in _SIGNATURE


def refuse_mixed(entries: Sequence[CatalogueEntry]) -> None:
    """Refuse entries that are one data set by their addresses' visible parts and have different addresses all the same.

    They would share one folder, and one would be read in the place of the other.

    Raises:
        DataError: There are such.
    """
    first: dict[str, tuple[CatalogueEntry, str]] = {}
    for entry in entries:
        if entry.source not in ("http", "https"):
            continue
        address = os.path.expandvars(entry.location.strip())
        other, known = first.setdefault(identity_of(entry).folder, (entry, address))
        if known != address:
            with about_lines("twice", other.line, entry.line):
                raise DataError(
                    f"{other.name} (line {other.line} of its catalogue) and {entry.name} (line {entry.line}) have "
                    "addresses that differ only in what counts as user, password or signature, so that they are one data "
                    "set; give both the same address."
                )


def source_of(entry: CatalogueEntry, revision: str, patience: Patience) -> Source:
    """The place to fetch an entry's files from, at a revision (empty: the one that the entry asks for)."""
    if entry.source == "huggingface":
        return HubSource(entry.location, revision or entry.revision, patience)
    if entry.source == "s3":
        return S3Source(entry.location.strip(), patience)
    return WebSource(entry.location.strip(), patience)
