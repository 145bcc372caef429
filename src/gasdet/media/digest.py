"""What tells a decoded sample from every other: a digest of its values."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt


def digest(array: npt.NDArray[Any]) -> str:
    r"""The digest of a decoded sample: equal for arrays of equal type, shape and values, and for no others.

    Args:
        array: Of any shape and layout in memory; one that is not contiguous in C order is copied.

    Returns:
        64 hex digits of SHA-256 over ``"<dtype> <shape>\0"`` and the bytes in C order. ``dtype`` holds the byte order, so
        floating point arrays are told apart by their bits: -0.0 is not 0.0.
    """
    hasher = hashlib.sha256(f"{array.dtype.str} {array.shape}\0".encode())
    hasher.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
    return hasher.hexdigest()
