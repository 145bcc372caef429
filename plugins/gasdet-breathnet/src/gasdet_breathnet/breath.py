"""Where somebody breathes in a recording: from a manifest's ``breath_mask`` column, or from a small detector of our own.

Used in training only. The model predicts breath by itself, and nothing of this is needed to score a recording.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from gasdet import Sample
from gasdet_breathnet.model import HOP, RECEPTIVE_FIELD, SAMPLE_RATE, frame_count

Wave = npt.NDArray[np.float32]
Mask = npt.NDArray[np.float32]
Spans = list[tuple[float, float]]
"""Start and end in seconds."""

COLUMN = "breath_mask"
UNKNOWN = -1.0

# The detector's rules. Voiced speech repeats itself within 2.5 to 20 ms, most consonants are sharper or shorter than a breath,
# and pauses are quieter.
LARGEST_PERIODICITY = 0.5
CENTROID_HZ = (500.0, 2500.0)
LEAST_FLATNESS_DB = -16.0
LEVEL_DB = (-45.0, -3.0)
"""Of a frame over the loudest twentieth of the recording."""
LEAST_OVER_FLOOR_DB = 3.0
"""Of a frame over the quietest twentieth of the recording."""
FRAMES = (6, 45)
"""Shortest and longest breath, 0.12 and 0.9 s."""

_SPAN = re.compile(r"(\d+(?:\.\d*)?|\.\d+)-(\d+(?:\.\d*)?|\.\d+)")
_CONTEXT = 640
_LAGS = slice(40, 320)


def targets(array: npt.NDArray[Any], sample: Sample, sample_rate: int | None) -> Mask:
    """The breath in every frame of a training recording: ``Recipe.targets`` of this plugin.

    Where the sample has the annotation ``breath_mask`` that is taken: spans in seconds from the recording's start, "0.05-0.34
    2.16-2.42"; the path of a ``.txt`` file with such spans, from the folder that the manifest lies in; empty for no breath in
    it; "unknown" for frames that the breath loss leaves out. Without it, :func:`find_breaths` says.

    The array must start where the recording does (``audio_crop: start``), since nothing in it would tell how far a crop in the
    middle was moved. A recording that is repeated until it is long enough is recognised, and its breaths with it.

    Args:
        array: Mono float32 ``[N]``, N at least 400.
        sample: With its annotations.
        sample_rate: 16000.

    Returns:
        float32 ``[(N - 400) // 320 + 1]``: 1 breath, 0 none, -1 unknown.

    Raises:
        ValueError: The annotation cannot be read, or the array or its rate does not fit the model.
    """
    if sample_rate != SAMPLE_RATE:
        raise ValueError(
            f"breath is found in waveforms of {SAMPLE_RATE} Hz, not {sample_rate}; set preprocessing.sample_rate."
        )
    if array.ndim != 1 or array.size < RECEPTIVE_FIELD:
        raise ValueError(
            f"breath is found in waveforms [N] of at least {RECEPTIVE_FIELD} samples, not {list(array.shape)}."
        )
    if COLUMN not in sample.annotations:
        return find_breaths(array)
    text = sample.annotations[COLUMN].strip()
    if text.lower() == "unknown":
        return np.full(frame_count(array.size), UNKNOWN, np.float32)
    spans = parse_spans(_from_file(text, sample) if text.endswith(".txt") else text)
    seconds = array.size / SAMPLE_RATE
    period = repetition(array, after=max((end for _, end in spans), default=0.0)) / SAMPLE_RATE
    copies = int(np.ceil(seconds / period))
    return mask_of(((a + k * period, b + k * period) for k in range(copies) for a, b in spans), frame_count(array.size))


def parse_spans(text: str) -> Spans:
    """Spans in seconds from "0.05-0.34 2.16-2.42", separated by blanks, commas or semicolons.

    Raises:
        ValueError: It is something else.
    """
    spans = []
    for part in re.split(r"[\s,;]+", text.strip()):
        if not part:
            continue
        found = _SPAN.fullmatch(part)
        if found is None or float(found[2]) <= float(found[1]):
            raise ValueError(f'{COLUMN} holds {part!r}, which is no span of seconds; write "0.05-0.34 2.16-2.42".')
        spans.append((float(found[1]), float(found[2])))
    return spans


def mask_of(spans: Iterable[tuple[float, float]], frames: int) -> Mask:
    """float32 ``[frames]``: 1 where the middle of a frame lies in a span of seconds."""
    middle = (np.arange(frames) * HOP + RECEPTIVE_FIELD / 2) / SAMPLE_RATE
    mask = np.zeros(frames, np.float32)
    for start, end in spans:
        mask[(middle >= start) & (middle < end)] = 1.0
    return mask


def repetition(array: npt.NDArray[Any], after: float = 0.0) -> int:
    """After how many samples a waveform begins anew and goes on as it began to its end; its length where it does not.

    That is what decoding makes of a recording that is shorter than its window: exact copies, the last one cut.

    Args:
        array: ``[N]``.
        after: Seconds that the first copy has at least.
    """
    first = max(int(after * SAMPLE_RATE), 1)
    # sum over the overlap of (x[i + p] - x[i])^2 for all p at once, which leaves few to be compared sample by sample
    x = np.asarray(array, np.float64)
    size = 1 << (2 * x.size - 1).bit_length()
    products = np.fft.irfft(np.abs(np.fft.rfft(x, size)) ** 2, size)[: x.size]
    energy = np.concatenate([[0.0], np.cumsum(x * x)])
    tail, head = energy[-1] - energy[:-1], energy[:0:-1]
    could_be = (
        (tail + head - 2 * products <= 1e-9 * energy[-1]) & (array == array[0]) & (tail > 0)
    )  # silence tells nothing
    for period in (np.flatnonzero(could_be[first:]) + first).tolist():
        if np.array_equal(array[period : period + 64], array[: min(64, array.size - period)]) and np.array_equal(
            array[period:], array[: array.size - period]
        ):
            return int(period)
    return int(array.size)


def find_breaths(array: npt.NDArray[Any]) -> Mask:
    """Breaths by rules: noise of some length that is duller than a fricative, between the pauses' level and the speech's.

    A frame may be part of a breath where the waveform around it does not repeat itself within 2.5 to 20 ms, its spectrum has
    its centroid between 500 and 2500 Hz and is not made of single lines, and its level is 3 dB over the recording's quietest
    frames or more and 3 to 45 dB below its loudest. Gaps of two frames are closed; runs from 0.12 to 0.9 s count. The limits
    are ours.

    Args:
        array: Mono ``[N]`` at 16 kHz, N at least 400.

    Returns:
        float32 ``[(N - 400) // 320 + 1]``, 1 or 0.
    """
    frames = frame_count(array.size)
    around = (_CONTEXT - RECEPTIVE_FIELD) // 2
    padded = np.pad(np.asarray(array, np.float64), (around, _CONTEXT))
    pieces = padded[np.arange(frames)[:, None] * HOP + np.arange(_CONTEXT)]
    pieces = pieces - pieces.mean(axis=1, keepdims=True)
    level = 10 * np.log10((pieces[:, around : around + RECEPTIVE_FIELD] ** 2).mean(axis=1) + 1e-12)
    if level.max() <= -110.0:  # silence has no breath, and no spectrum either
        return np.zeros(frames, np.float32)
    loud, quiet = np.percentile(level, (95, 5))
    centroid, flatness = _shape(pieces)
    could_be = (
        (_periodicity(pieces) < LARGEST_PERIODICITY)
        & (centroid > CENTROID_HZ[0])
        & (centroid < CENTROID_HZ[1])
        & (flatness > LEAST_FLATNESS_DB)
        & (level > loud + LEVEL_DB[0])
        & (level < loud + LEVEL_DB[1])
        & (level > quiet + LEAST_OVER_FLOOR_DB)
    )
    return _runs(ndimage.binary_closing(np.pad(could_be, 2), np.ones(3))[2:-2])


def _periodicity(pieces: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """``[T]``, at most 1: the largest autocorrelation at lags of 2.5 to 20 ms, the shortening of the overlap undone."""
    power = np.abs(np.fft.rfft(pieces, 2 * _CONTEXT, axis=1)) ** 2
    correlation = np.fft.irfft(power, axis=1)[:, :_CONTEXT]
    whole = correlation[:, :1] * (1.0 - np.arange(_CONTEXT) / _CONTEXT) + 1e-12
    largest: npt.NDArray[np.float64] = (correlation / whole)[:, _LAGS].max(axis=1)
    return largest


def _shape(pieces: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """``[T]`` each: the spectrum's centroid in Hz (above 150 Hz), and its flatness in dB (200 to 7000 Hz)."""
    power = np.abs(np.fft.rfft(pieces * np.hanning(_CONTEXT), 1024, axis=1)) ** 2 + 1e-12
    hertz = np.fft.rfftfreq(1024, 1 / SAMPLE_RATE)
    heard, middle = power[:, hertz > 150], power[:, (hertz > 200) & (hertz < 7000)]
    centroid = (heard * hertz[hertz > 150]).sum(axis=1) / heard.sum(axis=1)
    return centroid, 10 * np.log10(np.exp(np.log(middle).mean(axis=1)) / middle.mean(axis=1))


def _runs(could_be: npt.NDArray[np.bool_]) -> Mask:
    """float32 ``[T]``: 1 in the runs of a length that breaths have."""
    labels, count = ndimage.label(could_be)
    lengths = np.bincount(labels, minlength=count + 1)
    fits = (lengths >= FRAMES[0]) & (lengths <= FRAMES[1])
    fits[0] = False
    mask: Mask = fits[labels].astype(np.float32)
    return mask


def _from_file(text: str, sample: Sample) -> str:
    place, parts = Path(sample.locator.path), Path(sample.member).parts
    if sample.locator.kind != "file" or place.parts[-len(parts) :] != parts:
        raise ValueError(
            f"{COLUMN} names the file {text}, which only a data set in a folder can have; write the spans themselves."
        )
    path = Path(*place.parts[: -len(parts)], text)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{COLUMN} names {path}, which cannot be read ({error}).") from None
