from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gasdet.media import decode
from gasdet.media.damage import picture_damage

from .conftest import encoded, image_keys, picture

AS_IS = image_keys(resize_mode="none")


def zeroed(data: bytes, share: float, count: int = 40) -> bytes:
    at = int(len(data) * share)
    return data[:at] + bytes(count) + data[at + count :]


@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("GIF", {}), ("WEBP", {}), ("BMP", {})],
)
def test_whole_pictures_have_no_damage(kind: str, options: dict) -> None:
    assert picture_damage(encoded(picture(), kind, **options)) == ""


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_whose_scan_is_damaged_decodes_and_is_told(mode: str) -> None:
    data = zeroed(encoded(Image.fromarray(picture(160, 120)).convert(mode), "JPEG", quality=90), 0.6)
    assert decode(data, AS_IS).array.shape == (3, 120, 160)
    assert picture_damage(data).startswith("libjpeg warns of Corrupt JPEG data: ")


def test_a_png_with_a_wrong_checksum_is_told() -> None:
    whole = encoded(picture(), "PNG")
    at = whole.index(b"IEND") - 5  # in the checksum of the chunk before
    data = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
    assert np.array_equal(decode(data, AS_IS).array, decode(whole, AS_IS).array)  # Pillow does not look
    assert picture_damage(data) == "the checksum of its IDAT chunk is wrong"


def test_every_real_picture_is_whole(shared_media) -> None:
    paths = [path for path in sorted((shared_media / "image").rglob("*")) if path.is_file()]
    assert len(paths) > 20
    assert {path.name: damage for path in paths if (damage := picture_damage(path.read_bytes()))} == {}
