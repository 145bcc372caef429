"""What a preprocessor is held to: the core's decoders, and what plugins bring to find a part of a picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from gasdet.errors import GasdetError, MediaError, PluginError
from gasdet.media import Decoded, decode
from gasdet.registry import PluginInfo, load_target
from gasdet.testing.plugins import add_plugin_checks
from gasdet.testing.samples import encoded, garbage
from gasdet.testing.suite import Failed, NotApplicable, Suite
from gasdet.types import ComponentSpec, Modality, Preprocessing

Frames = npt.NDArray[np.uint8]

SUITE: Suite[PreprocessorSubject] = Suite("preprocessor")
add_plugin_checks(SUITE)


@dataclass(frozen=True, slots=True)
class PreprocessorSubject:
    """A preprocessor under test."""

    spec: ComponentSpec
    plugin: PluginInfo | None = None

    @property
    def function(self) -> Callable[..., Any]:
        """It with its default options."""
        return partial(load_target(self.spec.target), **self.spec.options)

    @property
    def decodes(self) -> bool:
        """Whether it is one of the core's decoders; all others find regions."""
        return load_target(self.spec.target) is decode

    @property
    def preprocessing(self) -> Preprocessing:
        """The decoder's default preprocessing."""
        return Preprocessing(Modality(self.spec.name))

    def decoded(self, source: bytes) -> Decoded:
        """A source decoded by it."""
        found = self.function(source, self.preprocessing)
        if not isinstance(found, Decoded):
            raise Failed(f"It returns a {type(found).__name__}, not a gasdet.media.Decoded.")
        return found

    def boxes(self, frames: Frames) -> list[Any]:
        """The regions that it finds; the frames are not to be written to."""
        given = frames.copy()
        given.flags.writeable = False
        return list(self.function(given))


