"""``gasdet plugin check NAME``: the conformance kit as a table."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, TextIO

import click

from gasdet.cli import text

if TYPE_CHECKING:
    from gasdet.testing import CheckResult
    from gasdet.types import Kind

_MARKS = {"passed": "ok", "failed": "FAILED", "not applicable": "-"}


@click.command("check")
@click.argument("name")
@click.option(
    "--weights",
    metavar="W",
    help="For detectors: weights as in 'gasdet evaluate'. Default: demo weights, else a release at hand, else random ones.",
)
@click.option(
    "--data",
    metavar="DATA",
    help="Labelled data for the polarity check, 'demo' for the demo data. Default: these, where the weights are demo weights.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, name: str, weights: str | None, data: str | None, as_json: bool) -> None:
    """Run every check of the conformance kit that fits, on all that a plugin registers or on one component.

    NAME is an installed plugin, a detector, metric, loss, calibrator or preprocessor (plugin/name where two plugins use one
    name), or the folder of an installed plugin's source.

    Exit code: 0 all pass, 1 a check failed, 2 wrong use.
    """
    from gasdet.testing.running import check_plugin
    from gasdet.testing.sources import plugin_of

    name = plugin_of(name)
    tables: list[_Table] = []
    out, columns = sys.stdout, text.width()

    def start(kind: Kind, component: str) -> _Table:
        if tables:
            click.echo(file=out)
        tables.append(_Table(kind, component, out, columns))
        return tables[-1]

    with contextlib.redirect_stdout(sys.stderr):  # what a component prints must not get between the results
        reports = check_plugin(name, weights=weights, data=data, starts=None if as_json else start)
    if as_json:
        text.echo_json({"plugin": name, "components": [report.to_mapping() for report in reports]})
    else:
        click.echo()
        results = [result.result for report in reports for result in report.results]
        failed, left_out = results.count("failed"), results.count("not applicable")
        total = len(results) - left_out
        what = f"{failed} of {total} checks failed" if failed else f"all {total} checks passed"
        aside = f", {left_out} did not apply" if left_out else ""
        click.echo(f"{name}: {what}{aside}.")
    ctx.exit(0 if all(report.passed for report in reports) else 1)


class _Table:
    """One component's table, a line as soon as its check is done; what to change stands below a check that failed."""

    def __init__(self, kind: Kind, name: str, out: TextIO, columns: int | None) -> None:
        from gasdet.testing import suites

        self._width = max(map(len, suites()[kind].checks))
        self._out, self._columns = out, columns
        self._heading = f"{kind} {name}"

    def __call__(self, result: CheckResult) -> None:
        """Print a result."""
        if self._heading:  # with the first result: weights or data that cannot be used are told without a table
            click.echo(self._heading, file=self._out)
            self._heading = ""
        indent = f"  {'':<{self._width}}  "
        start = f"  {result.check:<{self._width}}  {_MARKS[result.result]:<6}"
        lines = text.paragraph(result.detail, self._columns, f"{start}  ", f"{indent}{'':<6}  ") or [start]
        if result.result == "failed":
            lines += text.paragraph(result.advice, self._columns, f"{indent}to change: ", indent)
        for line in lines:
            click.echo(line.rstrip(), file=self._out)
