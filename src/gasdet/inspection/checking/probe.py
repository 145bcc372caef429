"""What a decode process finds out about one sample: is it whole, what is it, and by what can its copies be told.

Everything is decoded: an image in full, a recording to its end, and of a clip every frame up to ``MAX_CLIP_PIXELS``.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gasdet.data import read_source
from gasdet.errors import MediaError
from gasdet.evaluation.decoding import decode_content
from gasdet.inspection.checking.formats import format_of
from gasdet.inspection.checking.pictures import picture_hash
from gasdet.inspection.checking.sounds import fingerprint
from gasdet.media import Decoded, MediaLimits, decode, sniff
from gasdet.media.clip import Converter, best_stream, check_frame_size, frames_of, lacking, opened, read_header
from gasdet.media.completeness import check_complete
from gasdet.media.damage import picture_damage
from gasdet.media.digest import digest
from gasdet.media.frames import FrameSequence, Source
from gasdet.media.source import open_source, read_all
from gasdet.types import Locator, Modality, Preprocessing, Reason

DIGEST_BYTES = 16
"""Of SHA-256, of which the first half is kept: among a billion samples, a chance of 1e-21 that two digests meet."""

MAX_CLIP_PIXELS = 2_000_000_000
"""Pixels (over all frames) after which a clip is not decoded further: half a minute of 1080p, four minutes of 480p. The cost
of a clip is bounded so, and what is found does not depend on how fast the machine is."""

SAMPLE_RATE = 16_000
"""Of a recording as it is compared, in Hz, mono: what detectors hear."""

FRAME_STEP_S = 0.5
MAX_FRAME_HASHES = 32

HEAD_BYTES = 4096

_USUAL_FPS = 25.0  # where neither stamps nor header tell
_CLEARLY_SHORT = 0.9  # as gasdet.media takes it: of what the header promises
_WHOLE_IMAGE = Preprocessing(Modality.IMAGE, resize_mode="none")
_WHOLE_RECORDING = Preprocessing(Modality.AUDIO, sample_rate=SAMPLE_RATE, duration_seconds=0)
_NOTHING = np.empty(0, np.uint8)


def probe_sample(locator: Locator, preprocessing: Preprocessing, limits: MediaLimits) -> Decoded:
    """Look at one sample. Bad content is a fact as well, so that what is known besides is not lost.

    Facts, each there only where it is known:
        bytes: 16 bytes, of the file as it is.
        format: Of the content, as :func:`gasdet.inspection.checking.formats.format_of` tells.
        content: 16 bytes, of the decoded pixels or samples.
        hashes: PDQ hashes, 32 bytes each: one of an image, up to 32 of a clip's frames. Those without structure are left out.
        sound: A recording's fingerprint, 4 bytes for each frame of it.
        partly: How many frames were decoded, of a clip that was not decoded to its end.
        damage: What is damaged in a picture that can be decoded all the same, in words.
        damaged: How many frames of a clip are damaged, and shown all the same.
        flat: That there is nothing in it: one colour (in every frame), one value throughout.
        reason, message: Why it cannot be decoded.

    Raises:
        MediaError: The sample cannot even be read.
    """
    facts: dict[str, Any] = {}
    source = read_source(locator)
    if not isinstance(source, FrameSequence):
        facts["format"], facts["bytes"] = _file_facts(source)
    try:
        facts |= _content(source, preprocessing.modality, limits)
    except MediaError as error:
        facts |= {"reason": error.reason.value, "message": str(error)}
    return Decoded(_NOTHING, "", facts={name: value for name, value in facts.items() if value})


def _content(source: Source, modality: Modality, limits: MediaLimits) -> dict[str, Any]:
    if modality is Modality.IMAGE:
        assert not isinstance(source, FrameSequence)
        pixels, damage = _picture(source, limits)
        hashes = picture_hash(pixels.transpose(1, 2, 0))
        flat = not hashes and _is_flat(pixels)
        return {"content": _content_digest(pixels), "hashes": hashes, "damage": damage, "flat": flat}
    if modality is Modality.VIDEO:
        return _frame_folder(source, limits) if isinstance(source, FrameSequence) else _clip(source, limits)
    samples = decode_content(source, _WHOLE_RECORDING, limits).array
    sound = fingerprint(samples, SAMPLE_RATE).tobytes()
    # Plus nothing: of -0.0, which some decoders give, that makes 0.0, which has other bits.
    content = _content_digest(samples + np.float32(0))
    return {"content": content, "sound": sound, "flat": not sound and bool((samples == samples[:1]).all())}


def _picture(source: Path | bytes, limits: MediaLimits) -> tuple[npt.NDArray[Any], str]:
    """A picture's pixels, uint8 ``[3, H, W]``, and what is damaged in it."""
    decoded = decode(source, _WHOLE_IMAGE, limits)
    if decoded.decoder.startswith("simplejpeg"):  # which gives no pixels where libjpeg warns
        return decoded.array, ""
    file, _ = open_source(source, limits)
    with file:
        return decoded.array, picture_damage(read_all(file))


def _is_flat(pixels: npt.NDArray[Any]) -> bool:
    """Whether a picture, uint8 ``[3, H, W]``, is of one colour."""
    return bool((pixels == pixels[:, :1, :1]).all())


def _file_facts(source: Path | bytes) -> tuple[str, bytes]:
    """Format and digest of a file as it is."""
    if isinstance(source, bytes):
        return format_of(source[:HEAD_BYTES]), hashlib.sha256(source).digest()[:DIGEST_BYTES]
    with open(source, "rb") as file:
        found = format_of(file.read(HEAD_BYTES))
        file.seek(0)
        return found, hashlib.file_digest(file, "sha256").digest()[:DIGEST_BYTES]


