"""``gasdet plugin check NAME``: the conformance kit as a table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gasdet.cli import text

if TYPE_CHECKING:
    from gasdet.testing import Report

_MARKS = {"passed": "ok", "failed": "FAILED", "not applicable": "-"}


@click.command("check")
@click.argument("name")
@click.option(
    "--weights",
    metavar="W",
    help="For detectors: weights as in 'gasdet evaluate'. Default: demo weights, else random ones of the recipe's network.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DATA",
    help="Labelled data for the polarity check. Default: the demo data, where the weights are demo weights.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, name: str, weights: str | None, data: Path | None, as_json: bool) -> None:
    """Run every check of the conformance kit that fits, on all that a plugin registers or on one component.

    NAME is an installed plugin, a detector, metric, loss, calibrator or preprocessor (plugin/name where two plugins use one
    name), or the folder of an installed plugin's source.

    Exit code: 0 all pass, 1 a check failed, 2 wrong use.
    """
    from gasdet.testing.running import check_plugin
    from gasdet.testing.sources import plugin_of

    name = plugin_of(name)
    columns = text.width()
    reports = check_plugin(
        name, weights=weights, data=data, told=None if as_json else lambda report: _print(report, columns)
    )
    if as_json:
        text.echo_json({"plugin": name, "components": [report.to_mapping() for report in reports]})
    else:
        failed = sum(len(report.failed) for report in reports)
        total = sum(result.result != "not applicable" for report in reports for result in report.results)
        what = f"{failed} of {total} checks failed" if failed else f"all {total} checks passed"
        click.echo(f"{name}: {what}.")
    ctx.exit(0 if all(report.passed for report in reports) else 1)


def _print(report: Report, columns: int | None) -> None:
    """One component's table; what to change stands below a check that failed."""
    width = max(len(result.check) for result in report.results)
    click.echo(f"{report.kind} {report.name}")
    for result in report.results:
        line = f"  {result.check:<{width}}  {_MARKS[result.result]:<6}  {result.detail}".rstrip()
        click.echo(line if columns is None or result.result == "failed" else line[:columns])
        if result.result == "failed":
            click.echo(f"  {'':<{width}}  to change: {result.advice}")
    click.echo()
    sys.stdout.flush()
