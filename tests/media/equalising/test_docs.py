"""docs/equalising.md states the numbers that the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gasdet.equalise_profiles import NEWEST, PROFILES
from gasdet.media.equalising.recording import MOST_GAIN_DB, SHORTEST_SECONDS, SILENCE_DB


@pytest.fixture(scope="module")
def text(repository: Path) -> str:
    return (repository / "docs" / "equalising.md").read_text(encoding="utf-8")


def test_every_key_is_documented_with_its_number(text: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([a-z, ]+) \| `([-\d.]+)` \|", text, re.MULTILINE)
    shown = {(modality.strip(), key): float(value) for key, found, value in rows for modality in found.split(",")}
    (newest,) = NEWEST.values()
    assert shown == {(modality, key): n for modality, keys in PROFILES[newest].items() for key, n in keys.items()}


def test_every_profile_is_named(text: str) -> None:
    assert all(f"`{name}`" in text for name in (*NEWEST, *PROFILES))
    assert f"{SILENCE_DB:.0f} dB or more below the loudest 20 ms" in text
    assert f"by {MOST_GAIN_DB:.0f} dB at most" in text
    assert f"Less than {SHORTEST_SECONDS} s of sound is an error" in text
