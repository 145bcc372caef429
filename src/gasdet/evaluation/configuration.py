"""What makes two runs one and the same: everything that their numbers depend on, and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gasdet.data import Dataset
from gasdet.evaluation import plan
from gasdet.evaluation.environment import versions
from gasdet.evaluation.options import RunOptions, resolve_device
from gasdet.evaluation.regions import region_identity

if TYPE_CHECKING:
    from gasdet.bundle import Detector

RUN_VERSION = 1

_OF_DETECTOR = (
    "name",
    "modality",
    "version",
    "model_sha256",
    "model",
    "files",
    "libraries",
    "preprocessing",
    "input_dtype",
    "num_classes",
)


def run_configuration(detectors: Sequence[Detector], dataset: Dataset, options: RunOptions) -> dict[str, Any]:
    """Everything that a run's numbers depend on: two runs are one and the same where this is equal.

    Raises:
        UsageError: The device does not exist.
        GasdetError: What finds the region that a detector's preprocessing names cannot be had.
    """
    return {
        "format": RUN_VERSION,
        "data": {
            "fingerprint": dataset.fingerprint,
            "plan": plan.fingerprint(dataset.samples),
            "samples": len(dataset.samples),
        },
        "detectors": {detector.name: _identity(detector, options.dtype) for detector in detectors},
        "options": options.identity({detector.modality for detector in detectors}),
        "device": resolve_device(options.device).partition(":")[0],
        "versions": versions(),
    }


def configuration_id(configuration: Mapping[str, Any]) -> str:
    """16 hex digits of a run's configuration: the run's id."""
    return hashlib.sha256(_canonical(configuration).encode()).hexdigest()[:16]


def _identity(detector: Detector, dtype: str | None) -> dict[str, Any]:
    """What of a detector its scores depend on, the versions of the libraries that it imports included; not where files lie."""
    from gasdet.bundle.config import DTYPES

    told = detector.describe()
    asked = detector.dtype if dtype is None else DTYPES.get(dtype.lower().removeprefix("torch."), dtype)
    weights = {key: told["weights"][key] for key in ("name", "kind", "sha256")}
    identity = {**{key: told[key] for key in _OF_DETECTOR}, "dtype": asked, "weights": weights}
    if detector.calibrator is not None:
        identity["calibrator"] = detector.calibrator.sha256
    identity |= region_identity(detector.preprocessing)
    if told["weights"]["kind"] != "bundle":  # a bundle's origin is a path; a plugin's, its distribution and version
        identity["origin"] = told["origin"]
    return identity


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)


def differences(old: Any, new: Any, key: str = "") -> list[str]:
    """What differs between two configurations, as "key: old -> new"."""
    new = json.loads(_canonical(new)) if not key else new
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for name in sorted({*old, *new}):
            found += differences(old.get(name), new.get(name), f"{key}.{name}" if key else name)
        return found
    return [] if old == new else [f"{key or 'configuration'}: {_short(old)} -> {_short(new)}"]


def _short(value: Any) -> str:
    text = "none" if value is None else value if isinstance(value, str) else _canonical(value)
    return text if len(text) <= 40 else text[:16] + "…"
