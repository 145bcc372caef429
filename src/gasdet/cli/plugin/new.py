"""``gasdet plugin new NAME``: a plugin to start from."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gasdet.cli import text
from gasdet.scaffold import KINDS, write_plugin
from gasdet.types import Modality

if TYPE_CHECKING:
    from gasdet.types import Kind


@click.command("new")
@click.argument("name")
@click.option(
    "--modality",
    type=click.Choice([str(m) for m in Modality]),
    default=str(Modality.IMAGE),
    show_default=True,
    help="What its detector takes.",
)
@click.option("--kind", type=click.Choice(KINDS), default="detector", show_default=True, help="What it brings.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The folder to make. Default: gasdet-NAME.")
def command(name: str, modality: str, kind: Kind, out: Path | None) -> None:
    """Write an installable package gasdet-NAME that works as it is: code, recipe, tests, README, CI file.

    It passes 'gasdet plugin check' at once; its README names the commands that train, calibrate, evaluate and export it.

    Exit code: 0 written, 2 the name or the folder cannot be used.
    """
    made = write_plugin(name, kind=kind, modality=Modality(modality), out=out)
    shown = text.shown(str(made.folder))
    click.echo(f"Wrote {len(made.files)} files in {shown}. Next:")
    click.echo(f"  pip install -e {shlex.quote(f'{shown}[test]')}")
    click.echo(f"  gasdet plugin check {name if kind == 'detector' else f'gasdet-{name}'}")
