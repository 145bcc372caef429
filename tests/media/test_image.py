from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from gasdet.media import MediaLimits, decode, image
from gasdet.types import Reason

from .conftest import encoded, image_keys, make_clip, picture, reason_of, reference_fit

AS_IS = image_keys(resize_mode="none")


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png16(pixels: np.ndarray) -> bytes:
    """A 16-bit PNG of 1 or 3 channels, written by hand."""
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, 0 if channels == 1 else 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_every_real_image_equals_pillow_and_the_reference(shared_media: Path) -> None:
    files = sorted(p for p in (shared_media / "image").rglob("*") if p.is_file())
    assert len(files) > 50
    for path in files:
        rgb = np.asarray(Image.open(path).convert("RGB"))
        decoded = decode(path, image_keys(resize=(96, 128)))
        assert np.array_equal(decoded.array, reference_fit(rgb, 96, 128)), path.name
        assert (decoded.height, decoded.width) == rgb.shape[:2]
        assert decoded.array.flags.c_contiguous


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
def test_every_mode_is_as_converted_by_pillow(mode: str) -> None:
    source = Image.fromarray(picture(40, 30)).convert("RGBA")
    source.putalpha(Image.fromarray(picture(40, 30, seed=1)[..., 0]))
    converted = source.convert("RGB").convert(mode) if mode in ("CMYK", "YCbCr", "HSV") else source.convert(mode)
    data = encoded(converted, "PNG") if mode in ("1", "L", "LA", "P", "RGB", "RGBA") else None
    if data is not None:
        expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        assert np.array_equal(decode(data, AS_IS).array, expected.transpose(2, 0, 1))
    assert np.array_equal(image._rgb(converted, (0, 0, 30, 40)), np.asarray(converted.convert("RGB")))


@pytest.mark.parametrize("transparency", [3, bytes(range(256))])
@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
def test_palettes_with_transparency_are_as_converted_by_pillow(transparency: int | bytes) -> None:
    data = encoded(Image.fromarray(picture()).convert("P"), "PNG", transparency=transparency)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(decode(data, AS_IS).array, expected)


def test_bands_give_the_same_pixels_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Image.fromarray(picture(90, 71)).convert("P")
    whole = image._rgb(source, (3, 5, 60, 80))
    monkeypatch.setattr(image, "_BAND_PIXELS", 7 * 80)
    assert np.array_equal(image._rgb(source, (3, 5, 60, 80)), whole)
    assert np.array_equal(whole, np.asarray(source.convert("RGB"))[3:63, 5:85])


def test_16_bit_grayscale_is_scaled_by_its_high_byte() -> None:
    values = np.array([0, 255, 256, 32767, 32768, 65280, 65535])
    data = png16(values.reshape(1, -1, 1))
    assert Image.open(io.BytesIO(data)).mode == "I;16"
    assert decode(data, AS_IS).array[:, 0].tolist() == [[0, 0, 1, 127, 128, 255, 255]] * 3


def test_16_bit_rgb_is_scaled_in_the_same_way() -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (5, 9, 3))
    assert np.array_equal(decode(png16(pixels), AS_IS).array, (pixels >> 8).transpose(2, 0, 1))


@pytest.mark.parametrize("kind", ["TIFF", "PPM"])
@pytest.mark.parametrize("mode", ["I;16", "I"])
def test_other_16_bit_files_are_scaled_too(kind: str, mode: str) -> None:
    values = (np.arange(60).reshape(6, 10) * 1100).astype(np.uint16 if mode == "I;16" else np.int32)
    data = encoded(Image.fromarray(values), kind)
    assert Image.open(io.BytesIO(data)).mode in ("I", "I;16")
    assert np.array_equal(decode(data, AS_IS).array[1], values >> 8)


def test_big_endian_16_bit_is_scaled_too() -> None:
    assert np.array_equal(
        image._rgb(Image.frombytes("I;16B", (2, 1), b"\x12\x34\xff\x00"), (0, 0, 1, 2))[..., 0], [[0x12, 0xFF]]
    )


def test_floating_point_pixels_are_pillows_and_noted() -> None:
    data = encoded(Image.fromarray(np.array([[-5.0, 100.4, 900.0]], np.float32)), "TIFF")
    decoded = decode(data, AS_IS)
    assert decoded.array[0].tolist() == [[0, 100, 255]]
    assert decoded.notes == ("floating-point pixels clipped to 0..255",)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_only_when_asked(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(60, 40), kind, exif=exif)
    stored = Image.open(io.BytesIO(data))
    upright = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    plain = decode(data, AS_IS)
    assert np.array_equal(plain.array, np.asarray(stored.convert("RGB")).transpose(2, 0, 1))
    if kind != "TIFF":  # Pillow turns a TIFF by itself
        assert (plain.width, plain.height) == (60, 40)
    turned = decode(data, image_keys(resize_mode="none", exif_orientation=True))
    assert np.array_equal(turned.array, upright.transpose(2, 0, 1))
    assert (turned.height, turned.width) == upright.shape[:2]
    fitted = decode(data, image_keys(exif_orientation=True, resize=(24, 24)))
    assert np.array_equal(fitted.array, reference_fit(upright, 24, 24))


