"""What tells near copies of a sample: the hash or fingerprint of ``gasdet data check``, at less cost."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from gasdet.errors import MediaError
from gasdet.evaluation.decoding import decode_content
from gasdet.inspection.checking.pictures import picture_hash
from gasdet.inspection.checking.sounds import fingerprint
from gasdet.media import MediaLimits, decode
from gasdet.media.frames import Source
from gasdet.media.image import open_image
from gasdet.media.source import open_source, read_all
from gasdet.types import Modality, Preprocessing

_SIDE = 512
"""A JPEG is decoded no larger than this needs: at a half, a quarter or an eighth of its size, which costs a tenth for 12
megapixels. The hash shrinks a picture to this side anyway."""

_RATE = 16_000
_WHOLE_IMAGE = Preprocessing(Modality.IMAGE, resize_mode="none")
_WHOLE_RECORDING = Preprocessing(Modality.AUDIO, sample_rate=_RATE, duration_seconds=0)


def print_of(source: Source, modality: Modality, limits: MediaLimits) -> bytes:
    """A picture's PDQ hash or a recording's fingerprint.

    Returns:
        Empty where there is nothing to tell copies by: of clips, which would have to be decoded whole; of flat pictures and
        short or silent recordings; and of what cannot be decoded, since its header has its properties all the same.
    """
    if modality is Modality.VIDEO or not isinstance(source, Path | bytes):
        return b""
    try:
        if modality is Modality.IMAGE:
            return _of_picture(source, limits)
        samples = decode_content(source, _WHOLE_RECORDING, limits).array
    except MediaError:
        return b""
    return fingerprint(samples, _RATE).tobytes()


def _of_picture(source: Path | bytes, limits: MediaLimits) -> bytes:
    file, _ = open_source(source, limits)
    with file:
        data = read_all(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata, which have no bearing
        with open_image(data) as image:
            if image.format == "JPEG" and image.draft("RGB", (_SIDE, _SIDE)):
                try:
                    return picture_hash(np.asarray(image.convert("RGB")))
                except (OSError, ValueError, SyntaxError):  # as Pillow tells damage
                    return b""
    return picture_hash(decode(data, _WHOLE_IMAGE, limits).array.transpose(1, 2, 0))
