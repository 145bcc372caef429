"""``gasdet train``: a detector by the recipe of its plugin, on the user's data."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gasdet.cli import options, text
from gasdet.cli.progress import progress
from gasdet.errors import UsageError
from gasdet.registry import load_registry

if TYPE_CHECKING:
    from gasdet.training.splits import SplitBy

_FILE = click.Path(dir_okay=False, path_type=Path)
_SPLITS = ("stated", "group", "generator", "dataset", "released")


class _Day(click.ParamType[datetime.date]):
    """``2024``, ``2024-06`` or ``2024-06-15``; the first day of what is meant."""

    name = "date"

    def convert(
        self, value: str | datetime.date, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime.date:
        """Read the date."""
        if isinstance(value, datetime.date):
            return value
        try:
            return datetime.date.fromisoformat(value + "-01" * (2 - value.count("-")))
        except ValueError:
            self.fail(f"{value!r} is no date like 2024, 2024-06 or 2024-06-15", param, ctx)


@click.command("train")
@click.option("--plugin", required=True, metavar="NAME", help="The installed detector to train.")
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder for the result.",
)
@click.option(
    "--data",
    multiple=True,
    metavar="DATA",
    help="Training data: 'demo', a folder, table, archive or catalogue; repeatable.",
)
@click.option(
    "--val",
    multiple=True,
    metavar="DATA",
    help="Validation data, which choose the weights that are kept; repeatable. Default: a part of --data.",
)
@click.option(
    "--train-csv", type=_FILE, metavar="FILE", help="Training data as a table whose paths lie below --data-root."
)
@click.option("--val-csv", type=_FILE, metavar="FILE", help="Validation data as such a table.")
@click.option(
    "--data-root",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder that the paths in --train-csv and --val-csv are relative to. Default: each table's own folder.",
)
@click.option(
    "--features",
    type=_FILE,
    metavar="FILE",
    help="Train the head on stored feature vectors (Parquet or safetensors) instead of media.",
)
@click.option(
    "--split-by",
    type=click.Choice(_SPLITS),
    default="stated",
    show_default=True,
    help="What the validation part is made of: the data's own split, or whole groups, generators, datasets, or what was "
    "released later.",
)
@click.option(
    "--hold-out",
    multiple=True,
    metavar="NAME",
    help="A generator or dataset for the validation part, with --split-by generator or dataset; repeatable.",
)
@click.option(
    "--released-after", type=_Day(), metavar="DATE", help="With --split-by released: the first day of validation."
)
@click.option(
    "--val-fraction",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="F",
    help="Share of the groups held out for validation, for data without a validation split. Default: the recipe's.",
)
@click.option(
    "--recipe",
    "files",
    multiple=True,
    type=_FILE,
    metavar="FILE",
    help="Fields of the recipe from a YAML file; repeatable.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a field of the recipe, e.g. epochs=20 or losses.brier=0.5; repeatable.",
)
@click.option(
    "--reward",
    is_flag=True,
    help="Tune for the combined score in a last stage; with --weights, in the only one.",
)
@click.option(
    "--weights",
    metavar="W",
    help="Start from a trained detector: 'demo', a named release, a path, or hf-hub:owner/name[@revision]/FILE.",
)
@click.option(
    "--allow-training-data",
    is_flag=True,
    help="Accept validation samples that the --weights are known to have been trained on.",
)
@click.option(
    "--backbone",
    metavar="B",
    help="Backbone weights: a path, or hf-hub:owner/name[@revision]/FILE. Default: the detector's first.",
)
@options.base_option
@options.data_options
@options.catalogue_options
@options.total_option
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    metavar="N",
    help="Of the choice under --limit and of the training. Default: the recipe's.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where the model runs; auto takes CUDA where it is usable.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    metavar="N",
    help="Samples that go through a frozen backbone together; it does not change the result (--set batch_size=N does).",
)
@options.decode_options
@options.decode_cache_option()
@options.faces_option
@options.equalise_option
@click.option("--offline", is_flag=True, help="Fetch nothing from the network.")
@click.option("--restart", is_flag=True, help="Start over where the folder holds another training.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    plugin: str,
    out: Path,
    data: tuple[str, ...],
    val: tuple[str, ...],
    train_csv: Path | None,
    val_csv: Path | None,
    data_root: Path | None,
    features: Path | None,
    split_by: SplitBy,
    hold_out: tuple[str, ...],
    released_after: datetime.date | None,
    val_fraction: float | None,
    files: tuple[Path, ...],
    settings: tuple[str, ...],
    reward: bool,
    weights: str | None,
    allow_training_data: bool,
    backbone: str | None,
    bases: tuple[str, ...],
    datasets: tuple[str, ...],
    limit: int | None,
    categories: tuple[str, ...],
    modality: str | None,
    total: int | None,
    seed: int | None,
    device: str,
    batch_size: int,
    workers: int | None,
    decode_timeout: float,
    decode_cache: Path | None,
    decode_cache_size: int | None,
    faces: bool,
    equalise: str | None,
    offline: bool,
    restart: bool,
    as_json: bool,
) -> None:
    """Train a detector by its plugin's recipe, on your data.

    The same command again takes up where it was stopped. The weights that are kept are chosen on validation samples that are
    not trained on. The result is a folder with model.safetensors, which --weights takes, and the record of the training.
    """
    given = [bool(data), train_csv is not None, features is not None]
    if sum(given) != 1:
        raise UsageError("gasdet train takes its data from one of --data, --train-csv and --features.")
    entry = load_registry().detector(plugin)

    from gasdet.api.demo import make_demo_data
    from gasdet.api.equalising import equalise_setting
    from gasdet.api.faces import faces_setting
    from gasdet.progress import Silent
    from gasdet.training import DataChoice, TrainOptions, load_chosen_data, process_rank, recipe_of, train_detector

    if faces and features is not None:
        raise UsageError("--features brings vectors, in which no face can be looked for; leave --faces out.")
    if equalise is not None and features is not None:
        raise UsageError("--features brings vectors, of which no file can be equalised; leave --equalise out.")
    asked = [] if seed is None else [f"seed={seed}"]
    asked += [faces_setting(plugin, entry.spec.modality)] if faces else []
    asked += [equalise_setting(equalise, entry.spec.modality)] if equalise is not None else []
    leads = process_rank() == 0
    sink = progress() if leads else Silent()
    make_demo_data([*data, *val], sink)
    chosen = TrainOptions(
        settings=(*asked, *settings),
        recipe_files=files,
        reward=reward,
        weights=weights,
        backbone=backbone,
        bases=bases,
        val_fraction=val_fraction,
        split_by=split_by,
        hold_out=hold_out,
        released_after=released_after,
        device=device,
        batch_size=batch_size,
        workers=workers,
        decode_timeout=decode_timeout,
        decode_cache=options.chosen_decode_cache(decode_cache, decode_cache_size),
        offline=offline,
        restart=restart,
        allow_training_data=allow_training_data,
    )
    choice = DataChoice(
        data=data,
        val=val,
        train_csv=train_csv,
        val_csv=val_csv,
        data_root=data_root,
        features=features,
        datasets=datasets,
        categories=categories,
        modality=modality or "",
        total=total,
        limit=limit,
        seed=seed or 0,
        offline=offline,
    )
    try:
        annotations = recipe_of(entry.spec).annotations if entry.spec.recipe else ()
        samples = load_chosen_data(choice, entry.spec.modality, annotations=annotations, progress=sink)
        trained = train_detector(entry.spec, samples, out, chosen, sink, origin=entry.plugin.origin)
    finally:
        sink.finish()
    if not leads:
        return
    if as_json:
        text.echo_json(trained.summary())
        return
    for line in trained.lines():
        click.echo(line)
    click.echo(f"Weights: {trained.weights}")
    click.echo(f"Use them: gasdet evaluate --plugin {plugin} --weights {trained.weights}")
    if trained.record.get("base"):
        click.echo(f"Only what was trained: gasdet export --plugin {plugin} --weights {trained.weights} --delta FILE")
