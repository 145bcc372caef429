"""Release dates, which data state as a day, a month or a year."""

from __future__ import annotations

import calendar
import re
from datetime import date

_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?\Z")
# How table tools write a day (as a moment of it), and a column of years that had a gap (as numbers with a point)
_AS_WRITTEN = re.compile(r"(?:(\d{4}-\d{2}-\d{2})[T ][\d:.+Z-]*|(\d{4})\.0)\Z")


def canonical_date(text: str) -> str:
    """``YYYY``, ``YYYY-MM`` or ``YYYY-MM-DD`` of a cell that says so, also as a day with a time; any other text as it is."""
    text = text.strip()
    match = _AS_WRITTEN.match(text)
    return (match.group(1) or match.group(2)) if match else text


def days_of(text: str) -> tuple[date, date] | None:
    """The first and the last day that a date stands for: those of the month for ``2024-08``. None where it is no date.

    Args:
        text: ``YYYY``, ``YYYY-MM`` or ``YYYY-MM-DD``.
    """
    match = _DATE.match(text)
    if not match:
        return None
    year, month, day = (int(part) if part else None for part in match.groups())
    assert year is not None
    try:
        if day is not None and month is not None:
            return date(year, month, day), date(year, month, day)
        first, last = (month, month) if month is not None else (1, 12)
        return date(year, first, 1), date(year, last, calendar.monthrange(year, last)[1])
    except ValueError:  # month 13, 31 February, year 0
        return None
