"""Properties of images, against files written with known settings."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from gasdet.media.properties import properties_of
from gasdet.types import Modality

from ..conftest import encoded, picture


def of(data: bytes, name: str = "") -> dict[str, Any]:
    return properties_of(data, Modality.IMAGE, name=name)


def chunk(kind: bytes, body: bytes) -> bytes:
    """A PNG chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(png: bytes, kind: bytes, body: bytes, *, last: bool = False) -> bytes:
    """A PNG with one more chunk: after IHDR, or before IEND."""
    at = len(png) - 12 if last else 33
    return png[:at] + chunk(kind, body) + png[at:]


def with_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    """A JPEG with one more segment, right after its start."""
    return jpeg[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


@pytest.mark.parametrize(
    ("kind", "options", "container", "codec"),
    [
        ("JPEG", {}, "jpeg", "dct"),
        ("PNG", {}, "png", "deflate"),
        ("WEBP", {"quality": 80}, "webp", "vp8"),
        ("WEBP", {"lossless": True}, "webp", "vp8l"),
        ("AVIF", {}, "avif", "av1"),
        ("GIF", {}, "gif", "lzw"),
        ("BMP", {}, "bmp", "bmp"),
        ("TIFF", {}, "tiff", "raw"),
        ("TIFF", {"compression": "tiff_lzw"}, "tiff", "tiff_lzw"),
        ("JPEG2000", {}, "jpeg2000", "jpeg2000"),
    ],
)
def test_container_codec_and_sizes(kind: str, options: dict[str, Any], container: str, codec: str) -> None:
    data = encoded(picture(96, 64), kind, **options)
    found = of(data)
    assert (found["container"], found["codec"]) == (container, codec)
    assert (found["width"], found["height"]) == (96, 64)
    assert found["aspect"] == 1.5
    assert found["megapixels"] == pytest.approx(0.006144)
    assert found["file_bytes"] == len(data)
    assert found["bytes_per_pixel"] == pytest.approx(len(data) / 6144)


def test_a_file_and_its_bytes_have_the_same_properties_but_the_extension(tmp_path: Path) -> None:
    path = tmp_path / "Some.Photo.JPG"
    path.write_bytes(encoded(picture(), "JPEG"))
    by_path = properties_of(path, Modality.IMAGE)
    by_bytes = of(path.read_bytes())
    assert by_path.pop("extension") == "jpg"
    assert by_bytes.pop("extension") is None
    assert by_path == by_bytes


@pytest.mark.parametrize(
    ("name", "extension"),
    [("a/b.tar/c.JPEG", "jpeg"), ("a.b/c", None), (".hidden", None), ("x\\y.png", "png"), ("", None), ("odd.", None)],
)
def test_the_extension_is_that_of_the_name(name: str, extension: str | None) -> None:
    found = of(encoded(picture(), "PNG"), name)["extension"]
    assert (found or None) == extension


@pytest.mark.parametrize(
    ("mode", "kind", "depth", "alpha"),
    [
        ("RGB", "PNG", 8, False),
        ("RGBA", "PNG", 8, True),
        ("L", "PNG", 8, False),
        ("LA", "PNG", 8, True),
        ("P", "PNG", 8, False),
        ("1", "PNG", 1, False),
        ("I;16", "PNG", 16, False),
        ("CMYK", "JPEG", 8, False),
        ("RGBA", "WEBP", 8, True),
        ("RGBA", "AVIF", 8, True),
        ("F", "TIFF", 32, False),
    ],
)
def test_colour_mode_depth_and_alpha(mode: str, kind: str, depth: int, alpha: bool) -> None:
    image = Image.fromarray(picture())
    image = image.convert("L").convert(mode) if mode in ("I;16", "F") else image.convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(picture()).convert("L"))
    found = of(encoded(image, kind))
    assert (found["colour_mode"], found["bit_depth"], found["alpha"]) == (mode, depth, alpha)


def test_a_png_of_16_bits_a_channel_is_told_from_one_of_8() -> None:
    deep = cv2.imencode(".png", picture().astype(np.uint16) * 257)[1].tobytes()
    assert of(deep)["bit_depth"] == 16


def test_transparency_by_a_single_colour_counts_as_alpha() -> None:
    image = Image.fromarray(picture()).convert("P")
    for kind in ("GIF", "PNG"):
        assert of(encoded(image, kind, transparency=image.getpixel((0, 0))))["alpha"] is True
        assert of(encoded(image, kind))["alpha"] is False


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_told_from_a_still_picture(kind: str) -> None:
    frames = [Image.fromarray(picture(seed=seed)) for seed in range(3)]
    assert of(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))["animated"] is True
    assert of(encoded(frames[0], kind))["animated"] is False


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:2:2", "4:4:4", "4:0:0"])
def test_chroma_subsampling_of_avif(subsampling: str) -> None:
    assert of(encoded(picture(), "AVIF", subsampling=subsampling))["chroma_subsampling"] == subsampling


def test_chroma_subsampling_of_webp() -> None:
    assert of(encoded(picture(), "WEBP"))["chroma_subsampling"] == "4:2:0"
    assert of(encoded(picture(), "WEBP", lossless=True))["chroma_subsampling"] is None


