"""``gasdet export``: an installed detector as a bundle that runs without gasdet."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gasdet.cli import options, text
from gasdet.cli.progress import progress

if TYPE_CHECKING:
    from gasdet.api import Export


@click.command("export")
@click.option("--plugin", required=True, metavar="NAME", help="The installed detector.")
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder for the bundle: new, or empty.",
)
@click.option(
    "--weights",
    metavar="W",
    help="Weights: 'demo', a named release, a path, or hf-hub:owner/name[@revision]/FILE. Default: the default release.",
)
@click.option("--zip", "zipped", is_flag=True, help="Also write DIR.zip.")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16", "bfloat16"]),
    help="Precision of the bundle's weights. Default: the detector's own.",
)
@click.option(
    "--calibrator",
    metavar="FILE",
    help="A calibrator.json that was fitted for these weights. Default: the one beside them, where there is one.",
)
@click.option("--no-calibrator", is_flag=True, help="Leave the calibrator out.")
@click.option(
    "--data",
    multiple=True,
    metavar="DATA",
    help="What bundle and detector are compared on: 'demo' (the default), a folder, table, archive or catalogue; a few "
    "samples are taken; repeatable.",
)
@options.decode_options
@click.option("--offline", is_flag=True, help="Fetch nothing from the network.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    plugin: str,
    out: Path,
    weights: str | None,
    zipped: bool,
    dtype: str | None,
    calibrator: str | None,
    no_calibrator: bool,
    data: tuple[str, ...],
    workers: int | None,
    decode_timeout: float,
    offline: bool,
    as_json: bool,
) -> None:
    """Write a detector as a bundle that runs without gasdet, and check it.

    The bundle holds the plugin's model.py unchanged, one safetensors file and model_config.yaml. Its code is checked, and its
    logits are compared with the detector's in a process in which gasdet cannot be imported: where they differ by more than
    1e-4 in float32, nothing is written.
    """
    options.check_names([plugin])
    chosen = options.chosen_calibrators([calibrator] if calibrator else [], no_calibrator)
    from gasdet.api import RunOptions, export

    sink = progress()
    try:
        done = export(
            plugin,
            out,
            weights=weights,
            data=data[0] if len(data) == 1 else list(data) or "demo",
            calibrator=chosen,
            dtype=dtype,
            zipped=zipped,
            offline=offline,
            options=RunOptions(workers=workers, decode_timeout=decode_timeout),
            progress=sink,
        )
    finally:
        sink.finish()
    if as_json:
        text.echo_json(dataclasses.asdict(done))
        return
    for line in _lines(done):
        click.echo(line)


def _lines(done: Export) -> list[str]:
    """What was written, what the checks found, and how to use it."""
    sizes = ", ".join(f"{name} ({size:,} bytes)" for name, size in done.files.items())
    handed = "" if done.difference_uint8 is None else f"; handed bytes {done.difference_uint8:.2g}"
    facts = [
        ("Bundle:", text.shown(str(done.path))),
        ("Zip:", text.shown(str(done.zip_path)) if done.zip_path else ""),
        ("Files:", sizes),
        ("Weights:", f"{done.dtype}, sha256 {done.weights_sha256}"),
        ("Calibrator:", f"folded in, {done.calibrator}" if done.calibrator else "none"),
        ("Code check:", "passed"),
        (
            "Clean process:",
            f"largest difference of the {done.compared} to the float32 detector {done.difference:.2g}{handed}, {done.inputs}",
        ),
        ("In GASBench:", "; ".join(done.gasbench) or "the same preprocessing"),
        ("Use it:", f"gasdet evaluate --model {text.shown(str(done.path))} --trust-code --data DATA"),
    ]
    return text.facts(facts, text.width())
