"""Recordings: mono by the mean of the channels, resampled as a whole with soxr, then cut or padded to the window.

soundfile reads what libsndfile reads (WAV, FLAC, Ogg, MP3, AIFF, AU, CAF, SPHERE ...), PyAV the rest (M4A, AAC, WebM, MP3
that states no length, the track of a video). Samples are decoded, mixed and resampled block by block: memory holds the
result, not the recording. soxr's output does not depend on the division into blocks. Samples beyond [-1, 1] are kept as
they are, and noted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from gasdet.errors import MediaError
from gasdet.media.clip import best_stream, describe, opened, pyav
from gasdet.media.completeness import check_complete
from gasdet.media.decoded import MIB, Array, Decoded, MediaLimits
from gasdet.media.soundfile_reader import open_recording, read_blocks, soundfile, stated_frames
from gasdet.media.source import open_source
from gasdet.types import Modality, Preprocessing, Reason

QUALITY = "HQ"
"""soxr's quality: 20-bit precision, linear phase."""

BLOCK = 1 << 18
"""Samples (over all channels) that are decoded at once."""

MISSING_SAMPLES = 2304
"""Samples by which a file may be shorter than its header says: two MP3 frames, as much as encoders miscount."""


@dataclass(frozen=True, slots=True)
class _Track:
    """A recording that has been opened: its rate, what gives its samples, and how many the header states (0: not)."""

    decoder: str
    rate: int
    blocks: Iterator[Array]  # float32 [n, channels]
    stated: int = 0


def decode_audio(source: Path | bytes, preprocessing: Preprocessing, limits: MediaLimits) -> Decoded:
    """Decode a recording to mono float32 ``[N]``.

    Raises:
        MediaError: With the reason.
    """
    file, size = open_source(source, limits)
    with file:
        check_complete(file, size)
        sound = open_recording(file)
        if sound is not None:
            with sound:
                blocks = read_blocks(sound, file, size, BLOCK)
                track = _Track(_soundfile_name(), sound.samplerate, blocks, stated_frames(sound))
                return _decode(track, preprocessing, limits)
        with opened(file, Modality.AUDIO) as container:
            stream = best_stream(container, Modality.AUDIO)
            rate = stream.codec_context.sample_rate
            track = _Track(_pyav_name(), rate, pyav_blocks(container, stream))
            return _decode(track, preprocessing, limits)


def decode_samples(
    samples: Array, rate: int, preprocessing: Preprocessing, limits: MediaLimits, *, decoder: str
) -> Decoded:
    """Samples that somebody else has decoded, as ``decode_audio`` would give them.

    Args:
        samples: float32 ``[n, channels]``.
        rate: In Hz.
        preprocessing: What the model takes.
        limits: Bounds on the length.
        decoder: What made the samples, for the record.

    Raises:
        MediaError: With the reason.
    """
    blocks = (samples[start : start + BLOCK] for start in range(0, len(samples), BLOCK))
    return _decode(_Track(decoder, rate, blocks), preprocessing, limits)


def _decode(track: _Track, preprocessing: Preprocessing, limits: MediaLimits) -> Decoded:
    if track.rate <= 0:
        raise MediaError(Reason.CORRUPT, f"The header says a sample rate of {track.rate} Hz.")
    if track.stated > limits.max_audio_seconds * track.rate:
        raise _too_long(track.stated / track.rate, limits)
    mixer = _Mixer(track.rate, preprocessing.sample_rate, limits)
    for block in track.blocks:
        mixer.add(block)
    if mixer.read == 0:
        raise MediaError(Reason.NO_SAMPLES, "The recording holds no samples.")
    if mixer.read < track.stated - MISSING_SAMPLES:
        raise MediaError(
            Reason.TRUNCATED,
            f"The recording ends after {mixer.read / track.rate:.2f} s; its header says {track.stated / track.rate:.2f} s.",
        )
    samples = mixer.finish()
    if samples.size == 0:
        raise MediaError(Reason.NO_SAMPLES, f"{mixer.read} samples at {track.rate} Hz give none at the model's rate.")
    notes = [f"samples reach {mixer.peak:.3g}, beyond 1; kept as they are"] if mixer.peak > 1 else []
    window, padding = fit_window(samples, preprocessing)
    notes += padding
    decoder = track.decoder if mixer.stream is None else f"{track.decoder}+{_soxr_name()}"
    facts = {"sample_rate": track.rate}
    return Decoded(window, decoder, duration_s=mixer.read / track.rate, notes=tuple(notes), facts=facts)


def _too_long(seconds: float, limits: MediaLimits) -> MediaError:
    return MediaError(
        Reason.TOO_LARGE,
        f"The recording lasts {seconds:.0f} s or more, over the limit of {limits.max_audio_seconds:.0f} s.",
    )


