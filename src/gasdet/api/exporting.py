"""An installed detector as a bundle."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gasdet.api.choosing import Bases, Calibrators, load
from gasdet.api.demo import make_demo_data
from gasdet.api.faces import check_faces
from gasdet.builtin.calibrators import Beta
from gasdet.bundle import Detector
from gasdet.bundle.comparison import ExportError, Folded, Inputs
from gasdet.bundle.config import DTYPES
from gasdet.bundle.export import Export, check_target, write_bundle
from gasdet.data import load_data
from gasdet.errors import PluginError, UsageError
from gasdet.evaluation.calibration import calibrator_of
from gasdet.evaluation.options import RunOptions
from gasdet.evaluation.pipeline import DecodePool
from gasdet.progress import ProgressSink, Silent
from gasdet.registry import load_registry
from gasdet.types import DetectorSpec, Modality
from gasdet.version import __version__

_SAMPLES = {Modality.IMAGE: 16, Modality.VIDEO: 4, Modality.AUDIO: 16}


def export(
    plugin: str,
    out: str | Path,
    *,
    weights: str | None = None,
    base: Bases = (),
    data: str | Path | Sequence[str | Path] = "demo",
    calibrator: Calibrators = True,
    dtype: str | None = None,
    zipped: bool = False,
    faces: bool = False,
    offline: bool = False,
    options: RunOptions | None = None,
    progress: ProgressSink | None = None,
) -> Export:
    """Write an installed detector as a bundle, and check it in a process in which gasdet cannot be imported.

    Args:
        plugin: The detector's name.
        out: Folder of the bundle; it must not hold anything.
        weights: ``"demo"``, a named release, a path (the folder of a training among them), or
            ``hf-hub:owner/name[@revision]/FILE``. None takes the default release.
        base: Of weights that are a delta file: the file that it is a change of. Empty looks where the delta says.
        data: Real inputs on which the bundle is compared with the detector: a few of them are taken.
        calibrator: True folds in the calibrator.json beside the weights, where there is one; False none; or a file.
        dtype: Of the bundle: ``"float32"``, ``"float16"`` or ``"bfloat16"``. None keeps the detector's.
        zipped: Also write a zip beside the folder.
        faces: State in the bundle that it takes face crops. GASBench does not know this.
        offline: Fetch nothing.
        options: Decode processes and their limits.
        progress: Told of notes.

    Raises:
        UsageError: No such detector, no weights are chosen and there is no default, or the calibrator cannot be folded in.
        ExportError: Something is in the way, or the bundle does not give the detector's logits. Nothing is left then.
        GasdetError: Detector, calibrator or data cannot be had.
    """
    sink, out = progress or Silent(), Path(out)
    check_target(out, out.with_name(out.name + ".zip") if zipped else None)
    if dtype is not None and dtype not in DTYPES:
        raise UsageError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}.")
    entry = load_registry().detector(plugin)
    if faces:
        check_faces()
    detector = load(plugin, weights, base=base, offline=offline, calibrator=calibrator, faces=faces, progress=sink)
    dtype = dtype or detector.dtype
    if detector.dtype != "float32":
        detector.to("cpu", dtype)  # refused where it is another
        detector.module.float()  # rounded values, computed with in float32: what the bundle is compared with
        detector.dtype = "float32"
    fitted = None if detector.calibrator is None else calibrator_of(detector.calibrator)
    folded = None if fitted is None else _folded(fitted, detector)
    batches, description = _inputs(detector, data, options or RunOptions(), sink)
    expected = [detector.logits(batch).astype(np.float64) for batch in batches]
    if not all(np.isfinite(logits).all() for logits in expected):
        raise ExportError(
            f"{detector.name} gives logits that are not finite on {description}; compare on other --data."
        )
    if fitted is not None:
        expected = [np.asarray(fitted.apply(logits), dtype=np.float64) for logits in expected]
    return write_bundle(
        detector,
        _code_of(entry.spec),
        out,
        inputs=Inputs(description, tuple(batches), tuple(expected)),
        folded=folded,
        dtype=dtype,
        about={"version": entry.plugin.version, **_about(entry.spec, detector)},
        absent=(entry.spec.target.partition(".")[0],),
        zipped=zipped,
    )


def _folded(calibrator: Any, detector: Detector) -> Folded:
    """A fitted calibrator as tensors for model.py.

    Raises:
        UsageError: It is of no kind that a bundle can hold.
    """
    assert detector.calibrator is not None  # it is what this one was made from
    method = detector.calibrator.method
    if detector.num_classes != 2:
        raise UsageError(
            f"a calibrator goes into bundles of two classes only; export {detector.name} with --no-calibrator."
        )
    if (affine := _asked(calibrator, "affine")) is not None:
        return Folded("affine", np.array(affine, dtype=np.float64))
    if isinstance(calibrator, Beta):
        return Folded("beta", np.array([calibrator.a, calibrator.b, calibrator.c], dtype=np.float64))
    if (knots := _asked(calibrator, "knots")) is not None:
        return Folded("knots", np.stack([np.asarray(values, dtype=np.float64) for values in knots]))
    raise UsageError(
        f"the calibrator {method!r} is neither affine, nor beta, nor a line through points, so that no bundle can hold it; "
        "export with --no-calibrator."
    )


def _asked(calibrator: Any, name: str) -> Any:
    """What ``affine()`` or ``knots()`` says; a plugin's calibrator need not have them."""
    method = getattr(calibrator, name, None)
    return None if method is None else method()


