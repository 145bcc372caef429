"""What a training reads: media with labels, or stored feature vectors."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gasdet.data import Dataset, load_csv_pair, load_data
from gasdet.data.dataset import fingerprint
from gasdet.errors import UsageError
from gasdet.progress import ProgressSink
from gasdet.types import Modality, Sample

if TYPE_CHECKING:
    from gasdet.training.features import FeatureSet


@dataclass(frozen=True, slots=True, kw_only=True)
class DataChoice:
    """Which data the user names, in one of three ways: ``data``, ``train_csv`` or ``features``.

    Attributes:
        data: Sources as for ``gasdet.data.load_data``.
        val: Sources of validation data of their own.
        train_csv: A table whose paths lie below ``data_root``.
        val_csv: Such a table of validation data.
        data_root: Folder; None is each table's own.
        features: A file of stored feature vectors with labels.
        datasets: Patterns of dataset names to keep.
        categories: Patterns of the categories of a catalogue's datasets to keep.
        modality: Of a catalogue's datasets, as a text; those of others are not fetched. Empty for that of the detector.
        total: At most so many samples, of training and of validation data each, by the shares of their catalogues.
        limit: At most so many samples, of training and of validation data each.
        seed: Of the choice under ``limit``.
        offline: Fetch nothing.
    """

    data: tuple[str | Path, ...] = ()
    val: tuple[str | Path, ...] = ()
    train_csv: Path | None = None
    val_csv: Path | None = None
    data_root: Path | None = None
    features: Path | None = None
    datasets: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    modality: str = ""
    total: int | None = None
    limit: int | None = None
    seed: int = 0
    offline: bool = False


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The samples of a training.

    Attributes:
        dataset: What is trained on, with the validation part in it unless ``val`` has that.
        val: Validation data of their own.
        stored: The samples' feature vectors, where the user brought those instead of media.
    """

    dataset: Dataset
    val: Dataset | None = None
    stored: FeatureSet | None = None


def load_chosen_data(
    choice: DataChoice, modality: Modality, *, annotations: Sequence[str] = (), progress: ProgressSink | None = None
) -> TrainingData:
    """The samples that the user names.

    Args:
        choice: What the user names.
        modality: Samples of another known modality are left out.
        annotations: ``Recipe.annotations`` of the detector that is trained.
        progress: Told of downloads.

    Raises:
        UsageError: The options do not go together.
        DataError: A source cannot be read.
    """
    ways = [bool(choice.data), choice.train_csv is not None, choice.features is not None]
    if sum(ways) != 1:
        raise UsageError("a training takes its data from one of --data, --train-csv and --features.")
    if choice.val and choice.val_csv:
        raise UsageError("--val and --val-csv both name the validation data; leave one of them out.")
    if choice.data_root and not (choice.train_csv or choice.val_csv):
        raise UsageError("--data-root is where the paths of --train-csv and --val-csv lie; name such a table.")
    if (choice.categories or choice.modality or choice.total) and not choice.data:
        raise UsageError("--category, --modality and --total choose among the data sets of --data.")
    if choice.modality and Modality(choice.modality) is not modality:
        raise UsageError(
            f"--modality {choice.modality} leaves a detector of {modality.value} nothing to be trained on."
        )
    if choice.features is not None:
        if choice.val or choice.val_csv or choice.datasets or choice.limit:
            raise UsageError(
                "--features has all samples in one file; --val, --val-csv, --datasets and --limit are for media."
            )
        return _stored(choice.features, modality)

    if choice.train_csv is not None and not choice.val:
        return _tables(choice, choice.train_csv, modality, annotations)
    if choice.train_csv is not None or choice.val_csv is not None:
        raise UsageError("--train-csv takes its validation data from --val-csv, and --data from --val.")

    def load(sources: Sequence[str | Path]) -> Dataset:
        return load_training_data(
            sources,
            modality=modality,
            datasets=choice.datasets,
            categories=choice.categories,
            total=choice.total,
            limit=choice.limit,
            seed=choice.seed,
            annotations=annotations,
            offline=choice.offline,
            progress=progress,
        )

    return TrainingData(load(choice.data), load(choice.val) if choice.val else None)


def load_training_data(
    source: str | Path | Sequence[str | Path],
    *,
    modality: Modality,
    datasets: Sequence[str] = (),
    categories: Sequence[str] = (),
    total: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    annotations: Sequence[str] = (),
    offline: bool = False,
    progress: ProgressSink | None = None,
) -> Dataset:
    """The samples that a training may use: everything that ``source`` has, of the demo data the train and val splits.

    Args:
        source: As for ``gasdet.data.load_data``.
        modality: Samples of another known modality are left out.
        datasets: Patterns of dataset names to keep.
        categories: Patterns of the categories of a catalogue's datasets to keep.
        total: At most so many samples of each of the demo's two splits, or of the whole, by the shares of a catalogue.
        limit: At most so many samples of each of the demo's two splits, or of the whole.
        seed: Of the choice under ``limit``.
        annotations: Columns whose cells the samples keep as ``Sample.annotations``.
        offline: Fetch nothing.
        progress: Told of downloads.

    Raises:
        DataError: The source cannot be read.
    """

    def load(split: str | None) -> Dataset:
        return load_data(
            source,
            split=split,
            datasets=datasets,
            categories=categories,
            modality=modality,
            total=total,
            limit=limit,
            seed=seed,
            modalities=(modality,),
            annotations=annotations,
            offline=offline,
            progress=progress,
        )

    if source not in ("demo", ["demo"], ("demo",)):
        return load(None)
    train, validation = load("train"), load("val")
    samples = (*train.samples, *validation.samples)
    return dataclasses.replace(
        train,
        samples=samples,
        fingerprint=fingerprint(samples),
        description="demo (train and val splits)",
        notes=_added_up((*train.notes, *validation.notes)),
    )


def _added_up(notes: Sequence[str]) -> tuple[str, ...]:
    """Notes that say the same but for the number that they begin with, as one with the sum."""
    sums: dict[str, int] = {}
    for note in notes:
        number, _, rest = note.partition(" ")
        digits = number.replace(",", "")
        key = rest if digits.isdecimal() else note
        sums[key] = sums.get(key, 0) + (int(digits) if digits.isdecimal() else 0)
    return tuple(f"{count:,} {said}" if count else said for said, count in sums.items())


def balanced_rows(samples: Sequence[Sample], seed: int) -> list[int]:
    """Rows in order, as many of either class: of the larger class those that come first by a hash of seed and sample."""
    labels = [sample.label for sample in samples]
    wanted = min(labels.count(0), labels.count(1))

    def place(row: int) -> bytes:
        return hashlib.sha256(f"{seed}\x00{samples[row].sample_id}".encode()).digest()

    rows = [[row for row, label in enumerate(labels) if label == wanted_label] for wanted_label in (0, 1)]
    return sorted(row for own in rows for row in sorted(own, key=place)[:wanted])


def _tables(choice: DataChoice, train: Path, modality: Modality, annotations: Sequence[str]) -> TrainingData:
    if choice.datasets:
        raise UsageError("--datasets chooses among the data sets of --data; a table of --train-csv is one.")
    dataset, val = load_csv_pair(
        train,
        choice.val_csv,
        data_root=choice.data_root,
        limit=choice.limit,
        seed=choice.seed,
        modalities=(modality,),
        annotations=annotations,
    )
    return TrainingData(dataset, val)


def _stored(file: Path, modality: Modality) -> TrainingData:
    from gasdet.training.stored_vectors import read_stored_vectors

    found = read_stored_vectors(file, modality)
    return TrainingData(found.dataset, stored=found.features)
