"""What was read of a sample to an array: by ``gasdet.media``, or, for a recording kept as a tensor, by torch's safe loading."""

from __future__ import annotations

from pathlib import Path

from gasdet.media import Decoded, FindRegions, MediaLimits, decode
from gasdet.media.frames import Source
from gasdet.types import Modality, Preprocessing


def decode_content(source: Source, preprocessing: Preprocessing, limits: MediaLimits) -> Decoded:
    """Decode what ``read_source`` gave.

    Raises:
        MediaError: It cannot be decoded, with the reason.
        GasdetError: What finds the preprocessing's region cannot be had.
    """
    if preprocessing.modality is Modality.AUDIO and isinstance(source, Path | bytes):
        from gasdet.evaluation.waveforms import decode_waveform, is_tensor_file

        if is_tensor_file(source):
            return decode_waveform(source, preprocessing, limits)
    return decode(source, preprocessing, limits, region_of(preprocessing.region))


def region_of(region: str) -> FindRegions | None:
    """What finds a region; None where none is wanted, for which no plugin is looked for."""
    if not region:
        return None
    from gasdet.evaluation.regions import region_finder

    return region_finder(region)
