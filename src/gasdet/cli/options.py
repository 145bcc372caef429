"""Options that several commands share, so that they read and behave the same everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gasdet.cli.sizes import ByteSize
from gasdet.errors import UsageError
from gasdet.registry import load_registry

if TYPE_CHECKING:
    from gasdet.evaluation.decode_cache import DecodeCache

F = TypeVar("F", bound=Callable[..., Any])


def _all_of(options: Iterable[Callable[[F], F]]) -> Callable[[F], F]:
    """One decorator of several, in the order in which --help should list them."""
    kept = list(options)

    def decorate(function: F) -> F:
        for option in reversed(kept):
            function = option(function)
        return function

    return decorate


def base_option(function: F) -> F:
    """What delta files among the weights are changes of."""
    return click.option(
        "--base",
        "bases",
        multiple=True,
        metavar="B",
        help="Of --weights that are a delta file: the file that it is a change of, a path or "
        "hf-hub:owner/name[@revision]/FILE; repeatable. Default: where the delta says.",
    )(function)


def detector_options(function: F) -> F:
    """Which detectors, and with which weights."""
    return _all_of(
        [
            click.option(
                "--plugin",
                "plugins",
                multiple=True,
                metavar="NAME",
                help="An installed detector (see 'gasdet list'); repeatable.",
            ),
            click.option(
                "--model",
                "models",
                multiple=True,
                metavar="PATH",
                help="A model directory or zip in GASBench's format; repeatable.",
            ),
            click.option(
                "--trust-code",
                is_flag=True,
                help="Allow a --model's model.py to run. Its check is no sandbox: only for code that you trust.",
            ),
            click.option(
                "--weights",
                multiple=True,
                metavar="[NAME=]W",
                help="Weights: 'demo', a named release, a path, or hf-hub:owner/name[@revision]/FILE; "
                "NAME= applies it to that detector only; repeatable.",
            ),
            base_option,
            click.option("--offline", is_flag=True, help="Fetch nothing from the network."),
        ]
    )(function)


def calibrator_options(function: F) -> F:
    """Whether scores are calibrated, and by what."""
    return _all_of(
        [
            click.option(
                "--calibrator",
                "calibrators",
                multiple=True,
                metavar="FILE",
                help="A calibrator.json, for the detector whose weights it was fitted for; repeatable. Default: the one beside "
                "the weights, where there is one.",
            ),
            click.option(
                "--no-calibrator", is_flag=True, help="Scores as the model gives them, whatever lies beside it."
            ),
        ]
    )(function)


def chosen_calibrators(files: Sequence[str], none: bool) -> bool | list[str]:
    """What --calibrator and --no-calibrator say together.

    Raises:
        UsageError: Both are given.
    """
    if files and none:
        raise UsageError("--calibrator and --no-calibrator exclude each other.")
    return list(files) or not none


def decode_options(function: F) -> F:
    """How files are decoded."""
    return _all_of(
        [
            click.option(
                "--workers",
                type=click.IntRange(min=1),
                metavar="N",
                help="Decode processes. Default: by processor count.",
            ),
            click.option(
                "--decode-timeout",
                type=click.FloatRange(min=0, min_open=True),
                default=30.0,
                show_default=True,
                metavar="S",
                help="Seconds for one file; a slower one becomes an error record.",
            ),
        ]
    )(function)


def decode_cache_option(default: str = "none are kept") -> Callable[[F], F]:
    """Where decoded samples are kept between runs, and how much of them: see ``chosen_decode_cache``.

    Args:
        default: What --help says is done without the option.
    """
    return _all_of(
        [
            click.option(
                "--decode-cache",
                type=click.Path(file_okay=False, path_type=Path),
                metavar="DIR",
                help=f"Keep decoded samples there, and take them from there the next time. Default: {default}.",
            ),
            click.option(
                "--decode-cache-size",
                type=ByteSize(),
                metavar="SIZE",
                help="What --decode-cache may take, e.g. 200G; what was used longest ago makes room. Default: 50G.",
            ),
        ]
    )


def chosen_decode_cache(folder: Path | None, size: int | None) -> DecodeCache | None:
    """What --decode-cache and --decode-cache-size say together.

    Raises:
        UsageError: There is a size, and no folder that it is for.
    """
    from gasdet.evaluation.decode_cache import DEFAULT_MAX_BYTES, DecodeCache

    if folder is None:
        if size is not None:
            raise UsageError("--decode-cache-size is the bound of --decode-cache DIR; name the folder too.")
        return None
    return DecodeCache(folder, DEFAULT_MAX_BYTES if size is None else size)


def faces_option(function: F) -> F:
    """Whether a model gets the face instead of the whole picture."""
    return click.option(
        "--faces",
        is_flag=True,
        help="Give the model the largest face of each image or frame instead of the whole; without a face, the whole.",
    )(function)


def equalise_option(function: F) -> F:
    """Whether every file goes through the same crop, size and codec first, and through which."""
    return click.option(
        "--equalise",
        is_flag=False,
        flag_value="standard",
        metavar="[PROFILE]",
        help="First bring every file to one size, rate, length and codec, so that none of these tells the classes apart; "
        "a profile, with what differs from it: standard:side=128. Default: standard.",
    )(function)


def model_options(function: F) -> F:
    """Where and how the model runs."""
    return _all_of(
        [
            click.option(
                "--device",
                type=click.Choice(["auto", "cpu", "cuda"]),
                default="auto",
                show_default=True,
                help="Where the model runs; auto takes CUDA where it is usable.",
            ),
            click.option(
                "--dtype",
                type=click.Choice(["float32", "float16", "bfloat16"]),
                help="Precision of the model. Default: its own.",
            ),
            click.option(
                "--batch-size",
                type=click.IntRange(min=1),
                metavar="N",
                help="Samples that go through the model together; halved where memory runs out. Default: 32 images, 4 clips, "
                "16 recordings.",
            ),
        ]
    )(function)


def datasets_option(function: F) -> F:
    """Which data sets, by name."""
    return click.option(
        "--datasets",
        multiple=True,
        metavar="PATTERN",
        help="Only the datasets with such a name (* and ? as in a shell); repeatable.",
    )(function)


def data_dir_option(function: F) -> F:
    """Where downloads lie."""
    return click.option(
        "--data-dir",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="The download folder. Default: GASDET_DATA, else 'datasets' in the cache folder.",
    )(function)


def data_options(function: F) -> F:
    """Which samples of which data."""
    return _all_of(
        [
            datasets_option,
            click.option(
                "--limit",
                type=click.IntRange(min=1),
                metavar="N",
                help="At most N samples; a smaller N gives a subset of a larger one.",
            ),
        ]
    )(function)


def catalogue_options(function: F) -> F:
    """Which data sets of a catalogue."""
    return _all_of(
        [
            click.option(
                "--category",
                "categories",
                multiple=True,
                metavar="PATTERN",
                help="Only a catalogue's datasets with such a content_category (* and ? as in a shell); repeatable.",
            ),
            click.option(
                "--modality",
                type=click.Choice(["image", "video", "audio"]),
                help="Only this modality; a catalogue's other datasets are not fetched.",
            ),
        ]
    )(function)


def provenance_option(function: F) -> F:
    """Public data or holdouts; of a command that takes holdouts."""
    return click.option(
        "--provenance",
        type=click.Choice(["public", "holdout"]),
        help="Only public datasets, or only those of the --holdout catalogue.",
    )(function)


def mode_option(function: F) -> F:
    """How much of each data set."""
    return click.option(
        "--mode",
        type=click.Choice(["debug", "small", "full"]),
        default="full",
        show_default=True,
        help="How much of each dataset.",
    )(function)


def total_option(function: F) -> F:
    """How many samples in all, by the shares that a catalogue states."""
    return click.option(
        "--total",
        type=click.IntRange(min=1),
        metavar="N",
        help="At most N samples, shared out among the datasets by the shares, floors and caps of a catalogue; replaces its "
        "own totals.",
    )(function)


def check_names(names: Sequence[str]) -> None:
    """Refuse unknown and ambiguous names now, before anything heavy is imported."""
    for name in names:
        load_registry().detector(name)


def chosen_weights(texts: Sequence[str]) -> dict[str, str]:
    """``[NAME=]W`` texts by detector name; the empty name is for all others.

    A text counts as ``NAME=W`` where NAME is an installed detector (so that a path with ``=`` in it needs no quoting).

    Raises:
        UsageError: Two texts are for the same detector.
    """
    installed = load_registry().detectors() if texts else ()
    names = {entry.spec.name for entry in installed} | {entry.qualified for entry in installed}
    chosen: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (equals and name in names):
            name, value = "", text
        if name in chosen:
            target = f"detector {name!r}" if name else "every detector"
            raise UsageError(f"--weights is given twice for {target}: {chosen[name]!r} and {value!r}.")
        chosen[name] = value
    return chosen
