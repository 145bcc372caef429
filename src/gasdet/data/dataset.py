"""A set of samples ready to be planned."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gasdet.data.containers import container_state
from gasdet.types import LocatorKind, Sample


@dataclass(frozen=True, slots=True)
class Dataset:
    """Samples in a fixed order, and what to tell the user of them.

    Attributes:
        samples: Data sets in the order given, members sorted (in a tar: in the archive's order; in a manifest or a Parquet
            file: in the order of its rows). Includes samples whose ``skip`` is set.
        fingerprint: Hex digits: equal for equal sample ids, labels, sizes, archives and Parquet files in the same order.
        description: What to call it in a message: "demo (test split)", "/path/x.csv".
        is_demo: Whether it is nothing but the generated demo data.
        notes: Lines for the user: "2 symbolic links point to what is already counted".
        sources: Where each public data set of a catalogue came from: name, source, path, revision, licence. Never a holdout's.
    """

    samples: tuple[Sample, ...]
    fingerprint: str
    description: str
    is_demo: bool
    notes: tuple[str, ...] = ()
    sources: tuple[Mapping[str, str], ...] = ()


def fingerprint(samples: Iterable[Sample]) -> str:
    """64 hex digits that change with the data, as far as can be told without reading them, and not with where they lie.

    SHA-256 over every sample's id, media type, size in bytes (-1 where not known without reading) and container, and over
    the state of each archive and Parquet file that samples lie in (``container_state``). A plain file that is replaced by
    another of the same size is not seen.
    """
    digest = hashlib.sha256()
    containers: dict[tuple[LocatorKind, str], int] = {}
    for sample in samples:
        place = sample.locator
        # Containers are called by their order, since the same data may lie in another folder.
        container = -1 if place.kind == "file" else containers.setdefault((place.kind, place.path), len(containers))
        digest.update(f"{sample.sample_id}\0{sample.media_type or '-'}\0{place.size}\0{container}\n".encode())
    for kind, path in containers:
        digest.update(f"{kind} {container_state(kind, path)}\n".encode())
    return digest.hexdigest()
