"""``gasdet data clean``: room on the disk."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gasdet.cli import options, text
from gasdet.cli.sizes import ByteSize, size_text

if TYPE_CHECKING:
    from gasdet.data.remote.store import Unit


@click.command("clean")
@click.option(
    "--max-size",
    type=ByteSize(),
    required=True,
    metavar="SIZE",
    help="What downloads and caches may take together, e.g. 50G; 0 removes all that nobody uses.",
)
@click.option("--dry-run", is_flag=True, help="Show what would go, and remove nothing.")
@options.data_dir_option
@click.option(
    "--decode-cache",
    "decode_caches",
    type=click.Path(file_okay=False, path_type=Path),
    multiple=True,
    metavar="DIR",
    help="A decode cache of your own, which counts and makes room too; repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    max_size: int, dry_run: bool, data_dir: Path | None, decode_caches: tuple[Path, ...], as_json: bool
) -> None:
    """Remove downloads and caches that were used longest ago, until the rest fits.

    What a running job uses stays, whatever its age.
    """
    from gasdet.data.remote.tasks import clean

    cleaned = clean(max_size, data_dir=data_dir, decode_caches=decode_caches, dry_run=dry_run)
    if as_json:
        document = {
            "dry_run": dry_run,
            "removed": [_json(unit) for unit in cleaned.removed],
            "in_use": [_json(unit) for unit in cleaned.in_use],
            "decoded_bytes": cleaned.decoded_bytes,
            "kept": cleaned.kept,
            "kept_bytes": cleaned.kept_bytes,
        }
        text.echo_json(document)
        return
    word = "would be removed" if dry_run else "removed"
    for unit in cleaned.removed:
        click.echo(f"{word}: {text.shown(str(unit.path))} ({size_text(unit.size)}, last used {_day(unit)})")
    for unit in cleaned.in_use:
        click.echo(f"in use, kept: {text.shown(str(unit.path))} ({size_text(unit.size)})", err=True)
    if cleaned.decoded_bytes:
        click.echo(f"{word}: {size_text(cleaned.decoded_bytes)} of decoded samples")
    freed = sum(unit.size for unit in cleaned.removed) + cleaned.decoded_bytes
    click.echo(f"{size_text(freed)} {word}; {size_text(cleaned.kept_bytes)} in {cleaned.kept:,} folders kept.")


def _json(unit: Unit) -> dict[str, Any]:
    return {"path": str(unit.path), "bytes": unit.size, "last_use": _day(unit)}


def _day(unit: Unit) -> str:
    return datetime.datetime.fromtimestamp(unit.last_use, tz=datetime.UTC).strftime("%Y-%m-%d")
