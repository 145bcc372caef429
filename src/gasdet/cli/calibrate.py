"""``gasdet calibrate``: make a detector's probabilities mean what they say, and show whether they do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gasdet.cli import options, text
from gasdet.cli.group import INTERRUPTED
from gasdet.cli.progress import progress
from gasdet.errors import UsageError

if TYPE_CHECKING:
    from gasdet.bundle.calibration import CalibratorFile

_ROWS = {
    "cross_entropy": "NLL",
    "brier": "Brier score",
    "ece": "ECE",
    "combined_score": "combined score",
    "mcc": "MCC",
    "accuracy": "accuracy",
    "auroc": "AUROC",
}


@click.command("calibrate")
@click.option(
    "--run",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="RUN",
    help="A finished run, whose records are fitted on; --plugin then says which of its detectors.",
)
@options.detector_options
@click.option(
    "--data",
    multiple=True,
    metavar="DATA",
    help="The calibration split: 'demo', a folder, table, archive or catalogue; repeatable.",
)
@click.option(
    "--split",
    metavar="NAME",
    help="Only this split of the data, or of the run. Default: of demo its calibration split, else everything.",
)
@options.data_options
@options.catalogue_options
@options.total_option
@click.option(
    "--method",
    default="temperature",
    show_default=True,
    metavar="M",
    help="The calibrator; 'gasdet list --hooks' shows those at hand.",
)
@click.option(
    "--fpr",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    multiple=True,
    metavar="F",
    help="Also store a threshold for this false positive rate; repeatable.",
)
@click.option(
    "--test", metavar="TEST", help="Other data, or a run's folder, for the report. Default: a share of the groups."
)
@click.option(
    "--test-fraction",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.3,
    show_default=True,
    metavar="F",
    help="Share of the groups that is kept back from the fit for the report.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Default: calibrator.json beside the weights; of packaged weights, a file in the working folder.",
)
@click.option("--allow-training-data", is_flag=True, help="Fit even on what the detector was trained or selected on.")
@click.option("--force", is_flag=True, help="Write even a calibrator that makes things worse in the report.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Of the choice of groups, and of the bootstrap.",
)
@click.option(
    "--run-out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder of the run that scores the data. Default: as for 'gasdet evaluate'.",
)
@options.model_options
@options.decode_options
@options.decode_cache_option()
@options.faces_option
@options.equalise_option
@click.option("--json", "as_json", is_flag=True, help="Print what the file holds as one JSON document.")
@click.pass_context
def command(
    ctx: click.Context,
    run: Path | None,
    plugins: tuple[str, ...],
    models: tuple[str, ...],
    trust_code: bool,
    weights: tuple[str, ...],
    bases: tuple[str, ...],
    offline: bool,
    data: tuple[str, ...],
    split: str | None,
    datasets: tuple[str, ...],
    limit: int | None,
    categories: tuple[str, ...],
    modality: str | None,
    total: int | None,
    method: str,
    fpr: tuple[float, ...],
    test: str | None,
    test_fraction: float,
    out: Path | None,
    allow_training_data: bool,
    force: bool,
    seed: int,
    run_out: Path | None,
    device: str,
    dtype: str | None,
    batch_size: int | None,
    workers: int | None,
    decode_timeout: float,
    decode_cache: Path | None,
    decode_cache_size: int | None,
    faces: bool,
    equalise: str | None,
    as_json: bool,
) -> None:
    """Fit a calibrator, and report before and after on samples that took no part.

    Takes a finished run (--run), or a detector and data to score (--plugin or --model, --data). The file that is written is
    applied by 'gasdet evaluate' and 'gasdet detect' from then on, to these weights only.

    Exit code: 0 done, 1 failed (too few samples, the detector was trained on them, or NLL and Brier score both get worse),
    2 wrong use, 130 interrupted.
    """
    names: list[str | Path] = [*plugins, *map(Path, models)]
    if run is not None:
        idle = {
            "--data": data,
            "--model": models,
            "--weights": weights,
            "--base": bases,
            "--limit": limit,
            "--category": categories,
            "--modality": modality,
            "--total": total,
            "--run-out": run_out,
            "--trust-code": trust_code,
            "--device": device != "auto",
            "--dtype": dtype,
            "--batch-size": batch_size,
            "--faces": faces,
            "--equalise": equalise,
            "--decode-cache": decode_cache,
        }
        if given := [name for name, value in idle.items() if value]:
            raise UsageError(f"--run takes the scores of that run; leave out {', '.join(given)}.")
    if run is None and not data:
        raise UsageError("name a finished run with --run RUN, or a detector and data with --plugin NAME --data DATA.")
    if len(names) > 1 or (run is None and not names):
        raise UsageError("one detector is calibrated at a time; name it with --plugin NAME or --model PATH.")
    if run is None:
        options.check_names(plugins)
    from gasdet import api

    sink = progress()
    try:
        fitted = api.calibrate(
            run,
            detector=names[0] if names else None,
            data=(data[0] if len(data) == 1 else list(data)) if data else None,
            split=split,
            datasets=datasets,
            limit=limit,
            weights=options.chosen_weights(weights),
            base=bases,
            method=method,
            fpr=fpr,
            test=test,
            test_fraction=test_fraction,
            out=out,
            run_out=run_out,
            allow_training_data=allow_training_data,
            force=force,
            seed=seed,
            categories=categories,
            modality=modality,
            total=total,
            faces=faces,
            equalise=equalise,
            decode_cache=options.chosen_decode_cache(decode_cache, decode_cache_size),
            trust_code=trust_code,
            offline=offline,
            options=api.RunOptions(
                device=device, dtype=dtype, batch_size=batch_size, workers=workers, decode_timeout=decode_timeout
            ),
            progress=sink,
        )
    except KeyboardInterrupt:
        sink.finish()
        click.echo("Interrupted. The same command goes on from what is scored.", err=True)
        ctx.exit(INTERRUPTED)
    finally:
        sink.finish()
    if as_json:
        text.echo_json(fitted.to_mapping())
        click.echo(f"Written: {text.shown(str(fitted.path))}", err=True)
    else:
        _print(fitted)


def _print(fitted: CalibratorFile) -> None:
    """What was fitted on what, before and after, the thresholds, and where the file lies."""
    columns = text.width()
    lines = [
        f"{fitted.detector}: {fitted.method}, fitted on {_counted(fitted.fitted_on)}; judged on {_counted(fitted.judged_on)}, "
        "which took no part in the fit.",
        "",
    ]
    rows = [
        (label, *_cells(fitted.before[name]), *_cells(fitted.after[name]))
        for name, label in _ROWS.items()
        if name in fitted.before
    ]
    lines += text.table(("metric", "before", "95 % interval", "after", "95 % interval"), rows, columns)
    if fitted.thresholds:
        headings = ("asked FPR", "threshold", "FPR", "95 % interval", "TPR", "95 % interval", "on")
        points = [
            (f"{p['fpr']:g}", f"{p['threshold']:.6g}", *_cells(p[part]["fpr"]), *_cells(p[part]["tpr"]), words)
            for p in fitted.thresholds
            for part, words in (("calibration", "the fit's samples"), ("test", "the report's samples"))
            if part in p
        ]
        lines += ["", *text.table(headings, points, columns)]
    parameters = ", ".join(f"{k} {v:.6g}" for k, v in fitted.parameters.items() if isinstance(v, int | float))
    lines += ["", *([f"Fitted: {parameters}."] if parameters else []), *fitted.notes]
    click.echo("\n".join(lines))
    click.echo(f"Written: {text.shown(str(fitted.path))}")


def _counted(part: object) -> str:
    assert isinstance(part, dict)
    return f"{part['real']:,} real and {part['synthetic']:,} synthetic samples in {part['groups']:,} groups"


def _cells(entry: object) -> tuple[str, str]:
    """Value and interval."""
    assert isinstance(entry, dict)
    if entry["value"] is None:
        return "-", "-"
    interval = "-" if entry["low"] is None else f"{entry['low']:.4f}..{entry['high']:.4f}"
    return f"{entry['value']:.4f}", interval
