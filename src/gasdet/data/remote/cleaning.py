"""Room on the disk: what was used longest ago goes first, and nothing that is in use."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gasdet.cache.store import Store
from gasdet.data.remote.store import Unit, remove_unit, units_of, unused


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
    roots: Sequence[Path], max_bytes: int, *, decoded: Path | None = None, dry_run: bool = False
) -> Cleaned:
    """Remove the folders that were used longest ago until the rest fits.

    Decoded samples go first, the longest unused before the others: they are made again without a network.

    Args:
        roots: Folders whose subfolders are held by a ``.used`` file while in use: the download folder, other caches.
        max_bytes: What all may take together.
        decoded: Folder of a store of decoded samples; None for none.
        dry_run: Remove nothing.
    """
    units = sorted((unit for root in roots for unit in units_of(root)), key=lambda unit: (unit.last_use, unit.path))
    folders = sum(unit.size for unit in units)
    total, decoded_bytes = folders, 0
    if decoded is not None and (decoded / "usage").is_file():
        store = Store(decoded, sys.maxsize)
        held = store.total_bytes()
        keep = max(0, max_bytes - folders)
        decoded_bytes = max(0, held - keep) if dry_run else store.evict(keep) if held > keep else 0
        total += held - decoded_bytes
    removed, in_use = [], []
    for unit in units:
        if total <= max_bytes:
            break
        if _is_free(unit.path) if dry_run else remove_unit(unit.path):
            removed.append(unit)
            total -= unit.size
        else:
            in_use.append(unit)
    return Cleaned(tuple(removed), tuple(in_use), total, len(units) - len(removed), decoded_bytes)


def _is_free(folder: Path) -> bool:
    with unused(folder) as free:
        return free
