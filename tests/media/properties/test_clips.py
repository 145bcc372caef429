"""Properties of clips, against clips encoded with known settings and against PyAV's decoded frames."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from gasdet.errors import MediaError
from gasdet.media.frames import FrameSequence
from gasdet.media.properties import PROPERTIES, properties_of
from gasdet.types import Modality, Reason

from ..conftest import encoded, make_clip, make_recording, picture, reference_frames


def of(data: bytes, name: str = "") -> dict[str, Any]:
    return properties_of(data, Modality.VIDEO, name=name)


@pytest.mark.parametrize(
    ("container", "codec", "named", "coded"),
    [
        ("mp4", "libx264", "mp4", "h264"),
        ("mov", "libx264", "quicktime", "h264"),
        ("matroska", "libx264", "matroska", "h264"),
        ("webm", "libvpx", "webm", "vp8"),
        ("webm", "libvpx-vp9", "webm", "vp9"),
        ("avi", "mpeg4", "avi", "mpeg4"),
        ("mpegts", "mpeg2video", "mpegts", "mpeg2video"),
        ("3gp", "mpeg4", "3gp", "mpeg4"),
        ("mp4", "libx265", "mp4", "hevc"),
    ],
)
def test_container_and_codec(container: str, codec: str, named: str, coded: str) -> None:
    found = of(make_clip(container=container, codec=codec), f"x.{container}")
    assert (found["container"], found["codec"], found["extension"]) == (named, coded, container)
    assert (found["width"], found["height"], found["aspect"]) == (96, 64, 1.5)
    assert found["audio_track"] is False
    assert found["tracks"] == 1


@pytest.mark.parametrize("codec", ["libx264", "libvpx", "mpeg4", "libvpx-vp9"])
@pytest.mark.parametrize(("frames", "rate"), [(1, 25), (12, 25), (31, 30), (20, 12)])
def test_frames_rate_and_duration(codec: str, frames: int, rate: int) -> None:
    data = make_clip(codec=codec, container="matroska", frames=frames, rate=rate)
    found = of(data)
    assert found["frames"] == len(reference_frames(data)) == frames
    # Matroska's times are in ms
    assert found["frame_rate"] == pytest.approx(rate, abs=0.001 * rate**2 / max(1, frames - 1))
    assert found["duration"] == pytest.approx(frames / rate, abs=0.003)
    assert found["variable_frame_rate"] is False
    assert found["time_scale"] == "1000"
    assert found["file_bytes"] == len(data)
    assert found["bit_rate"] == pytest.approx(len(data) * 8 / 1000 / found["duration"])


def test_frames_of_different_length_are_told() -> None:
    found = of(make_clip(frames=4, container="mp4", rate=25, stamps=[0, 1, 2, 10]))
    assert found["variable_frame_rate"] is True
    assert found["frame_rate"] == pytest.approx(3 / (10 / 25))


@pytest.mark.parametrize(
    ("profile", "named"), [("baseline", "Constrained Baseline"), ("main", "Main"), ("high", "High")]
)
def test_profile_level_and_pixel_format(profile: str, named: str) -> None:
    found = of(make_clip(options={"profile": profile, "level": "3.1"}))
    assert (found["profile"], found["level"], found["pixel_format"], found["bit_depth"]) == (named, "31", "yuv420p", 8)


def test_pixels_of_ten_bits_and_full_chroma() -> None:
    found = of(make_clip(codec="libx265", pix_fmt="yuv444p10le"))
    assert (found["pixel_format"], found["bit_depth"]) == ("yuv444p10le", 10)


def test_key_frames_and_reordered_frames() -> None:
    plain = of(make_clip(frames=24, options={"g": "6", "bf": "0", "sc_threshold": "0"}))
    assert (plain["keyframe_interval"], plain["reordered"]) == (6, False)
    assert of(make_clip(frames=24, options={"bf": "2", "b_strategy": "0"}))["reordered"] is True


@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_the_headers_rotation(angle: int) -> None:
    data = make_clip(rotation=angle)
    # PyAV's angles are counter-clockwise
    assert int(of(data)["rotation"]) == -angle % 360
    assert (of(data)["width"], of(data)["height"]) == (96, 64)  # as coded
    assert of(make_clip(container="matroska"))["rotation"] is None


def test_a_sound_track() -> None:
    found = of(make_clip(with_audio=True))
    assert (found["audio_track"], found["audio_codec"], found["tracks"]) == (True, "aac", 2)
    assert (found["audio_sample_rate"], found["audio_channels"]) == (16000, 1)


def test_what_wrote_the_file() -> None:
    found = of(make_clip())
    assert found["encoder"].startswith("Lavf")
    assert found["bitstream_encoder"].startswith("x264 core ")
    assert of(make_clip(codec="libx265"))["bitstream_encoder"].startswith("x265 (build ")
    assert of(make_clip(codec="mpeg4", container="avi"))["bitstream_encoder"].startswith("Lavc")
    assert of(make_clip(codec="libvpx", container="webm"))["bitstream_encoder"] is None
    assert "encoder" in found["metadata_keys"].split()


def test_maker_and_brand(tmp_path: Path) -> None:
    import av

    path = tmp_path / "a.mov"
    options = {"movflags": "use_metadata_tags"}
    with av.open(str(path), "w", options=options) as output:
        output.metadata.update({"com.apple.quicktime.make": "Brand", "com.apple.quicktime.model": "Phone 3"})
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        output.mux(stream.encode(av.VideoFrame.from_ndarray(picture(), format="rgb24")))
        output.mux(stream.encode())
    found = properties_of(path, Modality.VIDEO)
    assert (found["maker"], found["brand"], found["extension"]) == ("Brand Phone 3", "qt", "mov")
    assert of(make_clip())["brand"] == "isom"
    assert of(make_clip(container="matroska"))["brand"] is None


def test_colour_is_that_of_the_stream() -> None:
    assert of(make_clip(colorspace=1))["colour"].split("/")[0] == "1"
    assert of(make_clip(colorspace=6))["colour"].split("/")[0] == "6"


def test_structure_and_content_credentials() -> None:
    data = make_clip()
    assert of(data)["structure"] == "ftyp free mdat moov"
    assert of(data)["c2pa"] is False
    box = bytes.fromhex("d8fec3d61b0e483c92975828877ec481") + bytes(20)
    found = of(data + struct.pack(">I", 8 + len(box)) + b"uuid" + box)
    assert (found["structure"], found["c2pa"]) == ("ftyp free mdat moov uuid", True)
    assert of(make_clip(container="webm", codec="libvpx"))["structure"] is None


def test_bytes_per_pixel_counts_the_video_stream_alone() -> None:
    import io

    import av

    data = make_clip(with_audio=True)
    with av.open(io.BytesIO(data)) as container:
        stream = sum(packet.size for packet in container.demux(video=0))
    assert of(data)["bytes_per_pixel"] == pytest.approx(stream / (12 * 96 * 64))


def test_no_frame_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_clip()

    def fail(*_: Any) -> None:
        raise AssertionError("a frame is decoded")

    monkeypatch.setattr("gasdet.media.clip.frames_of", fail)
    monkeypatch.setattr("gasdet.media.clip.Converter.rgb", fail)
    assert of(data)["frames"] == 12


@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_folder_of_frames_is_a_clip(tmp_path: Path, as_bytes: bool) -> None:
    contents = [encoded(picture(seed=seed), "PNG") for seed in range(5)]
    paths = [tmp_path / f"{i}.PNG" for i in range(5)]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    frames = tuple(contents) if as_bytes else tuple(paths)
    found = properties_of(FrameSequence(frames, 10.0), Modality.VIDEO, name="clip.v2")
    assert list(found) == [spec.name for spec in PROPERTIES[Modality.VIDEO]]
    assert (found["container"], found["codec"]) == ("frames", "png-deflate")
    assert found["extension"] == (None if as_bytes else "png")
    assert (found["frames"], found["frame_rate"], found["duration"]) == (5, 10, 0.5)
    size = sum(map(len, contents))
    assert (found["file_bytes"], found["bit_rate"]) == (size, size * 8 / 1000 / 0.5)
    assert found["bytes_per_pixel"] == pytest.approx(size / (5 * 96 * 64))
    without = properties_of(FrameSequence(frames), Modality.VIDEO)
    assert {without[key] for key in ("frame_rate", "duration", "bit_rate")} == {None}


def test_frames_that_are_missing_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "0.png"
    path.write_bytes(encoded(picture(), "PNG"))
    for frames, reason in (((path, tmp_path / "1.png"), Reason.FILE_MISSING), ((), Reason.NO_FRAMES)):
        with pytest.raises(MediaError) as raised:
            properties_of(FrameSequence(frames), Modality.VIDEO)
        assert raised.value.reason is reason


@pytest.mark.parametrize("kind", ["image", "recording", "cut"])
def test_what_is_no_clip_is_an_error(kind: str) -> None:
    import numpy as np

    data = {
        "image": encoded(picture(), "PNG"),
        "recording": make_recording(np.zeros(800), 8000),
        "cut": make_clip(frames=40)[:4000],
    }[kind]
    with pytest.raises(MediaError) as raised:
        of(data)
    assert raised.value.reason is (Reason.TRUNCATED if kind == "cut" else Reason.NO_VIDEO_STREAM)
