"""One set of samples with their properties: each property's figure, the model's, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gasdet.inspection.auditing.describing import distribution, typical
from gasdet.inspection.auditing.folds import frame_of
from gasdet.inspection.auditing.model import held_out_scores
from gasdet.inspection.auditing.separation import Reading, Separation, read, scores, separate
from gasdet.inspection.auditing.table import Column, FloatArray, PropertyTable
from gasdet.inspection.auditing.uncertainty import below_chance, held_out_auroc, intervals, noise
from gasdet.inspection.auditing.verdicts import STRONG, Verdict, verdict_of
from gasdet.media.properties import PropertySpec


@dataclass(frozen=True, slots=True)
class Figure:
    """A held-out AUROC, at least 0.5, with its 95 % interval and verdict; None where there are too few groups."""

    auroc: float | None
    low: float | None
    high: float | None
    verdict: Verdict

    def to_mapping(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"auroc": self.auroc, "low": self.low, "high": self.high, "verdict": str(self.verdict)}


UNDECIDED = Figure(None, None, None, Verdict.UNDECIDED)


@dataclass(frozen=True, slots=True)
class PropertyResult:
    """One property.

    Attributes:
        spec: What it is.
        figure: How well it separates alone.
        way: "higher" or "lower" (synthetic samples have larger or smaller values), "by value", or empty where it says nothing.
        constant: Whether all samples have the same value, or none has one.
        typical: Of each class, as ``describing.typical`` gives it.
        distribution: As ``describing.distribution`` gives it; None where constant.
    """

    spec: PropertySpec
    figure: Figure
    way: str
    constant: bool
    typical: dict[str, dict[str, Any]]
    distribution: dict[str, Any] | None

    @property
    def excluded(self) -> bool:
        """Whether the interval excludes a strong shortcut."""
        return self.constant or (self.figure.high is not None and self.figure.high < STRONG)

    def to_mapping(self, *, brief: bool = False) -> dict[str, Any]:
        """As JSON has it; brief is without the distribution where there is no shortcut."""
        spec = self.spec
        hidden = brief and not self.figure.verdict.reaches(Verdict.WEAK)
        return {
            "name": spec.name,
            "kind": spec.kind,
            "unit": spec.unit,
            "meaning": spec.meaning,
            **self.figure.to_mapping(),
            "way": self.way,
            "constant": self.constant,
            "strong_excluded": self.excluded,
            "remedy": spec.remedy,
            "advice": spec.remedy_text,
            **self.typical,
            "distribution": None if hidden else self.distribution,
        }


@dataclass(frozen=True, slots=True)
class Measurement:
    """The audit of one set of samples.

    Attributes:
        counts: ``real``, ``synthetic``, ``real_groups``, ``synthetic_groups``.
        model: What all properties together reach.
        below_chance: The model's AUROC as it is where its whole interval lies below chance: samples that belong together are
            in different folds, and what the model reaches is not known. None elsewhere.
        noise: What the best property reaches by chance (95 % point); None where there are too few groups.
        properties: The best separating first.
    """

    counts: dict[str, int]
    model: Figure
    below_chance: float | None
    noise: float | None
    properties: tuple[PropertyResult, ...]

    @property
    def worst(self) -> Verdict:
        """The worst verdict of the model and of any property."""
        found = [self.model.verdict, *(p.figure.verdict for p in self.properties)]
        return max(found, key=list(Verdict).index)

    def to_mapping(self, *, brief: bool = False) -> dict[str, Any]:
        """As JSON has it; brief is without the distributions of properties that are no shortcut."""
        return {
            "counts": self.counts,
            "worst": str(self.worst),
            "model": self.model.to_mapping(),
            "below_chance": self.below_chance,
            "noise": self.noise,
            "properties": [p.to_mapping(brief=brief) for p in self.properties],
        }


def measure(table: PropertyTable, *, seed: int = 0) -> Measurement:
    """Audit labelled samples of one modality. The same samples and seed give the same figures, in any order."""
    labels = table.labels
    groups = table.groups
    counts = {}
    for label, name in enumerate(("real", "synthetic")):
        counts[name] = int((labels == label).sum())
        counts[f"{name}_groups"] = len({g for g, own in zip(groups, labels, strict=True) if own == label})
    frame = frame_of(labels, groups, seed=seed)
    if frame is None:
        results = [_result(column, table, UNDECIDED, "") for column in table.columns]
        return Measurement(counts, UNDECIDED, None, None, tuple(results))
    varying = [column for column in table.columns if not _constant(column)]
    readings = [read(column, frame) for column in varying]
    found = [separate(reading, frame, frame.labels[None]) for reading in readings]
    own = [scores(reading, frame, one) for reading, one in zip(readings, found, strict=True)]
    together = held_out_scores(varying, readings, frame, seed=seed)
    bounds = intervals([together, *own], frame, seed=seed)
    chance = noise(readings, frame, seed=seed)
    results = [
        _result(column, table, _figure(float(one.auroc[0]), bound, chance), _way(reading, one))
        for column, reading, one, bound in zip(varying, readings, found, bounds[1:], strict=True)
    ]
    nothing = Figure(0.5, 0.5, 0.5, Verdict.NONE)
    results += [_result(column, table, nothing, "") for column in table.columns if _constant(column)]
    place = {column.spec.name: number for number, column in enumerate(table.columns)}
    results.sort(key=lambda result: (result.constant, *_rank(result.figure), place[result.spec.name]))
    model = _figure(float(held_out_auroc(together, frame)[0]), bounds[0], 0.5) if varying else nothing
    worse = below_chance(together, frame, seed=seed)
    if worse is not None:
        model = replace(model, verdict=Verdict.UNDECIDED)
    return Measurement(counts, model, worse, chance, tuple(results))


def _rank(figure: Figure) -> tuple[float, ...]:
    """By verdict and AUROC.

    Figures that are the same to two digits leave the order to the list of properties, where causes stand before what follows.
    """
    assert figure.auroc is not None
    return -list(Verdict).index(figure.verdict), -round(figure.auroc, 2)


def _figure(auroc: float, bound: tuple[float, float], chance: float) -> Figure:
    value = max(0.5, auroc)
    return Figure(value, bound[0], bound[1], verdict_of(value, *bound, chance))


def _result(column: Column, table: PropertyTable, figure: Figure, way: str) -> PropertyResult:
    constant = _constant(column)
    labels = table.labels
    shown = None if constant else distribution(column, labels)
    return PropertyResult(column.spec, figure, way, constant, typical(column, labels), shown)


def _constant(column: Column) -> bool:
    present: FloatArray = column.values[~np.isnan(column.values)]
    return not present.size or (present.size == column.values.size and bool((present == present[0]).all()))


def _way(reading: Reading, found: Separation) -> str:
    """The way that most folds took."""
    ways = found.way[0]
    if found.auroc[0] <= 0.5 or (ways < 0).all():
        return ""
    most = int(np.bincount(ways[ways >= 0]).argmax())
    return "by value" if most == 2 * len(reading.ranks) else ("higher", "lower")[most % 2]
