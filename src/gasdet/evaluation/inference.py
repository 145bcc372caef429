"""Arrays to scores: one detector, one batch at a time, each sample with its own outcome whatever the model does."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from gasdet.errors import MetricError, OutputError, RunError
from gasdet.evaluation.allocation import MemoryKeeper
from gasdet.evaluation.calibration import calibrator_of
from gasdet.evaluation.text import error_line
from gasdet.types import Reason

if TYPE_CHECKING:
    from gasdet.bundle import Detector

Array = npt.NDArray[Any]

_How = Literal["together", "apart", "never"]
"""Whether side outputs are had in the pass that gives the score, in one of their own, or not at all."""

_OTHER_LOGITS = "the model's details are left out: with them it gives other logits than without"


@dataclass(frozen=True, slots=True)
class Score:
    """One sample's outcome.

    Attributes:
        reason: None where the model gave a score.
        message: Why it gave none, one line.
        logit_real: The model's first logit.
        logit_synthetic: Its second; of three classes, logsumexp of the two synthetic ones, so that the softmax over the
            pair is the probability.
        p_raw: Softmax of that pair in float64.
        p_synthetic: The same after the detector's calibrator; equal to ``p_raw`` where it has none.
        inference_ms: Time of the forward pass that it was in, divided by that pass's samples, in milliseconds.
        batch_size: How many samples were in that pass.
        details: The model's side outputs for this sample, arrays by name, where the scorer takes them; and ``windows`` of a
            recording that was scored in windows.
        notes: What is to be said of them.
    """

    reason: Reason | None
    message: str
    logit_real: float | None
    logit_synthetic: float | None
    p_raw: float | None
    p_synthetic: float | None
    inference_ms: float | None
    batch_size: int
    details: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Scorer:
    """Runs a detector over batches.

    Out of memory halves the batch, for good; a model that raises, or gives no logits, is narrowed down to the samples
    concerned by halving. After a failure on a CUDA device the device itself is tried: one that is lost ends the run, since it
    would fail every later sample.

    Before the first batch of each shape one sample is run once, untimed, so that what a library does once counts for no
    sample. torch's random state is set before every pass from the run's seed and the batch's key, and restored after it: a
    model that draws random numbers repeats itself after an interruption.

    Side outputs neither cost nor change a score: the logits are those of ``forward`` on the same batch. A model whose pass with
    side outputs gives the very same logits, bit for bit (seen on the first sample of each shape), runs once; one that gives
    them but for rounding runs twice; of one that gives others, the side outputs are left out with a note, as they are of a
    sample whose pass with them fails alone.

    Args:
        detector: On its device already.
        time_limit_ms: Longest time for one sample; slower ones become errors. None for no limit.
        seed: Of the run.
        details: Take the side outputs of a model that has any.
    """

    def __init__(
        self, detector: Detector, *, time_limit_ms: float | None = None, seed: int = 0, details: bool = False
    ) -> None:
        self.detector = detector
        self._memory = MemoryKeeper()
        self._details = details and detector.has_details
        self._how: dict[tuple[int, ...], _How] = {}  # how side outputs of a shape are had
        self.time_limit_ms = time_limit_ms
        self._seed = seed
        self._most: dict[tuple[int, ...], int] = {}  # samples of a shape that fit into memory together
        self._most_detailed: dict[tuple[int, ...], int] = {}  # the same where there are side outputs
        self._warm: set[tuple[int, ...]] = set()
        self._calibrator: Any = None if detector.calibrator is None else calibrator_of(detector.calibrator)

    def score(self, batch: Array, key: int) -> list[Score]:
        """Score a batch.

        Args:
            batch: [B, ...] as decoded.
            key: Identifies the batch within the run, e.g. the plan's row of its first sample.

        Returns:
            One outcome for each sample, in order.

        Raises:
            RunError: The device works no more.
        """
        self._memory.passed(batch.nbytes)
        shape = batch.shape[1:]
        if shape not in self._warm or (self._details and shape not in self._how):
            self._warm_up(batch[:1], key)
        scores: list[Score] = []
        waiting = [(0, len(batch))]
        while waiting:
            start, stop = waiting.pop()
            count = stop - start
            most = self._most.get(shape, count)
            if count > most:
                waiting += [(start + most, stop), (start, start + most)]
                continue
            answer = self._answer(batch[start:stop], key + start)
            if isinstance(answer, _Failure) and count > 1:
                if answer.reason is Reason.OUT_OF_MEMORY:
                    self._most[shape] = count // 2
                middle = start + count // 2
                waiting += [(middle, stop), (start, middle)]
                continue
            if isinstance(answer, _Failure):
                scores.append(Score(answer.reason, answer.message, None, None, None, None, answer.inference_ms, 1))
            else:
                scores += self._judge(answer)
        return scores

    def rehearse(self, one: Array) -> Mapping[str, Array] | None:
        """Do for a sample's shape what is done before its first batch, and say which side outputs the model gave.

        Args:
            one: [1, ...], e.g. noise.

        Returns:
            Side outputs by name, each [1, ...]; None where the model failed on it, which says nothing of others.
        """
        found = self._warm_up(one, 0)
        return None if isinstance(found, _Failure) else found.details[0]

    def _warm_up(self, one: Array, key: int) -> _Answer | _Failure:
        """Run one sample, untimed, and see how the pass with side outputs compares with the one without."""
        shape = one.shape[1:]
        self._warm.add(shape)
        plain = self._attempt(one, key, details=False)
        if not self._details:
            return plain
        detailed = self._attempt(one, key, details=True)
        if isinstance(plain, _Answer) and isinstance(detailed, _Answer):
            if not self._agree(plain.logits, detailed.logits):
                self._how[shape] = "never"
            else:
                same = np.array_equal(plain.logits, detailed.logits, equal_nan=True)
                self._how[shape] = "together" if same else "apart"
        return detailed

    def _agree(self, plain: Array, detailed: Array) -> bool:
        tolerance = 1e-3 if self.detector.dtype == "float32" else 5e-2
        return np.allclose(plain, detailed, rtol=tolerance, atol=tolerance, equal_nan=True)

    def _answer(self, batch: Array, key: int) -> _Answer | _Failure:
        """The logits of ``forward`` on exactly this batch, with side outputs where there are any."""
        shape, count = batch.shape[1:], len(batch)
        how = self._how.get(shape, "apart") if self._details else "never"
        if how == "together" and count <= self._most_detailed.get(shape, count):
            answer = self._attempt(batch, key, details=True)
            if isinstance(answer, _Answer):
                return answer
        plain = self._attempt(batch, key, details=False)
        if isinstance(plain, _Failure) or not self._details:
            return plain
        if how == "never":
            return replace(plain, notes=[(_OTHER_LOGITS,)] * count)
        found = self._details_apart(batch, key, plain.logits)
        return replace(plain, details=[details for details, _ in found], notes=[notes for _, notes in found])

    def _details_apart(
        self, batch: Array, key: int, logits: Array
    ) -> list[tuple[Mapping[str, Array], tuple[str, ...]]]:
        """Each sample's side outputs and notes, in passes of their own, of which each may be as small as it must."""
        shape = batch.shape[1:]
        found: list[tuple[Mapping[str, Array], tuple[str, ...]]] = []
        waiting = [(0, len(batch))]
        while waiting:
            start, stop = waiting.pop()
            count = stop - start
            most = self._most_detailed.get(shape, count)
            if count > most:
                waiting += [(start + most, stop), (start, start + most)]
                continue
            answer = self._attempt(batch[start:stop], key + start, details=True)
            if isinstance(answer, _Failure) and count > 1:
                if answer.reason is Reason.OUT_OF_MEMORY:
                    self._most_detailed[shape] = count // 2
                middle = start + count // 2
                waiting += [(middle, stop), (start, middle)]
            elif isinstance(answer, _Failure):
                found.append(({}, (f"the model's details are left out: {answer.message}",)))
            elif self._agree(logits[start:stop], answer.logits):
                found += zip(answer.details, answer.notes, strict=True)
            else:
                found += [({}, (_OTHER_LOGITS,))] * count
        return found

    def _attempt(self, batch: Array, key: int, *, details: bool) -> _Answer | _Failure:
        """Logits [B, classes] and the time for one sample, or what went wrong."""
        import torch

        device = torch.device(self.detector.device)
        cuda = [device.index or 0] if device.type == "cuda" else []
        count, start = len(batch), time.perf_counter()
        try:
            with torch.random.fork_rng(devices=cuda):
                self._seed_generators(key, cuda)
                logits, found, notes = self._forward(batch, details)
        except (Exception, SystemExit) as error:  # a model may raise anything; it costs the samples that it raises for
            failure = _Failure(_reason(error), error_line(error), (time.perf_counter() - start) * 1000 / count)
        else:
            elapsed = (time.perf_counter() - start) * 1000 / count
            if logits.shape in ((count, 2), (count, 3)):
                each = [{name: values[index] for name, values in found.items()} for index in range(count)]
                return _Answer(logits, elapsed, each, [notes] * count)
            said = f"logits of shape {list(logits.shape)} for a batch of {count}"
            return _Failure(Reason.BAD_OUTPUT, said, elapsed)
        if failure.reason is Reason.OUT_OF_MEMORY:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()  # only now: while the error was being handled, its frames held the memory
        elif device.type == "cuda" and not device_works(self.detector.device):
            raise RunError(
                f"The device {self.detector.device} is lost since {self.detector.name} failed on it ({failure.message}); "
                "run the same command again in a new process, and an evaluation goes on from its finished parts."
            )
        return failure

    def _forward(self, batch: Array, details: bool) -> tuple[Array, Mapping[str, Array], tuple[str, ...]]:
        if details:
            logits, found = self.detector.logits_with_details(batch)
            return np.asarray(logits), found, found.notes
        return np.asarray(self.detector.logits(batch)), {}, ()

    def _seed_generators(self, key: int, cuda: list[int]) -> None:
        """Seed the device's generators. Not torch.manual_seed, which without CUDA keeps a stack trace of every call."""
        import torch

        value = (self._seed * 1_000_003 + key) % 2**63
        torch.default_generator.manual_seed(value)
        for index in cuda:
            torch.cuda.default_generators[index].manual_seed(value)

    def _judge(self, answer: _Answer) -> list[Score]:
        count, elapsed = len(answer.logits), answer.inference_ms
        if self.time_limit_ms is not None and elapsed > self.time_limit_ms:
            said = f"{elapsed:.1f} ms a sample, over the limit of {self.time_limit_ms:g} ms"
            return [Score(Reason.TIME_LIMIT, said, None, None, None, None, elapsed, count)] * count
        scores = []
        for index, row in enumerate(answer.logits.astype(np.float64)):
            if not np.isfinite(row).all():
                said = f"logits ({', '.join(f'{v:g}' for v in row)})"
                scores.append(Score(Reason.NONFINITE_LOGITS, said, None, None, None, None, elapsed, count))
                continue
            real, synthetic = fold(row)
            raw = probability(real, synthetic)
            calibrated = self.calibrated(real, synthetic)
            beside = answer.details[index], answer.notes[index]
            scores.append(Score(None, "", real, synthetic, raw, calibrated, elapsed, count, *beside))
        return scores

    def calibrated(self, real: float, synthetic: float) -> float:
        """P(synthetic) of a pair of logits after the detector's calibrator, or as the logits say where it has none.

        The calibrator sees each sample by itself: batches cannot matter.

        Raises:
            MetricError: The calibrator turns them into something that is no pair of finite logits.
        """
        if self._calibrator is None:
            return probability(real, synthetic)
        pair = np.asarray(self._calibrator.apply(np.array([[real, synthetic]])), dtype=np.float64)
        if pair.shape != (1, 2) or not np.isfinite(pair).all():
            raise MetricError(
                f"The calibrator of {self.detector.name} turns the logits ({real:g}, {synthetic:g}) into {pair.tolist()}; "
                "leave it out with --no-calibrator, or calibrate with another method."
            )
        return probability(float(pair[0, 0]), float(pair[0, 1]))


