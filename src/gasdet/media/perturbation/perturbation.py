"""What a perturbation is: a named change of decoded media with options and up to five severities."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gasdet.errors import UsageError
from gasdet.media.decoded import Array
from gasdet.media.perturbation.options import Number, Option, Size
from gasdet.types import Modality

LEVELS = 5

LEVEL = Number(default=1, low=1, high=LEVELS, whole=True, meaning="severity")
"""How a level is checked and drawn, in all perturbations that have levels."""

PIXELS = (Modality.IMAGE, Modality.VIDEO)
VIDEO = (Modality.VIDEO,)
AUDIO = (Modality.AUDIO,)

Function = Callable[..., Array]


@dataclass(frozen=True, slots=True)
class Perturbation:
    """One entry of the table of perturbations.

    Attributes:
        name: Unique among all.
        modalities: What it applies to.
        function: ``function(array, rng, **options) -> array``; with ``needs_rate`` also ``sample_rate=``. Takes and returns
            uint8 ``[3, H, W]`` or ``[T, 3, H, W]``, or float32 ``[N]``; the result is C-contiguous. The input is never
            changed; it may itself be the result.
        summary: One line.
        options: Every option that the function takes, by name.
        levels: For each option that a severity decides, its values at the levels 1 to 5; empty where there are no levels.
        default_level: The range of levels that is drawn from where a user states neither a level nor an option that
            levels decide; None where the options' own defaults count.
        needs_rate: Whether the function must know the sample rate in Hz.
        keeps_shape: Whether the result always has the input's shape.
        source: Where formula and figures come from; "own choice" where they are this project's.
    """

    name: str
    modalities: tuple[Modality, ...]
    function: Function
    summary: str
    options: Mapping[str, Option] = field(default_factory=dict)
    levels: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    default_level: tuple[int, int] | None = None
    needs_rate: bool = False
    keeps_shape: bool = True
    source: str = "own choice"

    def __post_init__(self) -> None:
        for name, values in self.levels.items():
            if name not in self.options or len(values) != LEVELS:
                raise ValueError(f"{self.name}: levels of {name} are {LEVELS} values of one of its options")
            for value in values:
                self.options[name].check(value, f"{self.name}: {name}")

    def check(self, given: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Options as a user wrote them, checked; without those that keep their defaults.

        Args:
            given: By name; ``level`` stands for the options that levels decide.
            where: How a message begins.

        Raises:
            UsageError: An option is unknown, or its value is unusable; the message says what is allowed.
        """
        known = (*self.options, *(("level",) if self.levels else ()))
        for name in given:
            if name not in known:
                raise UsageError(
                    f"{where} has no option {name!r}{did_you_mean(name, known)}; known: p, {', '.join(known)}."
                    if known
                    else f"{where} has no option {name!r}; it takes p alone."
                )
        twice = [name for name in self.levels if name in given] if "level" in given else []
        if twice:
            raise UsageError(f"{where}: level decides {', '.join(twice)}; give one of the two.")
        checks: dict[str, Option] = {**self.options, "level": LEVEL}
        return {name: checks[name].check(value, f"{where}: {name}") for name, value in given.items()}

    def settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Checked options with the defaults of the others; ``level`` in place of the options that it decides."""
        chosen = {name: option.default for name, option in self.options.items()} | dict(given)
        if "level" not in given and self.default_level and not any(name in given for name in self.levels):
            chosen["level"] = self.default_level
        decided = self.levels if "level" in chosen else ()
        return {name: value for name, value in chosen.items() if name not in decided}

    def draw(self, settings: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """Values for one application: what the function is called with (but for the sample rate)."""
        values = dict(settings)
        if "level" in values:
            level = int(LEVEL.draw(values.pop("level"), rng))
            values |= {name: table[level - 1] for name, table in self.levels.items()}
        return {name: self.options[name].draw(value, rng) for name, value in values.items()}

    def draws(self, settings: Mapping[str, Any]) -> bool:
        """Whether any value is drawn, so that two applications may differ in more than the function's own noise."""
        values = [value for name, value in settings.items() if not isinstance(self.options.get(name), Size)]
        if "level" in settings:
            values += [value for table in self.levels.values() for value in table]
        return any(isinstance(value, tuple) for value in values)

    def apply(
        self, array: Array, rng: np.random.Generator, values: Mapping[str, Any], sample_rate: int | None = None
    ) -> Array:
        """Call the function with drawn values.

        Raises:
            UsageError: The sample rate is needed and not given.
        """
        if self.needs_rate:
            if sample_rate is None:
                raise UsageError(f"{self.name} depends on the sample rate: give sample_rate in Hz.")
            return self.function(array, rng, sample_rate=sample_rate, **values)
        return self.function(array, rng, **values)


def did_you_mean(name: str, known: tuple[str, ...]) -> str:
    """The nearest known name in brackets, or nothing."""
    near = difflib.get_close_matches(str(name), known, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