def _content_digest(array: npt.NDArray[Any]) -> bytes:
    """Equal for arrays of equal type, shape and values."""
    return bytes.fromhex(digest(array))[:DIGEST_BYTES]


@dataclass(slots=True)
class FrameHashes:
    """Hashes of a clip's frames, evenly spread over it: every half second, of long clips more seldom.

    Where 32 are exceeded every second one is dropped and the step doubles, so that the length need not be known ahead.
    """

    step: float = FRAME_STEP_S
    next: float = 0.0
    kept: list[bytes] = field(default_factory=list)

    def wants(self, time: float) -> bool:
        """Whether the frame at a time, in seconds from the clip's start, is the next one to hash."""
        return time + 1e-6 >= self.next

    def add(self, time: float, pixels: npt.NDArray[Any]) -> None:
        """Hash the frame at a time, uint8 ``[H, W, 3]``."""
        self.kept.append(picture_hash(pixels))
        if len(self.kept) > MAX_FRAME_HASHES:
            self.kept = self.kept[::2]
            self.step *= 2
        self.next = ((time + 1e-6) // self.step + 1) * self.step

    def joined(self) -> bytes:
        """One after the other, equal ones once; frames without structure have none."""
        return b"".join(dict.fromkeys(self.kept))


class _Clip:
    """A clip's frames on their way to a digest and to hashes, up to ``MAX_CLIP_PIXELS``."""

    def __init__(self) -> None:
        self.count = self.damaged = self._pixels = 0
        self._flat = True
        self._digest, self._hashes = hashlib.sha256(), FrameHashes()

    def add(self, time: float, content: bytes, pixels: int, rgb: Callable[[], npt.NDArray[Any]]) -> None:
        """Take in a frame: when it is shown, what it is told by, its size, and what gives it as uint8 ``[H, W, 3]``."""
        self.count += 1
        self._pixels += pixels
        self._digest.update(content)
        self._flat = self._flat and _is_flat(rgb().transpose(2, 0, 1))
        if self._hashes.wants(time):
            self._hashes.add(time, rgb())

    @property
    def full(self) -> bool:
        """Whether no more frames are wanted."""
        return self._pixels >= MAX_CLIP_PIXELS

    def facts(self) -> dict[str, Any]:
        """What tells its copies. The content of a clip that was not decoded to its end is not known."""
        if not self.count:
            raise MediaError(Reason.NO_FRAMES, "The clip holds no frames.")
        told = {"partly": self.count} if self.full else {"content": self._digest.digest()[:DIGEST_BYTES]}
        damaged = {"damaged": self.damaged} if self.damaged else {}
        return {**told, **damaged, "hashes": self._hashes.joined(), "flat": self._flat}


def _clip(source: Path | bytes, limits: MediaLimits) -> dict[str, Any]:
    """A clip in a file, its frames in display order."""
    file, size = open_source(source, limits)
    with file:
        check_complete(file, size)
        head = file.read(HEAD_BYTES)
        if sniff(head) is Modality.IMAGE and not head.startswith(b"GIF"):
            raise lacking(Modality.VIDEO, "the file is an image")
        with opened(file, Modality.VIDEO) as container:
            stream = best_stream(container, Modality.VIDEO)
            header = read_header(container, stream)
            check_frame_size(header.width, header.height, limits)
            clip, converter = _Clip(), Converter()
            fps = header.fps or _USUAL_FPS
            start, time = None, 0.0
            for shown in frames_of(container, stream, limits):
                frame = shown.frame
                stamp = shown.index / fps if shown.stamp is None else shown.stamp * header.tick
                start = stamp if start is None else start
                time = stamp - start
                clip.damaged += frame.is_corrupt
                rgb = functools.partial(converter.rgb, frame)
                clip.add(time, _frame_bytes(frame, rgb), frame.width * frame.height, rgb)
                if clip.full:
                    break
    lasted = max(clip.count / fps, time + 1 / fps)
    promised = header.promised_s
    if clip.count and not clip.full and promised is not None and lasted < _CLEARLY_SHORT * promised - 0.1:
        raise MediaError(Reason.TRUNCATED, f"The clip ends after {lasted:.2f} s; its header promises {promised:.2f} s.")
    return clip.facts()


def _frame_bytes(frame: Any, rgb: Callable[[], npt.NDArray[Any]]) -> bytes:
    """A frame's own samples (as a rule YCbCr, not yet RGB), with its format and size before them."""
    try:
        samples = frame.to_ndarray()
    except ValueError:  # a pixel format that PyAV does not lay out as an array
        samples = rgb()
    name = f"{frame.format.name} {frame.width} {frame.height}\0".encode()
    return name + np.ascontiguousarray(samples).tobytes()


def _frame_folder(source: FrameSequence, limits: MediaLimits) -> dict[str, Any]:
    """A clip that is a folder of images."""
    clip = _Clip()
    fps = source.frame_rate or _USUAL_FPS
    frames: tuple[Path | bytes, ...] = source.frames
    for index, frame in enumerate(frames):
        pixels, damage = _picture(frame, limits)
        clip.damaged += bool(damage)
        rgb = functools.partial(pixels.transpose, 1, 2, 0)
        clip.add(index / fps, _content_digest(pixels), pixels[0].size, rgb)
        if clip.full:
            break
    return clip.facts()