class _Mixer:
    """Blocks of samples in, one mono recording at the model's rate out."""

    def __init__(self, rate: int, target: int, limits: MediaLimits) -> None:
        self.rate, self.target, self.limits = rate, target, limits
        self.stream = None if rate == target else _resampler(rate, target)
        self.read = 0
        self.peak = 0.0
        self._parts: list[Array] = []
        self._held = 0

    def add(self, block: Array) -> None:
        """Mix and resample a block, float32 ``[n, channels]``."""
        if not len(block):
            return
        if not np.isfinite(block).all():
            raise MediaError(Reason.NONFINITE_SAMPLES, "The recording holds samples that are NaN or infinite.")
        self.read += len(block)
        if self.read > self.limits.max_audio_seconds * self.rate:
            raise _too_long(self.read / self.rate, self.limits)
        with np.errstate(over="ignore"):
            mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
        if not np.isfinite(mono).all():
            raise MediaError(Reason.NONFINITE_SAMPLES, "The channels' mean is beyond what 32 bits hold.")
        self.peak = max(self.peak, float(np.abs(mono).max()))
        self._keep(mono if self.stream is None else self.stream.resample_chunk(np.ascontiguousarray(mono)))

    def finish(self) -> Array:
        """All of it, float32 ``[n]``."""
        if self.stream is not None:
            self._keep(self.stream.resample_chunk(np.empty(0, np.float32), last=True))
        return np.concatenate(self._parts) if self._parts else np.empty(0, np.float32)

    def _keep(self, part: Array) -> None:
        self._held += part.nbytes
        if 3 * self._held > self.limits.max_decode_bytes:  # the parts, the whole, the window
            raise MediaError(
                Reason.TOO_LARGE,
                f"The recording at {self.target} Hz would take more than {self.limits.max_decode_bytes // MIB} MiB.",
            )
        self._parts.append(part)


def _resampler(rate: int, target: int) -> Any:
    import soxr

    try:
        return soxr.ResampleStream(rate, target, 1, dtype="float32", quality=QUALITY)
    except (ValueError, RuntimeError) as error:
        raise MediaError(Reason.UNSUPPORTED, f"Resampling from {rate} to {target} Hz failed: {error}.") from None


def fit_window(samples: Array, preprocessing: Preprocessing) -> tuple[Array, list[str]]:
    """A decoded recording in the model's window: cut where it is longer, padded where it is shorter.

    Args:
        samples: float32 ``[n]``, n at least 1, at the model's rate.
        preprocessing: What the model takes.

    Returns:
        float32 ``[N]``, its own memory unless all of the recording is wanted, and a note where samples were added.
    """
    wanted, have = preprocessing.num_samples, len(samples)
    if wanted == 0:
        return np.ascontiguousarray(samples), []
    if have >= wanted:
        start = window_start(have, preprocessing)
        return samples[start : start + wanted].copy(), []
    padded = np.resize(samples, wanted) if preprocessing.audio_pad == "repeat" else np.pad(samples, (0, wanted - have))
    return padded, [f"padded {wanted - have} samples"]


def window_start(have: int, preprocessing: Preprocessing) -> int:
    """The first sample of the model's window in a recording of ``have`` samples; 0 where that is no longer than the window."""
    spare = have - preprocessing.num_samples
    return spare // 2 if preprocessing.num_samples and spare > 0 and preprocessing.audio_crop == "center" else 0


def pyav_blocks(container: Any, stream: Any) -> Iterator[Array]:
    """Decode a stream with PyAV frame by frame, float32 ``[n, channels]``.

    Raises:
        MediaError: CORRUPT.
    """
    frames = container.decode(stream)
    count = 0
    while True:
        try:
            frame = next(frames)
        except (StopIteration, EOFError):
            return
        except MemoryError:
            raise
        except Exception as error:
            raise MediaError(Reason.CORRUPT, f"Decoding failed after {count} samples: {describe(error)}.") from None
        count += frame.samples
        yield _as_float(frame)


def _as_float(frame: Any) -> Array:
    """A PyAV frame as float32 ``[n, channels]``; whole numbers scaled so that full scale is 1."""
    samples: Array = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, len(frame.layout.channels)).T
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128) / 128
    elif np.issubdtype(samples.dtype, np.integer):
        samples = samples.astype(np.float32) / np.float32(-float(np.iinfo(samples.dtype).min))
    return np.ascontiguousarray(samples.T, dtype=np.float32)


@cache
def _soundfile_name() -> str:
    return f"soundfile {soundfile().__version__}"


@cache
def _pyav_name() -> str:
    return f"pyav {pyav().__version__}"


@cache
def _soxr_name() -> str:
    import soxr

    return f"soxr {soxr.__version__} {QUALITY}"
