"""What a data set's folder says of itself: which data set it is for, what its source lists, what is here whole."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gasdet.data.names import printable
from gasdet.data.remote.files import Found, RemoteFile
from gasdet.data.remote.transfer import Fetched
from gasdet.errors import DataError

MANIFEST = "manifest.json"
_FORMAT = 1
_ODD = re.compile(r"[^A-Za-z0-9.]+")


@dataclass(frozen=True, slots=True)
class Identity:
    """Which remote data set a folder is for. Holds no secret.

    Attributes:
        source: ``huggingface``, ``s3`` or ``http``.
        location: Without user, password and query.
        variant: Digest of the parts of a query that are no signature; empty without them.
        revision: As the catalogue asks for it.
        sha256: As the catalogue states it.
    """

    source: str
    location: str
    variant: str
    revision: str
    sha256: str

    @property
    def folder(self) -> str:
        """A name that a person can read and that no other data set has."""
        text = "\0".join((self.source, self.location, self.variant, self.revision, self.sha256))
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        readable = _ODD.sub("-", self.location.partition("://")[2] or self.location).strip("-.")[:60]
        return f"{self.source}-{readable}-{digest}"


@dataclass(slots=True)
class Manifest:
    """What a data set's folder says of itself.

    Attributes:
        source: Of the identity, as the next two.
        location: Without anything secret.
        asked: Revision as the catalogue asks for it.
        revision: The commit that everything here belongs to; empty where the source has none.
        files: Everything that the source listed.
        have: What is here whole.
        selections: What each way of reading the data set takes, in its order.
    """

    source: str = ""
    location: str = ""
    asked: str = ""
    revision: str = ""
    files: dict[str, RemoteFile] = field(default_factory=dict)
    have: dict[str, Fetched] = field(default_factory=dict)
    selections: dict[str, list[str]] = field(default_factory=dict)

    def to_mapping(self) -> dict[str, Any]:
        """As it is written."""
        return {
            "format": _FORMAT,
            "source": self.source,
            "location": self.location,
            "asked_revision": self.asked,
            "revision": self.revision,
            "files": {name: self.files[name].to_mapping() for name in sorted(self.files)},
            "have": {name: _recorded(self.have[name]) for name in sorted(self.have)},
            "selections": {key: self.selections[key] for key in sorted(self.selections)},
        }

    @classmethod
    def from_mapping(cls, stated: Mapping[str, Any]) -> Manifest:
        """The reverse; ValueError, KeyError or TypeError where it is none."""
        if stated["format"] != _FORMAT:
            raise ValueError(f"format {stated['format']}")
        return cls(
            stated["source"],
            stated["location"],
            stated["asked_revision"],
            stated["revision"],
            {name: RemoteFile.from_mapping(name, facts) for name, facts in stated["files"].items()},
            {n: Fetched(f["size"], f["sha256"], f.get("sure", True)) for n, f in stated["have"].items()},
            {key: list(names) for key, names in stated["selections"].items()},
        )

    def replaced(self, found: Found) -> list[str]:
        """The names of files here that a new listing has as another file than before, or no longer has."""
        return [name for name in self.have if not _unchanged(self.files.get(name), found.files.get(name))]

    def take(self, found: Found) -> None:
        """Go over to a new listing; what the source lists as another file than before is no longer here."""
        gone = set(self.replaced(found))
        if found.files != self.files or found.revision != self.revision:
            self.selections = {}
        self.revision, self.files = found.revision, dict(found.files)
        self.have = {name: fetched for name, fetched in self.have.items() if name not in gone}


def _recorded(fetched: Fetched) -> dict[str, Any]:
    facts: dict[str, Any] = {"size": fetched.size, "sha256": fetched.sha256}
    return facts if fetched.sure else {**facts, "sure": False}


def _unchanged(before: RemoteFile | None, now: RemoteFile | None) -> bool:
    return before is not None and before == now and (before.pinned or bool(before.version))


def read_manifest(folder: Path) -> Manifest | None:
    """A data set folder's manifest; None where there is none.

    Raises:
        DataError: It is damaged, or of another version of gasdet.
    """
    path = folder / MANIFEST
    try:
        return Manifest.from_mapping(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise DataError(
            f"{printable(str(path))} cannot be read as the manifest of a download; remove its folder and fetch again."
        ) from None
