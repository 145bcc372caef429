"""What the plugin of a detector states, before its model is looked at."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

from gasdet.bundle.codecheck import check_code
from gasdet.testing.detectors.subject import DetectorSubject
from gasdet.testing.plugins import MAX_IMPORT_MS, check_light, check_range, lacking_summary
from gasdet.testing.suite import Failed, NotApplicable, Suite

SUITE: Suite[DetectorSubject] = Suite("detector", "loads", "output-shape")


@SUITE.check(
    "light",
    f"the entry point's module imports in less than {MAX_IMPORT_MS:.0f} ms and imports neither torch nor numpy",
    "keep plugin.py to specs; name everything else by its import path.",
)
def _light(subject: DetectorSubject) -> str:
    return check_light(subject.entry.plugin)


@SUITE.check(
    "metadata",
    "the spec says what a user must know: summary, input, paper or notes, licence of the code and of all weights",
    "fill the named fields of the DetectorSpec and its WeightsSpecs.",
)
def _metadata(subject: DetectorSubject) -> None:
    spec = subject.spec
    lacking = lacking_summary(spec.summary)
    lacking += [name for name in ("input", "code_licence") if not getattr(spec, name)]
    if not (spec.paper or spec.notes):
        lacking.append("paper (or notes that say where the method is from)")
    for weights in spec.weights:
        lacking += [f"licence of the weights {weights.name!r}"] if not weights.licence else []
        lacking += [f"training_data of the weights {weights.name!r}"] if not weights.training_data else []
        fetched = not weights.source.startswith("package:")
        lacking += [f"sha256 of the weights {weights.name!r}"] if fetched and not weights.sha256 else []
    lacking += [f"licence of the backbone {b.name!r}" for b in spec.backbones if not b.licence]
    if lacking:
        raise Failed(f"The spec lacks {', '.join(lacking)}.")


@SUITE.check(
    "version-range",
    "the spec says which versions of gasdet it is made for, with an upper bound",
    'state requires_gasdet, e.g. ">=0.1,<1".',
)
def _version_range(subject: DetectorSubject) -> str:
    return check_range(subject.spec.requires_gasdet)


@SUITE.check(
    "self-contained",
    "its model.py passes the check that a bundle's code is held to, and imports nothing of gasdet or of the plugin",
    "keep architecture and load_model in one file that imports torch, timm, torchaudio, safetensors, numpy and pure "
    "parts of Python alone.",
)
def _self_contained(subject: DetectorSubject) -> None:
    module = importlib.import_module(subject.spec.target)
    file = inspect.getsourcefile(module)
    if file is None:
        raise NotApplicable("its model has no source file")
    _, findings = check_code(Path(file).read_bytes())
    if findings:
        more = f" and {len(findings) - 1} more" if len(findings) > 1 else ""
        raise Failed(f"{findings[0]}{more}.")
