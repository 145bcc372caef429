"""What an entry's keys mean together: where its data are, and which keys have no effect beside which."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from gasdet.data.catalogue_keys import SAME_AS
from gasdet.data.names import archive_kind

GASBENCH_KEYS = frozenset(
    [
        *("media_per_archive", "archives_per_dataset", "generator_family", "generator_variant", "original_name"),
        *(key for key in SAME_AS if key != "license"),
    ]
)
"""Keys that say of an entry that it was written for GASBench, whose data sets are of the hub unless they say otherwise."""

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*\Z", re.ASCII)
_TABLES = (".csv", ".tsv", ".parquet")
_SCHEMES = {"s3": "s3", "http": "http", "https": "https", "hf": "huggingface"}


def source_of(values: Mapping[str, Any], *, gasbench: bool) -> tuple[str, str]:
    """The location, and the source: as stated, or as an address says; GASBench's entries without one are of the hub.

    What lies on this machine never decides it: the same catalogue means the same everywhere.

    Args:
        values: Of the entry, by key.
        gasbench: Whether the entry was written for GASBench. It is of the hub then where its path is like ``owner/name``.
    """
    location = str(values["path"])
    scheme = urlsplit(location).scheme.lower() if "://" in location else ""
    source = values.get("source") or _SCHEMES.get(scheme, "")
    if not source:
        source = "huggingface" if gasbench and is_like_the_hubs(location) else "local"
    if source == "huggingface":
        location = location.removeprefix("hf://").removeprefix("datasets/")
    return location, source


def is_like_the_hubs(location: str) -> bool:
    """Whether a location is like the name of a data set of the hub, ``owner/name``; many a local folder's is, too.

    A path that starts from a folder by ``./`` or ``../`` is none.
    """
    is_file = archive_kind(location) is not None or location.lower().endswith(_TABLES)
    return bool(_HUB_NAME.match(location)) and not is_file


def conflicts(given: Collection[str], values: Mapping[str, Any], source: str) -> Iterator[str]:
    """What is wrong with an entry although each of its keys is right.

    Args:
        given: The keys that stand in the catalogue.
        values: By key.
        source: Where the data are; empty where that is not known.
    """
    if not (values.get("path") if "path" in values else "path" in given):
        yield "a data set needs a path"
    if bool(values.get("filter_column")) != bool(values.get("filter_value")) and not _unread(given, values):
        yield "filter_column and filter_value go together"
    if values.get("generator") and values.get("generator_variant"):
        yield "generator and generator_variant say the same; give one of them"
    if not source:
        return
    if values.get("s3_prefixes") and source != "s3":
        yield "s3_prefixes goes with source: s3"
    if values.get("sha256") and source == "local":
        yield "sha256 is of a file that is fetched, and the source is local"
    if values.get("revision") and source not in ("huggingface", "modelscope"):
        yield f"revision is of a data set of the hub (source: huggingface), and the source is {source}"


def _unread(given: Collection[str], values: Mapping[str, Any]) -> bool:
    """Whether one of the two keys of a filter stands there with a value that was refused: that is said already."""
    return any(key in given and key not in values for key in ("filter_column", "filter_value"))


def below(location: str, prefixes: tuple[str, ...]) -> tuple[str, ...]:
    """GASBench's ``s3_prefixes``, which begin like the location below its bucket, as parts of paths below the location."""
    start = location.removeprefix("s3://").partition("/")[2].strip("/")
    return tuple(p.removeprefix(f"{start}/") if start else p for p in prefixes)
