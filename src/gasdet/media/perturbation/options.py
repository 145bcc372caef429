"""Options of perturbations: what values each takes, what it means, and how one is drawn from a range.

Wherever an option is a number a user may write a range ``[low, high]`` instead, and wherever it is a word a list of words;
each application then draws one value. A value that is not drawn takes nothing from the random stream.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from gasdet.errors import UsageError


@dataclass(frozen=True, slots=True)
class Number:
    """A number, or a range of numbers to draw from: uniformly, whole numbers with both ends.

    Attributes:
        default: A value, or a pair (low, high).
        low: The least value allowed.
        high: The largest value allowed.
        meaning: What it does, with its unit, for messages and the documentation.
        whole: Whether only whole numbers are allowed.
        log: Whether a range is drawn from uniformly in the logarithm.
    """

    default: float | tuple[float, float]
    low: float
    high: float
    meaning: str
    whole: bool = False
    log: bool = False

    def check(self, value: Any, where: str) -> float | tuple[float, float]:
        """The value as given, a range as a tuple.

        Raises:
            UsageError: It is no such number or range.
        """
        if isinstance(value, list | tuple):
            if len(value) == 2 and all(map(self._fits, value)) and value[0] <= value[1]:
                return value[0], value[1]
        elif self._fits(value):
            return value  # type: ignore[no-any-return]
        raise UsageError(f"{where} must be {self.allowed}, or a range [low, high] of such, not {value!r}.")

    def draw(self, value: float | tuple[float, float], rng: np.random.Generator) -> float:
        """One value, from a range or as it is."""
        if not isinstance(value, tuple):
            return value
        low, high = value
        if self.whole:
            return int(low) + int(rng.random() * (int(high) - int(low) + 1))
        if self.log:
            return low * math.exp(rng.random() * math.log(high / low))
        return low + rng.random() * (high - low)

    @property
    def allowed(self) -> str:
        """The values allowed, in words."""
        kind = "a whole number" if self.whole else "a number"
        return f"{kind} from {self.low:g}" + (f" to {self.high:g}" if self.high < math.inf else "")

    def _fits(self, value: Any) -> bool:
        kinds = int if self.whole else int | float
        return isinstance(value, kinds) and not isinstance(value, bool) and self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Choice:
    """A word of several, or a list of words to draw from, each equally likely."""

    default: str | tuple[str, ...]
    choices: tuple[str, ...]
    meaning: str

    def check(self, value: Any, where: str) -> str | tuple[str, ...]:
        """The word as given, a list as a tuple.

        Raises:
            UsageError: It is none of the words.
        """
        given = tuple(value) if isinstance(value, list | tuple) else (value,)
        words = tuple(str(word) if type(word) is int else word for word in given)  # YAML reads 420 as a number
        if not words or any(word not in self.choices for word in words):
            raise UsageError(f"{where} must be {self.allowed}, or a list of such, not {value!r}.")
        return words if isinstance(value, list | tuple) else words[0]

    def draw(self, value: str | tuple[str, ...], rng: np.random.Generator) -> str:
        """One word, from a list or as it is."""
        return value[int(rng.random() * len(value))] if isinstance(value, tuple) else value

    @property
    def allowed(self) -> str:
        """The values allowed, in words."""
        return f"one of {', '.join(self.choices)}"


@dataclass(frozen=True, slots=True)
class Switch:
    """True or false."""

    default: bool
    meaning: str

    allowed = "true or false"

    def check(self, value: Any, where: str) -> bool:
        """The value as given.

        Raises:
            UsageError: It is not true or false.
        """
        if not isinstance(value, bool):
            raise UsageError(f"{where} must be true or false, not {value!r}.")
        return value

    def draw(self, value: bool, rng: np.random.Generator) -> bool:
        """The value as it is."""
        return value


@dataclass(frozen=True, slots=True)
class Size:
    """Height and width in pixels: a pair, one number for both, or none for the input's own."""

    meaning: str
    default: tuple[int, int] | None = None

    allowed = "a side in pixels, [height, width], or null for the input's own size"

    def check(self, value: Any, where: str) -> tuple[int, int] | None:
        """The size as a pair.

        Raises:
            UsageError: It is no size.
        """
        if value is None:
            return None
        sides = (value, value) if isinstance(value, int) else tuple(value) if isinstance(value, list | tuple) else ()
        if len(sides) != 2 or any(type(side) is not int or not 1 <= side <= 16384 for side in sides):
            raise UsageError(f"{where} must be {self.allowed}, not {value!r}.")
        return sides

    def draw(self, value: tuple[int, int] | None, rng: np.random.Generator) -> tuple[int, int] | None:
        """The value as it is."""
        return value


Option = Number | Choice | Switch | Size
