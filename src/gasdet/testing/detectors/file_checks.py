"""What becomes of a detector's weights on disk, and of the detector in a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from gasdet import api
from gasdet.testing import samples
from gasdet.testing.detectors.plugin_checks import SUITE
from gasdet.testing.detectors.subject import DetectorSubject
from gasdet.testing.suite import Failed, NotApplicable

_DATA_PER_CLASS = 3
_SAME = ("deterministic", "no-state")
"""As in the checks of the model: two calls are compared."""


@SUITE.check(
    "save-and-load",
    "its state dict, saved and loaded again, gives the same logits, bit for bit",
    "let load_model read every tensor of the state dict, and keep nothing that decides logits outside of it.",
    needs=_SAME,
)
def _save_and_load(subject: DetectorSubject) -> None:
    folder = subject.saved("again", subject.detector.module.state_dict())
    batch = subject.batch(3)[0]
    # another seed: what load_model leaves at a random initial value is another one then
    again = subject.load(str(folder), seed=1)
    if not np.array_equal(subject.logits(batch), subject.logits(batch, again)):
        raise Failed("The logits differ.")


@SUITE.check(
    "strict-loading",
    "load_model itself refuses weights with a tensor missing, one too many, or one of another shape, the head's among them",
    "load_state_dict(state, strict=True), no except around it, and no choice of the tensors that happen to fit.",
)
def _strict_loading(subject: DetectorSubject) -> str:
    tensors = subject.own_tensors()
    chosen = _telling_tensors(subject, tensors)
    _check_refusals(subject, tensors, chosen, "")
    stored = subject.stored_tensors()
    if stored.keys() != tensors.keys():  # a publisher's names, which take another way through load_model
        # those that the model has: such a file may hold other parts, which load_model leaves out on purpose
        theirs = [found for name in chosen if (found := _stored_as(tensors[name], stored))]
        _check_refusals(subject, stored, theirs, "under the publisher's names, ")
        chosen += theirs
    return ", ".join(chosen)


def _check_refusals(
    subject: DetectorSubject, tensors: Mapping[str, torch.Tensor], chosen: Sequence[str], where: str
) -> None:
    for number, name in enumerate(chosen):
        without = {other: tensor for other, tensor in tensors.items() if other != name}
        subject.check_refused(f"missing-{number}", without, f"{where}{name} missing")
        longer = torch.cat([tensors[name], tensors[name]]) if tensors[name].dim() else torch.zeros(2)
        subject.check_refused(f"misshapen-{number}", {**tensors, name: longer}, f"{where}{name} of twice the length")
    subject.check_refused("extra", {**tensors, "extra.weight": torch.zeros(3)}, f"{where}a tensor too many")


def _stored_as(own: torch.Tensor, stored: Mapping[str, torch.Tensor]) -> str:
    """The name in the file of one of the model's tensors; empty where it is not there as it is."""
    alike = (name for name, tensor in stored.items() if tensor.shape == own.shape)
    return next((name for name in alike if torch.equal(stored[name].to(own), own)), "")


def _telling_tensors(subject: DetectorSubject, tensors: Mapping[str, torch.Tensor]) -> list[str]:
    """The largest tensor, and the largest of the head: what lenient loading leaves out is the head, most often."""
    largest = max(tensors, key=lambda name: tensors[name].numel())
    if subject.spec.recipe:
        head = [name for name in tensors if name.startswith(subject.recipe.head)]
    else:  # the head comes last in nearly every module
        head = [name for name in subject.detector.module.state_dict() if name in tensors][-1:]
    found = max(head, key=lambda name: tensors[name].numel(), default=largest)
    return list(dict.fromkeys([largest, found]))


@SUITE.check(
    "calibrators",
    "weights that hold a calibrator of any kind give the calibrated margin: a calibrated bundle needs it",
    "take the class Calibration and its two lines in load_model from the scaffold's model.py (docs/decisions/0007).",
    needs=(*_SAME, "save-and-load"),
)
def _calibrators(subject: DetectorSubject) -> str:
    state = subject.own_tensors()
    batch = subject.batch(3)[0]
    logits = subject.logits(batch).astype(np.float64)
    if logits.shape[1] != 2:
        raise NotApplicable("a calibrator is folded into a margin, and it has three classes")
    z = logits[:, 1] - logits[:, 0]
    x = [float(z.min()) - 1.0, float(z.mean()), float(z.max()) + 1.0]
    maps = {
        "affine": ([2.0, -0.5], 2.0 * z - 0.5),
        "beta": ([0.75, 1.5, -0.2], -0.75 * np.logaddexp(0.0, -z) + 1.5 * np.logaddexp(0.0, z) - 0.2),
        "knots": ([x, [-3.0, 0.5, 2.0]], np.interp(z, x, [-3.0, 0.5, 2.0])),
    }
    for kind, (values, expected) in maps.items():
        tensor = torch.tensor(values, dtype=torch.float64)
        folder = subject.saved(f"calibrated-{kind}", {**state, f"calibration.{kind}": tensor})
        found = subject.logits(batch, subject.load(str(folder))).astype(np.float64)
        far = float(np.abs(found[:, 1] - found[:, 0] - expected).max())
        if far > 1e-4 * max(1.0, float(np.abs(expected).max())):
            raise Failed(f"With the calibrator {kind}, margins differ by up to {far:.3g} from what it says.")
    return ", ".join(maps)


@SUITE.check(
    "export",
    "exported, it gives the same logits in a process without gasdet",
    "see docs/bundles.md; model.py is all that a bundle has of the plugin.",
    needs=(*_SAME, "save-and-load"),
)
def _export(subject: DetectorSubject) -> str:
    data = samples.write_folder(subject.folder / "media", subject.modality, _DATA_PER_CLASS)
    bundle = subject.folder / "bundle"
    told = api.export(subject.name, bundle, weights=subject.weights, data=data, calibrator=False, offline=True)
    again = api.load(bundle, trust_code=True)
    batch = subject.batch(2)[0]
    far = float(np.abs(subject.logits(batch) - again.logits(batch)).max())
    if far > 1e-4 * max(1.0, float(np.abs(subject.logits(batch)).max())):
        raise Failed(f"The bundle's logits differ by up to {far:.3g}.")
    return f"largest difference {max(far, told.difference):.1g}"
