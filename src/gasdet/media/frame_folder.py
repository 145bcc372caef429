"""Clips whose frames are images: the wanted ones are decoded, each as an image, and nothing takes the place of a bad one."""

from __future__ import annotations

from dataclasses import replace

from gasdet.errors import MediaError
from gasdet.media.decoded import Array, Decoded, MediaLimits
from gasdet.media.frame_array import check_array_memory, frame_array
from gasdet.media.frames import FrameSequence
from gasdet.media.image import decode_image
from gasdet.media.region import ClipRegions, FindRegions
from gasdet.media.sampling import DEFAULT_FPS, start_indices, uniform_indices, window_indices
from gasdet.types import Modality, Preprocessing, Reason


def decode_frames(
    sequence: FrameSequence, preprocessing: Preprocessing, limits: MediaLimits, find: FindRegions | None = None
) -> Decoded:
    """Decode a folder of frames to uint8 ``[T, 3, H, W]`` RGB.

    Without a frame rate, sampling by time takes 30 frames for a second, as of a video whose header states none.

    Args:
        sequence: The frames.
        preprocessing: Of a detector of clips. ``exif_orientation`` holds for each frame.
        limits: Bounds; those of an image hold for each frame.
        find: What finds regions, where the preprocessing asks for them.

    Raises:
        MediaError: There are no frames, or a wanted one cannot be read or decoded; the message says which by its number.
    """
    count = len(sequence.frames)
    if not count:
        raise MediaError(Reason.NO_FRAMES, "The folder holds no images.")
    wanted = _wanted(sequence, preprocessing)
    notes: list[str] = []
    if repeated := len(wanted) - len(set(wanted)):
        notes.append(f"{repeated} of the frames repeat the one before: the window holds fewer than asked")
    reader = _Reader(sequence, preprocessing, limits, whole=find is not None)
    if find is None:
        fitted = [reader.frame(index) for index in wanted]
    else:
        regions = ClipRegions(find, preprocessing)
        fitted = _in_regions(reader, regions, wanted)
        if regions.settle():
            fitted = _in_regions(reader, regions, wanted)
        notes += filter(None, [regions.note()])
    array = frame_array(fitted, preprocessing, notes)
    rate = sequence.frame_rate
    return Decoded(
        array,
        reader.decoder,
        width=reader.width,
        height=reader.height,
        frames=len(fitted),
        duration_s=count / rate if rate else None,
        notes=tuple(notes),
    )


def _wanted(sequence: FrameSequence, preprocessing: Preprocessing) -> list[int]:
    """The frames that the sampling keys ask for, as far as there are such."""
    count, rate = len(sequence.frames), sequence.frame_rate or DEFAULT_FPS
    if preprocessing.sampling == "start":
        return [index for index in start_indices(rate, preprocessing) if index < count]
    if preprocessing.sampling == "uniform":
        return uniform_indices(count, preprocessing)
    return window_indices([i / rate for i in range(count)], count / rate, preprocessing)


def _in_regions(reader: _Reader, regions: ClipRegions, wanted: list[int]) -> list[Array]:
    regions.begin()
    return [regions.fit(reader.frame(index), index) for index in wanted]


class _Reader:
    """Decodes frames one by one; the last one is kept, since a frame may be wanted several times in a row.

    Attributes:
        decoder: What decoded the first frame that was asked for.
        width: Its width in pixels.
        height: Its height in pixels.
    """

    def __init__(
        self, sequence: FrameSequence, preprocessing: Preprocessing, limits: MediaLimits, *, whole: bool
    ) -> None:
        self.decoder, self.width, self.height = "", 0, 0
        self._sequence, self._limits, self._clip = sequence, limits, preprocessing
        mode = "none" if whole else preprocessing.resize_mode
        self._keys = replace(preprocessing, modality=Modality.IMAGE, resize_mode=mode, region="", equalise="")
        self._last: tuple[int, Array] | None = None

    def frame(self, index: int) -> Array:
        """A frame, ``[h, w, 3]``: as the model takes it, or whole where a region is to be found in it.

        Raises:
            MediaError: With the reason, and the frame's number counted from 1.
        """
        if self._last is not None and self._last[0] == index:
            return self._last[1]
        try:
            decoded = decode_image(self._sequence.frames[index], self._keys, self._limits)
        except MediaError as error:
            said = f"Frame {index + 1} of {len(self._sequence.frames)}: {error}"
            raise MediaError(error.reason, said) from None
        if not self.decoder:
            self.decoder = decoded.decoder
            self.width, self.height = decoded.width or 0, decoded.height or 0
            check_array_memory(self.height, self.width, self._clip, self._limits)
        self._last = index, decoded.array.transpose(1, 2, 0)
        return self._last[1]
