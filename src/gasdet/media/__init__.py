"""Files to arrays: images, clips and recordings, decoded and brought to a model's input size.

Knows nothing of datasets or torch. Every failure is a :class:`~gasdet.errors.MediaError` with a reason; nothing is
substituted. Everything runs on one thread, so that worker processes do not fight over cores.
"""

from __future__ import annotations

from gasdet.media.decoded import Decoded, MediaLimits
from gasdet.media.decoding import decode, decoder_versions, limit_threads
from gasdet.media.frames import FrameSequence, Source
from gasdet.media.region import FindRegions
from gasdet.media.sniffing import modality_of_name, sniff

__all__ = [
    "Decoded",
    "FindRegions",
    "FrameSequence",
    "MediaLimits",
    "Source",
    "decode",
    "decoder_versions",
    "limit_threads",
    "modality_of_name",
    "sniff",
]
