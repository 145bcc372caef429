"""``gasdet detect``: score files, a line each."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gasdet.cli import options, text
from gasdet.cli.progress import progress
from gasdet.errors import UsageError

if TYPE_CHECKING:
    from gasdet.api import Detection


@click.command("detect")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@options.detector_options
@options.calibrator_options
@click.option(
    "--abstain",
    type=(click.FloatRange(0, 1), click.FloatRange(0, 1)),
    metavar="LOW HIGH",
    help="Two thresholds on P(synthetic): 'undecided' between them.",
)
@click.option(
    "--fpr",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="F",
    help="The threshold that the calibrator stores for this false positive rate; 'undecided' between 0.5 and it.",
)
@click.option(
    "--no-windows",
    is_flag=True,
    help="Of a recording longer than a detector's window, score one window, as 'gasdet evaluate' does, not all.",
)
@click.option(
    "--heatmap",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write heat maps over the pictures there, a PNG each, from detectors that give them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array, in the order of the files.")
@click.option("--jsonl", is_flag=True, help="Print one JSON object a line, as results come.")
@click.option(
    "--csv",
    "csv_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write a CSV table, a row as each result comes.",
)
@options.model_options
@options.decode_options
@options.faces_option
@click.pass_context
def command(
    ctx: click.Context,
    files: tuple[str, ...],
    plugins: tuple[str, ...],
    models: tuple[str, ...],
    trust_code: bool,
    weights: tuple[str, ...],
    bases: tuple[str, ...],
    offline: bool,
    calibrators: tuple[str, ...],
    no_calibrator: bool,
    abstain: tuple[float, float] | None,
    fpr: float | None,
    no_windows: bool,
    heatmap: Path | None,
    as_json: bool,
    jsonl: bool,
    csv_file: Path | None,
    device: str,
    dtype: str | None,
    batch_size: int | None,
    workers: int | None,
    decode_timeout: float,
    faces: bool,
) -> None:
    """Score files: real or synthetic?

    FILE is a file, a folder, an archive or a glob; what it holds is decided by its content. Every installed detector for that
    modality is used unless --plugin or --model names some. A verdict is 'synthetic' where P(synthetic) is above 0.5, which is
    calibrated for no use, or above the threshold that --abstain or --fpr gives; then there is 'undecided' too. Demo
    weights, whose scores say nothing about real media, are used only with --weights demo.

    Exit code: 0 all files scored, 1 some were not, 2 wrong use.
    """
    if as_json and jsonl:
        raise UsageError("--json and --jsonl exclude each other.")
    if abstain is not None and fpr is not None:
        raise UsageError("--abstain and --fpr exclude each other.")
    chosen_calibrators = options.chosen_calibrators(calibrators, no_calibrator)
    options.check_names(plugins)
    from gasdet.api import RunOptions, iterate_detections

    sink = progress()
    results: list[Detection] = []
    lines = _Lines()
    with contextlib.ExitStack() as stack:
        stack.callback(sink.finish)
        add_row = stack.enter_context(_csv_rows(csv_file))
        for result in iterate_detections(
            files,
            [*plugins, *map(Path, models)] or None,
            weights=options.chosen_weights(weights),
            base=bases,
            calibrator=chosen_calibrators,
            abstain=abstain,
            fpr=fpr,
            windows=not no_windows,
            heatmap=heatmap,
            details=as_json or jsonl,
            faces=faces,
            trust_code=trust_code,
            offline=offline,
            options=RunOptions(
                device=device, dtype=dtype, batch_size=batch_size, workers=workers, decode_timeout=decode_timeout
            ),
            progress=sink,
        ):
            results.append(result if as_json else dataclasses.replace(result, details={}))  # they may be large
            add_row(result)
            if jsonl:
                sink.result(json.dumps(_fields(result), default=str))
            elif not as_json:
                sink.result(lines.line(result))
    if as_json:
        text.echo_json([_fields(result) for result in results])
    sink.note(_closing(results))
    if heatmap is not None:
        count = sum(bool(result.heatmap_file) for result in results)
        sink.note(f"{count} heat map{'' if count == 1 else 's'} in {text.shown(str(heatmap))}.")
    ctx.exit(0 if results and all(r.status == "ok" for r in results) else 1)


def _fields(result: Detection) -> dict[str, Any]:
    """A result as --json and --jsonl give it."""
    from gasdet.reporting.details import as_json

    return {**_columns(result), "details": as_json(result.details)}


def _columns(result: Detection) -> dict[str, Any]:
    """What of a result is one value."""
    fields = dataclasses.asdict(dataclasses.replace(result, details={}))
    del fields["details"]
    first = {"path": fields.pop("path"), "verdict": result.verdict, "p_synthetic": fields.pop("p_synthetic")}
    return {**first, **fields}


class _Lines:
    """A line for each result: verdict, P(synthetic), detector, file, of how many windows, and why there is no score.

    The file stands last, because its length differs most.
    """

    def __init__(self) -> None:
        self._width = 0

    def line(self, result: Detection) -> str:
        """One result; the detectors' column is as wide as the widest of them so far."""
        detector = (result.detector or "-") + (" (demo weights)" if result.demo_weights else "")
        self._width = max(self._width, len(detector))
        verdict = result.verdict or str(result.status)
        score = "-" if result.p_synthetic is None else f"{result.p_synthetic:.3f}"
        why = f"  {result.reason}: {text.shown(result.message)}" if result.reason else ""
        if (windows := result.details.get("windows")) is not None:
            why += f"  (mean of {len(windows['p'])} windows)"
        return f"{verdict:<9}  {score:<5}  {detector:<{self._width}}  {text.shown(result.path)}{why}"


