"""``gasdet plugin``: what authors of plugins use. One file a command."""

from __future__ import annotations

import click

from gasdet.cli.group import LazyGroup

COMMANDS: dict[str, str] = {
    "new": "Write a plugin that works as it is, to start from.",
    "check": "Hold a plugin, or one of its components, to the conformance kit.",
}
"""Command name to its line in ``gasdet plugin --help``. The command is ``command`` in the module of that name here."""


@click.group("plugin", cls=LazyGroup, package="gasdet.cli.plugin", lines=COMMANDS, no_args_is_help=True)
def command() -> None:
    """Write and check plugins."""
