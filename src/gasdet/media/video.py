"""Clips: frames chosen by the sampling keys, decoded in order, cropped and resized as they come.

PyAV opens every clip and decodes its first frame: that tells what the header does not (rotation, pixel format). Frames
from the start are then read with decord where it is at hand and its first frame is the same bits, else with PyAV;
whatever goes wrong in decord, PyAV decodes the clip anew and decides. So the result does not depend on which of the two
is installed, only the time does. Sampling by time needs to know which frame is which, and decord cannot say: PyAV reads.

Frames are never sought, always decoded in order: after a seek, streams with open groups of pictures or intra refresh give
other pixels. Nothing but the wanted frames is converted or kept, so memory does not grow with the clip's length.

A clip is truncated where the file is shorter than its container says (:mod:`gasdet.media.completeness`), and where an AVI
or Matroska header promises clearly more than is there and frames are wanted from what is missing. A decoder that gives
up before the last wanted frame makes it corrupt.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import BinaryIO, TypeVar

import numpy as np

from gasdet.errors import MediaError
from gasdet.media import decord_reader
from gasdet.media.clip import (
    Converter,
    Shown,
    best_stream,
    check_frame_size,
    frames_of,
    lacking,
    listed_stamps,
    opened,
    pyav,
    quarter_turns,
    read_header,
)
from gasdet.media.completeness import check_complete
from gasdet.media.decoded import Array, Decoded, MediaLimits
from gasdet.media.decord_reader import DecordError
from gasdet.media.frame_array import check_array_memory, frame_array
from gasdet.media.frame_folder import decode_frames
from gasdet.media.frames import FrameSequence, Source
from gasdet.media.geometry import fit
from gasdet.media.region import ClipRegions, FindRegions
from gasdet.media.sampling import DEFAULT_FPS, start_indices, uniform_indices, window_indices
from gasdet.media.sniffing import sniff
from gasdet.media.source import open_source
from gasdet.types import Modality, Preprocessing, Reason

_CLEARLY_SHORT = 0.9
"""A clip that lasts less than this share of what its header promises (and a tenth of a second less) is truncated."""

_T = TypeVar("_T")


class _OtherFrames(Exception):  # noqa: N818 (a signal within this module)
    """The decoder's frames are not those that the packets' time stamps led to expect."""


def decode_video(
    source: Source, preprocessing: Preprocessing, limits: MediaLimits, find: FindRegions | None = None
) -> Decoded:
    """Decode a clip to uint8 ``[T, 3, H, W]`` RGB; ``find`` finds the regions, where the preprocessing asks for them.

    Raises:
        MediaError: With the reason.
    """
    if isinstance(source, FrameSequence):
        return decode_frames(source, preprocessing, limits, find)
    file, size = open_source(source, limits)
    with file:
        check_complete(file, size)
        head = file.read(4096)
        if sniff(head) is Modality.IMAGE and not head.startswith(b"GIF"):
            raise lacking(Modality.VIDEO, "the file is an image")
        regions = None if find is None else ClipRegions(find, preprocessing)
        return _Clip(file, size, preprocessing, limits, regions).decode()


class _Clip:
    """One clip on its way to an array: what its header and first frame tell, and what is noted on the way."""

    def __init__(
        self,
        file: BinaryIO,
        size: int,
        preprocessing: Preprocessing,
        limits: MediaLimits,
        regions: ClipRegions | None = None,
    ) -> None:
        self.file, self.size, self.preprocessing, self.limits = file, size, preprocessing, limits
        self.regions = regions
        self.converter = Converter()
        self.notes: list[str] = []

    def decode(self) -> Decoded:
        """The clip as a detector takes it."""
        with opened(self.file, Modality.VIDEO) as container:
            stream = best_stream(container, Modality.VIDEO)
            self.header = read_header(container, stream)
            self.duration_s = self.header.duration_s
            check_frame_size(self.header.width, self.header.height, self.limits)
            frames = frames_of(container, stream, self.limits)
            first = next(frames, None)
            if first is None:
                raise MediaError(Reason.NO_FRAMES, "The video stream holds no frames.")
            self.first = first
            check_array_memory(first.frame.height, first.frame.width, self.preprocessing, self.limits)
            fitted, decoder = self._fitted(itertools.chain([first], frames))
        if self.regions is not None and fitted:
            if self.regions.settle():
                self.notes.clear()
                fitted, decoder = self._fitted_again()
            self.notes += filter(None, [self.regions.note()])
        picture = first.frame
        sideways = quarter_turns(picture) % 2 == 1
        if picture.rotation % 90:
            self.notes.append(f"rotation by {picture.rotation} degrees not applied: no quarter turn")
        return Decoded(
            frame_array(fitted, self.preprocessing, self.notes),
            decoder,
            width=picture.height if sideways else picture.width,
            height=picture.width if sideways else picture.height,
            frames=len(fitted),
            duration_s=self.duration_s,
            notes=tuple(self.notes),
        )

    def _fitted(self, frames: Iterable[Shown]) -> tuple[list[Array], str]:
        """The wanted frames, cropped and resized, and the decoder that gave them.

        Args:
            frames: The clip's frames as PyAV decodes them, not yet read past the first.
        """
        if self.preprocessing.sampling == "start":
            wanted = start_indices(self.header.fps, self.preprocessing)
            by_decord = self._from_decord(wanted)
            return (by_decord, _decord_name()) if by_decord else (self._from_pyav(frames, wanted), _pyav_name())
        return self._timed(frames), _pyav_name()

    def _fitted_again(self) -> tuple[list[Array], str]:
        """The same from the clip's start, now that the regions of all wanted frames are known."""
        with opened(self.file, Modality.VIDEO) as container:
            return self._fitted(frames_of(container, best_stream(container, Modality.VIDEO), self.limits))

    def _from_decord(self, wanted: Sequence[int]) -> list[Array] | None:
        """The wanted frames by decord; None where PyAV must read the clip."""
        if not decord_reader.suits(self.header, self.first.frame, self.size):
            return None
        try:
            reader = decord_reader.read_frames(self.file)
            opening = next(reader, None)
            if opening is None or not np.array_equal(opening, self.converter.rgb(self.first.frame)):
                return None
            frames = self._collect(itertools.chain([opening], reader), wanted, lambda pixels: pixels)
        except DecordError:
            return None
        return frames if len(frames) == len(wanted) else None

    def _from_pyav(self, frames: Iterable[Shown], wanted: Sequence[int]) -> list[Array]:
        last: list[Shown] = [self.first]

        def watched() -> Iterator[Shown]:
            for last[0] in frames:
                yield last[0]

        fitted = self._collect(watched(), wanted, lambda shown: self.converter.rgb(shown.frame))
        if len(fitted) < len(wanted):
            self._check_promise(last[0].index + 1, last[0].stamp)
        return fitted

    def _timed(self, frames: Iterable[Shown]) -> list[Array]:
        """The frames that sampling by time wants.

        The packets' time stamps tell which those are, without decoding. Where they do not, or the decoder's frames turn
        out otherwise, every frame is decoded once for its time, and the clip a second time for the pixels.
        """
        with opened(self.file, Modality.VIDEO) as container:
            listed = listed_stamps(container, best_stream(container, Modality.VIDEO))
        if listed:
            try:
                return self._at(listed)
            except _OtherFrames:
                self.notes.clear()
        stamps = [shown.stamp for shown in frames]
        known = [stamp for stamp in stamps if stamp is not None]
        if len(known) < len(stamps) or any(a >= b for a, b in itertools.pairwise(known)):
            tick = self.header.tick * (self.header.fps or DEFAULT_FPS)
            known = [round(i / tick) for i in range(len(stamps))]
            return self._at(known, checked=False)
        return self._at(known)

    def _at(self, stamps: Sequence[int], *, checked: bool = True) -> list[Array]:
        """The frames that sampling by time wants of a clip whose frames have these time stamps.

        Raises:
            _OtherFrames: The decoder's frames have others (where checked).
        """
        self._check_promise(len(stamps), stamps[-1])
        times = [(stamp - stamps[0]) * self.header.tick for stamp in stamps]
        # The last frame is taken to stay as long as frames do on average.
        average = times[-1] / (len(times) - 1) if len(times) > 1 else 1 / (self.header.fps or DEFAULT_FPS)
        self.duration_s = times[-1] + average
        if self.preprocessing.sampling == "uniform":
            wanted = uniform_indices(len(times), self.preprocessing)
        else:
            wanted = window_indices(times, self.duration_s, self.preprocessing)
        if repeated := len(wanted) - len(set(wanted)):
            self.notes.append(f"{repeated} of the frames repeat the one before: the window holds fewer than asked")

        def convert(shown: Shown) -> Array:
            if checked and shown.stamp != stamps[shown.index]:
                raise _OtherFrames
            return self.converter.rgb(shown.frame)

        with opened(self.file, Modality.VIDEO) as container:
            frames = frames_of(container, best_stream(container, Modality.VIDEO), self.limits)
            fitted = self._collect(frames, wanted, convert)
        if checked and len(fitted) < len(wanted):
            raise _OtherFrames
        return fitted

    def _collect(self, frames: Iterable[_T], wanted: Sequence[int], convert: Callable[[_T], Array]) -> list[Array]:
        """Walk through the frames up to the last wanted one and fit those that are wanted (an index may recur)."""
        fitted: list[Array] = []
        if self.regions is not None:
            self.regions.begin()
        for index, frame in enumerate(frames):
            if index == wanted[len(fitted)]:
                pixels = convert(frame)
                small = fit(pixels, self.preprocessing) if self.regions is None else self.regions.fit(pixels, index)
                small = small if small.base is None else small.copy()  # a view would keep the whole frame
                while len(fitted) < len(wanted) and wanted[len(fitted)] == index:
                    fitted.append(small)
            if len(fitted) == len(wanted):
                break
        return fitted

    def _check_promise(self, frames: int, last_stamp: int | None) -> None:
        """Whether frames that the header promises are missing; asked when a clip ended before the wanted frames did.

        Args:
            frames: How many there are.
            last_stamp: Time stamp of the last.

        Raises:
            MediaError: TRUNCATED.
        """
        promised, fps = self.header.promised_s, self.header.fps
        if promised is None or fps is None:
            return
        lasted = frames / fps
        if last_stamp is not None and self.first.stamp is not None:
            lasted = max(lasted, (last_stamp - self.first.stamp) * self.header.tick + 1 / fps)
        if lasted < _CLEARLY_SHORT * promised - 0.1:
            message = f"The clip ends after {lasted:.2f} s; its header promises {promised:.2f} s."
            raise MediaError(Reason.TRUNCATED, message)


@cache
def _decord_name() -> str:
    return f"decord {decord_reader.decord().__version__}"


@cache
def _pyav_name() -> str:
    return f"pyav {pyav().__version__}"