def _inputs(
    detector: Detector, data: str | Path | Sequence[str | Path], options: RunOptions, sink: ProgressSink
) -> tuple[list[NDArray[Any]], str]:
    """A few decoded samples as batches of equal shape, and what they are.

    Raises:
        ExportError: None of them can be decoded.
    """
    make_demo_data(data, sink)
    count = _SAMPLES[detector.modality]
    dataset = load_data(data, modalities={detector.modality}, limit=count)
    samples = [sample for sample in dataset.samples if sample.skip is None and sample.modality is detector.modality]
    batches: list[NDArray[Any]] = []
    pending: list[NDArray[Any]] = []
    if samples:
        workers = min(options.worker_count, len(samples))
        with DecodePool(workers=workers, timeout=options.decode_timeout, limits=options.limits) as pool:
            for result in pool.run(samples, detector.preprocessing):
                if result.decoded is None:
                    continue
                array = result.decoded.array
                if pending and pending[0].shape != array.shape:
                    batches.append(np.stack(pending))
                    pending = []
                pending.append(array)
    if pending:
        batches.append(np.stack(pending))
    found = sum(map(len, batches))
    if not found:
        raise ExportError(f"{dataset.description} has no {detector.modality} that can be decoded; name other --data.")
    return batches, f"{found} samples of {dataset.description}"


def _code_of(spec: DetectorSpec) -> Path:
    file = inspect.getsourcefile(importlib.import_module(spec.target))
    if file is None:
        raise PluginError(f"the source of {spec.target} cannot be found, which a bundle must contain.")
    return Path(file)


def _about(spec: DetectorSpec, detector: Detector) -> dict[str, str]:
    """Where the bundle comes from: keys of model_config.yaml that have no effect."""
    weights, calibrator = detector.weights, detector.calibrator
    known = spec.weights_named(weights.name) if weights.kind != "file" else None
    calibrated = "" if calibrator is None else f", calibrator {calibrator.method} (sha256 {calibrator.sha256})"
    return {
        "description": spec.summary,
        "paper": spec.paper,
        "url": spec.paper_url,
        "license": weights.licence,
        "training_data": known.training_data if known else "",
        "notes": f"Exported by gasdet {__version__} from {detector.origin}, weights {weights.name} (sha256 {weights.sha256})"
        f"{calibrated}.",
    }
