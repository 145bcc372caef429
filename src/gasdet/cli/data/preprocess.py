"""``gasdet data preprocess``: decode ahead into the decode cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from gasdet.cli import options, text
from gasdet.cli.progress import progress
from gasdet.cli.sizes import size_text
from gasdet.errors import UsageError

if TYPE_CHECKING:
    from gasdet.api.preprocessing import Preprocessed


@click.command("preprocess")
@click.argument("data", nargs=-1, required=True)
@click.option(
    "--for",
    "plugins",
    multiple=True,
    metavar="NAME",
    help="An installed detector (see 'gasdet list') whose input is made; repeatable.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="A model directory or zip in GASBench's format whose input is made; none of its code runs; repeatable.",
)
@click.option(
    "--weights",
    multiple=True,
    metavar="[NAME=]W",
    help="Weights that the detector will run with, where they bring a preprocessing of their own: as 'gasdet evaluate' takes "
    "them; repeatable. Default: those that it would run with, or the detector's own preprocessing.",
)
@options.base_option
@options.decode_cache_option("decode-cache in gasdet's cache folder")
@click.option("--split", metavar="NAME", help="Only this split. Default: test for demo, everything for other data.")
@options.data_options
@options.catalogue_options
@options.total_option
@click.option(
    "--seed", type=int, default=0, show_default=True, metavar="N", help="Of the choice under --limit and --mode."
)
@options.mode_option
@options.decode_options
@options.faces_option
@options.equalise_option
@click.option("--offline", is_flag=True, help="Fetch nothing from the network.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(
    context: click.Context,
    data: tuple[str, ...],
    plugins: tuple[str, ...],
    models: tuple[Path, ...],
    weights: tuple[str, ...],
    bases: tuple[str, ...],
    decode_cache: Path | None,
    decode_cache_size: int | None,
    split: str | None,
    datasets: tuple[str, ...],
    limit: int | None,
    categories: tuple[str, ...],
    modality: str | None,
    total: int | None,
    seed: int,
    mode: Literal["debug", "small", "full"],
    workers: int | None,
    decode_timeout: float,
    faces: bool,
    equalise: str | None,
    offline: bool,
    as_json: bool,
) -> None:
    """Decode DATA into the decode cache, as 'gasdet evaluate' with the same options would, without running any model.

    What is in the cache already is not decoded again. Then give evaluate or train the same --decode-cache, and the same
    --weights: they may bring a preprocessing of their own.

    Exit code: 0 done, 1 failed or the cache has no room for all, 2 wrong use, 130 interrupted.
    """
    if not (plugins or models):
        raise UsageError("name a detector with --for NAME or --model PATH; 'gasdet list' shows those installed.")
    options.check_names(plugins)
    from gasdet.api import RunOptions
    from gasdet.api.preprocessing import default_decode_cache, preprocess, summary_of

    sink = progress()
    try:
        done = preprocess(
            [*plugins, *models],
            data,
            weights=options.chosen_weights(weights),
            base=bases,
            cache=options.chosen_decode_cache(decode_cache or default_decode_cache(), decode_cache_size),
            split=split,
            datasets=datasets,
            categories=categories,
            modality=modality,
            mode=mode,
            limit=limit,
            total=total,
            seed=seed,
            faces=faces,
            equalise=equalise,
            offline=offline,
            options=RunOptions(workers=workers, decode_timeout=decode_timeout),
            progress=sink,
        )
    finally:
        sink.finish()
    if as_json:
        text.echo_json(summary_of(done))
    else:
        click.echo("\n".join(_lines(done)))
    context.exit(0 if done.complete else 1)


def _lines(done: Preprocessed) -> list[str]:
    rows = []
    for part in done.filled:
        counts = [part.samples, part.counts.stored, part.counts.hits, part.counts.not_kept, sum(part.errors.values())]
        weights = ", ".join(name or "-" for name in part.weights)
        rows.append([", ".join(part.detectors), weights, *(f"{count:,}" for count in counts)])
    headers = ["Detectors", "Weights", "Samples", "Decoded", "There before", "Not kept", "Errors"]
    lines = text.table(headers, rows, text.width())
    errors = [f"{reason} {count:,}" for part in done.filled for reason, count in part.errors.items()]
    lines += [f"Errors: {', '.join(errors)}; they are found again by each run."] if errors else []
    lines += (
        [f"Left out: {done.skipped:,} samples, of which neither name nor label tells enough."] if done.skipped else []
    )
    for part in done.filled:
        made = ", ".join(f"{key} {value}" for key, value in part.preprocessing.items())
        lines += text.paragraph(text.shown(f"Made for {', '.join(part.detectors)}: {made}."), text.width(), "", "  ")
        for name, others in part.assumed.items():
            lines += text.paragraph(text.shown(_assumed(name, others)), text.width(), "", "  ")
    return [
        *lines,
        f"The cache takes {size_text(done.total_bytes)}.",
        f"Use it: --decode-cache {text.shown(str(done.folder))}",
    ]


def _assumed(name: str, others: Sequence[str]) -> str:
    """What is to be known of input that was made for no weights in particular."""
    told = f"{name} has no released weights and none were named with --weights, so this is its own preprocessing; "
    if others:
        return f"{told}a run with its weights {' or '.join(others)} takes another, and nothing of this."
    return f"{told}a run with weights that bring another takes nothing of this."
