"""The table of properties, and the document that shows it."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from gasdet.media.properties import PROPERTIES, Kind, Remedy
from gasdet.types import Modality

HEADINGS = {Modality.IMAGE: "## Images", Modality.VIDEO: "## Clips", Modality.AUDIO: "## Recordings"}


def documented(repository: Path, modality: Modality) -> list[list[str]]:
    """The rows of a modality's table in docs/audit-properties.md, cells stripped."""
    text = (repository / "docs" / "audit-properties.md").read_text(encoding="utf-8")
    section = text.split(HEADINGS[modality] + "\n", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


@pytest.mark.parametrize("modality", list(Modality))
def test_the_document_shows_the_properties_as_they_are(repository: Path, modality: Modality) -> None:
    expected = [
        [f"`{spec.name}`", spec.kind, spec.unit, spec.meaning, spec.remedy, spec.remedy_text]
        for spec in PROPERTIES[modality]
    ]
    assert documented(repository, modality) == expected


@pytest.mark.parametrize("modality", list(Modality))
def test_names_are_unique_and_every_word_is_a_known_one(modality: Modality) -> None:
    specs = PROPERTIES[modality]
    assert len({spec.name for spec in specs}) == len(specs)
    for spec in specs:
        assert spec.kind in get_args(Kind)
        assert spec.remedy in get_args(Remedy)
        assert spec.meaning.endswith(".")
        assert spec.remedy_text.endswith(".")
        assert spec.kind == "number" or not spec.unit


def test_what_the_audit_must_look_at_is_there() -> None:
    wanted = {
        Modality.IMAGE: "container codec extension width height aspect megapixels file_bytes bytes_per_pixel jpeg_tables "
        "chroma_subsampling jpeg_quality progressive exif icc maker colour_mode bit_depth alpha",
        Modality.VIDEO: "container codec profile frame_rate duration frames bit_rate audio_track width height file_bytes",
        Modality.AUDIO: "container codec sample_rate bit_depth channels duration loudness peak leading_silence bandwidth",
    }
    for modality, names in wanted.items():
        assert set(names.split()) <= {spec.name for spec in PROPERTIES[modality]}
