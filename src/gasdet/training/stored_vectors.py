"""Feature vectors that were computed elsewhere, from a Parquet or safetensors file, to train a head on."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gasdet.bundle.safefile import read_header, sha256_of
from gasdet.data import Dataset
from gasdet.data.building import make_sample
from gasdet.data.columns import roles_of
from gasdet.data.labels import LABEL_WORDS, media_type_of_label
from gasdet.data.names import printable
from gasdet.errors import DataError, GasdetError, first_line
from gasdet.media.digest import digest
from gasdet.parquet_files import open_parquet
from gasdet.training.decoded_store import Failure
from gasdet.training.features import FeatureSet
from gasdet.types import Locator, LocatorKind, MediaType, Modality, Reason, Sample

_FEATURES = "features"
_IDENTITY = "sample_id"
_SAMPLE_ID = re.compile(r"[0-9a-f]{32}")
_DESCRIBING = ("dataset", "generator", "group", "split", "weight", "pair", "released")

Columns = Mapping[str, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class StoredVectors:
    """A file's vectors, and its samples as a dataset that can be split as any other.

    Attributes:
        dataset: Labelled samples; the fingerprint is the file's sha256.
        features: Their vectors, in the same order. Rows with values that are not finite are its failures, and in neither.
    """

    dataset: Dataset
    features: FeatureSet


def read_stored_vectors(path: Path, modality: Modality) -> StoredVectors:
    """Read a file of feature vectors with labels.

    A Parquet file has the columns ``features`` (a list of F numbers in each row) and ``label`` (0 real, 1 synthetic, or the
    words that manifests use), and may have ``sample_id``, ``dataset``, ``generator``, ``group``, ``split``, ``weight``,
    ``pair`` and ``released``. A safetensors file has the tensors ``features`` ``[N, F]`` and ``label`` ``[N]``; the others are
    integer tensors ``[N]``, or texts: a JSON list of N under that name in the file's metadata.

    Args:
        path: The file; which kind it is, its first bytes say.
        modality: Of the media that the vectors stand for.

    Raises:
        DataError: The file cannot be read, a column is missing or has another length, a label is not known, or a sample id
            is there twice.
    """
    shown = printable(str(path))
    try:
        with path.open("rb") as file:
            parquet = file.read(4) == b"PAR1"
    except OSError as error:
        raise DataError(f"{shown}: stored vectors cannot be read ({error.strerror}).") from error
    features, columns = (_read_parquet if parquet else _read_safetensors)(path, shown)
    for name, values in columns.items():
        if len(values) != len(features):
            raise DataError(
                f"{shown}: {name} has {len(values)} values for {len(features)} vectors; it needs one for each."
            )
    samples = _samples(path, shown, columns, len(features), modality, "parquet" if parquet else "file")
    finite = np.isfinite(features).all(axis=1)
    bad = np.flatnonzero(~finite).tolist()
    failures = tuple(Failure(samples[i], Reason.BAD_OUTPUT, "its features are not finite") for i in bad)
    if bad:
        features, samples = features[finite], [samples[i] for i in np.flatnonzero(finite).tolist()]
    if not samples:
        raise DataError(f"{shown} has no vectors with finite values.")
    found = FeatureSet(tuple(samples), features, failures, 0, tuple(digest(row) for row in features))
    described = f"{len(samples)} stored vectors in {shown}"
    return StoredVectors(Dataset(found.samples, sha256_of(path), described, False), found)


def _read_parquet(path: Path, shown: str) -> tuple[npt.NDArray[np.float32], Columns]:
    import pyarrow as pa

    try:
        file = open_parquet(path)
        names = file.schema_arrow.names
        if _FEATURES not in names:
            raise DataError(f"{shown} has no column {_FEATURES!r}; it has {', '.join(names)}.")
        roles = roles_of(names)
        wanted = {name: column for name in ("label", *_DESCRIBING) if (column := getattr(roles, name))}
        if _IDENTITY in names:
            wanted[_IDENTITY] = _IDENTITY
        table = file.read(columns=[_FEATURES, *wanted.values()], use_threads=False)
        lists = table[_FEATURES].combine_chunks()
        kind = lists.type
        if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
            raise DataError(f"{shown}: the column {_FEATURES!r} holds {kind}, not lists of numbers.")
        flat = lists.flatten().cast(pa.float32())
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{shown}: stored vectors cannot be read as Parquet ({first_line(error)}).") from error
    lengths = set(lists.value_lengths().unique().to_pylist()) if len(lists) else {1}
    if len(lengths) != 1 or lengths & {None, 0} or flat.null_count:
        raise DataError(f"{shown}: the rows of {_FEATURES!r} must all have the same length, without gaps.")
    values = flat.to_numpy().reshape(len(lists), lengths.pop())
    return values, {name: table[column].to_pylist() for name, column in wanted.items()}


def _read_safetensors(path: Path, shown: str) -> tuple[npt.NDArray[np.float32], Columns]:
    import torch
    from safetensors import safe_open

    try:
        read_header(path)  # says what the file is, where it is something else
        with safe_open(path, framework="pt") as file:  # numpy has no bfloat16
            names, metadata = set(file.keys()), file.metadata() or {}
            tensors = {n: file.get_tensor(n) for n in (_FEATURES, "label", *_DESCRIBING, _IDENTITY) if n in names}
        texts = {n: json.loads(metadata[n]) for n in ("label", *_DESCRIBING, _IDENTITY) if n in metadata}
    except (GasdetError, ValueError, OSError) as error:
        raise DataError(f"{shown}: stored vectors cannot be read ({first_line(error)}).") from error
    features = tensors.pop(_FEATURES, None)
    if features is None or features.dim() != 2 or not features.shape[1] or not features.is_floating_point():
        got = "none" if features is None else f"{list(features.shape)} of {features.dtype}"
        raise DataError(f"{shown} must have a floating point tensor {_FEATURES!r} [N, F]; it has {got}.")
    for name, tensor in tensors.items():
        if tensor.dim() != 1 or (name != "weight" and tensor.is_floating_point()):
            raise DataError(
                f"{shown}: the tensor {name!r} must be integers [N], not {list(tensor.shape)} of {tensor.dtype}."
            )
    for name, values in texts.items():
        if not isinstance(values, list):
            raise DataError(f"{shown}: {name!r} in the metadata must be a JSON list of {len(features)} texts.")
    values = np.require(features.to(torch.float32).numpy(), requirements=("C", "W"))
    return values, {**texts, **{name: tensor.tolist() for name, tensor in tensors.items()}}


def _samples(
    path: Path, shown: str, columns: Columns, count: int, modality: Modality, kind: LocatorKind
) -> list[Sample]:
    types = _media_types(columns, shown)
    texts = {n: [_text(v) for v in columns[n]] for n in _DESCRIBING if n in columns and n != "weight"}
    names = texts.pop("dataset", [""] * count)
    weights = [_weight(value, shown) for value in columns.get("weight", [1.0] * count)]
    identities = [_text(value) for value in columns.get(_IDENTITY, [""] * count)]
    samples = []
    for row, (name, identity) in enumerate(zip(names, identities, strict=True)):
        said = {what: texts[what][row] if what in texts else "" for what in _DESCRIBING}
        sample = make_sample(
            name or path.stem,
            identity or f"{path.name}/{row}",
            Locator(kind, str(path), row=row, column=_FEATURES),
            modality,
            types[row],
            generator=said["generator"],
            group=said["group"],
            split=said["split"],
            weight=weights[row],
            pair=said["pair"],
            released=said["released"],
        )
        if _SAMPLE_ID.fullmatch(identity):  # as gasdet's own records have it: the same sample keeps its id
            sample = dataclasses.replace(sample, sample_id=identity, group=said["group"] or identity)
        samples.append(sample)
    if len({sample.sample_id for sample in samples}) < count:
        raise DataError(f"{shown}: a sample_id is there more than once; each row must have its own.")
    return samples


def _media_types(columns: Columns, shown: str) -> list[MediaType]:
    if "label" not in columns:
        raise DataError(f"{shown} has no column or tensor 'label'; training needs one: {LABEL_WORDS}.")
    labels = columns["label"]
    known = {value: media_type_of_label(value) for value in set(labels)}
    types = []
    for row, value in enumerate(labels):
        media_type = known[value]
        if media_type is None:
            raise DataError(f"{shown}: row {row} has the label {value!r}; it must be one of {LABEL_WORDS}.")
        types.append(media_type)
    return types


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _weight(value: object, shown: str) -> float:
    if isinstance(value, int | float) and math.isfinite(value) and value >= 0:
        return float(value)
    raise DataError(f"{shown}: a weight is {value!r}; it must be a number of at least 0.")
