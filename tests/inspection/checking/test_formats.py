"""Which format a file's content has, told by files that other libraries wrote; and when the name contradicts it."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from gasdet.inspection.checking.formats import contradiction, format_of, format_of_name

PICTURES = {
    "JPEG": "jpeg", "PNG": "png", "GIF": "gif", "BMP": "bmp", "TIFF": "tiff", "WEBP": "webp", "PPM": "pnm", "ICO": "ico",
    "JPEG2000": "jpeg 2000", "AVIF": "heif", "QOI": "qoi",
}  # fmt: skip
RECORDINGS = {
    ("WAV", "PCM_16"): "wav", ("RF64", "PCM_16"): "wav", ("FLAC", "PCM_16"): "flac", ("OGG", "VORBIS"): "ogg",
    ("OGG", "OPUS"): "ogg", ("MP3", "MPEG_LAYER_III"): "mpeg audio", ("AIFF", "PCM_16"): "aiff", ("AU", "PCM_16"): "au",
    ("CAF", "PCM_16"): "caf", ("NIST", "PCM_16"): "sphere", ("W64", "PCM_16"): "wave64",
}  # fmt: skip
CONTAINERS = {
    "mp4": "mp4", "mov": "mp4", "m4a": "mp4", "mkv": "matroska", "webm": "matroska", "avi": "avi", "flv": "flv",
    "mpg": "mpeg", "ts": "mpeg-ts", "wmv": "asf", "aac": "adts", "mp3": "mpeg audio",
}  # fmt: skip
CODECS = {"webm": "libvpx", "mpg": "mpeg1video", "wmv": "mpeg4", "flv": "flv"}
SOUND = {"m4a": "aac", "aac": "aac", "mp3": "libmp3lame"}


@pytest.mark.parametrize("form", PICTURES)
def test_pictures(form: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(buffer, form)
    assert format_of(buffer.getvalue()[:4096]) == PICTURES[form]


@pytest.mark.parametrize(("form", "subtype"), RECORDINGS)
def test_recordings(form: str, subtype: str) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.random.default_rng(0).normal(0, 0.1, 8000), 16000, format=form, subtype=subtype)
    assert format_of(buffer.getvalue()[:4096]) == RECORDINGS[form, subtype]


@pytest.mark.parametrize("extension", CONTAINERS)
def test_containers(extension: str, tmp_path: Path) -> None:
    path = tmp_path / f"file.{extension}"
    with av.open(str(path), "w") as container:
        if extension in SOUND:
            stream = container.add_stream(SOUND[extension], rate=44100)
            samples = np.random.default_rng(0).normal(0, 0.1, (1, 8192)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
            frame.sample_rate = 44100
        else:
            stream = container.add_stream(CODECS.get(extension, "mpeg4"), rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")
        for packet in (*stream.encode(frame), *stream.encode()):
            container.mux(packet)
    assert format_of(path.read_bytes()[:4096]) == CONTAINERS[extension]
    assert contradiction(path.name, CONTAINERS[extension]) == ""


@pytest.mark.parametrize(
    "head", [b"", b"BM", b"BMW drives", b"just text, at some length" * 9, bytes(600), b"PK\x03\x04" + bytes(90)]
)
def test_what_is_no_media_has_no_format(head: bytes) -> None:
    assert format_of(head) == ""


@pytest.mark.parametrize(
    ("name", "found", "told"),
    [
        ("a.png", "jpeg", "The extension says png, the content is jpeg"),
        ("deep/er.folder/A.JPG", "webp", "The extension says jpeg, the content is webp"),
        ("clip.mp4", "png", "The extension says mp4, the content is png"),
        ("x.wav", "sphere", "The extension says wav, the content is sphere"),
        ("x.jpeg", "jpeg", ""),
        ("x.mov", "mp4", ""),
        ("x.webm", "matroska", ""),
        ("x.flac", "mpeg audio", ""),  # an ID3 tag before it
        ("x.unknown", "jpeg", ""),
        ("train.parquet/17", "jpeg", ""),
        (".png", "jpeg", ""),
        ("x.png", "", ""),
    ],
)
def test_a_name_contradicts_the_content_or_not(name: str, found: str, told: str) -> None:
    assert contradiction(name, found) == told


def test_only_the_last_extension_counts() -> None:
    assert format_of_name("photo.jpg.png") == "png"
    assert format_of_name("folder.png/file") == ""
