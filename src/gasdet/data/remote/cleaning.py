"""Room on the disk: what was used longest ago goes first, and nothing that is in use."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gasdet.cache.folders import finish_removals, remove_unused, unused
from gasdet.cache.store import Store
from gasdet.data.remote.store import Unit, units_of


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What a clean-up did, or would do.

    Attributes:
        removed: Folders that are gone (or would be), the longest unused first.
        in_use: Folders that would have had to go, and that somebody uses.
        kept_bytes: What is left.
        kept: How many folders are left.
        decoded_bytes: Of decoded samples that went, or would go; they go before any folder.
    """

    removed: tuple[Unit, ...]
    in_use: tuple[Unit, ...]
    kept_bytes: int
    kept: int
    decoded_bytes: int = 0


def clean_folders(
    roots: Sequence[Path], max_bytes: int, *, decoded: Sequence[Path] = (), dry_run: bool = False
) -> Cleaned:
    """Remove the folders that were used longest ago until the rest fits.

    Decoded samples go first, the longest unused before the others: they are made again without a network.

    Args:
        roots: Folders whose subfolders are held by a ``.used`` file while in use: the download folder, other caches.
        max_bytes: What all may take together.
        decoded: Folders of stores of decoded samples, in the order in which they make room.
        dry_run: Remove nothing.
    """
    if not dry_run:
        for root in roots:
            finish_removals(root)
    units = sorted((unit for root in roots for unit in units_of(root)), key=lambda unit: (unit.last_use, unit.path))
    stores = [Store(folder, sys.maxsize) for folder in decoded if is_store(folder)]
    held = [store.total_bytes() for store in stores]
    total, decoded_bytes = sum(unit.size for unit in units) + sum(held), 0
    for store, bytes_held in zip(stores, held, strict=True):
        if total > max_bytes:
            freed = store.evict(max(0, bytes_held - (total - max_bytes)), dry_run=dry_run)
            total, decoded_bytes = total - freed, decoded_bytes + freed
    removed, in_use = [], []
    for unit in units:
        if total <= max_bytes:
            break
        if _is_free(unit.path) if dry_run else remove_unused(unit.path):
            removed.append(unit)
            total -= unit.size
        else:
            in_use.append(unit)
    return Cleaned(tuple(removed), tuple(in_use), total, len(units) - len(removed), decoded_bytes)


def is_store(folder: Path) -> bool:
    """Whether a folder is a store of decoded samples."""
    return (folder / "usage").is_file()


def _is_free(folder: Path) -> bool:
    with unused(folder) as free:
        return free
