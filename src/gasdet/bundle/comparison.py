"""What a bundle that is being exported is compared with, and how: in a process in which gasdet cannot be imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gasdet.bundle.config import CODE_NAME, CONFIG_NAME, DEFAULT_WEIGHTS_NAME, read_config
from gasdet.bundle.detector import Detector
from gasdet.errors import BundleError
from gasdet.types import Modality

LIMIT = 1e-4
"""Largest difference between the logits of the bundle in float32 and the detector's."""

TIMEOUT_S = 900.0
"""How long the clean process may take, in seconds."""

CALIBRATION = "calibration."
"""Beginning of the name of a folded calibrator's tensor; docs/bundles.md says what model.py does with it."""

_CACHE_VARIABLES = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE")
"""What would lead past HF_HOME."""


class ExportError(BundleError):
    """A detector cannot be written as a bundle, or the bundle is not the detector."""


@dataclass(frozen=True, slots=True)
class Folded:
    """A calibrator as a bundle's model.py applies it to the margin, logit of synthetic less logit of real.

    Attributes:
        kind: ``affine``, ``beta`` or ``knots``.
        values: float64: (scale, bias), (a, b, c), or x and y ``[2, K]``.
    """

    kind: str
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Inputs:
    """Real inputs on which bundle and detector are compared.

    Attributes:
        description: What they are.
        batches: As ``Detector.logits`` takes them.
        expected: float64 ``[B, C]`` for each: the detector's float32 logits, calibrated where a calibrator is folded in.
    """

    description: str
    batches: tuple[NDArray[Any], ...]
    expected: tuple[NDArray[np.float64], ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """Largest differences to the float32 detector, in the clean process.

    Attributes:
        exact: Of the bundle in float32.
        difference: Of the bundle in its dtype.
        difference_uint8: The same, handed bytes as GASBench does; None for audio, and where it fails.
    """

    exact: float
    difference: float
    difference_uint8: float | None


def compare(
    exact: Path,
    bundle: Path,
    detector: Detector,
    inputs: Inputs,
    scratch: Path,
    *,
    absent: Sequence[str],
    folded: Folded | None,
) -> Compared:
    """Run the bundle in float32 and in its dtype, which may be the same, in one clean process."""
    wanted = detector.input_dtype
    kinds = [wanted] if wanted == "uint8" or detector.modality is Modality.AUDIO else [wanted, "uint8"]
    for number, batch in enumerate(inputs.batches):
        np.save(scratch / f"input-{number}.npy", batch, allow_pickle=False)
    asked = [(bundle, detector.dtype, kinds)] + ([(exact, "float32", [wanted])] if exact != bundle else [])

    def output(dtype: str, kind: str, number: int) -> Path:
        return scratch / f"logits-{dtype}-{kind}-{number}.npy"

    def load(folder: Path, dtype: str, kinds: Sequence[str]) -> dict[str, Any]:
        runs = [
            {
                "input": str(scratch / f"input-{number}.npy"),
                "dtype": kind,
                "output": str(output(dtype, kind, number)),
                "optional": kind != wanted,
            }
            for number in range(len(inputs.batches))
            for kind in kinds
        ]
        return {"weights": str(folder / DEFAULT_WEIGHTS_NAME), "dtype": dtype, "runs": runs}

    def largest(dtype: str, kind: str) -> float | None:
        files = [output(dtype, kind, number) for number in range(len(inputs.batches))]
        found = [np.load(file, allow_pickle=False) for file in files if file.is_file()]
        return _largest(found, inputs.expected, folded is not None) if len(found) == len(files) else None

    request = {
        "code": str(bundle / CODE_NAME),
        "kwargs": read_config(bundle / CONFIG_NAME).model,
        "absent": list(absent),
        "site_folders": site_folders(),
        "threads": torch.get_num_threads(),
        "loads": [load(*one) for one in reversed(asked)],
    }
    _run_clean(request, detector.name, scratch, folded)
    difference, difference_exact = largest(detector.dtype, wanted), largest("float32", wanted)
    assert difference is not None  # runs that are not optional have logits, or the process failed
    assert difference_exact is not None
    bytes_too = None if detector.modality is Modality.AUDIO else largest(detector.dtype, kinds[-1])
    return Compared(difference_exact, difference, bytes_too)


def _run_clean(request: Mapping[str, Any], name: str, scratch: Path, folded: Folded | None) -> None:
    """Have a request answered in a clean process.

    Raises:
        ExportError: It fails, or takes too long.
    """
    (scratch / "request.json").write_text(json.dumps(request), encoding="utf-8")
    try:
        done = start_clean(scratch / "request.json")
    except subprocess.TimeoutExpired:
        raise ExportError(
            f"the bundle of {name} was not done after {TIMEOUT_S:g} seconds in a clean process; compare on smaller --data."
        ) from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
        why = lines[-1].rstrip(".") if lines else f"it ended with status {done.returncode}"
        raise ExportError(
            f"the bundle of {name} does not run in a clean process without gasdet: {why}{ignored(folded)}."
        )


def start_clean(request: Path) -> subprocess.CompletedProcess[bytes]:
    """Run clean_process.py on a request, without the caches in which models may lie, in the request's folder.

    Raises:
        subprocess.TimeoutExpired: It took longer than ``TIMEOUT_S``.
    """
    caches = {name: str(request.parent / "cache") for name in ("HF_HOME", "TORCH_HOME", "XDG_CACHE_HOME")}
    kept = {name: value for name, value in os.environ.items() if name not in _CACHE_VARIABLES}
    return subprocess.run(
        [sys.executable, "-I", str(Path(__file__).with_name("clean_process.py")), str(request)],
        cwd=request.parent,
        env={**kept, **caches, "HF_HUB_OFFLINE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=TIMEOUT_S,
        check=False,
    )


def site_folders() -> list[str]:
    """Folders of installed packages: python -I knows neither the user's own nor those of PYTHONPATH."""
    return [folder for folder in sys.path if folder and next(Path(folder).glob("*.dist-info"), None) is not None]


def _largest(found: Sequence[NDArray[Any]], expected: Sequence[NDArray[np.float64]], margins: bool) -> float:
    """The largest difference of logits, or of margins; infinite where a shape differs or a value is not finite."""
    largest = 0.0
    for one, other in zip(found, expected, strict=True):
        if one.shape != other.shape:
            return float("inf")
        a, b = (v.astype(np.float64) for v in (one, other))
        difference = np.abs(np.diff(a) - np.diff(b) if margins else a - b).max()
        largest = max(largest, float(difference)) if np.isfinite(difference) else float("inf")
    return largest


def ignored(folded: Folded | None) -> str:
    """What may be the reason of a failure, as the end of a sentence."""
    return f"; its model.py may not apply the tensor {CALIBRATION}{folded.kind} (docs/bundles.md)" if folded else ""
