"""Whether a file that was fetched still is what it was, and whether it ever was whole."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gasdet.data.archives import list_archive
from gasdet.data.names import archive_kind
from gasdet.data.remote.fetching import hashed
from gasdet.data.remote.transfer import Fetched
from gasdet.errors import DataError, first_line
from gasdet.media import modality_of_name
from gasdet.parquet_files import open_parquet

Kind = Literal["missing", "short", "corrupt", "unreadable"]


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong with a file: of which kind, and in words."""

    kind: Kind
    message: str


def damage_of(path: Path, recorded: Fetched, *, quick: bool = False) -> Damage | None:
    """Compare a file with what was recorded when it was fetched.

    Args:
        path: Of the file.
        recorded: Its size and SHA-256. Where nothing said when it came that it was whole, it is opened, too.
        quick: Compare the size, and read nothing.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return Damage("corrupt", "it is no file any more")
        size = status.st_size
        if size < recorded.size:
            return Damage("short", f"{size:,} of {recorded.size:,} bytes")
        if size > recorded.size:
            return Damage("corrupt", f"{size:,} bytes instead of {recorded.size:,}")
        if quick:
            return None
        found = hashed(path).sha256
        if found != recorded.sha256:
            return Damage("corrupt", f"sha256 {found[:12]}… instead of {recorded.sha256[:12]}…")
        return None if recorded.sure else _unopened(path)
    except FileNotFoundError:
        return Damage("missing", "it is a link that leads nowhere")
    except OSError as error:
        return Damage("unreadable", f"it cannot be read ({error.strerror or error})")


def _unopened(path: Path) -> Damage | None:
    """What the reader of its kind has against an archive or a table, and whether a medium has any bytes at all."""
    why = ""
    if archive_kind(path.name) is not None:
        try:
            list_archive(str(path), needs_head=lambda _: False)
        except DataError as error:
            why = first_line(error)
    elif path.suffix.lower() == ".parquet":
        import pyarrow as pa

        try:
            open_parquet(str(path)).close(force=True)
        except (pa.ArrowException, ValueError) as error:
            why = first_line(error)
    elif modality_of_name(path.name) is not None and not path.stat().st_size:
        why = "it is empty"
    return Damage("corrupt", f"it came without a length or a checksum, and cannot be opened: {why}") if why else None
