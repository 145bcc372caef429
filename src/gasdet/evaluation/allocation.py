"""Memory that stays flat while a run streams, whatever its length."""

from __future__ import annotations

import ctypes
import platform
from functools import cache
from typing import Any

_EVERY_BYTES = 256 * 2**20
"""Bytes of decoded samples after which freed memory is given back: 1,783 images of 224 x 224."""


class MemoryKeeper:
    """Gives what was freed back to the system from time to time.

    glibc keeps freed blocks of up to 32 MiB on its heap, where what a run keeps of each sample comes to lie in the holes that
    batches leave, and the next batch needs new memory. Measured over 100,000 images (benchmarks/parquet_memory.py), the main
    process grew by 61 kB for each, to 5.9 GB. Giving large blocks pages of their own (``M_MMAP_THRESHOLD``) keeps memory flat
    too, and cost a ResNet-18 a quarter more processor time. Without effect on other C libraries.
    """

    def __init__(self) -> None:
        self._since = 0

    def passed(self, nbytes: int) -> None:
        """So many bytes of samples more were worked on, and are no longer needed."""
        self._since += nbytes
        if self._since >= _EVERY_BYTES:
            self._since = 0
            library = _glibc()
            if library is not None:
                library.malloc_trim(0)


@cache
def _glibc() -> Any:
    """The C library, where it is glibc; else None."""
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