def _closing(results: Sequence[Detection]) -> str:
    """What became of all files, and what a verdict is."""
    files = {result.path for result in results}
    failed = {result.path for result in results if result.status != "ok"}
    if not files:
        return "No file was found."
    counts = f"{len(files) - len(failed)} of {len(files)} file{'s' if len(files) > 1 else ''} scored"
    if len(failed) == len(files):
        return f"{counts}."
    return f"{counts}. {_rule(results)}"


def _rule(results: Sequence[Detection]) -> str:
    """What the verdicts are made of."""
    pairs = sorted({(result.low, result.high) for result in results if result.verdict is not None})
    if pairs == [(0.5, 0.5)] and not any(result.calibrator for result in results):
        return "'synthetic' is P(synthetic) above 0.5, a threshold that is calibrated for no use."
    rules = [f"above {high:.6g}" + (f", 'undecided' from {low:.6g} to it" if low < high else "") for low, high in pairs]
    calibrated = "calibrated " if all(result.calibrator for result in results if result.verdict is not None) else ""
    return f"'synthetic' is {calibrated}P(synthetic) {'; or by detector '.join(rules)}."


@contextlib.contextmanager
def _csv_rows(path: Path | None) -> Iterator[Callable[[Detection], None]]:
    """A function that writes a result's row at once, so that an interrupt keeps what was scored.

    The file is opened before anything is scored, so that a path that cannot be written costs no time; what it holds already
    is dropped only with the first result, so that a wrong option destroys no table.
    """
    if path is None:
        yield lambda result: None
        return
    try:
        file = path.open("a", buffering=1, newline="", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise UsageError(f"--csv {text.shown(str(path))} cannot be written ({why}); name another file.") from error
    with file:
        writer = csv.writer(file)
        begun = False

        def begin() -> None:
            nonlocal begun
            if not begun:
                if file.seekable():  # a pipe is not
                    file.truncate(0)
                writer.writerow(CSV_COLUMNS)
                begun = True

        def add(result: Detection) -> None:
            begin()
            fields = _columns(result)
            writer.writerow([fields[column] for column in CSV_COLUMNS])

        yield add
        begin()


CSV_COLUMNS = (
    "path", "verdict", "p_synthetic", "modality", "detector", "weights", "demo_weights", "status", "reason", "message",
    "decoder", "width", "height", "frames", "duration_s", "p_raw", "calibrator", "low", "high",
)  # fmt: skip
