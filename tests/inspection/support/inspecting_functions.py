"""What decode processes are told to call in the tests of `inspect`: each obeys the name of the file that it is given."""

from __future__ import annotations

import os
import time
from pathlib import PurePath

import numpy as np

from gasdet.errors import MediaError
from gasdet.media import Decoded, MediaLimits
from gasdet.types import Locator, Preprocessing, Reason


def obey(locator: Locator, preprocessing: Preprocessing, limits: MediaLimits) -> Decoded:
    order = PurePath(locator.path).name.partition("-")[0]
    facts = {
        "name": locator.path,
        "modality": preprocessing.modality.value,
        "equalise": preprocessing.equalise,
        "limit": limits.max_pixels,
        "pid": os.getpid(),
    }
    if order == "raise":
        raise MediaError(Reason.CORRUPT, "told to")
    if order == "hang":
        time.sleep(60)
    if order == "crash":
        os._exit(3)
    if order == "tell":
        facts |= {"reason": "truncated", "message": "known all the same"}
    return Decoded(np.empty(0, np.uint8), "", facts=facts)
