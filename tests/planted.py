"""Data sets with one planted shortcut each: what an audit must find and an equalisation must take away.

The content of every file is drawn from its own seed, from one distribution for both classes: nothing but the shortcut tells
them apart. Pictures and clips are scenes without a scale (a coarse random pattern drawn at the size that is asked), clips
move by the second and not by the frame, and recordings hold nothing beyond 6 kHz but a noise floor: so content stays
exchangeable once size, frame rate or sample rate have been made equal. How busy a scene is, how fast it moves and how loud a
recording is differ widely from file to file, as in real data, so that file size and loudness tell little.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gasdet.types import Modality

Array = np.ndarray[Any, Any]

CLASSES = ("real", "synthetic")

SPEECH_TOP = 6000
"""Highest frequency of recordings in Hz, below the bandwidth of the standard profile."""

SHORTCUTS: dict[str, Modality] = {
    "none_image": Modality.IMAGE,
    "format": Modality.IMAGE,
    "size": Modality.IMAGE,
    "quality": Modality.IMAGE,
    "exif": Modality.IMAGE,
    "none_video": Modality.VIDEO,
    "frame_rate": Modality.VIDEO,
    "none_audio": Modality.AUDIO,
    "sample_rate": Modality.AUDIO,
    "silence": Modality.AUDIO,
}
"""Every shortcut that can be planted, and the modality of its files; ``none_*`` plants none."""

NAMED: dict[str, frozenset[str]] = {
    "format": frozenset({"container", "codec", "extension"}),
    "size": frozenset({"width", "height", "megapixels"}),
    "quality": frozenset({"jpeg_tables", "jpeg_quality"}),
    "exif": frozenset({"exif"}),
    "frame_rate": frozenset({"frame_rate"}),
    "sample_rate": frozenset({"sample_rate"}),
    "silence": frozenset({"leading_silence"}),
}
"""What an audit should name first: names from ``PROPERTIES``, any where several are one and the same thing. What merely
follows from the shortcut (the bit rate from the sample rate) comes later in ``PROPERTIES``, so that a tie names the cause.
"""


def planted(folder: Path, shortcut: str, count: int, seed: int, *, top: int = SPEECH_TOP) -> Path:
    """Write ``folder/real/*`` and ``folder/synthetic/*``.

    Args:
        folder: Where to; made where absent, emptied of a former ``real`` and ``synthetic``.
        shortcut: One of ``SHORTCUTS``.
        count: Files of each class.
        seed: The same seed gives the same content, file for file, on every call.
        top: Highest frequency of recordings, in Hz.

    Returns:
        ``folder``, which ``gasdet`` reads as a data set.
    """
    modality = SHORTCUTS[shortcut]
    write = partial(_write_recording, top=top) if modality is Modality.AUDIO else _WRITERS[modality]
    for label, name in enumerate(CLASSES):
        target = folder / name
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for index in range(count):
            rng = np.random.default_rng([seed, label, index])
            write(target / f"{index:05d}", rng, shortcut, bool(label))
    return folder


def scene(rng: np.random.Generator, height: int, width: int) -> Array:
    """A colourful pattern without a scale, uint8 ``[height, width, 3]``: the same picture at any size.

    Between 3 and 40 cells to an edge, evenly on a logarithmic scale.
    """
    import cv2

    cells = round(float(np.exp(rng.uniform(np.log(3), np.log(40)))))
    contrast = rng.uniform(0.3, 1.0)
    coarse = 128 + contrast * rng.uniform(-128, 128, (cells, cells, 3))
    drawn = cv2.resize(coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(np.rint(drawn), 0, 255).astype(np.uint8)


def _write_image(stem: Path, rng: np.random.Generator, shortcut: str, synthetic: bool) -> None:
    from PIL import Image

    side = 320 if shortcut == "size" and synthetic else 256
    image = Image.fromarray(scene(rng, side, side))
    if shortcut == "format" and synthetic:
        image.save(stem.with_suffix(".png"))
        return
    options: dict[str, Any] = {"quality": 75 if shortcut == "quality" and synthetic else 90}
    if shortcut == "exif" and not synthetic:
        exif = Image.Exif()
        exif[0x010F], exif[0x0110] = "Planted", "Camera 1"
        options["exif"] = exif
    image.save(stem.with_suffix(".jpg"), **options)


def _write_clip(stem: Path, rng: np.random.Generator, shortcut: str, synthetic: bool) -> None:
    """One to 1.8 seconds of a scene that drifts, 160 x 120."""
    import av
    import cv2

    rate = 30 if shortcut == "frame_rate" and synthetic else 24
    height, width = 120, 160
    canvas = scene(rng, 2 * height, 2 * width)
    seconds = rng.uniform(1.0, 1.8)
    speed = rng.uniform(5, 30) * np.exp(1j * rng.uniform(0, 2 * np.pi))  # pixels a second
    with av.open(stem.with_suffix(".mp4"), "w") as output:
        stream = output.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        for index in range(round(seconds * rate)):
            moved = speed * index / rate
            centre = (width + moved.real, height + moved.imag)
            pixels = cv2.getRectSubPix(canvas, (width, height), centre)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        output.mux(stream.encode())


def _write_recording(
    stem: Path, rng: np.random.Generator, shortcut: str, synthetic: bool, top: int = SPEECH_TOP
) -> None:
    import soundfile

    rate = 24000 if shortcut == "sample_rate" and synthetic else 16000
    samples = babble(rng, rate, rng.uniform(2.0, 4.0), top)
    before = rng.uniform(0.0, 0.02)
    if shortcut == "silence" and synthetic:
        before += rng.uniform(0.26, 0.4)
    samples = np.concatenate([np.zeros(round(before * rate)), samples])
    floor = 10 ** (rng.uniform(-84, -76) / 20)
    samples = samples + floor * rng.standard_normal(len(samples))
    soundfile.write(stem.with_suffix(".wav"), samples, rate, subtype="PCM_16")


def babble(rng: np.random.Generator, rate: int, seconds: float, top: int = SPEECH_TOP) -> Array:
    """Something like speech, float64 ``[n]``: noise of up to ``top`` Hz in syllables, with pauses of a quarter of the time.

    Drawn in the frequency domain: the same sound at any sample rate. It starts and ends loud.
    """
    count = round(seconds * rate)
    lines = round(top * seconds)
    hertz = np.arange(1, lines + 1) / seconds
    tilt = rng.uniform(-1.5, -0.5)
    formant = np.exp(-(((hertz - rng.uniform(400, 1500)) / rng.uniform(300, 800)) ** 2))
    shape = (hertz / 200 + 1) ** tilt * (0.2 + formant)
    spectrum = np.zeros(count // 2 + 1, complex)
    spectrum[1 : lines + 1] = shape * (rng.standard_normal(lines) + 1j * rng.standard_normal(lines))
    noise = np.fft.irfft(spectrum, count)
    syllables = max(4, round(seconds * rng.uniform(3.5, 5)))
    loud = rng.uniform(0.3, 1.0, syllables)
    inner = rng.permutation(np.arange(1, syllables - 1))
    loud[inner[: round(syllables / 4)]] = 0
    edges = max(1, rate // 100)  # 10 ms from one level to the next
    steps = np.repeat(loud, -(-count // syllables))[:count]
    envelope = np.convolve(np.pad(steps, edges, mode="edge"), np.hanning(edges) / np.hanning(edges).sum(), "same")
    sound = noise * envelope[edges : edges + count]
    fade = np.sin(np.linspace(0, np.pi / 2, edges)) ** 2  # a step would sound at all frequencies
    sound[:edges] *= fade
    sound[-edges:] *= fade[::-1]
    peak: float = np.abs(sound).max()
    level = 10 ** (rng.uniform(-14, -2) / 20)
    return np.asarray(sound / peak * level)


_WRITERS: dict[Modality, Callable[[Path, np.random.Generator, str, bool], None]] = {
    Modality.IMAGE: _write_image,
    Modality.VIDEO: _write_clip,
}
