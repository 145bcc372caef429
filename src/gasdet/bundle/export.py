"""Writes a detector as a bundle, and shows in a clean process that the bundle gives the detector's logits.

Everything is made and checked in a folder beside the wanted one and renamed at the end: a failure leaves nothing.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save

from gasdet.bundle.codecheck import check_file
from gasdet.bundle.comparison import (
    CALIBRATION,
    LIMIT,
    ExportError,
    Folded,
    Inputs,
    compare,
    ignored,
)
from gasdet.bundle.config import CODE_NAME, CONFIG_NAME, DEFAULT_WEIGHTS_NAME, DTYPES, read_config
from gasdet.bundle.detector import Detector
from gasdet.bundle.safefile import read_header, sha256_of
from gasdet.types import Modality, Preprocessing

_GASBENCH_KEYS = ("resize", "num_frames", "frame_rate", "sample_rate", "duration_seconds")


@dataclass(frozen=True, slots=True)
class Export:
    """What was written, and how it was checked.

    Attributes:
        path: The bundle's folder.
        zip_path: The same as a zip, if one was asked for.
        detector: Its name.
        files: Each file's size in bytes.
        weights_sha256: Of the bundle's weights.
        dtype: Of the bundle's module.
        calibrator: Kind of the folded calibrator; empty where there is none.
        inputs: What bundle and detector were compared on.
        samples: How many of them.
        compared: ``logits``; ``margins`` where a calibrator is folded in, of which it is a function.
        difference: The largest one to the float32 detector, in the clean process.
        difference_uint8: The same where ``forward`` is handed bytes, as GASBench does; None for audio, and where it fails.
        gasbench: What GASBench would do otherwise, in words; empty where it does the same.
    """

    path: Path
    zip_path: Path | None
    detector: str
    files: Mapping[str, int]
    weights_sha256: str
    dtype: str
    calibrator: str
    inputs: str
    samples: int
    compared: str
    difference: float
    difference_uint8: float | None
    gasbench: tuple[str, ...]


def write_bundle(
    detector: Detector,
    code: Path,
    out: Path,
    *,
    inputs: Inputs,
    folded: Folded | None = None,
    dtype: str | None = None,
    about: Mapping[str, str] | None = None,
    absent: Sequence[str] = (),
    zipped: bool = False,
) -> Export:
    """Write a bundle, check it, and only then put it where it was asked for.

    Args:
        detector: An installed plugin's, in float32 on the CPU. It is moved to ``dtype``.
        code: Its model.py.
        out: The bundle's folder: new, or empty.
        inputs: What bundle and detector are compared on.
        folded: A calibrator that goes into the bundle.
        dtype: Of the bundle; None for float32.
        about: ``version`` and informational keys for model_config.yaml.
        absent: Packages besides gasdet that the clean process must do without.
        zipped: Also write ``out`` with the ending .zip.

    Raises:
        ExportError: The folder or zip exists, or the bundle does not run, takes longer than ``TIMEOUT_S``, or gives other
            logits in float32 than the detector.
        BundleError: The code check refuses model.py, or the module cannot be moved to ``dtype``.
    """
    zip_path = out.with_name(out.name + ".zip") if zipped else None
    check_target(out, zip_path)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent.absolute(), prefix=f".{out.name}.") as scratch:
        pending = Path(scratch, "bundle")
        pending.mkdir()
        # Rounding hides a wrong model: whatever dtype is wanted, the bundle must be the detector in float32.
        exact = pending if DTYPES.get(dtype or "float32") == "float32" else Path(scratch, "float32")
        exact.mkdir(exist_ok=True)
        _write_files(exact, detector, code, folded, about or {})
        if exact != pending:
            _write_files(pending, detector.to("cpu", dtype), code, folded, about or {})
        check_file(pending / CODE_NAME)
        compared = compare(exact, pending, detector, inputs, Path(scratch), absent=("gasdet", *absent), folded=folded)
        for measured, limit in ((compared.exact, LIMIT), (compared.difference, sys.float_info.max)):
            if not measured <= limit:
                what = "margins" if folded else "logits"
                told = f"limit {LIMIT:g} in float32" if limit == LIMIT else f"in {detector.dtype}"
                raise ExportError(
                    f"the bundle of {detector.name} is not the detector: in a clean process its {what} differ by up to"
                    f" {measured:.3g} on {inputs.description} ({told}){ignored(folded)}."
                )
        difference, difference_uint8 = compared.difference, compared.difference_uint8
        report = Export(
            path=out,
            zip_path=zip_path,
            detector=detector.name,
            files={file.name: file.stat().st_size for file in sorted(pending.iterdir())},
            weights_sha256=sha256_of(pending / DEFAULT_WEIGHTS_NAME),
            dtype=detector.dtype,
            calibrator=folded.kind if folded else "",
            inputs=inputs.description,
            samples=sum(map(len, inputs.batches)),
            compared="margins" if folded else "logits",
            difference=difference,
            difference_uint8=difference_uint8,
            gasbench=_gasbench(detector, difference, difference_uint8),
        )
        if zip_path is not None:
            _zip(pending, Path(scratch, "bundle.zip"))
            os.replace(Path(scratch, "bundle.zip"), zip_path)
        _move(pending, out, zip_path)
    return report


def check_target(out: Path, zip_path: Path | None) -> None:
    """Refuse to write over what is there.

    Raises:
        ExportError: The folder holds something, or the zip exists.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ExportError(f"{out} exists and is not empty; give another --out, or remove it first.")
    if zip_path is not None and zip_path.exists():
        raise ExportError(f"{zip_path} exists; give another --out, or remove it first.")


