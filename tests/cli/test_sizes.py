"""Sizes as people write them."""

from __future__ import annotations

import click
import pytest

from gasdet.cli.sizes import ByteSize, size_text


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("2K", 2048), ("1.5m", 1536 * 1024), ("50G", 50 * 2**30), ("3 GiB", 3 * 2**30),
     ("1TB", 2**40), ("7B", 7)],
)  # fmt: skip
def test_a_size_is_bytes(text: str, count: int) -> None:
    assert ByteSize().convert(text, None, None) == count


@pytest.mark.parametrize("text", ["", "G", "-1G", "1,5G", "1e9", "50X", "nan", "1 G B"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"no size like 500M, 50G or 1\.5T"):
        ByteSize().convert(text, None, None)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (3 * 2**30, "3.0 GiB"), (5 * 2**50, "5120.0 TiB")],
)
def test_a_size_for_people(count: int, text: str) -> None:
    assert size_text(count) == text


@pytest.mark.parametrize("text", ["5", "1234", "00"])
def test_a_number_without_a_unit_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match=f"{text}G, or {text}B for bytes"):
        ByteSize().convert(text, None, None)
