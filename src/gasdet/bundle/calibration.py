"""calibrator.json: a fitted calibrator beside the weights that it belongs to, with what it was fitted on and how it did.

Nothing here computes a score: the method is a component, which the evaluation looks up and applies. The file's fields are in
docs/formats.md.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from gasdet.errors import ConfigError, GasdetError
from gasdet.types import Preprocessing

CALIBRATOR_NAME = "calibrator.json"
"""The file's name beside the weights."""

SCHEMA_VERSION = 1


class CalibratorError(GasdetError):
    """A calibrator file is absent, damaged, or belongs to other weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratorFile:
    """What a calibrator.json holds.

    Attributes:
        method: Name of the calibrator component.
        parameters: What its ``from_parameters`` takes.
        detector: Name of the detector that it was fitted for.
        weights_sha256: Of the weights file that it was fitted for; it is applied to no other.
        fitted_on: The calibration split: description, fingerprint, split, samples, real, synthetic, groups, sample_ids.
        judged_on: The part for the report, on which nothing was fitted; same keys but for sample_ids.
        before: Metric name to value, low and high on ``judged_on``, without the calibrator.
        after: The same with it.
        thresholds: Operating points, one a false positive rate that was asked for.
        created: Date and time, UTC, ISO 8601.
        versions: Of gasdet and the plugin that brings the method.
        notes: What a user must know of the fit.
        preprocessing: Of the detector that gave the scores, every key; empty where the file does not say. It is applied to no
            other, since other pixels give other scores.
        path: Where the file lies; None for one that was not read from, or written to, a file.
    """

    method: str
    parameters: Mapping[str, Any]
    detector: str
    weights_sha256: str
    fitted_on: Mapping[str, Any] = field(default_factory=dict)
    judged_on: Mapping[str, Any] = field(default_factory=dict)
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    thresholds: tuple[Mapping[str, Any], ...] = ()
    created: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None

    def differs(self, preprocessing: Preprocessing) -> str:
        """In what it was fitted under another preprocessing, "region: faces -> none"; empty for nothing, or where unknown.

        Raises:
            CalibratorError: What the file says of it means nothing here.
        """
        if not self.preprocessing:
            return ""
        where = f"{self.path or 'the calibrator'}: preprocessing"
        try:
            fitted = Preprocessing.from_mapping(preprocessing.modality, self.preprocessing, where=where)
        except ConfigError as error:
            raise CalibratorError(str(error)) from error
        one, other = fitted.to_mapping(), preprocessing.to_mapping()
        changed = [key for key in {**one, **other} if one.get(key) != other.get(key)]
        return ", ".join(f"{key}: {one.get(key, 'none')} -> {other.get(key, 'none')}" for key in changed)

    @property
    def sha256(self) -> str:
        """Of what decides the scores (method, parameters, weights), and not of the report: part of a run's identity."""
        decides = {"method": self.method, "parameters": self.parameters, "weights_sha256": self.weights_sha256}
        return hashlib.sha256(json.dumps(decides, sort_keys=True, allow_nan=False).encode()).hexdigest()

    def to_mapping(self) -> dict[str, Any]:
        """The file's content."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "path"}
        plain = {
            name: dict(value) if isinstance(value, Mapping) else list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
        }
        return {"schema_version": SCHEMA_VERSION, **plain}

    def summary(self) -> dict[str, Any]:
        """What a run's record says of it."""
        return {"method": self.method, "sha256": self.sha256, "path": str(self.path or "")}


def read_calibrator(path: Path) -> CalibratorFile:
    """Read a calibrator.json.

    Raises:
        CalibratorError: There is none, it is damaged, or of a version that this code does not know.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CalibratorError(f"{path}: the calibrator cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise CalibratorError(f"{path}: this is no calibrator file: it does not hold JSON.") from error
    if not isinstance(stored, dict) or stored.get("schema_version") != SCHEMA_VERSION:
        version = stored.get("schema_version") if isinstance(stored, dict) else None
        raise CalibratorError(
            f"{path}: this is no calibrator file of format {SCHEMA_VERSION} (it says {version!r}); make it again with "
            "'gasdet calibrate'."
        )
    return _checked(stored, path)


def write_calibrator(path: Path, calibrator: CalibratorFile) -> CalibratorFile:
    """Write a calibrator.json, atomically; what is returned says where it lies.

    Raises:
        CalibratorError: It cannot be written.
    """
    text = json.dumps(calibrator.to_mapping(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    pending = path.with_name(path.name + ".pending")
    try:
        pending.write_text(text, encoding="utf-8")
        os.replace(pending, path)
    except OSError as error:
        pending.unlink(missing_ok=True)
        raise CalibratorError(
            f"{path}: the calibrator cannot be written: {error.strerror or error}; name another file."
        ) from error
    return replace(calibrator, path=path)


def find_calibrator(weights: Path, sha256: str) -> CalibratorFile | None:
    """The calibrator.json beside a weights file, or None where there is none.

    Args:
        weights: The weights file.
        sha256: Of that file.

    Raises:
        CalibratorError: There is one, and it is damaged or was fitted for other weights.
    """
    path = weights.parent / CALIBRATOR_NAME
    if not path.is_file():
        return None
    found = read_calibrator(path)
    if found.weights_sha256 != sha256:
        raise CalibratorError(
            f"{path}: fitted for weights with the sha256 {found.weights_sha256[:16]}…, and {weights.name} beside it has "
            f"{sha256[:16]}…; calibrate again, or leave it out with --no-calibrator."
        )
    return found


_TEXTS = ("method", "detector", "weights_sha256", "created")
_LISTS = ("thresholds", "notes")
_TABLES = ("parameters", "fitted_on", "judged_on", "before", "after", "versions")


def _checked(stored: Mapping[str, Any], path: Path) -> CalibratorFile:
    values: dict[str, Any] = {}
    for names, kind in ((_TEXTS, str), (_LISTS, list), (_TABLES, dict)):
        for name in names:
            if not isinstance(stored.get(name), kind):
                raise CalibratorError(f"{path}: this calibrator file is damaged at {name!r}; make it again.")
            values[name] = tuple(stored[name]) if kind is list else stored[name]
    values["preprocessing"] = stored.get("preprocessing", {})  # files of before have none
    if not isinstance(values["preprocessing"], dict):
        raise CalibratorError(f"{path}: this calibrator file is damaged at 'preprocessing'; make it again.")
    for point in values["thresholds"]:
        if not isinstance(point, dict) or not all(isinstance(point.get(k), int | float) for k in ("fpr", "threshold")):
            raise CalibratorError(f"{path}: this calibrator file is damaged at 'thresholds'; make it again.")
    return CalibratorFile(**values, path=path)
