"""Which detectors a call uses, and with which weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from gasdet.api.equalising import equalised_preprocessing
from gasdet.api.faces import of_faces, with_faces
from gasdet.bundle import Detector, load_bundle, load_detector, resolve_weights
from gasdet.bundle.calibration import CalibratorError, CalibratorFile, find_calibrator, read_calibrator
from gasdet.errors import GasdetError, UsageError
from gasdet.evaluation.calibration import calibrator_of
from gasdet.progress import ProgressSink, Silent
from gasdet.registry import Registered, load_registry
from gasdet.types import DetectorSpec, Modality

Choice: TypeAlias = str | Path | Detector
"""A detector: an installed one by name, a bundle by its ``Path``, or one that is loaded."""

Chosen: TypeAlias = Registered[DetectorSpec] | Detector
"""A detector that is found: an installed one whose weights are still to be loaded, or one that is ready."""

Weights: TypeAlias = str | Mapping[str, str] | None
"""``--weights`` for every detector, or by detector name; the empty name is for all that are not named."""

Bases: TypeAlias = str | Path | Sequence[str | Path]
"""``--base``: what the delta files among the weights are changes of. Each takes the file that has the SHA-256 it states."""

Calibrators: TypeAlias = bool | str | Path | Sequence[str | Path]
"""True takes each detector's calibrator.json beside its weights, where there is one; False takes none; a file (or several)
goes to the detector whose weights it was fitted for, and the others have theirs as with True. A detector that is handed over
loaded keeps what it was loaded with."""


class ChosenCalibrators:
    """What a call says of calibrators, with the files that it names read.

    Args:
        calibrators: What it says.
        faces: Whether the detectors are to get face crops, which are given to them later.
        equalise: The profile of what the detectors are to get, which is given to them later; None for files as they are.

    Raises:
        CalibratorError: A file cannot be read.
    """

    def __init__(self, calibrators: Calibrators, *, faces: bool = False, equalise: str | None = None) -> None:
        self._faces = faces
        self._equalise = equalise
        self._automatic = calibrators is not False
        given = [calibrators] if isinstance(calibrators, str | Path) else calibrators
        self.files: tuple[CalibratorFile, ...] = (
            () if isinstance(given, bool) else tuple(read_calibrator(Path(f).expanduser()) for f in given)
        )

    def attach(self, detector: Detector, sink: ProgressSink) -> Detector:
        """Give a detector its calibrator, in place, and say so; one beside the weights that was fitted on the scores of other
        pixels or samples (another preprocessing) is left out with a note.

        Raises:
            CalibratorError: The file beside its weights is damaged, or was fitted for others; or a file that is named was
                fitted under another preprocessing.
        """  # noqa: D205
        weights = detector.weights
        found = next((file for file in self.files if file.weights_sha256 == weights.sha256), None)
        if found is None and self._automatic:
            found = find_calibrator(weights.home, weights.sha256)
        if found is not None and (told := self._unfit(found, detector)):
            if found in self.files:
                raise CalibratorError(f"{told}; calibrate again under this preprocessing, or leave the file out.")
            sink.note(f"{told}, so that it is left out.")
            return detector
        if found is not None:
            calibrator_of(found)  # now, and not when the first sample is scored
            detector.calibrator = found
            sink.note(f"{detector.name}: scores are calibrated ({found.method}, {found.path}).")
        return detector

    def _unfit(self, found: CalibratorFile, detector: Detector) -> str:
        """Why a calibrator is not for what the detector is to be given, without a full stop; empty where it is."""
        given = of_faces(detector.preprocessing) if self._faces else detector.preprocessing
        if self._equalise is not None:
            given = equalised_preprocessing(given, self._equalise)
        differs = found.differs(given)
        return f"{found.path}: fitted for {detector.name} under another preprocessing ({differs})" if differs else ""

    def check_loaded(self, detector: Detector) -> Detector:
        """A detector that is handed over loaded, unless it brings a calibrator where none, or another one, is wanted.

        Raises:
            UsageError: It does.
        """
        if not self._automatic and detector.calibrator is not None:
            raise UsageError(f"{detector.name} is loaded with a calibrator; load it with calibrator=False.")
        if detector.calibrator is not None and (told := self._unfit(detector.calibrator, detector)):
            raise UsageError(f"{told}; load it with calibrator=False.")
        return detector

    def check_used(self, detectors: Sequence[Detector]) -> None:
        """Refuse a file that is for none of the detectors.

        Raises:
            CalibratorError: There is one.
        """
        for file in self.files:
            if all(detector.calibrator is not file for detector in detectors):
                raise CalibratorError(
                    f"{file.path}: fitted for {file.detector} with the weights {file.weights_sha256[:16]}…, which none of the "
                    "detectors here runs with; calibrate again for these weights."
                )


def load(
    detector: str | Path,
    weights: str | None = None,
    *,
    base: Bases = (),
    trust_code: bool = False,
    offline: bool = False,
    demo_data: bool = False,
    calibrator: Calibrators = True,
    faces: bool = False,
    progress: ProgressSink | None = None,
) -> Detector:
    """Load a detector with its weights, ready to run on the CPU.

    Args:
        detector: The name of an installed detector (or ``plugin/name``), or the ``Path`` of a model directory or zip in
            GASBench's format.
        weights: ``"demo"``, a named release, the path of a safetensors file, or ``hf-hub:owner/name[@revision]/FILE``. None
            takes the default release; bundles bring their own.
        base: Of a delta file: the file that it is a change of. Empty looks where the delta says.
        trust_code: Allow a bundle's model.py to run. Its check is no sandbox.
        offline: Fetch nothing.
        demo_data: The detector is for the demo data, where demo weights are a fitting default.
        calibrator: True takes the calibrator.json beside the weights, where there is one; False none; or a file. It is
            applied where the detector's scores are evaluated, and not in its ``logits``. One beside the weights that was
            fitted under another preprocessing is left out with a note.
        faces: The detector's preprocessing gets the largest face of each picture, and its calibrator is one of such scores.
        progress: Gets a line before a download, and the one that says that demo weights are used.

    Raises:
        UsageError: No such detector, or no weights are chosen and there is no default.
        PluginError: The detector's plugin is broken, or its name is ambiguous.
        WeightsError: The weights cannot be had, or do not fit.
        BundleError: The bundle is incomplete, or refused by a check.
        CalibratorError: The calibrator is damaged, or was fitted for other weights.
    """
    calibrators, sink = ChosenCalibrators(calibrator, faces=faces), progress or Silent()
    if isinstance(detector, Path):
        if weights is not None:
            raise UsageError(f"{detector} brings its own weights; weights={weights!r} is for installed detectors.")
        loaded = calibrators.attach(load_bundle(detector, trust_code=trust_code), sink)
    else:
        entry = load_registry().detector(detector)
        loaded = _load_registered(
            entry, weights, calibrators, bases=base_texts(base), offline=offline, demo_data=demo_data, sink=sink
        )
    check_bases_used(base, loaded.weights.given is not None)
    calibrators.check_used([loaded])
    return with_faces([loaded])[0] if faces else loaded


def choose(
    choices: Sequence[Choice] | None, *, trust_code: bool, calibrators: ChosenCalibrators, sink: ProgressSink
) -> list[Chosen]:
    """Names to registered detectors and paths to loaded bundles; None to every installed detector with a clear name."""
    registry = load_registry()
    chosen: list[Chosen] = []
    if choices is None:
        for name in dict.fromkeys(entry.spec.name for entry in registry.detectors()):
            try:
                chosen.append(registry.detector(name))
            except GasdetError as error:
                sink.note(f"Left out: {error}")
        return chosen
    for choice in choices:
        if isinstance(choice, Path):
            chosen.append(calibrators.attach(load_bundle(choice, trust_code=trust_code), sink))
        else:
            chosen.append(registry.detector(choice) if isinstance(choice, str) else calibrators.check_loaded(choice))
    check_names_differ([name_of(c) for c in chosen])
    return chosen


def check_names_differ(names: Sequence[str]) -> None:
    """Refuse detectors that could not be told apart.

    Raises:
        UsageError: Two are called the same.
    """
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two of the detectors are called {name!r}; give each once, or in commands of their own.")


def base_texts(bases: Bases) -> tuple[str, ...]:
    """Files and hub ids as ``resolve_weights`` takes them."""
    return (str(bases),) if isinstance(bases, str | Path) else tuple(map(str, bases))


def check_bases_used(bases: Bases, used: bool) -> None:
    """Refuse a base where nothing is completed from one.

    Raises:
        UsageError: There is one, and it is not used, as no detector runs with a delta file.
    """
    texts = base_texts(bases)
    if texts and not used:
        raise UsageError(f"the base {texts[0]} is for delta files, and none of the weights here is one; leave it out.")


def weights_of_each(weights: Weights, installed: Sequence[Registered[DetectorSpec]]) -> dict[str, str | None]:
    """What a call says of the weights of each installed detector that is chosen, by ``plugin/name``; None for nothing.

    Raises:
        UsageError: It says something of another.
    """
    wanted = {"": weights} if isinstance(weights, str) else dict(weights or {})
    known = {"", *(entry.spec.name for entry in installed), *(entry.qualified for entry in installed)}
    for name, text in wanted.items():
        if name not in known or not installed:
            of = f" of {name!r}" if name else ""
            raise UsageError(f"the weights {text!r}{of} belong to no installed detector among those chosen.")
    return {
        entry.qualified: wanted.get(entry.qualified, wanted.get(entry.spec.name, wanted.get(""))) for entry in installed
    }


def name_of(chosen: Chosen) -> str:
    """The detector's name."""
    return chosen.spec.name if isinstance(chosen, Registered) else chosen.name


