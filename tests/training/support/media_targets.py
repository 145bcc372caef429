"""Target functions as a plugin would bring them."""

from __future__ import annotations

import numpy as np

from gasdet.types import Sample


def corner(array: np.ndarray, sample: Sample, sample_rate: int | None) -> np.ndarray:
    """The first value of a picture, and the label."""
    assert sample_rate is None
    return np.array([array.flat[0], sample.label], dtype=np.int64)
