"""GASBench's chain, step by step with Pillow and OpenCV."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from gasdet.media.perturbation import perturb

from .conftest import picture, psnr_db


def reencoded(frame: np.ndarray, kind: str, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, kind, quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


@pytest.mark.parametrize("size", [(224, 224), (600, 514), (600, 400)])
def test_image_chain(size: tuple[int, int]) -> None:
    array = picture(*size)
    frame = np.ascontiguousarray(array.transpose(1, 2, 0))
    if size == (600, 514):  # the one size of which both sides may be halved
        frame = cv2.resize(frame, (257, 300), interpolation=cv2.INTER_AREA)
    elif size == (600, 400):  # 200 is below 256, 256 is not
        frame = cv2.resize(frame, (256, 300), interpolation=cv2.INTER_AREA)
    if frame.shape[:2] != size:
        frame = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_LINEAR)
    for kind, quality in (("JPEG", 55), ("WEBP", 75), ("JPEG", 80)):
        frame = reencoded(frame, kind, quality)
    assert np.array_equal(perturb(array, "image", "gasbench"), frame.transpose(2, 0, 1))


def test_clip_chain_is_h264_at_23_of_the_half_size(clip: np.ndarray) -> None:
    assert np.array_equal(perturb(clip, "video", "gasbench"), perturb(clip, "video", "h264", crf=23))
    large = np.stack([cv2.resize(f.transpose(1, 2, 0), (600, 520)).transpose(2, 0, 1) for f in clip[:4]])
    result = perturb(large, "video", "gasbench")
    assert result.shape == large.shape
    assert 25 < psnr_db(large, result) < psnr_db(large, perturb(large, "video", "h264", crf=23))
