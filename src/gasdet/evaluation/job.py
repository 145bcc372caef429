"""One batch of samples on its way through the decode processes: what is still to do, and which results wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from queue import SimpleQueue

from gasdet.evaluation.processes import Task
from gasdet.media import Decoded, MediaLimits
from gasdet.types import Modality, Preprocessing, Reason, Sample

MAX_AHEAD_BYTES = 256 * 1024 * 1024
"""How much decoded data may wait for the model, in bytes."""

MAX_AHEAD = 1024
"""How many samples may be decoded ahead of the next one in order."""


_GROWTH = 8
"""How much larger a decoded recording may well be than its file, of which nothing else is known yet."""


@dataclass(frozen=True, slots=True)
class DecodeResult:
    """What became of one sample: its array, or the reason why there is none.

    Attributes:
        index: Position in the samples given to :meth:`DecodePool.run`.
        decoded: The array and what is known of the source; None where decoding failed.
        reason: None where decoding succeeded.
        message: Why it failed, one line.
        decode_ms: Time for reading and decoding in the decode process, in milliseconds; with a decode cache, for looking there
            and keeping the result too.
        cached: With a decode cache: ``hit`` (taken from it), ``stored`` (decoded, and kept), or why not; else empty.
    """

    index: int
    decoded: Decoded | None
    reason: Reason | None
    message: str
    decode_ms: float
    cached: str = ""


class Job:
    """One call of :meth:`DecodePool.run`: which samples are still to be handed out, and which results wait."""

    def __init__(self, samples: Sequence[Sample], preprocessing: Preprocessing, cache_key: str = "") -> None:
        self.samples = samples
        self.preprocessing = preprocessing
        self.cache_key = cache_key
        self.handed_out = 0
        self.returned: deque[Task] = deque()  # given to a process that ended before it came to them
        self.results: dict[int, DecodeResult] = {}
        self.news: SimpleQueue[None] = SimpleQueue()  # an entry when the result at the head, or the end, has come
        self.head = 0  # the next result to be taken
        self.waiting_bytes = 0
        self.largest = _expected_bytes(samples, preprocessing)
        self.starved = False  # a process has room, and the bounds forbid to fill it
        self.closed = False

    def next_task(self, in_flight: int) -> Task | None:
        """The next sample to decode, in order; None where there is none or the bounds forbid it."""
        if self.returned:
            return self.returned.popleft()
        index = self.handed_out
        if index >= len(self.samples):
            return None
        expected = self.waiting_bytes + (in_flight + 1) * self.largest
        if index > self.head and (index - self.head >= MAX_AHEAD or expected > MAX_AHEAD_BYTES):
            self.starved = True
            return None
        self.handed_out += 1
        return Task(self, index, self.samples[index].locator)

    def store(self, result: DecodeResult) -> None:
        """Keep a result until it is taken."""
        self.results[result.index] = result
        if result.decoded is not None:
            self.waiting_bytes += result.decoded.array.nbytes
            self.largest = max(self.largest, result.decoded.array.nbytes)

    def take(self, index: int) -> DecodeResult:
        """Hand over the result at the head."""
        result = self.results.pop(index)
        self.head = index + 1
        if result.decoded is not None:
            self.waiting_bytes -= result.decoded.array.nbytes
        return result


def _expected_bytes(samples: Sequence[Sample], preprocessing: Preprocessing) -> int:
    """What the largest array may take, where the files' sizes have to tell before the first is there: whole recordings."""
    if preprocessing.modality is not Modality.AUDIO or preprocessing.num_samples:
        return 0
    longest = int(4 * preprocessing.sample_rate * MediaLimits().max_audio_seconds)
    return min(longest, _GROWTH * max((sample.locator.size for sample in samples), default=0))
