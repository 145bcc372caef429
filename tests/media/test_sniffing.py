from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gasdet.media import modality_of_name, sniff
from gasdet.types import Modality

from .conftest import encoded, make_clip, make_encoded_recording, make_recording, picture

TONE = np.sin(np.arange(4800) / 20).astype(np.float32)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "PPM", "JPEG2000", "ICO"])
def test_images(kind: str) -> None:
    assert sniff(encoded(picture(), kind)[:64]) is Modality.IMAGE


@pytest.mark.parametrize(
    ("codec", "container"),
    [
        ("libx264", "mp4"),
        ("libx264", "mov"),
        ("libx264", "matroska"),
        ("libx264", "flv"),
        ("libx264", "mpegts"),
        ("libvpx", "webm"),
        ("mpeg4", "avi"),
        ("mpeg2video", "mpeg"),
        ("mpeg2video", "asf"),
        ("libsvtav1", "ivf"),
    ],
)
def test_clips(codec: str, container: str) -> None:
    assert sniff(make_clip(codec=codec, container=container)[:4096]) is Modality.VIDEO


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "MP3", "OGG", "AIFF", "AU", "CAF", "RF64", "W64", "NIST", "VOC"])
def test_recordings_of_soundfile(kind: str) -> None:
    assert sniff(make_recording(TONE, 48000, kind)[:4096]) is Modality.AUDIO


@pytest.mark.parametrize(
    ("codec", "container"),
    [
        ("aac", "ipod"),
        ("aac", "adts"),
        ("mp3", "mp3"),
        ("libopus", "ogg"),
        ("libopus", "webm"),
        ("aac", "matroska"),
        ("ac3", "ac3"),
    ],
)
def test_recordings_of_ffmpeg(codec: str, container: str) -> None:
    assert sniff(make_encoded_recording(codec, container)[:4096]) is Modality.AUDIO


def test_an_mp4_counts_as_video_where_its_brand_does_not_say_otherwise() -> None:
    assert sniff(make_encoded_recording("aac", "mp4")[:4096]) is Modality.VIDEO


def test_a_matroska_head_that_ends_before_its_tracks_counts_as_video() -> None:
    assert sniff(make_encoded_recording("libopus", "webm")[:64]) is Modality.VIDEO


def test_a_matroska_file_with_picture_and_sound_is_video() -> None:
    assert sniff(make_clip(container="matroska", with_audio=True)[:4096]) is Modality.VIDEO


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\xff",
        b"plain text that says nothing",
        b"\xff\xfeH\x00i\x00",
        b"PK\x05\x06" + bytes(18),
        b"%PDF-1.7\n",
        b"\x7fELF\x02\x01\x01",
        b"<html><body>",
        b"BM means nothing by itself",
        b"RIFF\x10\x00\x00\x00RMID",
        b"P5 pages of text"[:2],
        bytes(64),
    ],
)
def test_what_cannot_be_told(head: bytes) -> None:
    assert sniff(head) is None


@given(st.binary(max_size=600))
def test_any_bytes_have_an_answer(head: bytes) -> None:
    for start in (b"", b"\x1a\x45\xdf\xa3", b"OggS", b"RIFF", b"\xff\xfb", b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67"):
        assert sniff(start + head) in (None, *Modality)


def test_every_real_file_is_told_by_content_and_by_name(shared_media: Path) -> None:
    for modality in Modality:
        for path in (p for p in (shared_media / modality).rglob("*") if p.is_file()):
            with path.open("rb") as file:
                assert sniff(file.read(4096)) is modality, path.name
            assert modality_of_name(path.name) is modality, path.name


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("UPPER.JPG", Modality.IMAGE),
        ("a.b.c.png", Modality.IMAGE),
        ("folder.mp4/new\nline.wav", Modality.AUDIO),
        ("v1.0/clip.MP4", Modality.VIDEO),
        ("写真.webp", Modality.IMAGE),
        ("x.m4a", Modality.AUDIO),
        ("x.sph", Modality.AUDIO),
        ("aud_000001.wav.pt", Modality.AUDIO),
        ("model.pth", None),
        ("archive.jpg.zip", None),
        ("folder.jpg/readme", None),
        (".jpg", None),
        ("jpg", None),
        ("name.", None),
        ("", None),
    ],
)
def test_names(name: str, modality: Modality | None) -> None:
    assert modality_of_name(name) is modality
