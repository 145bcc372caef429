"""The one way in: a source to its properties."""

from __future__ import annotations

from pathlib import Path

from gasdet.media.decoded import MediaLimits
from gasdet.media.failures import only_media_errors
from gasdet.media.frames import Source
from gasdet.media.properties.names import extension_of
from gasdet.media.properties.spec import Value
from gasdet.media.properties.table import PROPERTIES
from gasdet.types import Modality


def properties_of(
    source: Source,
    modality: Modality,
    *,
    name: str = "",
    limits: MediaLimits | None = None,
) -> dict[str, Value]:
    """The properties of one sample, all of the modality's in :data:`PROPERTIES` and in its order.

    Images and clips are not decoded: headers tell. Clips are read to their end for the packets. Recordings are decoded.

    Args:
        source: The file, its bytes, or the frames of a clip.
        modality: What the sample is taken for; a file that is another kind of media is an error.
        name: What the extension is read from, where the source does not have the sample's name (bytes of an archive's member).
        limits: Bounds on the size of files and pictures and the length of recordings.

    Returns:
        Name to value, in plain Python types; None where the file does not have the property or does not state it.

    Raises:
        MediaError: The file is missing, empty, too large, cut off, or its header cannot be read, with the reason. Damage in
            pixels that are not decoded is not noticed.
    """
    limits = limits or MediaLimits()
    with only_media_errors("Reading the properties"):
        found = _read(source, modality, limits)
    if isinstance(source, Path | bytes):  # frames have their own
        found["extension"] = extension_of(name or (source.name if isinstance(source, Path) else ""))
    return {spec.name: found.get(spec.name) for spec in PROPERTIES[modality]}


def _read(source: Source, modality: Modality, limits: MediaLimits) -> dict[str, Value]:
    if not isinstance(source, Path | bytes):
        from gasdet.media.properties.sequence import sequence_properties

        return sequence_properties(source, limits)
    if modality is Modality.IMAGE:
        from gasdet.media.properties.image import image_properties

        return image_properties(source, limits)
    if modality is Modality.VIDEO:
        from gasdet.media.properties.clip import clip_properties

        return clip_properties(source, limits)
    from gasdet.media.properties.recording import recording_properties

    return recording_properties(source, limits)