# --- the files -------------------------------------------------------------------------------------------------------


def _write_files(folder: Path, detector: Detector, code: Path, folded: Folded | None, about: Mapping[str, str]) -> None:
    (folder / CODE_NAME).write_bytes(code.read_bytes())
    if sha256_of(folder / CODE_NAME) != detector.model_sha256:
        raise ExportError(f"{code} has changed since {detector.name} was loaded; run the export again.")
    state = detector.module.state_dict()
    stored = read_header(detector.weights.path).tensors
    # Of tied tensors the module has more names than the file; a published file may have names of its own.
    names = stored if set(stored) <= set(state) else state
    tensors = {name: state[name].detach().cpu().contiguous().clone() for name in names}
    if folded is not None:
        carried = [name for name in tensors if name.startswith(CALIBRATION)]
        if carried:
            raise ExportError(
                f"{detector.weights.path} holds a calibrator already ({', '.join(carried)}); export with --no-calibrator."
            )
        tensors[CALIBRATION + folded.kind] = torch.from_numpy(folded.values.copy())
    (folder / DEFAULT_WEIGHTS_NAME).write_bytes(save(tensors, {"format": "pt"}))
    (folder / CONFIG_NAME).write_text(_config(detector, about), encoding="utf-8")
    read = read_config(folder / CONFIG_NAME)
    if read.preprocessing != detector.preprocessing or read.model != _plain(detector.model_kwargs, detector):
        raise ExportError(
            f"{CONFIG_NAME} cannot express how {detector.name} is set up; report this as a bug of gasdet."
        )


def _config(detector: Detector, about: Mapping[str, str]) -> str:
    """The text of model_config.yaml: GASBench's keys always, gasdet's own where they differ from the default."""
    default = Preprocessing(detector.preprocessing.modality).to_mapping()
    preprocessing = {
        key: value
        for key, value in detector.preprocessing.to_mapping().items()
        if value is not None and (key in _GASBENCH_KEYS or value != default.get(key))
    }
    told = {key: value for key, value in about.items() if value}
    config: dict[str, Any] = {
        "name": detector.name,
        **{key: told.pop(key) for key in ("version",) if key in told},
        "modality": str(detector.modality),
        "dtype": detector.dtype,
        "input_dtype": detector.input_dtype,
        "preprocessing": preprocessing,
        "model": {"weights_file": DEFAULT_WEIGHTS_NAME, **_plain(detector.model_kwargs, detector)},
        **told,
    }
    return str(yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=120))


def _plain(kwargs: Mapping[str, Any], detector: Detector) -> dict[str, Any]:
    """load_model's arguments as YAML gives them back, with num_classes, which GASBench reads."""
    try:
        told = json.loads(json.dumps({"num_classes": detector.num_classes, **kwargs}, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ExportError(f"the arguments of load_model of {detector.name} cannot be written down: {error}.") from None
    return dict(told)


def _zip(folder: Path, path: Path) -> None:
    """The folder's files at the top of a zip, whose bytes depend on theirs alone."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            entry = zipfile.ZipInfo(file.name)  # of 1980, whatever the clock says
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_STORED if file.name == DEFAULT_WEIGHTS_NAME else zipfile.ZIP_DEFLATED
            with file.open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
                while block := source.read(1 << 20):
                    target.write(block)


def _move(pending: Path, out: Path, zip_path: Path | None) -> None:
    try:
        if out.is_dir():
            out.rmdir()
        os.rename(pending, out)
    except OSError as error:
        if zip_path is not None:
            zip_path.unlink(missing_ok=True)
        raise ExportError(f"{out} cannot be written: {error.strerror or error}; give another --out.") from error


# --- the check -------------------------------------------------------------------------------------------------------


def _gasbench(detector: Detector, difference: float, difference_uint8: float | None) -> tuple[str, ...]:
    """What GASBench, which knows its own keys only and hands bytes, does otherwise."""
    default = Preprocessing(detector.preprocessing.modality).to_mapping()
    own = {
        key: value
        for key, value in detector.preprocessing.to_mapping().items()
        if key not in _GASBENCH_KEYS and value != default.get(key)
    }
    told = [f"it does not know {key}: {str(v).lower() if isinstance(v, bool) else v}" for key, v in own.items()]
    if detector.modality is not Modality.AUDIO and detector.input_dtype != "uint8":
        if difference_uint8 is None:
            told.append("it hands forward bytes, which this model does not take")
        elif difference_uint8 > max(LIMIT, difference):
            told.append(f"it hands forward bytes, which changes this model's logits by up to {difference_uint8:.3g}")
    return tuple(told)
