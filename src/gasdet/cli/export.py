"""``gasdet export``: an installed detector as a bundle that runs without gasdet."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from gasdet.cli import options, text
from gasdet.cli.progress import progress
from gasdet.errors import UsageError

if TYPE_CHECKING:
    from gasdet.api import Export


@click.command("export")
@click.option("--plugin", required=True, metavar="NAME", help="The installed detector.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder for the bundle: new, or empty. One of --out and --delta is required.",
)
@click.option(
    "--delta",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a delta file instead: what the weights have over the base that they were trained from.",
)
@click.option(
    "--weights",
    metavar="W",
    help="Weights: 'demo', a named release, a path, or hf-hub:owner/name[@revision]/FILE. Default: the default release.",
)
@click.option(
    "--base",
    metavar="B",
    help="With --delta: that base, a path or hf-hub:owner/name[@revision]/FILE; without: that of --weights that are a delta "
    "file. Default: where the training's record or the delta says.",
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
@options.faces_option
@click.option("--offline", is_flag=True, help="Fetch nothing from the network.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    plugin: str,
    out: Path | None,
    delta: Path | None,
    weights: str | None,
    base: str | None,
    zipped: bool,
    dtype: str | None,
    calibrator: str | None,
    no_calibrator: bool,
    data: tuple[str, ...],
    workers: int | None,
    decode_timeout: float,
    faces: bool,
    offline: bool,
    as_json: bool,
) -> None:
    """Write a detector as a bundle that runs without gasdet, and check it.

    The bundle holds the plugin's model.py unchanged, one safetensors file and model_config.yaml. Its code is checked, and its
    logits are compared with the detector's in a process in which gasdet cannot be imported: where they differ by more than
    1e-4 in float32, nothing is written.

    With --delta it writes one file with the tensors that a training changed, which --weights takes too, on any machine that has
    the base. A calibrator stays a file of its own.
    """
    if (out is None) == (delta is None):
        raise UsageError(
            "gasdet export writes a bundle with --out DIR or a delta file with --delta FILE; give one of them."
        )
    options.check_names([plugin])
    if delta is not None:
        idle = {"--zip": zipped, "--dtype": dtype, "--calibrator": calibrator, "--data": data, "--workers": workers}
        idle |= {"--no-calibrator": no_calibrator, "--faces": faces}
        timeout_from = click.get_current_context().get_parameter_source("decode_timeout")
        idle["--decode-timeout"] = timeout_from is not ParameterSource.DEFAULT
        if given := [name for name, value in idle.items() if value]:
            raise UsageError(f"a delta file holds weights alone; leave out {', '.join(given)}.")
        _export_delta(plugin, delta, weights, base, offline, as_json)
        return
    assert out is not None  # since it or the other is given
    chosen = options.chosen_calibrators([calibrator] if calibrator else [], no_calibrator)
    from gasdet.api import RunOptions, export

    sink = progress()
    try:
        done = export(
            plugin,
            out,
            weights=weights,
            base=base or (),
            data=data[0] if len(data) == 1 else list(data) or "demo",
            calibrator=chosen,
            dtype=dtype,
            zipped=zipped,
            faces=faces,
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


def _export_delta(plugin: str, file: Path, weights: str | None, base: str | None, offline: bool, as_json: bool) -> None:
    """Write a delta file and say what is in it."""
    from gasdet.api import export_delta

    sink = progress()
    try:
        done = export_delta(plugin, file, weights=weights, base=base, offline=offline, progress=sink)
    finally:
        sink.finish()
    if as_json:
        text.echo_json(dataclasses.asdict(done))
        return
    same = "the file that it was made from" if done.same_file else "of the same tensors, as another file"
    facts = [
        ("Delta:", f"{text.shown(str(done.path))} ({done.size:,} bytes)"),
        ("Tensors:", f"{done.tensors:,} of {done.of_tensors:,}, {done.parameters:,} numbers"),
        ("Base:", f"{text.shown(done.base.source)}, sha256 {done.base.sha256}"),
        ("Completed:", f"{done.complete_size:,} bytes, sha256 {done.complete_sha256}, {same}"),
        ("Use it:", f"gasdet evaluate --plugin {plugin} --weights {text.shown(str(done.path))} [--base B]"),
    ]
    for line in text.facts(facts, text.width()):
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
