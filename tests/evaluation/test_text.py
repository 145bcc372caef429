"""Messages and file names that can be stored anywhere."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gasdet.data.names import printable
from gasdet.evaluation.text import MAX_MESSAGE, error_line, one_line


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_every_text_becomes_one_line_that_can_be_stored(text):
    printable(text).encode("utf-8")
    line = one_line(text)
    line.encode("utf-8")
    assert len(line.splitlines()) <= 1
    assert len(line) <= MAX_MESSAGE


def test_ordinary_text_is_kept_as_it_is():
    assert one_line("día 1/naïve 画像.png") == "día 1/naïve 画像.png"


def test_undecodable_bytes_of_a_file_name_are_shown():
    assert one_line(os.fsdecode(b"photo-\xff.png")) == r"photo-\xff.png"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("first\nsecond"), "ValueError: first"),
        (KeyError(), "KeyError"),
        (RuntimeError("\n\n  late \x00 start"), "RuntimeError: late start"),
    ],
)
def test_an_exception_is_one_line(error, line):
    assert error_line(error) == line
