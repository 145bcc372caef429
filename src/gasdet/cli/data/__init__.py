"""``gasdet data``: what is done with data sets before and between evaluations. One file a command."""

from __future__ import annotations

import click

from gasdet.cli.group import LazyGroup

COMMANDS: dict[str, str] = {
    "list": "Show the data sets of a catalogue.",
    "download": "Fetch the data sets of a catalogue, resumably, with sizes shown first.",
    "verify": "Say what is missing, extra, corrupt or short of downloaded data sets.",
    "clean": "Remove downloads and caches that were used longest ago.",
    "preprocess": "Decode ahead into the decode cache, for one detector.",
    "check": "Decode everything: damage, duplicates, leaks between splits and classes.",
    "audit": "Measure how far properties other than the content separate real from synthetic.",
}
"""Command name to its line in ``gasdet data --help``. The command is ``command`` in the module of that name here."""


@click.group("data", cls=LazyGroup, package="gasdet.cli.data", lines=COMMANDS, no_args_is_help=True)
def command() -> None:
    """List, download, check and audit data sets."""
