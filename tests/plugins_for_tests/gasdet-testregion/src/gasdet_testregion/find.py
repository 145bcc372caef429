"""Preprocessors that find regions, and some that do not."""

import os

import numpy as np

from gasdet import GasdetError


def find_red(frames):
    """The box around all red pixels of each frame, or None."""
    if os.environ.get("GASDET_TEST_REGION_LACKS"):
        raise GasdetError("red is found with the package redness, which is not installed; install it.")
    return [_box(frame) for frame in frames]


def _box(frame):
    red = (frame[..., 0] > 180) & (frame[..., 1] < 90) & (frame[..., 2] < 90)
    rows, columns = np.nonzero(red)
    if not len(rows):
        return None
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def find_with(frames, *, inset):
    """The frame less an inset on all sides."""
    return [(inset, inset, frame.shape[1] - inset, frame.shape[0] - inset) for frame in frames]


def is_none(source, preprocessing):
    """What decodes a file is not what finds a region."""
    return source, preprocessing


def always_one(frames):
    """One box, whatever number of frames there is."""
    return [(0, 0, 1, 1)]
