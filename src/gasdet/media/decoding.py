"""The one way in: a source and preprocessing keys to a decoded sample."""

from __future__ import annotations

import importlib.metadata
from dataclasses import replace

from gasdet.errors import MediaError
from gasdet.media.decoded import Decoded, MediaLimits
from gasdet.media.failures import only_media_errors
from gasdet.media.frames import FrameSequence, Source
from gasdet.media.region import FindRegions
from gasdet.types import Modality, Preprocessing, Reason

_LIBRARIES = {
    "pillow": "pillow",
    "simplejpeg": "simplejpeg",
    "opencv": "opencv-python-headless",
    "decord": "decord",
    "pyav": "av",
    "soundfile": "soundfile",
    "soxr": "soxr",
    "numpy": "numpy",
}


def decode(
    source: Source,
    preprocessing: Preprocessing,
    limits: MediaLimits | None = None,
    find: FindRegions | None = None,
) -> Decoded:
    """Decode one sample and bring it to the model's input size.

    Args:
        source: The file, or its bytes; both give the same result (the name has no bearing). Or the frames of a clip.
        preprocessing: What the model takes; its modality says how the content is read.
        limits: Bounds; the defaults keep the process under 1.2 GiB.
        find: What finds the preprocessing's ``region``; needed where it names one, and of no effect where it does not.

    Returns:
        The array and where it came from.

    Raises:
        MediaError: The sample cannot be decoded, with the reason. Nothing else is raised for bad content.
        ValueError: The preprocessing names a region, and nothing is given that finds it.
    """
    limits = limits or MediaLimits()
    if not preprocessing.region:
        find = None
    elif find is None:
        raise ValueError(
            f"the preprocessing asks for the region {preprocessing.region!r}, and nothing is given to find it"
        )
    if preprocessing.equalise:
        return _decode_equalised(source, preprocessing, limits, find)
    with only_media_errors():
        if preprocessing.modality is Modality.VIDEO:
            from gasdet.media.video import decode_video

            return decode_video(source, preprocessing, limits, find)
        if isinstance(source, FrameSequence):
            raise MediaError(Reason.UNSUPPORTED, "A folder of frames is a clip.")
        if preprocessing.modality is Modality.IMAGE:
            from gasdet.media.image import decode_image

            return decode_image(source, preprocessing, limits, find)
        from gasdet.media.audio import decode_audio

        return decode_audio(source, preprocessing, limits)


def _decode_equalised(
    source: Source, preprocessing: Preprocessing, limits: MediaLimits, find: FindRegions | None
) -> Decoded:
    """Decode what the equalisation makes of a sample; size and length that are told are those of the sample itself."""
    from gasdet.media.equalising import equalised

    equal = equalised(source, preprocessing.modality, preprocessing.equalise, limits)
    decoded = decode(equal.content, replace(preprocessing, equalise=""), limits, find)
    return replace(
        decoded,
        decoder=f"{equal.made_by} > {decoded.decoder}",
        width=equal.width,
        height=equal.height,
        duration_s=equal.duration_s,
        notes=(*equal.notes, *decoded.notes),
    )


def limit_threads() -> None:
    """Import the decoders and keep each on one thread and quiet; for a worker process, before its first sample.

    Decoding does the same on its own, library by library, as it comes to need them.
    """
    from gasdet.media import clip, decord_reader, geometry, image

    image.pillow()
    geometry.opencv()
    clip.pyav()
    decord_reader.decord()


def decoder_versions() -> dict[str, str]:
    """Library name to version, for the run record; libraries that are not installed are left out. Imports none of them."""
    versions = {}
    for name, distribution in _LIBRARIES.items():
        try:
            versions[name] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
