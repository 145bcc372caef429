"""What tests of downloads write and look at."""

from __future__ import annotations

import os
from pathlib import Path

import yaml
from loopback import Hub


def write_catalogue(path: Path, *entries: dict[str, str]) -> Path:
    listed = [{"name": f"set{i}", "modality": "image", **entry} for i, entry in enumerate(entries)]
    path.write_text(yaml.safe_dump({"datasets": listed}))
    return path


def tree(root: Path) -> dict[str, bytes]:
    """Every file of a download folder with its content, links as what they point to, locks left out."""
    return {
        p.relative_to(root).as_posix(): os.readlink(p).encode() if p.is_symlink() else p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.is_symlink() or p.is_file()
    }


def slow(hub: Hub, files: dict[str, bytes], seconds_each: float) -> None:
    for name in files:
        if name.endswith(".zip"):
            hub.blob("someone/faces", name).chunk_delay_s = seconds_each


def received(folder: Path) -> int:
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_size
            except FileNotFoundError:
                continue
    return total
