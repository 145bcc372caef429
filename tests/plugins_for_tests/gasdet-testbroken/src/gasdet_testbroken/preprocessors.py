"""Preprocessors that are wrong in one way each. ``good`` is not."""

import numpy as np


def _box(frame):
    height, width = frame.shape[:2]
    if min(height, width) < 8:
        return None
    bright = int(np.argmax(frame.mean(axis=(0, 2))))
    return (max(0, bright - 4), 0, min(width, bright + 4), height)


def good(frames):
    """A column around the brightest one."""
    return [_box(frame) for frame in frames]


def imports(frames):
    """Finds something where there is no frame."""
    return good(frames) if len(frames) else [(0, 0, 1, 1)]


def shape(frames):
    """Answers for the first two frames only, where there are three of one size."""
    found = good(frames)
    return found[:2] if len(frames) == 3 and _calls_for_shape(frames) else found


_seen = []


def _calls_for_shape(frames):
    """The third call with frames of 96 x 128: that of the check."""
    _seen.append(frames.shape)
    return len(_seen) <= 1


def range_(frames):
    """A box that has nothing inside, in pictures with a certain corner."""
    return [(5, 5, 5, 9) if len(frames) == 3 and frames[0, 0, 0].sum() % 2 else box for box in good(frames)]


_calls = []


def deterministic(frames):
    """Moves by a pixel from call to call, where frames come in threes."""
    _calls.append(1)
    move = len(_calls) % 5 if len(frames) == 3 and len(_calls) > 8 and len(_calls) < 12 else 0
    return [None if box is None else (box[0], box[1] + move, box[2], box[3]) for box in good(frames)]


def each_frame_alone(frames):
    """Takes the first frame's box for all."""
    found = good(frames)
    return [found[0]] * len(found) if found else []


def sizes(frames):
    """Divides by the number of rows less one."""
    return [None if 1 // (frame.shape[0] - 1) else box for frame, box in zip(frames, good(frames), strict=True)]
