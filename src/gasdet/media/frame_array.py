"""From the chosen frames of a clip to the array that a model takes."""

from __future__ import annotations

import numpy as np

from gasdet.errors import MediaError
from gasdet.media.decoded import MIB, Array, MediaLimits
from gasdet.types import Preprocessing, Reason


def check_array_memory(height: int, width: int, preprocessing: Preprocessing, limits: MediaLimits) -> None:
    """Whether the wanted frames fit into memory.

    Args:
        height: Of the clip's frames.
        width: Likewise.
        preprocessing: What the model takes.
        limits: The bound.

    Raises:
        MediaError: TOO_LARGE.
    """
    if preprocessing.resize_mode != "none":
        height, width = preprocessing.resize
    count = preprocessing.num_frames
    needed = 2 * count * height * width * 3  # the frames, and the array they are put into
    if needed > limits.max_decode_bytes:
        raise MediaError(
            Reason.TOO_LARGE,
            f"{count} frames of {width} x {height} pixels would take {needed // MIB} MiB, "
            f"over the limit of {limits.max_decode_bytes // MIB}.",
        )


def frame_array(frames: list[Array], preprocessing: Preprocessing, notes: list[str]) -> Array:
    """Frames, uint8 ``[H, W, 3]``, as one array ``[T, 3, H, W]``, the last one repeated where there are too few (noted).

    Raises:
        MediaError: There is none, there are too few where that is an error, or their sizes differ.
    """
    wanted = preprocessing.num_frames
    if not frames:
        raise MediaError(Reason.NO_FRAMES, "None of the wanted frames could be decoded.")
    missing = wanted - len(frames)
    if missing and preprocessing.frame_pad == "error":
        raise MediaError(Reason.TOO_FEW_FRAMES, f"The clip gives {len(frames)} of the {wanted} frames that are asked.")
    if missing:
        notes.append(f"padded {missing} frame{'s' if missing > 1 else ''}")
    if len({frame.shape for frame in frames}) > 1:
        raise MediaError(Reason.UNSUPPORTED, "The frames change their size, which resize_mode none does not allow.")
    array = np.empty((wanted, 3, *frames[0].shape[:2]), np.uint8)
    for i in range(wanted):
        array[i] = frames[min(i, len(frames) - 1)].transpose(2, 0, 1)
    return array