def device_works(device: str) -> bool:
    """Whether a CUDA device still computes. After some errors of a kernel nothing does in this process, and all work fails."""
    import torch

    try:
        torch.ones(1, device=device).add_(1)
        torch.cuda.synchronize(device)
    except Exception as error:
        return is_out_of_memory(error)  # full is not lost
    return True


def placed(detector: Detector, device: str, dtype: str | None) -> Detector:
    """The detector, moved to a device (in place) and converted to a dtype (None keeps its own).

    Raises:
        RunError: Its weights do not fit into the device's memory.
        UsageError: There is no such device or dtype.
    """
    try:
        return detector.to(device, dtype)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise RunError(f"{detector.name} does not fit into the memory of {device}; try --dtype or --device.") from error


@dataclass(frozen=True, slots=True)
class _Answer:
    logits: Array  # [B, classes]
    inference_ms: float
    details: Sequence[Mapping[str, Array]]  # of each sample
    notes: Sequence[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Failure:
    reason: Reason
    message: str
    inference_ms: float


def fold(logits: Array) -> tuple[float, float]:
    """Two or three logits, (real, synthetic[, semisynthetic]), as the pair (real, synthetic) with the same P(synthetic)."""
    real, *synthetic = (float(v) for v in logits)
    highest = max(synthetic)
    return real, highest + math.log(math.fsum(math.exp(v - highest) for v in synthetic))


def probability(logit_real: float, logit_synthetic: float) -> float:
    """P(synthetic): the softmax over the pair, without overflow."""
    difference = logit_real - logit_synthetic
    if difference > 0:
        small = math.exp(-difference)
        return small / (1.0 + small)
    return 1.0 / (1.0 + math.exp(difference))


_OUT_OF_MEMORY = (
    "out of memory",
    "DefaultCPUAllocator",
    "not enough memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory was lacking, of whatever device. A bundle may have wrapped the one that tells."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            return True
        if isinstance(cause, RuntimeError) and any(words in str(cause) for words in _OUT_OF_MEMORY):
            return True
        cause = cause.__cause__
    return False


def _reason(error: BaseException) -> Reason:
    """What an exception of a model means."""
    if is_out_of_memory(error):
        return Reason.OUT_OF_MEMORY
    return Reason.BAD_OUTPUT if isinstance(error, OutputError) else Reason.MODEL_ERROR
