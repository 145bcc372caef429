"""A detector that is loaded and ready to run, whether it came from a plugin or from a bundle."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from gasdet.bundle.calibration import CalibratorFile
from gasdet.bundle.config import DTYPES
from gasdet.bundle.details import Details, details_of, split_output
from gasdet.bundle.outputs import logits_of
from gasdet.bundle.safefile import sha256_of
from gasdet.errors import BundleError, UsageError, first_line
from gasdet.types import Modality, Preprocessing


@dataclass(frozen=True, slots=True)
class WeightsInfo:
    """The weights that a detector runs with.

    Attributes:
        name: "demo", the name of a release, or a file's name.
        kind: "demo", "release", "file" (a user's own) or "bundle".
        path: The file; of a delta, the completed file.
        sha256: Of that file.
        licence: Of the weights; empty where unknown.
        source: Where it came from, as the plugin or the user wrote it.
        given: The delta file that it was completed from; None where it was none.
        base: Source and sha256 of the file that the delta is a change of.
    """

    name: str
    kind: str
    path: Path
    sha256: str
    licence: str = ""
    source: str = ""
    given: Path | None = None
    base: Mapping[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """The file beside which calibrator and training record lie: the delta file, where there is one."""
        return self.given or self.path

    def to_mapping(self) -> dict[str, Any]:
        """For run.json."""
        told = {
            "name": self.name,
            "kind": self.kind,
            "path": str(self.home.absolute()),  # a record is read from other folders too
            "sha256": self.sha256,
            "licence": self.licence,
            "source": self.source,
        }
        if self.given is None:
            return told
        return {**told, "delta": {"sha256": sha256_of(self.given), "base": dict(self.base)}}


@dataclass(slots=True)
class Detector:
    """A loaded detector.

    Attributes:
        name: Its name in records and tables.
        modality: What it takes.
        preprocessing: What turns a decoded file into one row of its input.
        module: The model, in eval mode; on the CPU in `dtype` until moved with `to`.
        num_classes: 2 (real, synthetic) or 3 (real, synthetic, semisynthetic).
        dtype: Of the module's floating-point tensors: "float32", "float16" or "bfloat16".
        input_dtype: What ``forward`` is handed, whatever `dtype` is: "float32" or "uint8" (pixels only).
        weights: The weights that it runs with.
        origin: Where it came from: "gasdet-restrav 0.1.0", or the bundle's path.
        model_sha256: SHA-256 of its model.py.
        model_kwargs: What load_model was called with, besides the path.
        version: As the bundle states it; of a plugin, empty (the origin has it).
        files: Name to SHA-256 of the bundle's other files that decide the result.
        libraries: Versions of the packages that its model.py imports.
        notes: What a user should know of how it was loaded.
        device: Where the module is.
        calibrator: What its scores are calibrated with; None for the model's own. ``logits`` gives the model's own always.
    """

    name: str
    modality: Modality
    preprocessing: Preprocessing
    module: torch.nn.Module
    num_classes: int
    dtype: str
    input_dtype: str
    weights: WeightsInfo
    origin: str
    model_sha256: str
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    device: str = "cpu"
    calibrator: CalibratorFile | None = None

    def to(self, device: str, dtype: str | None = None) -> Self:
        """Move the module in place and return the detector.

        What a narrower dtype rounded away does not come back, so that a module that is float16 or bfloat16 stays it.

        Args:
            device: What torch takes, e.g. "cpu", "cuda", "cuda:1".
            dtype: "float32", "float16", "bfloat16" or one of their short names; None keeps the present one.

        Raises:
            UsageError: There is no such dtype or device.
            BundleError: The module's weights are rounded to another dtype already.
        """
        name = self.dtype if dtype is None else DTYPES.get(dtype.lower().removeprefix("torch."))
        if name is None:
            raise UsageError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}.")
        if name != self.dtype != "float32":
            raise BundleError(
                f"The weights of {self.name} are rounded to {self.dtype}; load it again to run it as {name}."
            )
        wanted = getattr(torch, name)
        try:
            target = torch.device(device)
            self.module.to(device=target, dtype=wanted)
        except torch.cuda.OutOfMemoryError:
            raise
        except (RuntimeError, AssertionError) as error:
            raise UsageError(
                f"{self.name} cannot be moved to the device {device!r} as {name}: {first_line(error)}."
            ) from None
        finally:
            # A move that fails half-way (out of memory) has rounded some tensors: the module is no longer what it was.
            if any(t.dtype == wanted for t in (*self.module.parameters(), *self.module.buffers())):
                self.dtype = name
        self.dtype, self.device = name, str(target)
        return self

    def logits(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Run the model on one batch.

        Args:
            batch: As gasdet.media gives it, stacked: images uint8 ``[B, 3, H, W]``, clips uint8 ``[B, T, 3, H, W]``, both RGB;
                recordings float32 ``[B, N]``. It is not changed, even by a model that works in place.

        Returns:
            float32 ``[B, num_classes]`` in the order (real, synthetic[, semisynthetic]); whether they are finite is for the
            caller to see.

        Raises:
            BundleError: The batch has another shape or type than that.
            OutputError: The model returned no logits of that shape.
            Exception: Whatever the model itself raises, unchanged (torch.cuda.OutOfMemoryError among it).
        """
        tensor = self._input(batch)
        # What a model prints must not get between the results that go to stdout.
        with torch.inference_mode(), contextlib.redirect_stdout(sys.stderr):
            output = self.module(tensor)
        return logits_of(output, batch=len(batch), num_classes=self.num_classes, who=self.name)

    @property
    def has_details(self) -> bool:
        """Whether the model offers side outputs for people: a ``forward_with_details``."""
        return callable(getattr(self.module, "forward_with_details", None))

    def logits_with_details(self, batch: NDArray[Any]) -> tuple[NDArray[np.float32], Details]:
        """As ``logits``, and what the model says beside them, of the same forward pass.

        Args:
            batch: As for ``logits``.

        Returns:
            The logits, and the side outputs by name, each ``[B, ...]``: empty where the model offers none. One that is no
            tensor of numbers with B rows, has more than a million values a sample, or is called ``heatmap`` and is no map of
            probabilities, is left out; ``notes`` of the side outputs then says so. Values may be infinite or NaN.

        Raises:
            BundleError: The batch has another shape or type than ``logits`` takes.
            OutputError: The model returned no logits of that shape, or no pair of logits and details.
            Exception: Whatever the model itself raises, unchanged.
        """
        if not self.has_details:
            return self.logits(batch), Details({})
        tensor = self._input(batch)
        with torch.inference_mode(), contextlib.redirect_stdout(sys.stderr):
            output, given = split_output(self.module.forward_with_details(tensor), self.name)  # type: ignore[operator]
        logits = logits_of(output, batch=len(batch), num_classes=self.num_classes, who=self.name)
        return logits, details_of(given, batch=len(batch))

    def _input(self, batch: NDArray[Any]) -> torch.Tensor:
        self._check_input(batch)
        batch = np.ascontiguousarray(batch)
        if not batch.flags.writeable:
            batch = batch.copy()
        given = torch.from_numpy(batch)
        # Pixels travel as bytes and become floats where the model is.
        tensor = given.to(self.device).to(getattr(torch, self.input_dtype))
        return tensor.clone() if tensor.data_ptr() == given.data_ptr() else tensor

    def _check_input(self, batch: NDArray[Any]) -> None:
        shapes = {Modality.IMAGE: "[B, 3, H, W]", Modality.VIDEO: "[B, T, 3, H, W]", Modality.AUDIO: "[B, N]"}
        audio = self.modality is Modality.AUDIO
        good = batch.ndim == {Modality.IMAGE: 4, Modality.VIDEO: 5, Modality.AUDIO: 2}[self.modality]
        good = good and batch.dtype == (np.float32 if audio else np.uint8) and 0 not in batch.shape
        if not good or not (audio or batch.shape[-3] == 3):
            kind = "float32" if audio else "uint8"
            raise BundleError(
                f"{self.name} takes a non-empty {kind} array {shapes[self.modality]}, not {batch.dtype} {list(batch.shape)}."
            )

    def describe(self) -> dict[str, Any]:
        """All that a run's record says of the detector, in types that JSON has."""
        calibrated = {"calibrator": self.calibrator.summary()} if self.calibrator is not None else {}
        return {
            "name": self.name,
            "modality": str(self.modality),
            "origin": self.origin,
            "version": self.version,
            "weights": self.weights.to_mapping(),
            "model_sha256": self.model_sha256,
            "model": json_ready(self.model_kwargs),
            "files": dict(self.files),
            "preprocessing": self.preprocessing.to_mapping(),
            "dtype": self.dtype,
            "input_dtype": self.input_dtype,
            "num_classes": self.num_classes,
            "parameters": sum(p.numel() for p in self.module.parameters()),
            "libraries": dict(self.libraries),
            "notes": list(self.notes),
            **calibrated,
        }


def json_ready(value: Any) -> Any:
    """A configuration value in types that JSON has; what YAML has beyond them (dates) becomes text."""
    if isinstance(value, Mapping):
        return {str(key): json_ready(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [json_ready(entry) for entry in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else str(value)
    return str(value)
