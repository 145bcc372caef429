from __future__ import annotations

import hashlib

import numpy as np

from gasdet.media.digest import digest


def test_the_digest_is_of_type_shape_and_values() -> None:
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert digest(array) == hashlib.sha256(b"|u1 (3, 4)\0" + bytes(range(12))).hexdigest()
    different = [
        array,
        array.reshape(4, 3),
        array.reshape(12),
        array.astype(np.int8),
        array.astype(np.float32),
        array + 1,
        np.zeros((0, 4), np.uint8),
        np.zeros((4, 0), np.uint8),
        np.array(7, np.uint8),
    ]
    assert len({digest(a) for a in different}) == len(different)


def test_the_layout_in_memory_does_not_count() -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    turned = np.ascontiguousarray(array.transpose(2, 1, 0)).transpose(2, 1, 0)
    assert not turned.flags.c_contiguous
    assert digest(turned) == digest(array) == digest(np.repeat(array, 2, axis=0)[::2])
