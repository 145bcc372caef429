"""Every file of a modality brought to one size, rate, length and codec, so that none of these tells the classes apart.

What a profile is, :mod:`gasdet.equalise_profiles` says; docs/equalising.md says what it takes away and what it cannot.
"""

from __future__ import annotations

from gasdet.equalise_profiles import numbers_of
from gasdet.errors import MediaError, UsageError
from gasdet.media.decoded import MediaLimits
from gasdet.media.equalising.equalised import SUFFIXES, Equalised
from gasdet.media.failures import only_media_errors
from gasdet.media.frames import FrameSequence, Source
from gasdet.types import Modality, Reason

__all__ = ["SUFFIXES", "Equalised", "check_encoders", "equalise", "equalised"]


def equalise(source: Source, modality: Modality, profile: str, limits: MediaLimits | None = None) -> bytes:
    """A sample as a new file that a profile makes of it: JPEG, MP4 (H.264 without sound) or MP3.

    The same content gives the same bytes with the same versions of the libraries. Nothing of the source's metadata, name or
    container is left.

    Args:
        source: The file, its bytes, or the frames of a clip.
        modality: As what it is read.
        profile: A profile's text, "standard" or "standard-1:side=128".
        limits: Bounds of decoding the source.

    Raises:
        MediaError: The sample cannot be decoded, with the reason.
        ConfigError: There is no such profile, or a key of it is unusable.
    """
    return equalised(source, modality, profile, limits).content


def equalised(source: Source, modality: Modality, profile: str, limits: MediaLimits | None = None) -> Equalised:
    """The same with what is known of the source.

    Raises:
        MediaError: The sample cannot be decoded, with the reason.
        ConfigError: There is no such profile, or a key of it is unusable.
    """
    limits = limits or MediaLimits()
    numbers = numbers_of(profile, modality)
    with only_media_errors():
        if modality is Modality.VIDEO:
            from gasdet.media.equalising.clip import equalised_clip

            return equalised_clip(source, numbers, limits)
        if isinstance(source, FrameSequence):
            raise MediaError(Reason.UNSUPPORTED, f"A folder of frames is a clip, not {_a(modality)}.")
        if modality is Modality.IMAGE:
            from gasdet.media.equalising.picture import equalised_picture

            return equalised_picture(source, numbers, limits)
        from gasdet.media.equalising.recording import equalised_recording

        return equalised_recording(source, numbers, limits)


def check_encoders(modality: Modality) -> None:
    """Make sure, before any work, that files of a modality can be encoded.

    Raises:
        UsageError: This PyAV was built without the encoder.
    """
    encoder = {Modality.VIDEO: "libx264", Modality.AUDIO: "libmp3lame"}.get(modality)
    if encoder is None:
        return
    from gasdet.media.clip import pyav

    if encoder not in pyav().codecs_available:
        raise UsageError(
            f"this PyAV was built without the encoder {encoder}, which equalising {modality} needs; install PyAV's published "
            "wheel, which has it."
        )


def _a(modality: Modality) -> str:
    return "an image" if modality is Modality.IMAGE else "a recording"
