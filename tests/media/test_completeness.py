from __future__ import annotations

import io
import struct

import numpy as np
import pytest

from gasdet.errors import MediaError
from gasdet.media.completeness import SLACK, check_complete
from gasdet.types import Reason

from .conftest import encoded, make_clip, make_encoded_recording, make_recording, picture

TONE = (0.5 * np.sin(np.arange(48000) / 20)).astype(np.float32)

STATING = {
    "mp4": lambda: make_clip(),
    "mp4, index first": lambda: make_clip(options={"movflags": "faststart"}),
    "mov": lambda: make_clip(container="mov"),
    "avi": lambda: make_clip(codec="mpeg4", container="avi"),
    "matroska": lambda: make_clip(container="matroska"),
    "webm": lambda: make_clip(codec="libvpx", container="webm"),
    "m4a": lambda: make_encoded_recording("aac", "ipod"),
    "webm sound": lambda: make_encoded_recording("libopus", "webm"),
    "ogg": lambda: make_encoded_recording("libopus", "ogg"),
    "avif": lambda: encoded(picture(), "AVIF"),
    "png": lambda: encoded(picture(), "PNG"),
    **{
        kind: lambda kind=kind: make_recording(TONE, 48000, kind)
        for kind in ("WAV", "RF64", "W64", "AIFF", "AU", "NIST")
    },
}


def outcome(data: bytes) -> Reason | None:
    file = io.BytesIO(data)
    try:
        check_complete(file, len(data))
    except MediaError as error:
        return error.reason
    assert file.tell() == 0
    return None


@pytest.mark.parametrize("kind", STATING)
def test_a_whole_file_passes_and_a_cut_one_does_not(kind: str) -> None:
    data = STATING[kind]()
    assert outcome(data) is None
    for share in (0.5, 0.9):
        assert outcome(data[: int(len(data) * share)]) is Reason.TRUNCATED, share
    assert outcome(data + b"trailing bytes are no harm") is None


@pytest.mark.parametrize("kind", ["JPEG", "GIF", "WEBP", "BMP"])
def test_images_that_state_no_length_pass(kind: str) -> None:
    assert outcome(encoded(picture(), kind)) is None


@pytest.mark.parametrize("lost", [1, 4, 11, 12, 13, 20])
def test_a_png_must_have_its_last_chunk(lost: int) -> None:
    assert outcome(encoded(picture(), "PNG")[:-lost]) is Reason.TRUNCATED


def test_the_decoder_judges_a_png_with_damaged_chunks() -> None:
    data = bytearray(encoded(picture(), "PNG"))
    data[37:41] = b"\x00\x01\x02\x03"  # the name of the second chunk
    assert outcome(bytes(data)) is None


@pytest.mark.parametrize("kind", ["FLAC", "MP3"])
def test_recordings_that_only_the_decoder_can_judge_pass(kind: str) -> None:
    data = make_recording(TONE, 48000, kind)
    assert outcome(data[: len(data) // 2]) is None


@pytest.mark.parametrize("stated", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0])
def test_a_placeholder_of_a_streaming_writer_is_no_statement(stated: int) -> None:
    data = bytearray(make_recording(TONE, 48000))
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", stated)
    assert outcome(bytes(data)) is None


def test_a_wave_header_that_counts_itself_is_no_truncation() -> None:
    data = bytearray(make_recording(TONE, 48000))
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", len(data))
    assert outcome(bytes(data)) is None
    data[at : at + 4] = struct.pack("<I", len(data) + SLACK)
    assert outcome(bytes(data)) is Reason.TRUNCATED


def test_a_live_matroska_recording_of_unknown_size_passes() -> None:
    data = bytearray(make_clip(container="matroska"))
    at = data.index(b"\x18\x53\x80\x67") + 4
    assert data[at] == 0x01
    data[at + 1 : at + 8] = b"\xff" * 7
    assert outcome(bytes(data[: len(data) // 2])) is None


def test_boxes_without_end_and_odd_boxes() -> None:
    assert outcome(b"\0\0\0\x18ftypmp42" + bytes(12) + b"\0\0\0\0mdat" + bytes(100)) is None
    assert outcome(b"\0\0\0\x18ftypmp42" + bytes(12) + b"\0\0\0\x01mdat" + struct.pack(">Q", 500)) is Reason.TRUNCATED
    assert outcome(b"\0\0\0\x18ftypmp42" + bytes(12) + b"\xff\xff\xff\xff??!?") is None
    for head in (b"RIFF", b"FORM\0\0\0\0AIFF", b"OggS", b"\x1a\x45\xdf\xa3", b".snd", b"NIST_1A\n", b"\0\0\0\x08ftyp"):
        assert outcome(head) in (None, Reason.TRUNCATED)
