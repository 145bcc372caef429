"""One set of samples with their properties: each property's figure, the model's, and what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gasdet.inspection.auditing.describing import distribution, typical
from gasdet.inspection.auditing.folds import frame_of
from gasdet.inspection.auditing.model import held_out_scores
from gasdet.inspection.auditing.recurring import OF_SIZE, tied_by_source
from gasdet.inspection.auditing.separation import Reading, Separation, read, scores, separate
from gasdet.inspection.auditing.table import Column, FloatArray, PropertyTable
from gasdet.inspection.auditing.uncertainty import below_chance, held_out_auroc, intervals, noise
from gasdet.inspection.auditing.verdicts import STRONG, Verdict, verdict_of
from gasdet.media.properties import PropertySpec


@dataclass(frozen=True, slots=True)
class Figure:
    """A held-out AUROC, at least 0.5, with its 95 % interval and verdict; None where there are too few groups.

    ``unseen`` is the AUROC where samples of one size and length are held out together; None where that was not measured.
    ``lowered`` says that the verdict is lower for it.
    """

    auroc: float | None
    low: float | None
    high: float | None
    verdict: Verdict
    unseen: float | None = None
    lowered: bool = False

    def to_mapping(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "auroc": self.auroc,
            "low": self.low,
            "high": self.high,
            "verdict": str(self.verdict),
            "unseen": self.unseen,
            "lowered": self.lowered,
        }


UNDECIDED = Figure(None, None, None, Verdict.UNDECIDED)
NOTHING = Figure(0.5, 0.5, 0.5, Verdict.NONE)

LEARNED_BY_HEART = 0.1
"""A figure that is lower by more where samples of one size and length are held out together is not shown by these data: it
may be known which source has which size, and nothing of other sources."""


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
        counts: ``real``, ``synthetic``, ``real_groups``, ``synthetic_groups``, ``near_copies`` (how many samples have one;
            None where they were not looked for).
        model: What all properties together reach.
        below_chance: The model's AUROC as it is where its whole interval lies below chance: samples that belong together are
            in different folds, and what the model reaches is not known. None elsewhere.
        noise: What the best property reaches by chance (95 % point); None where there are too few groups.
        properties: The best separating first.
    """

    counts: dict[str, int | None]
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


@dataclass(frozen=True, slots=True)
class _Figures:
    """What is measured over one way to keep samples together: figures and ways by name, of properties that differ."""

    model: Figure
    below_chance: float | None
    noise: float
    own: dict[str, tuple[Figure, str]]

    @property
    def any_shortcut(self) -> bool:
        return any(figure.verdict.reaches(Verdict.WEAK) for figure in (self.model, *(f for f, _ in self.own.values())))


def measure(table: PropertyTable, *, seed: int = 0) -> Measurement:
    """Audit labelled samples of one modality. The same samples and seed give the same figures, in any order."""
    labels = table.labels
    counts: dict[str, int | None] = {}
    for label, name in enumerate(("real", "synthetic")):
        counts[name] = int((labels == label).sum())
        counts[f"{name}_groups"] = len({g for g, own in zip(table.groups, labels, strict=True) if own == label})
    counts["near_copies"] = None if table.near is None else sum(table.near)
    found = _figures(table, table.groups, seed)
    if found is None:
        results = [_result(column, table, UNDECIDED, "") for column in table.columns]
        return Measurement(counts, UNDECIDED, None, None, tuple(results))
    tied = tied_by_source(table) if found.any_shortcut else None
    unseen = None if tied is None else _figures(table, tied, seed)
    if unseen is not None:
        own = {
            name: (_on_unseen(figure, unseen.own[name][0], of_size=name in OF_SIZE), way)
            for name, (figure, way) in found.own.items()
        }
        found = replace(found, model=_on_unseen(found.model, unseen.model), own=own)
    results = [_result(column, table, *found.own.get(column.spec.name, (NOTHING, ""))) for column in table.columns]
    results.sort(key=lambda result: (result.constant, *_rank(result.figure)))  # of equals as in the table
    return Measurement(counts, found.model, found.below_chance, found.noise, tuple(results))


def _figures(table: PropertyTable, groups: Sequence[str], seed: int) -> _Figures | None:
    """Everything that is measured, with these samples kept together; None where a class has too few groups."""
    frame = frame_of(table.labels, groups, seed=seed)
    if frame is None:
        return None
    varying = [column for column in table.columns if not _constant(column)]
    readings = [read(column, frame) for column in varying]
    found = [separate(reading, frame, frame.labels[None]) for reading in readings]
    own = [scores(reading, frame, one) for reading, one in zip(readings, found, strict=True)]
    together = held_out_scores(varying, readings, frame, seed=seed)
    bounds = intervals([together, *own], frame, seed=seed)
    chance = noise(readings, frame, seed=seed)
    figures = {
        column.spec.name: (_figure(float(one.auroc[0]), bound, chance), _way(reading, one))
        for column, reading, one, bound in zip(varying, readings, found, bounds[1:], strict=True)
    }
    model = _figure(float(held_out_auroc(together, frame)[0]), bounds[0], 0.5) if varying else NOTHING
    worse = below_chance(together, frame, seed=seed)
    if worse is not None:
        model = replace(model, verdict=Verdict.UNDECIDED)
    return _Figures(model, worse, chance, figures)


def _on_unseen(figure: Figure, unseen: Figure, *, of_size: bool = False) -> Figure:
    """A figure that says how much of it holds on sizes and lengths that were not seen.

    Where it is clearly lower there, its verdict is no worse than what is shown there. That of a size itself never is: there
    are no more independent values than sizes.
    """
    assert figure.auroc is not None
    assert unseen.auroc is not None
    verdict = figure.verdict
    if verdict.reaches(Verdict.WEAK) and (of_size or figure.auroc - unseen.auroc > LEARNED_BY_HEART):
        shown = unseen.verdict if unseen.verdict.reaches(Verdict.WEAK) else Verdict.UNDECIDED
        verdict = min(verdict, shown, key=list(Verdict).index)
    return replace(figure, verdict=verdict, unseen=unseen.auroc, lowered=verdict is not figure.verdict)


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
