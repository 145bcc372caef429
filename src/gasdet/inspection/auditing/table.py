"""The properties of many samples as columns of numbers, small enough for hundreds of thousands of samples."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gasdet.inspection.auditing.copies import with_near_copies
from gasdet.inspection.auditing.grouping import together
from gasdet.media.properties import PropertySpec
from gasdet.types import Modality, Sample

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Value = float | int | str | bool | None

FLAG_LEVELS = ("no", "yes")


@dataclass(frozen=True, slots=True)
class Column:
    """One property of all samples.

    Attributes:
        spec: What it is.
        values: float64 [N]. Of a number its value, else the index of its level; NaN where the property is missing.
        levels: Names of a category's or flag's values; empty for a number.
    """

    spec: PropertySpec
    values: FloatArray
    levels: tuple[str, ...] = ()

    @property
    def is_number(self) -> bool:
        """Whether the values can be put in order."""
        return self.spec.kind == "number"

    def text(self, index: int) -> str:
        """One value as text; empty where it is missing."""
        value = float(self.values[index])
        if math.isnan(value):
            return ""
        return f"{value:.10g}" if self.is_number else self.levels[int(value)]


@dataclass(frozen=True, slots=True)
class PropertyTable:
    """Labelled samples of one modality with their properties.

    Attributes:
        modality: Of all samples.
        samples: [N], sorted by sample id, so that nothing below depends on the order of the data.
        columns: One a property, each of N values.
        groups: [N], names: samples of one name share a group, a pair or their content, or are near copies, and folds keep them
            together.
        near: [N]: whether a sample is kept together with a near copy; None where these were not looked for.
    """

    modality: Modality
    samples: tuple[Sample, ...]
    columns: tuple[Column, ...]
    groups: tuple[str, ...]
    near: tuple[bool, ...] | None

    @property
    def labels(self) -> IntArray:
        """int64 [N], 0 real or 1 synthetic."""
        return np.array([sample.label for sample in self.samples], dtype=np.int64)

    def take(self, rows: IntArray) -> PropertyTable:
        """The table of some of the samples, by their ascending positions."""
        columns = tuple(Column(c.spec, c.values[rows], c.levels) for c in self.columns)
        samples = tuple(self.samples[i] for i in rows)
        groups = tuple(self.groups[i] for i in rows)
        near = None if self.near is None else tuple(self.near[i] for i in rows)
        return PropertyTable(self.modality, samples, columns, groups, near)


class TableBuilder:
    """Takes samples one by one.

    Args:
        modality: Of all samples.
        specs: The properties that each sample may have.
    """

    def __init__(self, modality: Modality, specs: Sequence[PropertySpec]) -> None:
        self._modality = modality
        self._specs = tuple(specs)
        self._samples: list[Sample] = []
        self._contents: list[bytes | None] = []
        self._prints: list[bytes] = []
        self._values = [array("d") for _ in specs]
        self._levels: list[dict[str, int]] = [
            {name: i for i, name in enumerate(FLAG_LEVELS)} if spec.kind == "flag" else {} for spec in specs
        ]

    def add(
        self, sample: Sample, properties: Mapping[str, Value], content: bytes | None = None, near: bytes = b""
    ) -> None:
        """One labelled sample; a property that is absent, None, or no finite number is missing.

        Args:
            sample: With its label.
            properties: By name.
            content: What its content is known by, equal for exact copies.
            near: What its near copies are told by, a hash or a fingerprint; empty where there is none.

        Raises:
            TypeError: A property's value is not of its kind.
        """
        self._samples.append(sample)
        self._contents.append(content)
        self._prints.append(near)
        for spec, values, levels in zip(self._specs, self._values, self._levels, strict=True):
            values.append(_code(spec, properties.get(spec.name), levels))

    def table(self) -> PropertyTable:
        """Everything that was added, sorted by sample id."""
        order = np.array(sorted(range(len(self._samples)), key=lambda i: self._samples[i].sample_id), dtype=np.int64)
        columns = tuple(
            _sorted_levels(Column(spec, np.frombuffer(values, dtype=np.float64)[order], tuple(levels)))
            if values
            else Column(spec, np.zeros(0), tuple(levels))
            for spec, values, levels in zip(self._specs, self._values, self._levels, strict=True)
        )
        samples = tuple(self._samples[i] for i in order)
        contents, prints = ([of[i] for i in order] for of in (self._contents, self._prints))
        known, near = with_near_copies(self._modality, contents, prints)
        return PropertyTable(self._modality, samples, columns, together(samples, known), near)


def _code(spec: PropertySpec, value: Value, levels: dict[str, int]) -> float:
    if value is None:
        return math.nan
    if spec.kind == "number":
        if isinstance(value, str):
            raise TypeError(f"the property {spec.name} is a number, not {value!r}")
        return float(value) if math.isfinite(value) else math.nan
    if spec.kind == "flag":
        if not isinstance(value, bool):
            raise TypeError(f"the property {spec.name} is true or false, not {value!r}")
        return float(value)
    return float(levels.setdefault(str(value), len(levels)))


def _sorted_levels(column: Column) -> Column:
    """A category's levels in the order of their names: the order in which they were met is that of the data."""
    if column.spec.kind != "category" or not column.levels:
        return column
    order = sorted(range(len(column.levels)), key=column.levels.__getitem__)
    places = np.full(len(order) + 1, np.nan)
    places[order] = np.arange(len(order))
    codes = np.where(np.isnan(column.values), len(order), column.values).astype(np.int64)
    return Column(column.spec, places[codes], tuple(column.levels[i] for i in order))
