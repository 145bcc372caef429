"""What a user can choose about an evaluation, and which of it belongs to the run's identity."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any

from gasdet.errors import UsageError
from gasdet.evaluation.processors import available_cpus
from gasdet.media import MediaLimits
from gasdet.types import Modality

MAX_DEFAULT_WORKERS = 16
DEFAULT_BATCH_SIZES = {Modality.IMAGE: 32, Modality.VIDEO: 4, Modality.AUDIO: 16}
"""As GASBench's: about as much memory for each modality."""

_LIMITS = MediaLimits()


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of an evaluation.

    Those that can change an outcome are part of a run's identity: an unfinished run goes on, and a finished one answers,
    only where they are the same. The others (batch_size, workers, resamples) may change from one session to the next: they
    change no number beyond float rounding, and each session's are recorded. With a ``time_limit_ms`` batch_size belongs to
    the identity too, since a sample is judged by its batch's time divided by the batch's size. ``resamples`` changes
    the intervals, which are then computed anew from the records.

    Attributes:
        device: "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:N".
        dtype: "float32", "float16" or "bfloat16"; None for what the detector's bundle says.
        batch_size: Most samples in a forward pass; None for 32 images, 4 clips or 16 recordings.
        workers: Decode processes; None for one a processor, at most 16.
        decode_timeout: Deadline for reading and decoding one file, in seconds.
        time_limit_ms: Longest time for one sample in the model, in milliseconds: its batch's time divided by the batch's
            size, and of a recording that is scored in windows, its windows' times together; slower ones become errors. Judged
            when the batch is done: a forward pass that hangs is not interrupted.
        part_size: Rows of the plan in a part of the records: what an interruption can cost.
        restart: Throw away what the run's folder holds of another configuration or an earlier start.
        resamples: Bootstrap resamples for the intervals.
        seed: Of the bootstrap, and of models that draw random numbers.
        max_pixels: Most pixels in an image or a frame.
        max_file_bytes: Most bytes in a file.
        max_audio_seconds: Longest recording, in seconds.
    """

    device: str = "auto"
    dtype: str | None = None
    batch_size: int | None = None
    workers: int | None = None
    decode_timeout: float = 30.0
    time_limit_ms: float | None = None
    part_size: int = 256
    restart: bool = False
    resamples: int = 1000
    seed: int = 0
    max_pixels: int = _LIMITS.max_pixels
    max_file_bytes: int = _LIMITS.max_file_bytes
    max_audio_seconds: float = _LIMITS.max_audio_seconds

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        at_least_one = {"batch_size": self.batch_size, "part_size": self.part_size, "workers": self.workers}
        for name, count in at_least_one.items():
            if count is not None and count < 1:
                raise UsageError(f"{name} must be at least 1, not {count}.")
        for name, limit in {"decode_timeout": self.decode_timeout, "time_limit_ms": self.time_limit_ms}.items():
            if limit is not None and not limit > 0:
                raise UsageError(f"{name} must be above 0, not {limit}.")
        if self.resamples < 0:
            raise UsageError(f"resamples must be at least 0, not {self.resamples}.")

    @property
    def limits(self) -> MediaLimits:
        """The decoders' bounds."""
        return MediaLimits(
            max_pixels=self.max_pixels,
            max_file_bytes=self.max_file_bytes,
            max_audio_seconds=self.max_audio_seconds,
        )

    @property
    def worker_count(self) -> int:
        """How many decode processes to start."""
        return self.workers if self.workers is not None else min(MAX_DEFAULT_WORKERS, available_cpus())

    def identity(self, modalities: Collection[Modality] = tuple(Modality)) -> dict[str, Any]:
        """The options that a run's numbers depend on, for detectors of these modalities."""
        # Device and dtype count too, once it is resolved what they mean for a detector.
        free = {"device", "dtype", "batch_size", "workers", "resamples", "restart"}
        found = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in free}
        if self.time_limit_ms is not None:
            found["batch_size"] = self._batch_sizes(modalities)
        return found

    def _batch_sizes(self, modalities: Collection[Modality]) -> dict[str, int]:
        return {modality.value: self.batch_size_for(modality) for modality in Modality if modality in modalities}

    def batch_size_for(self, modality: Modality) -> int:
        """Most samples in a forward pass of a detector of this modality."""
        return self.batch_size if self.batch_size is not None else DEFAULT_BATCH_SIZES[modality]

    def session(self) -> dict[str, Any]:
        """The options that may differ from one session of a run to the next."""
        return {
            "batch_size": self._batch_sizes(tuple(Modality)),
            "workers": self.worker_count,
            "resamples": self.resamples,
        }


def resolve_device(choice: str) -> str:
    """The device that "auto" means here, or the one named, checked.

    Raises:
        UsageError: There is no such device.
    """
    import torch

    if choice == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(choice)
    except RuntimeError:
        raise UsageError(f"There is no device {choice!r}; choose auto, cpu, cuda or cuda:N.") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"Device {choice!r} is not supported; choose auto, cpu, cuda or cuda:N.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"Device {choice!r} is not there: torch sees {torch.cuda.device_count()} CUDA devices.")
    return choice
