"""Names as they can be shown."""

from __future__ import annotations

import pytest

from gasdet.reporting.words import printable, shortened


def test_what_cannot_be_shown_is_escaped() -> None:
    assert printable("a b\n\u202e\udcff\x00é") == "a b\\n\\u202e\\udcff\\x00é"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0123456789abcdef", "0123456789abcdef"),
        ("0123456789abcdefg", "01234567..bcdefg"),
        ("\n" * 9, "\\n\\n\\n\\n..\\n\\n\\n"),
    ],
)
def test_both_ends_of_a_long_name_are_kept(text: str, shown: str) -> None:
    assert shortened(text, 16) == shown
