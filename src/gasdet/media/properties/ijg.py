"""The quality that a JPEG's quantisation tables stand for.

The Independent JPEG Group's library, and most programs after it, scale the two example tables of ITU-T T.81 (Annex K.1,
tables K.1 and K.2) by a quality of 1 to 100: S = 5000 / q below 50, else 200 - 2 q, and each entry is (entry * S + 50) div
100, kept within 1 and 255 (``jpeg_quality_scaling`` and ``jpeg_add_quant_table`` of libjpeg's jcparam.c).
"""

from __future__ import annotations

from functools import cache

import numpy as np

from gasdet.media.decoded import Array

_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
)


@cache
def ijg_tables() -> Array:
    """The tables of every quality in the order in which a file stores them (zigzag): int32 ``[100, 2, 64]``.

    The first axis is the quality less one, the second luminance and chrominance.
    """
    base = np.array((_LUMINANCE, _CHROMINANCE), np.int32)
    base = base.reshape(2, 64)[:, _zigzag()]
    quality = np.arange(1, 101, dtype=np.int32)
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return np.clip((base * scale[:, None, None] + 50) // 100, 1, 255)


def _zigzag() -> list[int]:
    """Row times 8 plus column of the 64 entries, along the diagonals, each the other way round than the one before."""
    cells = [(row, column) for row in range(8) for column in range(8)]
    cells.sort(key=lambda cell: (sum(cell), cell[0] if sum(cell) % 2 else cell[1]))
    return [8 * row + column for row, column in cells]


def estimate_quality(luminance: Array, chrominance: Array | None) -> tuple[int, float]:
    """The quality whose tables come closest, and how close.

    Args:
        luminance: Table of the first component, ``[64]``, in zigzag order.
        chrominance: That of the second; None where there is none of its own.

    Returns:
        The quality (the highest of several that are equally close), and the mean absolute difference of the entries to that
        quality's, in steps: 0 where they are the IJG's own.
    """
    found = np.stack([luminance] if chrominance is None else [luminance, chrominance]).astype(np.int32)
    distance = np.abs(ijg_tables()[:, : len(found)] - found).mean(axis=(1, 2))
    best = 99 - int(np.argmin(distance[::-1]))
    return best + 1, float(distance[best])
