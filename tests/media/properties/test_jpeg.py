"""What a JPEG's tables tell, against files written with every quality and by other programs."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image

from gasdet.media.properties import properties_of
from gasdet.media.properties.jpeg_header import read_jpeg_header
from gasdet.types import Modality

from ..conftest import encoded, picture


def of(data: bytes) -> dict[str, Any]:
    return properties_of(data, Modality.IMAGE)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_quality_of_every_file_of_the_ijg_is_found(mode: str) -> None:
    image = Image.fromarray(picture(32, 32)).convert(mode)
    found = [of(encoded(image, "JPEG", quality=quality)) for quality in range(1, 101)]
    assert [each["jpeg_quality"] for each in found] == list(range(1, 101))
    assert {each["jpeg_fit"] for each in found} == {0}
    assert len({each["jpeg_tables"] for each in found}) == 100


@pytest.mark.parametrize("quality", [35, 80, 97])
def test_the_quality_does_not_depend_on_the_program(quality: int) -> None:
    files = [
        encoded(picture(), "JPEG", quality=quality),
        cv2.imencode(".jpg", picture(), [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes(),
        simplejpeg.encode_jpeg(picture(), quality, colorsubsampling="422"),
    ]
    found = [of(data) for data in files]
    assert {(each["jpeg_quality"], each["jpeg_fit"]) for each in found} == {(quality, 0)}
    assert len({each["jpeg_tables"] for each in found}) == 1


def test_tables_that_are_not_the_ijgs_have_a_distance() -> None:
    usual = Image.open(io.BytesIO(encoded(picture(), "JPEG", quality=80))).quantization
    changed = {number: list(table) for number, table in usual.items()}
    for at in (5, 9, 20):
        changed[0][at] += 2
    found = of(encoded(picture(), "JPEG", qtables=changed))
    assert found["jpeg_quality"] == 80
    assert found["jpeg_fit"] == pytest.approx(3 * 2 / 128)  # three of 2 x 64 entries, two steps each
    assert found["jpeg_tables"] != of(encoded(picture(), "JPEG", quality=80))["jpeg_tables"]


@pytest.mark.parametrize("subsampling", ["444", "422", "420", "440", "411", "Gray"])
def test_chroma_subsampling(subsampling: str) -> None:
    if subsampling == "Gray":
        data = encoded(Image.fromarray(picture()).convert("L"), "JPEG")
    else:
        data = simplejpeg.encode_jpeg(picture(), 80, colorsubsampling=subsampling)
    assert of(data)["chroma_subsampling"] == ("4:0:0" if subsampling == "Gray" else ":".join(subsampling))


def test_progressive_restart_and_optimised_files_are_told() -> None:
    def flags(**options: Any) -> tuple[Any, ...]:
        found = of(encoded(picture(), "JPEG", **options))
        return found["progressive"], found["jpeg_restart"], found["jpeg_optimised"]

    assert flags() == (False, False, False)
    assert flags(progressive=True) == (True, False, True)
    assert flags(restart_marker_rows=1) == (False, True, False)
    assert flags(optimize=True) == (False, False, True)


def test_the_typical_huffman_tables_are_known_whoever_wrote_them() -> None:
    codec = av.CodecContext.create("mjpeg", "w")
    codec.width, codec.height, codec.pix_fmt, codec.time_base = 96, 64, "yuvj420p", Fraction(1, 25)
    codec.options = {"huffman": "default"}
    frame = av.VideoFrame.from_ndarray(picture(), format="rgb24").reformat(format="yuvj420p")
    by_ffmpeg = of(b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode()]))
    assert "DHT" in by_ffmpeg["structure"]
    assert by_ffmpeg["jpeg_optimised"] is False
    for optimised in (False, True):
        data = cv2.imencode(".jpg", picture(), [cv2.IMWRITE_JPEG_OPTIMIZE, int(optimised)])[1].tobytes()
        assert of(data)["jpeg_optimised"] is optimised


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_only_chrominance_is_read_as_chrominance(quality: int) -> None:
    """CMYK and RGB have one table for all components; YCCK (Adobe's) and the usual colours have two."""
    image = Image.fromarray(picture())
    files = {
        "cmyk": encoded(image.convert("CMYK"), "JPEG", quality=quality),
        "rgb": encoded(image, "JPEG", quality=quality, keep_rgb=True),
        "colour": encoded(image, "JPEG", quality=quality),
    }
    components = {
        name: [part[2] for part in read_jpeg_header(io.BytesIO(data)).sampling] for name, data in files.items()
    }
    assert components == {"cmyk": [0, 0, 0, 0], "rgb": [0, 0, 0], "colour": [0, 1, 1]}
    found = {name: of(data) for name, data in files.items()}
    assert {name: (one["jpeg_quality"], one["jpeg_fit"]) for name, one in found.items()} == dict.fromkeys(
        files, (quality, 0)
    )


def test_a_jpeg_with_tables_of_16_bits() -> None:
    found = of(encoded(picture(), "JPEG", qtables={0: [300] * 64, 1: [300] * 64}))
    assert (found["jpeg_quality"], found["jpeg_fit"]) == (1, 45)  # at quality 1, all of the IJG's are 255


def test_other_formats_have_none_of_it() -> None:
    found = of(encoded(picture(), "BMP"))
    names = ("jpeg_tables", "jpeg_quality", "jpeg_fit", "jpeg_restart", "jpeg_optimised", "progressive")
    assert {found[name] for name in names} == {None}
    assert found["chroma_subsampling"] is None


def test_the_estimate_of_noisy_tables_stays_close() -> None:
    rng = np.random.default_rng(0)
    for quality in (40, 70, 90):
        usual = Image.open(io.BytesIO(encoded(picture(), "JPEG", quality=quality))).quantization
        noisy = {n: [max(1, v + int(rng.integers(-1, 2))) for v in table] for n, table in usual.items()}
        found = of(encoded(picture(), "JPEG", qtables=noisy))
        assert abs(found["jpeg_quality"] - quality) <= 1
        assert 0 < found["jpeg_fit"] < 1
