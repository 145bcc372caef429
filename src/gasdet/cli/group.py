"""The command group: knows every command's one-line help, imports a command's module only when it runs."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Mapping
from typing import Any

import click

from gasdet import __version__
from gasdet.errors import GasdetError

COMMANDS: dict[str, str] = {
    "list": "List the installed detectors, or with --hooks the other components.",
    "info": "Show everything known about one detector or component.",
    "detect": "Score files: real or synthetic?",
    "evaluate": "Measure detectors on a dataset, with errors counted and intervals.",
    "calibrate": "Fit a calibrator, and report before and after on samples that took no part.",
    "train": "Train a detector by its plugin's recipe, on your data.",
    "data": "List, download, check and audit data sets.",
    "plugin": "Write and check plugins.",
    "export": "Write a detector as a bundle that runs without gasdet, and check it.",
}
"""Command name to its line in ``gasdet --help``. The command is ``command`` in the module of that name here."""

INTERRUPTED = 130


class LazyGroup(click.Group):
    """Imports a command's module when that command is asked for.

    Args:
        package: Import path of the package that has a module for each command, named like it; its ``command`` is the command.
        lines: Command name to its line in the group's help, in the order in which a new user meets them.
    """

    def __init__(self, *args: Any, package: str, lines: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._package = package
        self.lines = lines

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which a new user meets them."""
        return list(self.lines)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in self.lines:
            return None
        command = importlib.import_module(f"{self._package}.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands' lines without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.lines.items()))


class Gasdet(LazyGroup):
    """The outermost group: turns errors into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a GasdetError becomes ``Error: ...`` on stderr and its exit code."""
        try:
            return super().invoke(ctx)
        except GasdetError as error:
            if ctx.params["debug"]:
                traceback.print_exc()
            click.echo(f"Error: {' '.join(str(error).split())}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            if ctx.params["debug"]:
                traceback.print_exc()
            click.echo("Interrupted.", err=True)
            ctx.exit(INTERRUPTED)


@click.group(
    cls=Gasdet,
    package="gasdet.cli",
    lines=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    no_args_is_help=True,
)
@click.version_option(__version__, prog_name="gasdet", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def gasdet(debug: bool) -> None:
    """Is this image, video or audio real or AI-generated, and which detector can be trusted, on what, and how far?

    Detectors are separately installed packages; 'gasdet list' shows those at hand.
    """
