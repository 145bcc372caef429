"""What becomes of a detector's weights on disk, and of the detector in a bundle; and what its training reaches."""

from __future__ import annotations

import numpy as np
import torch
from safetensors.torch import load_file

from gasdet import api
from gasdet.bundle.fidelity import has_foreign_names
from gasdet.registry import load_target
from gasdet.testing import samples
from gasdet.testing.detectors.plugin_checks import SUITE
from gasdet.testing.detectors.subject import DetectorSubject
from gasdet.testing.suite import Failed, NotApplicable
from gasdet.training.objectives import check_stages
from gasdet.training.trainable import make_trainable

_DATA_PER_CLASS = 3


def _own_tensors(subject: DetectorSubject) -> dict[str, torch.Tensor]:
    tensors = load_file(str(subject.file()))
    if has_foreign_names(load_target(subject.spec.target), tensors):
        raise NotApplicable("the file has its publisher's names, which load_model renames")
    return tensors


@SUITE.check(
    "save-and-load",
    "its state dict, saved and loaded again, gives the same logits, bit for bit",
    "let load_model read every tensor of the state dict, and keep nothing that decides logits outside of it.",
)
def _save_and_load(subject: DetectorSubject) -> None:
    _own_tensors(subject)
    folder = subject.saved("again", subject.detector.module.state_dict())
    batch = subject.batch(3)[0]
    if not np.array_equal(subject.logits(batch), subject.logits(batch, subject.load(str(folder)))):
        raise Failed("The logits differ.")


@SUITE.check(
    "strict-loading",
    "weights with a tensor missing, one too many, or one of another shape are refused",
    "load_state_dict(state, strict=True), and no except around it.",
)
def _strict_loading(subject: DetectorSubject) -> None:
    tensors = _own_tensors(subject)
    largest = max(tensors, key=lambda name: tensors[name].numel())
    without = {name: tensor for name, tensor in tensors.items() if name != largest}
    subject.check_refused(subject.saved("missing", without), f"{largest} missing")
    subject.check_refused(subject.saved("extra", {**tensors, "extra.weight": torch.zeros(3)}), "a tensor too many")
    misshapen = torch.cat([tensors[largest], tensors[largest]])
    subject.check_refused(subject.saved("misshapen", {**tensors, largest: misshapen}), f"{largest} of twice the length")


@SUITE.check(
    "calibrators",
    "weights that hold a calibrator of any kind give the calibrated margin: a calibrated bundle needs it",
    "take the class Calibration and its two lines in load_model from the scaffold's model.py (docs/decisions/0007).",
)
def _calibrators(subject: DetectorSubject) -> str:
    state = _own_tensors(subject)
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


@SUITE.check(
    "recipe",
    "its recipe builds a module, and everything that its stages name is installed and fits",
    "see the error; gasdet list --hooks shows the losses and metrics.",
)
def _recipe(subject: DetectorSubject) -> str:
    recipe = subject.recipe
    check_stages(recipe, subject.build(), subject.modality, torch.device("cpu"))
    return f"{recipe.stage_count} {'stage' if recipe.stage_count == 1 else 'stages'} on the demo data"


@SUITE.check(
    "gradient",
    "in every stage, a gradient reaches all that the recipe trains, and nothing else",
    "no torch.no_grad(), .detach() or .data on the way to what is trained; name the head's tensors in Recipe.head.",
)
def _gradient(subject: DetectorSubject) -> str:
    recipe = subject.recipe
    shown = []
    for number in range(recipe.stage_count):
        stage = recipe.stage(number)
        module, _ = make_trainable(subject.build(), stage)
        trained = {name for name, p in module.named_parameters() if p.requires_grad}
        before = {name: p.detach().clone() for name, p in module.named_parameters() if name not in trained}
        module.train()
        x = torch.from_numpy(subject.batch(4)[0])
        outputs = module.forward_with_outputs(x) if hasattr(module, "forward_with_outputs") else {"logits": module(x)}  # type: ignore[operator]
        parts = [v.float().square().mean() for v in outputs.values() if torch.is_tensor(v) and v.requires_grad]
        if not parts:
            raise Failed("No output has a gradient.")
        torch.autograd.backward(torch.stack(parts).sum())
        reached = {name for name, p in module.named_parameters() if p.grad is not None}
        if reached != trained:
            lacking, too_many = sorted(trained - reached), sorted(reached - trained)
            said = [f"none reaches {', '.join(lacking[:4])}"] if lacking else []
            said += [f"one reaches {', '.join(too_many[:4])}"] if too_many else []
            raise Failed(f"Of {len(trained)} trained tensors: {'; '.join(said)}.")
        if any(not torch.equal(p, before[name]) for name, p in module.named_parameters() if name in before):
            raise Failed("A forward pass changes parameters that are frozen.")
        shown.append(f"{len(trained)} tensors ({stage.trainable})")
    return ", then ".join(shown)
