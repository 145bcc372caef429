"""Rows of a table by the value in one of their columns."""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Iterable, Iterator

from gasdet.data.listing import counted
from gasdet.data.names import printable

_TRUE = frozenset(("true", "yes", "on", "1"))
_FALSE = frozenset(("false", "no", "off", "0"))
_WRITTEN = ("True", "False")
"""Truth values as pandas writes them to a CSV, where a catalogue has ``true`` and ``false``."""
_MOST_SEEN = 1000
"""Different values that are remembered for the message where no row passes."""

_MOST_SHOWN = 80
_SHOWN = 3


class RowFilter:
    """Lets rows through whose cell has one of some values.

    The values are texts, as a catalogue has them: text is compared as it stands, a number as a number (1, 1.0 and 01 are one),
    a truth value with the words for it.

    Args:
        column: As the table has it; empty to let every row through.
        values: What is asked for.
    """

    def __init__(self, column: str, values: Iterable[str]) -> None:
        self.column = column
        self._texts = frozenset(values)
        self._numbers = frozenset(number for text in self._texts for number in _numbers(text))
        words = {text.strip().lower() for text in self._texts}
        self._truths = {True: bool(words & _TRUE), False: bool(words & _FALSE)}
        self._seen: Counter[str] = Counter()
        self.passed = self.left_out = 0

    def takes(self, cell: object, *, shown: str | None = None) -> bool:
        """Whether a row is taken, by its cell.

        Args:
            cell: As the table has it; None where it is empty.
            shown: What a number in the cell stands for, where the table names it; the number's own text counts, too.
        """
        if not self.column:
            return True
        text = shown if shown is not None else "" if cell is None else printable(str(cell))
        taken = text in self._texts or (text in _WRITTEN and text.lower() in self._texts) or self._is_equal(cell)
        if taken:
            self.passed += 1
        else:
            self.left_out += 1
            text = text[:_MOST_SHOWN]
            if text in self._seen or len(self._seen) < _MOST_SEEN:
                self._seen[text] += 1
        return taken

    def notes(self) -> list[str]:
        """What was left out; where that is every row, what stands in the column instead."""
        if not self.left_out:
            return []
        told = f"{counted(self.left_out, 'row')} left out by filter_column {printable(self.column)}"
        if self.passed:
            return [told]
        asked = ", ".join(repr(printable(text)) for text in sorted(self._texts)[:_SHOWN])
        cells = ", ".join(repr(text) for text, _ in self._seen.most_common(_SHOWN))
        return [f"{told}, whose cells read {cells} and never {asked}"]

    def _is_equal(self, cell: object) -> bool:
        if isinstance(cell, bool):
            return self._truths[cell]
        return isinstance(cell, int | float) and cell in self._numbers


def _numbers(text: str) -> Iterator[int | float]:
    """The numbers that a text stands for: of a fraction also what a column of single precision makes of it."""
    try:
        yield int(text)
    except ValueError:
        try:
            number = float(text)
        except ValueError:
            return
        if not math.isfinite(number):
            return
        yield number
        try:
            yield float(struct.unpack("f", struct.pack("f", number))[0])
        except OverflowError:
            return
