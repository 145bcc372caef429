"""Properties of a clip that is a folder of frames: the first frame's header, and how many there are."""

from __future__ import annotations

from pathlib import Path

from gasdet.errors import MediaError
from gasdet.media.decoded import MediaLimits
from gasdet.media.frames import FrameSequence
from gasdet.media.properties.image import image_properties
from gasdet.media.properties.names import extension_of
from gasdet.media.properties.spec import Value
from gasdet.media.source import open_source
from gasdet.types import Reason


def sequence_properties(source: FrameSequence, limits: MediaLimits) -> dict[str, Value]:
    """Properties of a clip's frames, as those of a clip: the first frame's header stands for all.

    Raises:
        MediaError: There is no frame, the first cannot be opened, or one is missing or empty, with the reason.
    """
    if not source.frames:
        raise MediaError(Reason.NO_FRAMES, "The clip holds no frames.")
    first = image_properties(source.frames[0], limits)
    count = len(source.frames)
    size = sum(_size(frame, limits) for frame in source.frames)
    rate = source.frame_rate
    duration = count / rate if rate else None
    name = source.frames[0].name if isinstance(source.frames[0], Path) else ""
    kept = ("width", "height", "aspect", "megapixels", "bit_depth", "c2pa", "maker", "structure")
    pixels = count * float(first["megapixels"] or 0) * 1e6
    return {
        **{key: first.get(key) for key in kept},
        "container": "frames",
        "codec": f"{first['container']}-{first['codec']}",
        "extension": extension_of(name),
        "pixel_format": first.get("colour_mode"),
        "interlaced": False,
        "encoder": first.get("software"),
        "frame_rate": rate,
        "variable_frame_rate": False if rate else None,
        "duration": duration,
        "frames": count,
        "keyframe_interval": 1.0,
        "reordered": False,
        "audio_track": False,
        "tracks": 1,
        "bit_rate": size * 8 / 1000 / duration if duration else None,
        "file_bytes": size,
        "bytes_per_pixel": size / pixels if pixels else None,
    }


def _size(frame: Path | bytes, limits: MediaLimits) -> int:
    file, size = open_source(frame, limits)
    file.close()
    return size
