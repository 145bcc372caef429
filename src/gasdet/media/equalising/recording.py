"""Recordings made equal: mono, without the silence around them, of one bandwidth, rate, length and loudness, in MP3."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gasdet.errors import MediaError
from gasdet.media.audio import QUALITY, decode_audio
from gasdet.media.clip import pyav
from gasdet.media.decoded import Array, MediaLimits
from gasdet.media.equalising.equalised import Equalised
from gasdet.types import Modality, Preprocessing, Reason

SILENCE_DB = 40.0
"""What lies this far below the loudest 20 ms, before the first sound and after the last, is silence."""

SHORTEST_SECONDS = 0.1
"""Less sound is nothing that could be repeated and still be what it was."""

MOST_GAIN_DB = 40.0
"""What is quieter is a remainder (of channels that cancel out, of dither), which no level turns into a recording."""

_STEP_S = 0.001
"""How exactly a sound's beginning is found: coarser steps would leave a part of one, longer where there was silence."""

_STEPS = 20
_CEILING = 0.999


def equalised_recording(source: Path | bytes, numbers: Mapping[str, int | float], limits: MediaLimits) -> Equalised:
    """A recording as an MP3 of a constant bit rate, one channel.

    In this order: mono by the mean of the channels; everything above ``bandwidth`` taken away, by bringing it to twice that
    rate and back; offset and the silence before and after removed; the middle ``seconds``, a shorter recording repeated;
    the level set.

    Args:
        source: The file or its bytes.
        numbers: ``sample_rate`` and ``bandwidth`` in Hz, ``seconds``, ``loudness`` (root mean square) in dB below full scale,
            and ``kbps``, thousands of bits per second.
        limits: Bounds of decoding.

    Raises:
        MediaError: With the reason; NO_SAMPLES too where less than ``SHORTEST_SECONDS`` of sound are there.
    """
    rate, narrow = int(numbers["sample_rate"]), 2 * int(numbers["bandwidth"])
    keys = {"sample_rate": narrow, "duration_seconds": 0}
    decoded = decode_audio(source, Preprocessing.from_mapping(Modality.AUDIO, keys), limits)
    notes = [note for note in decoded.notes if "beyond 1" not in note]
    own_rate = int(decoded.facts["sample_rate"])
    if own_rate < narrow:
        notes.append(f"the recording's own rate of {own_rate} Hz holds less than the bandwidth to equalise")
    samples = without_silence(decoded.array - decoded.array.mean(dtype=np.float64), narrow)
    # Again, of the sound alone: the mean of everything depends on how much silence there was, and would stay in the pauses.
    samples -= samples.mean(dtype=np.float64).astype(np.float32)
    if len(samples) < SHORTEST_SECONDS * narrow:
        found = len(samples) / narrow
        message = f"The recording has {found:.3f} s of sound; to be equalised it must have {SHORTEST_SECONDS} s."
        raise MediaError(Reason.NO_SAMPLES, message)
    if narrow != rate:
        import soxr

        samples = soxr.resample(samples, narrow, rate, quality=QUALITY)
    wanted = round(rate * float(numbers["seconds"]))
    if len(samples) < wanted:
        notes.append(f"{len(samples) / rate:.2f} s of sound repeated to equalise a short recording")
        samples = np.resize(samples, wanted)
    start = (len(samples) - wanted) // 2
    samples, told = _levelled(samples[start : start + wanted], float(numbers["loudness"]))
    notes += told
    return Equalised(
        _encoded(samples, rate, 1000 * int(numbers["kbps"])),
        f"{decoded.decoder} > pyav {pyav().__version__} libmp3lame",
        duration_s=decoded.duration_s,
        notes=tuple(notes),
    )


def without_silence(samples: Array, rate: int) -> Array:
    """A recording from its first to its last sound, as float32 ``[n]``; as it is where nothing in it is louder than nothing.

    Sound is where 20 ms together are within ``SILENCE_DB`` of the loudest 20 ms; it begins and ends with the milliseconds
    that are so by themselves.

    Args:
        samples: ``[N]``, N at least 1.
        rate: In Hz.
    """
    step = max(1, round(_STEP_S * rate))
    padded = np.pad(np.square(samples, dtype=np.float64), (0, -len(samples) % step))
    power = padded.reshape(-1, step).mean(axis=1)
    together = np.convolve(power, np.full(_STEPS, 1 / _STEPS))  # [i] of the 20 that end with step i
    bound = together.max() * 10 ** (-SILENCE_DB / 10)
    heard = np.flatnonzero(together > bound)
    if not len(heard):
        return samples.astype(np.float32)
    near = np.zeros(len(power), bool)  # steps that lie in 20 ms of sound, which holds at least one loud step
    near[max(0, heard[0] - _STEPS + 1) : heard[-1] + 1] = True
    loud = np.flatnonzero(near & (power > bound))
    return samples[loud[0] * step : (loud[-1] + 1) * step].astype(np.float32)


def _levelled(samples: Array, loudness: float) -> tuple[Array, list[str]]:
    """A recording at a root mean square of ``loudness`` dB below full scale, and notes where it is not quite that."""
    level = float(np.sqrt(np.square(samples, dtype=np.float64).mean()))
    if level == 0:
        return samples.astype(np.float32), ["no sound in it to equalise"]
    notes = []
    gain = loudness - 20 * math.log10(level)
    if gain > MOST_GAIN_DB:
        notes.append(
            f"{gain - MOST_GAIN_DB:.0f} dB too quiet to equalise: amplified by {MOST_GAIN_DB:g} dB and no more"
        )
    scaled = samples * 10 ** (min(gain, MOST_GAIN_DB) / 20)
    clipped = int((np.abs(scaled) > _CEILING).sum())
    if clipped:
        notes.append(f"{clipped} samples clipped to equalise the loudness")
    return np.clip(scaled, -_CEILING, _CEILING).astype(np.float32), notes


def _encoded(samples: Array, rate: int, bit_rate: int) -> bytes:
    av = pyav()
    file = io.BytesIO()
    with av.open(file, "w", format="mp3", options={"fflags": "bitexact"}) as container:
        stream: Any = container.add_stream("libmp3lame", rate=rate, layout="mono")
        stream.bit_rate = bit_rate
        stream.codec_context.thread_count = 1
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return file.getvalue()
