"""``gasdet data audit``: what other than the content tells real from synthetic."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from gasdet.cli import options, text
from gasdet.cli.group import INTERRUPTED
from gasdet.cli.progress import progress
from gasdet.equalise_profiles import NEWEST, PROFILES

if TYPE_CHECKING:
    from gasdet.inspection.auditing import Audit

PIPE_COLUMNS = 120
"""Width of the tables where standard output is neither a terminal nor told by COLUMNS."""


@click.command("audit")
@click.argument("data", nargs=-1, metavar="DATA...")
@click.option("--split", metavar="NAME", help="Only this split. Default: of demo its test split, else everything.")
@options.data_options
@options.catalogue_options
@options.mode_option
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Of every random choice.",
)
@click.option(
    "--equalise",
    is_flag=False,
    flag_value="standard",
    metavar="[PROFILE]",
    help="Also audit what is left once both classes went through the same crop, size and codec; a profile, with what "
    "differs from it: standard:side=128. Default: standard.",
)
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a report there: one HTML file, with a plot of every strong property.",
)
@click.option(
    "--csv",
    "values",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the properties of every sample there.",
)
@click.option(
    "--fail-on",
    type=click.Choice(["weak", "strong", "fatal"]),
    help="Exit with 1 where the model or a property is at least such a shortcut; with --equalise, where one is left.",
)
@click.option("--offline", is_flag=True, help="Fetch nothing from the network.")
@options.decode_options
@click.option("--full", is_flag=True, help="Print every property and every dataset.")
@click.option("--json", "as_json", is_flag=True, help="Print the audit as one JSON document.")
@click.pass_context
def command(
    ctx: click.Context,
    data: tuple[str, ...],
    split: str | None,
    datasets: tuple[str, ...],
    limit: int | None,
    categories: tuple[str, ...],
    modality: str | None,
    mode: Literal["debug", "small", "full"],
    seed: int,
    equalise: str | None,
    report: Path | None,
    values: Path | None,
    fail_on: str | None,
    offline: bool,
    workers: int | None,
    decode_timeout: float,
    full: bool,
    as_json: bool,
) -> None:
    """Measure how far properties other than the content separate real from synthetic in DATA.

    Format, size, quality, metadata, frame rate, loudness and the like: each alone, and all of them in a model. What that
    model reaches, a detector could reach without looking at the content. Private holdouts are not taken.

    Exit code: 0 done, 1 failed or what --fail-on names was found, 2 wrong use, 130 interrupted.
    """
    from gasdet.api.auditing import audit

    _check_data(data, equalise)
    sink = progress()
    try:
        found = audit(
            data[0] if len(data) == 1 else list(data),
            split=split,
            datasets=datasets,
            categories=categories,
            modality=modality,
            mode=mode,
            limit=limit,
            seed=seed,
            equalise=equalise,
            report=report,
            values=values,
            offline=offline,
            workers=workers,
            timeout=decode_timeout,
            progress=sink,
        )
    except KeyboardInterrupt:
        sink.finish()
        click.echo("Interrupted. Nothing of an audit is kept; --limit N makes it shorter.", err=True)
        ctx.exit(INTERRUPTED)
    finally:
        sink.finish()
    if as_json:
        text.echo_json(found.to_mapping())
    else:
        _print_tables(found.to_mapping(), full)
    for what, path in (("Report", report), ("Properties", values)):
        if path is not None:
            click.echo(f"{what}: {text.shown(str(path))}", err=True)
    ctx.exit(1 if fail_on is not None and _fails(found, fail_on) else 0)


def _check_data(data: tuple[str, ...], equalise: str | None) -> None:
    """Tell ``--equalise photos/`` from a missing argument: the option takes what follows it for its profile.

    Raises:
        UsageError: There is no DATA, or it went to the option.
    """
    named = equalise is None or equalise.partition(":")[0].strip() in (*NEWEST, *PROFILES)
    if not named and (not data or Path(equalise or "").exists()):
        raise click.UsageError(
            f"--equalise took {equalise!r} for its profile; name DATA before it, or the profile with it: --equalise=standard."
        )
    if not data:
        raise click.UsageError("Missing argument 'DATA...'.")


def _fails(found: Audit, fail_on: str) -> bool:
    from gasdet.inspection.auditing import Verdict

    return found.worst.reaches(Verdict(fail_on))


def _print_tables(found: dict[str, Any], full: bool) -> None:
    """The properties, the data sets, and what it means."""
    from gasdet.reporting.audit_tables import audit_grids, conclusions
    from gasdet.reporting.tables import to_plain, to_terminal

    tables = audit_grids(found, full=full)
    columns = text.width()
    if sys.stdout.isatty() and columns is not None:
        from rich.console import Console

        Console(width=columns).print(to_terminal(tables, columns))
    else:
        click.echo(to_plain(tables, columns or PIPE_COLUMNS))
    click.echo()
    for line in conclusions(found):
        click.echo("\n".join(text.paragraph(text.shown(line), columns)))
