"""Decoders that hang, crash with words, and raise, where a file's name says so; the real ones elsewhere."""

from __future__ import annotations

import os
import time

from gasdet.evaluation.worker import decode_sample
from gasdet.media import Decoded, MediaLimits
from gasdet.types import Locator, Preprocessing


def decode(locator: Locator, preprocessing: Preprocessing, limits: MediaLimits) -> Decoded:
    name = os.path.basename(locator.path)
    if "-0.png" in name:
        time.sleep(60)
    if "-1.png" in name:
        os.write(2, f"double free in {locator.path}\n".encode())
        os.abort()
    if "-2.png" in name:
        raise ValueError(f"no idea what {locator.path} is, of {locator.size} bytes")
    return decode_sample(locator, preprocessing, limits)
