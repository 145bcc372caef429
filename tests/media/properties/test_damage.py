"""Damaged and hostile files: a reason, never anything else; and values of the stated kinds, whatever the file holds."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gasdet.errors import MediaError
from gasdet.media import MediaLimits
from gasdet.media.properties import PROPERTIES, properties_of
from gasdet.media.properties.parts import boxes, flac_blocks, png_chunks, riff_chunks
from gasdet.types import Modality, Reason

from ..conftest import encoded, make_clip, make_encoded_recording, make_recording, picture

KINDS: dict[str, tuple[type, ...]] = {"number": (int, float), "category": (str,), "flag": (bool,)}


def check(found: dict[str, Any], modality: Modality) -> None:
    """Every property is there, in order, of its kind, in one line, and finite."""
    assert list(found) == [spec.name for spec in PROPERTIES[modality]]
    for spec in PROPERTIES[modality]:
        value = found[spec.name]
        if value is None:
            continue
        assert type(value) in KINDS[spec.kind], (spec.name, value)
        if spec.kind == "number":
            assert np.isfinite(value), spec.name
        if spec.kind == "category":
            assert value.isprintable(), spec.name
            assert len(value) <= 1200, spec.name


def outcome(source: Path | bytes, modality: Modality, limits: MediaLimits | None = None) -> Reason | None:
    """None where there are properties, which are then checked; the reason where there are none."""
    try:
        found = properties_of(source, modality, limits=limits)
    except MediaError as error:
        reason, message = error.reason, str(error)
    else:
        check(found, modality)
        return None
    assert message.endswith(".")
    assert "\n" not in message
    return reason


@cache
def files() -> dict[str, tuple[Modality, bytes]]:
    """A small file of each kind."""
    exif: dict[str, Any] = {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x0f\0\2\0\0\0\4abc\0\0\0\0\0"}
    tone = 0.3 * np.sin(np.arange(4000) / 3)
    return {
        "jpeg": (Modality.IMAGE, encoded(picture(), "JPEG", progressive=True, **exif)),
        "png": (Modality.IMAGE, encoded(picture(), "PNG", **exif)),
        "webp": (Modality.IMAGE, encoded(picture(), "WEBP", **exif)),
        "avif": (Modality.IMAGE, encoded(picture(), "AVIF")),
        "gif": (Modality.IMAGE, encoded(picture(), "GIF")),
        "tiff": (Modality.IMAGE, encoded(picture(), "TIFF", compression="tiff_lzw")),
        "mp4": (Modality.VIDEO, make_clip(with_audio=True, rotation=90)),
        "webm": (Modality.VIDEO, make_clip(container="webm", codec="libvpx")),
        "avi": (Modality.VIDEO, make_clip(container="avi", codec="mpeg4")),
        "wav": (Modality.AUDIO, make_recording(tone, 8000)),
        "flac": (Modality.AUDIO, make_recording(tone, 8000, "FLAC")),
        "mp3": (Modality.AUDIO, make_recording(tone, 16000, "MP3")),
        "m4a": (Modality.AUDIO, make_encoded_recording("aac", "mp4", seconds=0.2)),
    }


@pytest.mark.parametrize("kind", sorted(files()))
def test_a_whole_file_has_all_properties_of_their_kinds(kind: str) -> None:
    modality, data = files()[kind]
    assert outcome(data, modality) is None


@pytest.mark.parametrize("kind", sorted(files()))
def test_damage_anywhere_gives_properties_or_a_reason(kind: str) -> None:
    """Files with random bytes changed, most of them in the head, and files that were cut off."""
    modality, data = files()[kind]
    rng = np.random.default_rng(7)
    reasons = set()
    for attempt in range(40):
        broken = bytearray(data)
        reach = len(data) if attempt % 3 == 0 else min(len(data), 700)
        for at in rng.integers(0, reach, rng.integers(1, 12)):
            broken[at] = rng.integers(256)
        if attempt % 4 == 0:
            del broken[int(rng.integers(1, len(data))) :]
        reasons.add(outcome(bytes(broken), modality))
    assert None in reasons or len(reasons) > 1  # not every file met the same end


@pytest.mark.parametrize("modality", list(Modality))
def test_what_is_no_file_has_the_reason_of_the_decoder(tmp_path: Path, modality: Modality) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    assert outcome(tmp_path / "absent", modality) is Reason.FILE_MISSING
    assert outcome(empty, modality) is Reason.FILE_EMPTY
    assert outcome(tmp_path, modality) is Reason.FILE_UNREADABLE
    assert outcome(b"neither picture nor sound, only words. " * 9, modality) is Reason.UNKNOWN_FORMAT
    assert outcome(files()["jpeg"][1], modality, MediaLimits(max_file_bytes=100)) is Reason.TOO_LARGE


def test_what_is_shared_and_broken_never_does_worse(shared_broken: Path) -> None:
    paths = [path for path in sorted(shared_broken.rglob("*")) if path.is_file()]
    assert len(paths) > 10
    reasons = {outcome(path, modality) for path in paths for modality in Modality}
    assert len(reasons) > 4


@pytest.mark.parametrize("modality", list(Modality))
def test_real_media_have_properties(shared_media: Path, modality: Modality) -> None:
    paths = [path for path in sorted((shared_media / modality).rglob("*")) if path.is_file()]
    assert len(paths) > 10
    for path in paths:
        assert outcome(path, modality) is None, path.name


def test_walks_through_parts_end_where_heads_make_no_sense() -> None:
    assert list(boxes(io.BytesIO(b"\0\0\0\x04moov" * 9), 0, 72)) == []  # shorter than its own head
    assert list(boxes(io.BytesIO(b"\0\0\0\0free" + bytes(8)), 0, 16)) == [(b"free", 8, 8)]
    large = b"\0\0\0\1mdat" + (24).to_bytes(8, "big") + bytes(8)
    assert list(boxes(io.BytesIO(large), 0, 24)) == [(b"mdat", 16, 8)]
    assert len(list(png_chunks(io.BytesIO(bytes(8) + bytes(12) * 200_000)))) == 100_000  # chunks without end
    assert len(list(riff_chunks(io.BytesIO(bytes(8 * 200_000))))) == 100_000
    assert list(flac_blocks(io.BytesIO(b"fLaC\x80\0\0\x01a\x04\0\0\x01b"))) == [(b"0", 8, 1)]
    assert list(flac_blocks(io.BytesIO(b"fLaC\x00"))) == []