def _frames(seed: int = 0, count: int = 3, height: int = 96, width: int = 128) -> Frames:
    """Pictures with a bright disc in another place each, so that whatever is looked for may be there or not."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    frames = rng.integers(0, 90, (count, height, width, 3), dtype=np.uint8)
    for frame in frames:
        y, x = rng.integers(height // 4, 3 * height // 4 + 1), rng.integers(width // 4, 3 * width // 4 + 1)
        frame[(rows - y) ** 2 + (columns - x) ** 2 < (height // 6) ** 2] = (230, 190, 160)
    return frames


@SUITE.check(
    "imports",
    "its target imports, and it is ready: called with no frames it finds none",
    "write def find(frames, **options), uint8 [T, H, W, 3] to T boxes or None; raise a gasdet.GasdetError that says what to "
    "install.",
)
def _imports(subject: PreprocessorSubject) -> str:
    if subject.decodes:
        return "one of the core's decoders"
    try:
        found = subject.boxes(np.empty((0, 1, 1, 3), np.uint8))
    except PluginError:
        raise
    except GasdetError as lacking:  # as it should where a package is absent: nothing more can be said of it here
        raise NotApplicable(str(lacking).rstrip(".")) from None
    if found:
        raise Failed(f"Without a frame it gives {found!r}, and a preprocessor of a plugin finds regions.")
    return "finds regions"


@SUITE.check(
    "shape",
    "it returns what a model can take: an array of the stated shape, or one box or None for each frame",
    "return a sequence as long as there are frames; a decoder's array has the size that its preprocessing asks for.",
)
def _shape(subject: PreprocessorSubject) -> str:
    if subject.decodes:
        keys = subject.preprocessing
        array = subject.decoded(encoded(keys.modality)).array
        expected = {
            Modality.IMAGE: (3, *keys.resize),
            Modality.VIDEO: (keys.num_frames, 3, *keys.resize),
            Modality.AUDIO: (keys.num_samples,),
        }[keys.modality]
        if array.shape != expected:
            raise Failed(f"It gives an array {list(array.shape)} instead of {list(expected)}.")
        return f"{array.dtype} {list(array.shape)}"
    for count in (1, 2, 3):
        found = subject.boxes(_frames(count=count))
        if len(found) != count:
            raise Failed(f"It gives {len(found)} answers for {count} frames.")
    return "one answer a frame"


@SUITE.check(
    "range",
    "its values are in range: pixels uint8, samples float32 in [-1, 1], boxes finite, not empty, and touching their frame",
    "clip what you compute; (x0, y0, x1, y1) in pixels, x0 < x1 and y0 < y1.",
)
def _range(subject: PreprocessorSubject) -> None:
    if subject.decodes:
        array = subject.decoded(encoded(subject.preprocessing.modality)).array
        audio = subject.preprocessing.modality is Modality.AUDIO
        good = array.dtype == (np.float32 if audio else np.uint8) and array.flags.c_contiguous
        if not good or (audio and not float(np.abs(array).max()) <= 1.0):
            raise Failed(f"It gives {array.dtype} from {array.min()} to {array.max()}.")
        return
    for seed in range(4):
        frames = _frames(seed)
        height, width = frames.shape[1:3]
        for box in subject.boxes(frames):
            if box is not None and not _is_box(box, height, width):
                raise Failed(f"It gives {box!r} for a frame of {width} x {height} pixels.")


def _is_box(box: Any, height: int, width: int) -> bool:
    try:
        x0, y0, x1, y1 = map(float, box)
    except (TypeError, ValueError):
        return False
    return all(map(math.isfinite, (x0, y0, x1, y1))) and x0 < min(x1, width) and y0 < min(y1, height) and x1 > 0 < y1


@SUITE.check(
    "deterministic",
    "the same input gives the same answer, whatever came before",
    "keep nothing between calls, and seed what is random by the content.",
)
def _deterministic(subject: PreprocessorSubject) -> None:
    if subject.decodes:
        source = encoded(subject.preprocessing.modality)
        first = subject.decoded(source)
        subject.decoded(encoded(subject.preprocessing.modality, seed=1))
        if not np.array_equal(first.array, subject.decoded(source).array):
            raise Failed("The same bytes give another array the second time.")
        return
    first_boxes = _plain(subject.boxes(_frames(0)))
    subject.boxes(_frames(1))
    if _plain(subject.boxes(_frames(0))) != first_boxes:
        raise Failed("The same frames give other boxes the second time.")


def _plain(boxes: Sequence[Any]) -> list[Any]:
    return [None if box is None else tuple(float(v) for v in box) for box in boxes]


@SUITE.check(
    "each-frame-alone",
    "a frame's answer does not depend on the frames beside it",
    "look at one frame at a time: the core asks for one after the other.",
)
def _frames_alone(subject: PreprocessorSubject) -> None:
    if subject.decodes:
        raise NotApplicable("it decodes files")
    frames = _frames(2)
    together = _plain(subject.boxes(frames))
    alone = [_plain(subject.boxes(frames[i : i + 1]))[0] for i in range(len(frames))]
    if together != alone:
        raise Failed(f"Together the frames give {together}, alone {alone}.")


@SUITE.check(
    "sizes",
    "it takes frames of any size, from one pixel up",
    "return None where a frame is too small to hold what is looked for.",
)
def _sizes(subject: PreprocessorSubject) -> None:
    if subject.decodes:
        raise NotApplicable("it decodes files")
    for height, width in ((1, 1), (2, 300), (17, 5), (480, 640)):
        boxes = subject.boxes(_frames(3, count=1, height=height, width=width))
        if len(boxes) != 1 or (boxes[0] is not None and not _is_box(boxes[0], height, width)):
            raise Failed(f"It gives {boxes!r} for one frame of {width} x {height} pixels.")


@SUITE.check(
    "clear-errors",
    "input that is none raises an error with a reason code, or at least of gasdet, and no other",
    "raise gasdet.media's MediaError with a Reason.",
)
def _clear_errors(subject: PreprocessorSubject) -> str:
    if not subject.decodes:
        raise NotApplicable("the core hands it whole frames only")
    reasons = []
    for name, content in garbage(subject.preprocessing.modality).items():
        try:
            subject.decoded(content)
        except MediaError as error:
            reasons.append(f"{name}: {error.reason}")
        except GasdetError as error:
            raise Failed(f"For {name} it raises {type(error).__name__}, which has no reason code.") from None
        else:
            raise Failed(f"It decodes {name}.")
    return ", ".join(reasons)
