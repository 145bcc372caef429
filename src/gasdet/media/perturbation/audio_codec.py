"""MP3, AAC, Opus and G.711: encoded in memory by FFmpeg's encoders (PyAV) and decoded again, at the same place in time."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from gasdet.media.clip import pyav
from gasdet.media.decoded import Array
from gasdet.media.perturbation.encoders import require_encoder
from gasdet.media.perturbation.sound import at_length, converted


@dataclass(frozen=True, slots=True)
class _Codec:
    """An encoder, the container that keeps its delay, the samples it takes and the rates it knows, in Hz."""

    encoder: str
    container: str
    samples: str
    rates: tuple[int, ...]


_MPEG_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_CODECS = {
    "mp3": _Codec("libmp3lame", "mp3", "fltp", _MPEG_RATES),
    "aac": _Codec("aac", "mp4", "fltp", _MPEG_RATES),
    "opus": _Codec("libopus", "ogg", "flt", (8000, 12000, 16000, 24000, 48000)),
    "g711": _Codec("pcm_mulaw", "wav", "s16", (8000,)),
}
CODECS = tuple(_CODECS)


def codec(array: Array, rng: np.random.Generator, *, codec: str, kbps: float, sample_rate: int) -> Array:
    """A recording through a lossy codec and back, with its length and its place in time.

    It is coded at its own sample rate or, where the codec does not know that, at the next higher one that it does (G.711:
    always 8 kHz). MP3 below 32 kbit/s is coded at 24 kHz at most, since higher rates have no such mode.

    Args:
        array: float32 ``[N]``. The encoders may clip what is beyond [-1, 1].
        rng: Not used.
        codec: Which.
        kbps: Thousands of bits a second, for one channel; encoders take the nearest that they have. Not for G.711, which
            has 64 always.
        sample_rate: In Hz.

    Raises:
        UsageError: PyAV was built without the encoder.
    """
    if len(array) == 0:
        return array.copy()
    chosen = _CODECS[codec]
    require_encoder(chosen.encoder)
    most = 24000 if codec == "mp3" and kbps < 32 else chosen.rates[-1]
    usable = [rate for rate in chosen.rates if rate <= most]
    rate = next((rate for rate in usable if rate >= sample_rate), usable[-1])
    file = _encode(converted(array, sample_rate, rate), rate, chosen, round(1000 * kbps))
    decoded, decoded_rate = _decode(file)
    return at_length(converted(decoded, decoded_rate, sample_rate), len(array))


def _encode(array: Array, rate: int, chosen: _Codec, bit_rate: int) -> io.BytesIO:
    av = pyav()
    file = io.BytesIO()
    with av.open(file, "w", format=chosen.container) as container:
        stream: Any = container.add_stream(chosen.encoder, rate=rate, layout="mono")
        if chosen.encoder != "pcm_mulaw":
            stream.bit_rate = bit_rate
        stream.codec_context.thread_count = 1
        frame = av.AudioFrame.from_ndarray(_as_samples(array, chosen.samples), format=chosen.samples, layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    file.seek(0)
    return file


def _as_samples(array: Array, kind: str) -> Array:
    if kind == "s16":
        levels: Array = np.rint(np.clip(array, -1, 1) * 32767).astype(np.int16)
        return levels[None]
    return array[None]


def _decode(file: io.BytesIO) -> tuple[Array, int]:
    av = pyav()
    with av.open(file) as container:
        stream = container.streams.audio[0]
        rate = stream.codec_context.sample_rate
        parts = [frame.to_ndarray()[0] for frame in container.decode(stream)]
    samples = np.concatenate(parts)
    return (samples / np.float32(32768) if samples.dtype == np.int16 else samples), rate
