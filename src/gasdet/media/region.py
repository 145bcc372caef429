"""The part of a picture that is all a model gets, where one is asked for: a square around a face, say.

What is of interest is found by a function that the caller brings (a plugin's). It is asked for one frame after the other, in
full resolution and upright, so that memory does not grow with a clip's length. Where it finds nothing in a frame of a clip,
the frame takes the box of the nearest frame that has one; where it finds nothing at all, the whole picture is used, and
the notes say so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from gasdet.errors import MediaError
from gasdet.media.decoded import Array
from gasdet.media.geometry import Box, fit
from gasdet.types import Preprocessing, Reason

Corners = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels from the upper left corner of the frame; x1 and y1 are the first outside."""

FindRegions = Callable[[Array], Sequence[Corners | None]]
"""uint8 ``[T, H, W, 3]`` RGB, not to be written to, to the region in each of the T frames, or None where there is none."""

_WHAT = {"faces": "face"}
"""What one of the things is called that a preprocessor of that name finds."""


def find_region(find: FindRegions, frame: Array, name: str) -> Corners | None:
    """Ask for the region in one frame.

    Args:
        find: What finds it.
        frame: uint8 ``[H, W, 3]``.
        name: Of the preprocessor, for messages.

    Raises:
        MediaError: DECODE_FAILED: it failed, or its answer is no box in the frame.
    """
    given = np.ascontiguousarray(frame)[None]
    given.flags.writeable = False
    try:
        answer = list(find(given))
    except MemoryError:
        raise
    except Exception as error:
        said = " ".join(str(error).split()).rstrip(".")
        raise MediaError(Reason.DECODE_FAILED, f"{name} failed with {type(error).__name__}: {said}.") from error
    height, width = frame.shape[:2]
    if len(answer) != 1 or not _is_usable(answer[0], height, width):
        raise MediaError(
            Reason.DECODE_FAILED, f"{name} gave {answer!r} for one frame of {width} x {height} pixels, not a box in it."
        )
    found = answer[0]
    return None if found is None else (float(found[0]), float(found[1]), float(found[2]), float(found[3]))


def _is_usable(corners: Corners | None, height: int, width: int) -> bool:
    if corners is None:
        return True
    try:
        x0, y0, x1, y1 = map(float, corners)
    except (TypeError, ValueError):
        return False
    overlaps = x0 < x1 and y0 < y1 and x0 < width and y0 < height and x1 > 0 and y1 > 0
    return overlaps and all(map(math.isfinite, (x0, y0, x1, y1)))


def square_around(corners: Corners, height: int, width: int, margin: float) -> Box:
    """The square with the region's centre whose side is ``margin`` times the region's longer side, in whole pixels.

    It is moved into the frame where it reaches over an edge, and made as large as the frame's shorter side where it is larger:
    nothing is padded, and it stays square.
    """
    x0, y0, x1, y1 = corners
    side = max(1, min(round(margin * max(x1 - x0, y1 - y0)), height, width))
    top = min(max(round((y0 + y1 - side) / 2), 0), height - side)
    left = min(max(round((x0 + x1 - side) / 2), 0), width - side)
    return top, left, side, side


def crop_image(pixels: Array, preprocessing: Preprocessing, find: FindRegions, notes: list[str]) -> Array:
    """The region of an image, or the whole image with a note.

    Args:
        pixels: uint8 ``[H, W, 3]``, upright where ``exif_orientation`` asks for it.
        preprocessing: With a ``region``.
        find: What finds it.
        notes: Gets the note.

    Raises:
        MediaError: As ``find_region``.
    """
    corners = find_region(find, pixels, preprocessing.region)
    if corners is None:
        notes.append(_nothing(preprocessing))
        return pixels
    return _cut(pixels, corners, preprocessing)


def _cut(pixels: Array, corners: Corners, preprocessing: Preprocessing) -> Array:
    rows, columns = pixels.shape[:2]
    top, left, height, width = square_around(corners, rows, columns, preprocessing.region_margin)
    return pixels[top : top + height, left : left + width]


def _nothing(preprocessing: Preprocessing) -> str:
    return f"no {_what(preprocessing)} was found; the whole frame was used"


def _what(preprocessing: Preprocessing) -> str:
    bare = preprocessing.region.rpartition("/")[2]
    return _WHAT.get(bare, f"region of {bare!r}")


class ClipRegions:
    """The regions of a clip's wanted frames, which are known only once all of them were seen.

    The first walk through the clip looks for them and gives each frame that has one its crop, the others whole. Where only
    some have one, ``settle`` asks for a second walk, in which each frame without takes the nearest frame's: so no frame needs
    to be kept in full resolution.

    Args:
        find: What finds regions.
        preprocessing: With a ``region``.
    """

    def __init__(self, find: FindRegions, preprocessing: Preprocessing) -> None:
        self._find, self._preprocessing = find, preprocessing
        self._seen: dict[int, Corners | None] = {}
        self._settled = False

    def begin(self) -> None:
        """A walk begins at the clip's start, be it the first or one after a decoder that failed."""
        if not self._settled:
            self._seen.clear()

    def fit(self, pixels: Array, index: int) -> Array:
        """A wanted frame's region as the model takes it, ``[h, w, 3]``.

        Args:
            pixels: uint8 ``[H, W, 3]``.
            index: Of the frame in the clip.

        Raises:
            MediaError: As ``find_region``.
        """
        if not self._settled:
            self._seen[index] = find_region(self._find, pixels, self._preprocessing.region)
        corners = self._nearest(index) if self._settled else self._seen[index]
        return fit(pixels if corners is None else _cut(pixels, corners, self._preprocessing), self._preprocessing)

    def settle(self) -> bool:
        """Whether the clip is to be walked through once more, now that the regions are known."""
        found = sum(corners is not None for corners in self._seen.values())
        self._settled = True
        return 0 < found < len(self._seen)

    def note(self) -> str:
        """What a reader of the result should know; empty where every frame has its own region."""
        missing = sum(corners is None for corners in self._seen.values())
        if missing == len(self._seen):
            return _nothing(self._preprocessing)
        if not missing:
            return ""
        what = _what(self._preprocessing)
        return f"no {what} was found in {missing} of {len(self._seen)} frames, where the nearest frame's was used"

    def _nearest(self, index: int) -> Corners | None:
        """The region of the nearest frame that has one, the earlier of two."""
        having = [at for at, corners in self._seen.items() if corners is not None]
        return self._seen[min(having, key=lambda at: (abs(at - index), at))] if having else None
