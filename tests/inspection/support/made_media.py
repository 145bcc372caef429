"""Pictures and clips whose content is drawn from a seed, written with known encodings."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]


def scene(seed: int, width: int = 320, height: int = 240, shift: float = 0.0) -> Pixels:
    """Random blobs with edges, uint8 ``[H, W, 3]``; ``shift`` moves the view over them, 1 by the scene's width."""
    canvas = _canvas(seed)
    across = np.linspace(0, 639, width, dtype=np.float32) + 640 * shift
    at_x, at_y = np.meshgrid(across, np.linspace(0, canvas.shape[0] - 1, height, dtype=np.float32))
    return cv2.remap(canvas, at_x, at_y, cv2.INTER_LINEAR)


@cache
def _canvas(seed: int) -> Pixels:
    rng = np.random.default_rng(seed)
    canvas = cv2.resize(rng.uniform(40, 200, (6, 16, 3)).astype(np.float32), (1280, 480), interpolation=cv2.INTER_CUBIC)
    for _ in range(120):
        centre = int(rng.integers(0, 1280)), int(rng.integers(0, 480))
        axes = int(rng.integers(8, 70)), int(rng.integers(8, 70))
        cv2.ellipse(canvas, centre, axes, float(rng.uniform(0, 180)), 0, 360, rng.uniform(0, 255, 3).tolist(), -1)
    return np.clip(canvas, 0, 230).astype(np.uint8)


def write_picture(path: Path, pixels: Pixels, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def write_clip(
    path: Path, seed: int, *, seconds: float = 3.0, fps: int = 10, size: tuple[int, int] = (192, 144), begin: float = 0.0,
    codec: str = "libx264", crf: int = 20, first: Pixels | None = None,
) -> Path:  # fmt: skip
    """A clip of a scene that wanders by a third of itself in three seconds; ``first`` is shown in its first second instead."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        if codec == "libx264":
            stream.options = {"crf": str(crf), "g": "10"}
        for number in range(round(seconds * fps)):
            time = begin + number / fps
            pixels = scene(seed, *size, shift=time / 9)
            if first is not None and time - begin < 1:
                pixels = cv2.resize(first, size)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def remux(source: Path, target: Path) -> Path:
    """The same coded frames in another container."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(old.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    return target


def frames_of(path: Path) -> Iterator[Pixels]:
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")
