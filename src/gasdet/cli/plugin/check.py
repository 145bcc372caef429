"""``gasdet plugin check NAME``: the conformance kit as a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gasdet.cli import text

if TYPE_CHECKING:
    from gasdet.testing import CheckResult
    from gasdet.testing.running import Kind

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
    tables: list[_Table] = []

    def start(kind: Kind, component: str) -> _Table:
        if tables:
            click.echo()
        tables.append(_Table(kind, component))
        return tables[-1]

    reports = check_plugin(name, weights=weights, data=data, starts=None if as_json else start)
    if as_json:
        text.echo_json({"plugin": name, "components": [report.to_mapping() for report in reports]})
    else:
        click.echo()
        failed = sum(len(report.failed) for report in reports)
        total = sum(result.result != "not applicable" for report in reports for result in report.results)
        what = f"{failed} of {total} checks failed" if failed else f"all {total} checks passed"
        click.echo(f"{name}: {what}.")
    ctx.exit(0 if all(report.passed for report in reports) else 1)


class _Table:
    """One component's table, a line as soon as its check is done; what to change stands below a check that failed."""

    def __init__(self, kind: Kind, name: str) -> None:
        from gasdet.testing import suites

        self._width = max(map(len, suites()[kind].checks))
        self._columns = text.width()
        click.echo(f"{kind} {name}")

    def __call__(self, result: CheckResult) -> None:
        """Print a result."""
        line = f"  {result.check:<{self._width}}  {_MARKS[result.result]:<6}  {result.detail}".rstrip()
        click.echo(line if self._columns is None or result.result == "failed" else line[: self._columns])
        if result.result == "failed":
            click.echo(f"  {'':<{self._width}}  to change: {result.advice}")
