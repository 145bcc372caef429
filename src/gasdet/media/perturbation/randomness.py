"""Random numbers that depend on what they are for, and on nothing else."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, *key: str | int) -> np.random.Generator:
    """A generator of its own for one use, equal in every process, thread and order of calls.

    Philox is a counter-based generator: its key alone, here 128 bits of BLAKE2b over seed and key, decides the stream.

    Args:
        seed: Any whole number.
        key: What the numbers are for, e.g. an epoch and a sample's id.
    """
    text = "\x00".join((str(seed), *map(str, key))).encode("utf-8", "surrogateescape")
    digest = hashlib.blake2b(text, digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest, "<u8")))
