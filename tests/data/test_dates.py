from __future__ import annotations

from datetime import date

import pytest

from gasdet.data.dates import canonical_date, days_of


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2024", date(2024, 1, 1), date(2024, 12, 31)),
        ("2024-02", date(2024, 2, 1), date(2024, 2, 29)),
        ("2023-02", date(2023, 2, 1), date(2023, 2, 28)),
        ("2024-12", date(2024, 12, 1), date(2024, 12, 31)),
        ("2024-08-31", date(2024, 8, 31), date(2024, 8, 31)),
    ],
)
def test_a_date_stands_for_days(text: str, first: date, last: date) -> None:
    assert canonical_date(text) == text
    assert days_of(text) == (first, last)


@pytest.mark.parametrize(
    "text", ["", "24", "2024-13", "2024-02-30", "0000", "2024/08", "2024-8", "last summer", "2024-08-31x"]
)
def test_what_is_no_date(text: str) -> None:
    assert days_of(text) is None
