"""``gasdet data verify``: whether downloads are what they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gasdet.cli import options, text
from gasdet.cli.progress import progress
from gasdet.cli.sizes import size_text

if TYPE_CHECKING:
    from gasdet.data.remote.verifying import Verified

MOST_SHOWN = 20
"""Findings of a data set that are shown; --json has them all."""

_MENDED = ("missing", "short", "corrupt", "unreadable")


@click.command("verify")
@click.argument("catalogues", nargs=-1, metavar="[CATALOGUE...]")
@options.datasets_option
@options.catalogue_options
@click.option(
    "--mode",
    type=click.Choice(["debug", "small", "full"]),
    help="What must be here. Default: what was fetched, whatever the mode.",
)
@click.option("--quick", is_flag=True, help="Compare sizes only, and read no file.")
@options.data_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(context: click.Context, /, catalogues: tuple[str, ...], as_json: bool, **chosen: Any) -> None:
    """Compare downloads with the sizes and checksums that were recorded when they were fetched.

    Without a catalogue, everything in the download folder is looked at; with one, its data sets must be there too. The exit
    code is 1 where something is missing, short, corrupt, unreadable or extra.
    """
    from gasdet.data.remote.tasks import verify

    results = verify(catalogues, progress=progress(), **chosen)
    if as_json:
        text.echo_json({"datasets": [_json(name, state) for name, state in results]})
    elif not results:
        click.echo("There are no downloads to verify.")
    else:
        _show(results)
    if not all(state.ok for _, state in results):
        context.exit(1)


def _json(name: str, state: Verified) -> dict[str, Any]:
    return {
        "name": name,
        "ok": state.ok,
        "source": state.source,
        "location": state.location,
        "revision": state.revision,
        "path": str(state.folder),
        "files": state.files,
        "bytes": state.bytes,
        "findings": [{"trouble": f.trouble, "file": f.file, "message": f.message} for f in state.findings],
    }


def _show(results: list[tuple[str, Verified]]) -> None:
    rows = [
        [
            text.shown(name),
            "ok" if state.ok else ", ".join(dict.fromkeys(f.trouble for f in state.findings)),
            f"{state.files:,}",
            size_text(state.bytes),
            str(len(state.findings)),
        ]
        for name, state in results
    ]
    click.echo("\n".join(text.table(("DATA SET", "STATE", "FILES", "SIZE", "FINDINGS"), rows, text.width())))
    for name, state in results:
        for finding in state.findings[:MOST_SHOWN]:
            file = f"{text.shown(finding.file)}: " if finding.file else ""
            click.echo(f"{text.shown(name)}: {finding.trouble}: {file}{text.shown(finding.message)}")
        if len(state.findings) > MOST_SHOWN:
            click.echo(f"{text.shown(name)}: and {len(state.findings) - MOST_SHOWN:,} more (--json has them all)")
    if any(finding.trouble in _MENDED for _, state in results for finding in state.findings):
        click.echo(
            "'gasdet data download CATALOGUE --repair' fetches again what is missing, short, corrupt or unreadable."
        )