def test_an_interlaced_png_is_progressive() -> None:
    plain = encoded(Image.new("L", (1, 1)), "PNG")  # of one pixel, both orders are the same
    header = bytearray(plain[16:29])
    header[12] = 1
    laced = plain[:8] + chunk(b"IHDR", bytes(header)) + plain[33:]
    assert Image.open(io.BytesIO(laced)).getpixel((0, 0)) == 0
    assert (of(plain)["progressive"], of(laced)["progressive"]) == (False, True)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_metadata_are_found_and_read(kind: str) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0131], exif[0x0112] = "Brand\0", "Brand M10", "Editor  2", 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"></x:xmpmeta>'
    options: dict[str, Any] = {"exif": exif, "icc_profile": profile}
    if kind == "PNG":
        texts = PngImagePlugin.PngInfo()
        texts.add_itxt("XML:com.adobe.xmp", xmp.decode())
        options["pnginfo"] = texts
    else:
        options["xmp"] = xmp
    found = of(encoded(picture(), kind, **options))
    assert (found["exif"], found["icc"], found["xmp"]) == (True, True, True)
    assert (found["maker"], found["software"], found["orientation"]) == ("Brand M10", "Editor 2", "6")
    assert (found["width"], found["height"]) == (96, 64)  # as stored
    assert len(found["icc_profile"]) == 12
    assert found["text"] is None

    bare = of(encoded(picture(), kind))
    assert (bare["exif"], bare["icc"], bare["xmp"], bare["c2pa"]) == (False, False, False, False)
    assert {bare[key] for key in ("maker", "software", "orientation", "icc_profile", "text")} == {None}


def test_a_tiff_without_camera_tags_has_no_exif() -> None:
    assert of(encoded(picture(), "TIFF"))["exif"] is False
    # One entry of its main folder points to a folder with one entry: the camera's date.
    folder = struct.pack("<HHHII", 1, 0x9003, 2, 20, 44) + bytes(4) + b"2020:01:01 00:00:00\0"
    block = b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 0x8769, 4, 1, 26) + bytes(4) + folder
    exif = Image.Exif()
    exif.load(block)
    assert exif.get_ifd(0x8769) == {0x9003: "2020:01:01 00:00:00"}
    assert of(encoded(picture(), "TIFF", exif=exif))["exif"] is True


def test_the_names_of_a_pngs_texts_are_told_and_its_software() -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("parameters", "a dog, Steps: 20")
    texts.add_text("Software", "Some Tool", zip=True)
    found = of(encoded(picture(), "PNG", pnginfo=texts))
    assert (found["text"], found["software"]) == ("Software, parameters", "Some Tool")


def test_a_comment_counts_as_text() -> None:
    assert of(encoded(picture(), "JPEG", comment=b"made by hand"))["text"] == "comment"


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_stated_density(kind: str) -> None:
    assert of(encoded(picture(), kind, dpi=(300, 150)))["density"] == "300 x 150"
    assert of(encoded(picture(), kind))["density"] is None


def test_content_credentials_are_found() -> None:
    jpeg, png, webp = (encoded(picture(), kind) for kind in ("JPEG", "PNG", "WEBP"))
    manifest = b"\0\0\0\x20jumb\0\0\0\x18jumdc2pa" + bytes(12)
    assert of(with_segment(jpeg, 0xEB, b"JP\0\1\0\0\0\1" + manifest))["c2pa"] is True
    assert of(with_segment(jpeg, 0xEB, b"JP\0\1\0\0\0\1" + manifest.replace(b"c2pa", b"cake")))["c2pa"] is False
    assert of(with_chunk(png, b"caBX", manifest))["c2pa"] is True
    longer = webp + b"C2PA" + struct.pack("<I", len(manifest)) + manifest
    assert of(longer[:4] + struct.pack("<I", len(longer) - 8) + longer[8:])["c2pa"] is True
    box = bytes.fromhex("d8fec3d61b0e483c92975828877ec481") + manifest
    avif = encoded(picture(), "AVIF")
    assert of(avif + struct.pack(">I", 8 + len(box)) + b"uuid" + box)["c2pa"] is True
    assert of(avif)["c2pa"] is False


def test_structure_tells_the_parts_in_their_order() -> None:
    png = encoded(picture(400, 300), "PNG", dpi=(72, 72))
    assert of(png)["structure"] == "IHDR pHYs IDAT IEND"
    assert of(with_chunk(png, b"tIME", bytes(7), last=True))["structure"] == "IHDR pHYs IDAT tIME IEND"
    exif = Image.Exif()
    exif[0x010F] = "Brand"
    assert of(encoded(picture(), "JPEG", exif=exif))["structure"].startswith("APP0:JFIF APP1:Exif DQT DQT SOF0 DHT")
    assert of(encoded(picture(), "WEBP"))["structure"] == "VP8"
    assert of(encoded(picture(), "AVIF"))["structure"] == "ftyp meta mdat"
    assert of(encoded(picture(), "BMP"))["structure"] is None


def test_pixels_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    jpeg, png = encoded(picture(400, 300), "JPEG"), encoded(picture(400, 300), "PNG", exif=Image.Exif())
    expected = of(jpeg)

    def fail(*_: Any) -> None:
        raise AssertionError("the pixels are decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    assert of(jpeg) == expected
    assert of(png)["container"] == "png"
    cut = of(jpeg[: len(jpeg) // 2])  # damage in the pixels is not noticed
    assert (cut["width"], cut["jpeg_quality"]) == (400, 75)