def test_real_photographs_with_an_orientation_are_not_turned_by_default(shared_media: Path) -> None:
    path = shared_media / "image/real/sharp__Landscape_6.jpg"
    assert decode(path, AS_IS).array.shape == (3, 600, 450)
    assert decode(path, image_keys(resize_mode="none", exif_orientation=True)).array.shape == (3, 450, 600)


@pytest.mark.parametrize("orientation", [0, 9, 40000])
def test_an_impossible_orientation_is_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(60, 40), "JPEG", exif=exif)
    assert decode(data, image_keys(resize_mode="none", exif_orientation=True)).array.shape == (3, 40, 60)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_counts(kind: str) -> None:
    frames = [Image.fromarray(picture(seed=seed)) for seed in range(3)]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    decoded = decode(data, AS_IS)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(decoded.array, expected.transpose(2, 0, 1))
    assert decoded.notes == ("first frame of an animation",)


@pytest.mark.parametrize("kind", ["WEBP", "AVIF", "JPEG2000", "BMP", "TGA", "PPM"])
def test_the_other_formats(kind: str) -> None:
    data = encoded(picture(), kind)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(decode(data, AS_IS).array, expected.transpose(2, 0, 1))


def test_bytes_and_path_give_the_same(tmp_path: Path) -> None:
    path = tmp_path / "no extension.mp3"
    path.write_bytes(encoded(picture(), "JPEG"))
    assert np.array_equal(decode(path, AS_IS).array, decode(path.read_bytes(), AS_IS).array)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG2000"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_files_cut_off_are_errors_with_a_reason(kind: str, share: float) -> None:
    data = encoded(picture(200, 150), kind)
    reason = reason_of(data[: int(len(data) * share)], AS_IS)
    assert reason in (Reason.TRUNCATED, Reason.CORRUPT, Reason.UNKNOWN_FORMAT)
    if kind in ("JPEG", "PNG", "BMP", "AVIF") and share > 0.4:
        assert reason is Reason.TRUNCATED


@pytest.mark.parametrize("lost", [1, 12, 20])
def test_a_png_without_its_end_is_an_error_though_all_its_rows_are_there(lost: int) -> None:
    data = encoded(picture(64, 64), "PNG")
    with Image.open(io.BytesIO(data[:-lost])) as image:  # Pillow says nothing
        assert np.array_equal(np.asarray(image), picture(64, 64))
    assert reason_of(data[:-lost], AS_IS) is Reason.TRUNCATED


def test_what_is_no_image() -> None:
    assert reason_of(b"hello, this is plain text, not pixels " * 9, AS_IS) is Reason.UNKNOWN_FORMAT
    assert reason_of(make_clip(), AS_IS) is Reason.UNSUPPORTED
    assert reason_of(b"\x89PNG\r\n\x1a\n" + b"\xff" * 100, AS_IS) is Reason.CORRUPT
    assert reason_of(b"\x00\x00\x00\x18ftypheic" + bytes(100), AS_IS) is Reason.UNSUPPORTED


def bomb(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(30000, 30000), (12000, 12000), (100_000, 1300)])
def test_a_bomb_is_refused_from_its_header(size: tuple[int, int]) -> None:
    assert reason_of(bomb(*size), AS_IS) is Reason.TOO_LARGE


def test_limits_are_the_callers() -> None:
    data = encoded(picture(100, 80), "PNG")
    assert reason_of(data, AS_IS, MediaLimits(max_pixels=7999)) is Reason.TOO_LARGE
    assert decode(data, AS_IS, MediaLimits(max_pixels=8000)).width == 100
    assert reason_of(data, AS_IS, MediaLimits(max_file_bytes=len(data) - 1)) is Reason.TOO_LARGE
    assert reason_of(data, AS_IS, MediaLimits(max_decode_bytes=8000)) is Reason.TOO_LARGE


def test_a_progressive_jpeg_is_held_to_take_more_memory() -> None:
    limits = MediaLimits(max_decode_bytes=100 * 80 * 9 + 10_000)
    assert decode(encoded(picture(100, 80), "JPEG"), AS_IS, limits).width == 100
    progressive = encoded(picture(100, 80), "JPEG", progressive=True)
    assert reason_of(progressive, AS_IS, limits) is Reason.TOO_LARGE
