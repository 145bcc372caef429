"""``gasdet data download``: sizes first, then the files."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gasdet.cli import options, text
from gasdet.cli.progress import progress
from gasdet.cli.sizes import size_text
from gasdet.data.listing import counted

if TYPE_CHECKING:
    from gasdet.data.remote.tasks import Planned


@click.command("download")
@click.argument("catalogues", nargs=-1, required=True, metavar="CATALOGUE...")
@options.datasets_option
@options.catalogue_options
@click.option(
    "--mode",
    type=click.Choice(["debug", "small", "full"]),
    default="full",
    show_default=True,
    help="debug and small fetch only as many archives or tables as hold enough samples.",
)
@click.option("--dry-run", is_flag=True, help="Show the sizes, and fetch, write and remove nothing.")
@click.option(
    "--update", is_flag=True, help="Take what the sources list now; else a data set stays at its first listing."
)
@click.option(
    "--repair", is_flag=True, help="Read what is here, and fetch again what is not as it was when it was fetched."
)
@click.option(
    "--concurrent", type=click.IntRange(min=1), default=4, show_default=True, metavar="N", help="Files at once."
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="S",
    help="Seconds without a byte after which a connection is given up and tried again.",
)
@options.data_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(
    context: click.Context, /, catalogues: tuple[str, ...], as_json: bool, dry_run: bool, **chosen: Any
) -> None:
    """Fetch the data sets of catalogues ('starter' is the one that is shipped).

    Interrupted, the same command goes on from there. What is here already is not asked for again. A file has its final name
    only when it is whole and has the checksum that its source states.
    """
    from gasdet.data.remote.tasks import download

    told: list[Planned] = []

    def show(plan: list[Planned]) -> None:
        told.extend(plan)
        if not as_json:
            _show(plan)
            _show_errors(plan)

    plan = download(catalogues, dry_run=dry_run, planned=show, progress=progress(), **chosen)
    if as_json:
        text.echo_json({"dry_run": dry_run, "datasets": [dataclasses.asdict(one) for one in plan]})
    elif not plan:
        click.echo("Nothing to fetch: all data sets that are asked for are local.")
    elif not dry_run and any(not one.error for one in plan):
        click.echo(f"All here: {size_text(sum(one.own_bytes for one in plan))}.")
        _show_place(chosen["data_dir"])
    if not as_json:
        _show_errors([one for one in plan if one not in told])
    if any(one.error for one in plan):
        context.exit(1)


def _show(plan: list[Planned]) -> None:
    rows = [
        [
            text.shown(one.name),
            one.source,
            text.shown(one.location),
            one.revision[:12] or "-",
            "-" if one.error else f"{one.files:,}",
            "-" if one.error else "unknown" if one.missing_unsized and not one.bytes else size_text(one.bytes),
            "failed" if one.error else _to_fetch(one),
        ]
        for one in plan
    ]
    headers = ("DATA SET", "SOURCE", "LOCATION", "REVISION", "FILES", "SIZE", "TO FETCH")
    if rows:
        click.echo("\n".join(text.table(headers, rows, text.width())))
    missing = sum(one.own_missing_bytes for one in plan)
    most = sum(one.own_most_bytes for one in plan)
    if rows:
        more = f", at most {size_text(most)}" if most > missing else ""
        unsized = sum(one.missing_unsized for one in plan)
        besides = f", and {counted(unsized, 'file')} of unknown size" if unsized else ""
        click.echo(f"\nTo fetch: {size_text(missing)}{more}{besides}.")


def _show_place(data_dir: Path | None) -> None:
    """Other commands have no --data-dir: say what makes them look where these data are now."""
    from gasdet.data.remote.store import data_dir as usual

    if data_dir is not None and (place := data_dir.expanduser().absolute()).resolve() != usual().resolve():
        click.echo(f"For other commands to find them there: export GASDET_DATA={shlex.quote(text.shown(str(place)))}")


def _show_errors(plan: list[Planned]) -> None:
    for one in plan:
        if one.error:
            click.echo(f"{text.shown(one.name)}: {text.shown(one.error)}", err=True)


def _to_fetch(one: Planned) -> str:
    if not one.missing_files and one.most_bytes == 0:
        return "nothing"
    more = f" to {size_text(one.most_bytes)}" if one.most_bytes > one.missing_bytes else ""
    size = "unknown" if one.missing_unsized and not one.missing_bytes else size_text(one.missing_bytes)
    return f"{counted(one.missing_files, 'file')}, {size}{more}"