def modality_of(chosen: Chosen) -> Modality:
    """What the detector takes."""
    return chosen.spec.modality if isinstance(chosen, Registered) else chosen.modality


def precision_notes(detectors: Sequence[Detector], dtype: str | None) -> list[str]:
    """A line for each detector that is to run in a precision in which its named weights are not stated to keep their scores."""
    lines = []
    for detector in detectors if dtype not in (None, "float32") else ():
        if detector.weights.kind not in ("demo", "release"):
            continue
        spec = next(
            e.spec
            for e in load_registry().detectors()
            if detector.origin == e.plugin.origin and e.spec.name == detector.name
        )
        weights = spec.weights_named(detector.weights.name)
        if weights is not None and dtype not in weights.dtypes:
            lines.append(
                f"{detector.name}: its weights {weights.name!r} are not stated to keep their scores in {dtype}; compare with "
                "float32."
            )
    return lines


def load_chosen(
    chosen: Sequence[Chosen],
    weights: Weights,
    present: Collection[Modality | None],
    *,
    bases: Bases = (),
    calibrators: ChosenCalibrators,
    lenient: bool,
    demo_data: bool,
    offline: bool,
    sink: ProgressSink,
) -> list[Detector]:
    """Load those for which there are samples; ``lenient`` notes and leaves out those that cannot be loaded.

    ``present`` holds the samples' modalities; None stands for samples of which nobody knows what they are, which count for
    every detector that was asked for.
    """
    wanted = weights_of_each(weights, [c for c in chosen if isinstance(c, Registered)])
    loaded: list[Detector] = []
    for item in chosen:
        if modality_of(item) not in present and (lenient or None not in present):
            continue
        if not isinstance(item, Registered):
            loaded.append(item)
            continue
        try:
            loaded.append(
                _load_registered(
                    item,
                    wanted[item.qualified],
                    calibrators,
                    bases=base_texts(bases),
                    offline=offline,
                    demo_data=demo_data,
                    sink=sink,
                )
            )
        except GasdetError as error:
            if not lenient:
                raise
            sink.note(f"Left out {item.spec.name}: {error}")
    if not lenient:
        check_bases_used(bases, any(detector.weights.given is not None for detector in loaded))
    calibrators.check_used(loaded)
    return loaded


def _load_registered(
    entry: Registered[DetectorSpec],
    weights: str | None,
    calibrators: ChosenCalibrators,
    *,
    bases: Sequence[str],
    offline: bool,
    demo_data: bool,
    sink: ProgressSink,
) -> Detector:
    resolved = resolve_weights(entry.spec, weights, demo_data=demo_data, offline=offline, bases=bases, notify=sink.note)
    if resolved.message:
        sink.note(resolved.message)
    return calibrators.attach(load_detector(entry.spec, resolved, origin=entry.plugin.origin), sink)
