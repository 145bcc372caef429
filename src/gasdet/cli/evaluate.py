"""``gasdet evaluate``: detectors on a dataset, side by side."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from gasdet.cli import options, text
from gasdet.cli.group import INTERRUPTED
from gasdet.cli.progress import progress
from gasdet.errors import UsageError

if TYPE_CHECKING:
    from gasdet.api import Run

PIPE_COLUMNS = 120
"""Width of the tables where standard output is neither a terminal nor told by COLUMNS."""


@click.command("evaluate")
@options.detector_options
@options.calibrator_options
@click.option("--all", "every", is_flag=True, help="Every installed detector.")
@click.option(
    "--data",
    multiple=True,
    metavar="DATA",
    help="'demo' (the default), a folder, table, archive or catalogue; repeatable.",
)
@click.option("--split", metavar="NAME", help="Only this split. Default: of demo its test split, else everything.")
@options.data_options
@options.catalogue_options
@options.provenance_option
@options.total_option
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Of every random choice.",
)
@options.mode_option
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder of the run. Default: runs/ and a name made of the detectors, the data and the configuration.",
)
@click.option(
    "--holdout",
    metavar="FILE",
    help="A private catalogue: its samples take part under names that only a key can link to them.",
)
@click.option(
    "--holdout-key",
    metavar="FILE",
    help="The file with that key. Default: the environment variable GASDET_HOLDOUT_KEY.",
)
@click.option("--holdouts-only", is_flag=True, help="Evaluate on the holdouts alone.")
@click.option(
    "--holdout-share",
    type=click.FloatRange(0, 1),
    metavar="S",
    help="Share of the holdouts in the score that they and the public data have together. Default: 0.5.",
)
@options.model_options
@options.decode_options
@options.decode_cache_option()
@options.faces_option
@options.equalise_option
@click.option(
    "--time-limit-ms",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MS",
    help="A sample on which a model takes longer becomes an error record.",
)
@click.option("--restart", is_flag=True, help="Start over where DIR holds another run.")
@click.option("--full", is_flag=True, help="Print every metric and every row of the breakdowns.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON document.")
@click.pass_context
def command(
    ctx: click.Context,
    plugins: tuple[str, ...],
    models: tuple[str, ...],
    trust_code: bool,
    weights: tuple[str, ...],
    bases: tuple[str, ...],
    offline: bool,
    calibrators: tuple[str, ...],
    no_calibrator: bool,
    every: bool,
    data: tuple[str, ...],
    split: str | None,
    datasets: tuple[str, ...],
    limit: int | None,
    categories: tuple[str, ...],
    modality: str | None,
    provenance: str | None,
    total: int | None,
    seed: int,
    mode: Literal["debug", "small", "full"],
    out: Path | None,
    holdout: str | None,
    holdout_key: str | None,
    holdouts_only: bool,
    holdout_share: float | None,
    device: str,
    dtype: str | None,
    batch_size: int | None,
    workers: int | None,
    decode_timeout: float,
    decode_cache: Path | None,
    decode_cache_size: int | None,
    faces: bool,
    equalise: str | None,
    time_limit_ms: float | None,
    restart: bool,
    full: bool,
    as_json: bool,
) -> None:
    """Measure detectors on a dataset, with errors counted and intervals.

    The same command again takes up where it stopped, and a finished run answers at once. Without --weights a detector gets its
    default release; where that is not at hand, on demo data only, its demo weights. A calibrator.json beside the weights is
    applied; the tables then show the scores before calibration too. With --holdout, public data and holdouts are shown
    apart, with the gap between them.

    Exit code: 0 done, 1 failed or a detector has no scored sample, 2 wrong use, 130 interrupted.
    """
    if every and plugins:
        raise UsageError("--all takes every installed detector; leave out --plugin.")
    if not (every or plugins or models):
        raise UsageError("name a detector with --plugin NAME or --model PATH, or take --all; 'gasdet list' shows them.")
    alone = holdouts_only or provenance == "holdout"
    if holdout is not None and alone == bool(data):
        raise UsageError("beside --holdout, name the public data with --data, or take --holdouts-only without --data.")
    chosen_calibrators = options.chosen_calibrators(calibrators, no_calibrator)
    options.check_names(plugins)
    from gasdet import api

    sink = progress()
    try:
        run = api.evaluate(
            None if every else [*plugins, *map(Path, models)],
            data[0] if len(data) == 1 else list(data) or "demo",
            weights=options.chosen_weights(weights),
            base=bases,
            calibrator=chosen_calibrators,
            out=out,
            split=split,
            datasets=datasets,
            mode=mode,
            limit=limit,
            categories=categories,
            modality=modality,
            provenance=provenance,
            total=total,
            seed=seed,
            holdout=holdout,
            holdout_key=holdout_key,
            holdouts_only=holdouts_only,
            holdout_share=holdout_share,
            faces=faces,
            equalise=equalise,
            decode_cache=options.chosen_decode_cache(decode_cache, decode_cache_size),
            trust_code=trust_code,
            offline=offline,
            options=api.RunOptions(
                device=device,
                dtype=dtype,
                batch_size=batch_size,
                workers=workers,
                decode_timeout=decode_timeout,
                time_limit_ms=time_limit_ms,
                restart=restart,
            ),
            progress=sink,
        )
    except KeyboardInterrupt:
        sink.finish()
        click.echo("Interrupted. The same command goes on from what is finished.", err=True)
        ctx.exit(INTERRUPTED)
    finally:
        sink.finish()
    if as_json:
        text.echo_json(run.summary)
        click.echo(f"Results: {text.shown(str(run.path))}", err=True)
    else:
        _print_tables(run, full)
    ctx.exit(0 if all(d["counts"]["ok"] for d in run.summary["detectors"].values()) else 1)


def _print_tables(run: Run, full: bool) -> None:
    """The comparison, the breakdowns worst first, and where the results lie."""
    from gasdet.reporting.tables import grids, to_plain, to_terminal

    tables = grids(run.summary, full=full)
    columns = text.width()
    if sys.stdout.isatty() and columns is not None:
        from rich.console import Console

        Console(width=columns).print(to_terminal(tables, columns))
    else:
        click.echo(to_plain(tables, columns or PIPE_COLUMNS))
    click.echo()
    demo = [name for name, about in run.config["configuration"]["detectors"].items() if _is_demo(about)]
    if demo:
        names = ", ".join(demo)
        sentence = f"Demo weights ({names}) are trained on simulated data; their figures say nothing about real media."
        click.echo("\n".join(text.paragraph(sentence, columns)))
    click.echo(f"Results: {text.shown(str(run.path))}")


def _is_demo(about: Mapping[str, Any]) -> bool:
    return bool(about["weights"]["kind"] == "demo")
