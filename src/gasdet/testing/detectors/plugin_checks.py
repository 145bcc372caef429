"""What the plugin of a detector states, before its model is looked at."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

from gasdet.bundle.codecheck import check_code
from gasdet.testing.detectors.subject import DetectorSubject
from gasdet.testing.suite import Failed, NotApplicable, Suite

MAX_IMPORT_MS = 50.0
"""How long an entry point's module may take to import: ``gasdet list`` imports those of all plugins."""
_TRIES = 5
_SUMMARY = 120
_HEAVY = (
    "torch",
    "torchvision",
    "torchaudio",
    "timm",
    "transformers",
    "peft",
    "numpy",
    "av",
    "cv2",
    "sklearn",
    "scipy",
)

SUITE: Suite[DetectorSubject] = Suite("detector", gate="loads")

_TIMED_IMPORT = """
import importlib, json, sys, time
import gasdet
module, heavy = sys.argv[1], sys.argv[2].split(",")
before = set(sys.modules)
start = time.perf_counter()
importlib.import_module(module)
elapsed = (time.perf_counter() - start) * 1000
print(json.dumps({"ms": elapsed, "heavy": [name for name in heavy if name in sys.modules and name not in before]}))
"""


@SUITE.check(
    "light",
    f"the entry point's module imports in less than {MAX_IMPORT_MS:.0f} ms and imports neither torch nor numpy",
    "keep plugin.py to specs; name everything else by its import path.",
)
def _light(subject: DetectorSubject) -> str:
    module = subject.entry.plugin.module.partition(":")[0]
    times = []
    for _ in range(_TRIES):
        done = subprocess.run(
            [sys.executable, "-c", _TIMED_IMPORT, module, ",".join(_HEAVY)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Failed(f"{module} does not import in a process of its own: {done.stderr.strip().splitlines()[-1]}.")
        found = json.loads(done.stdout.splitlines()[-1])
        if found["heavy"]:
            raise Failed(f"{module} imports {', '.join(found['heavy'])}.")
        times.append(found["ms"])
        if min(times) < MAX_IMPORT_MS:  # a busy machine makes the others slow, not this one fast
            break
    if min(times) >= MAX_IMPORT_MS:
        raise Failed(f"{module} takes {min(times):.0f} ms to import, the shortest of {_TRIES} times.")
    return f"{min(times):.1f} ms"


@SUITE.check(
    "metadata",
    "the spec says what a user must know: summary, input, paper or notes, licence of the code and of all weights",
    "fill the named fields of the DetectorSpec and its WeightsSpecs.",
)
def _metadata(subject: DetectorSubject) -> None:
    spec = subject.spec
    lacking = [name for name in ("summary", "input", "code_licence") if not getattr(spec, name)]
    if not (spec.paper or spec.notes):
        lacking.append("paper (or notes that say where the method is from)")
    for weights in spec.weights:
        lacking += [f"licence of the weights {weights.name!r}"] if not weights.licence else []
        lacking += [f"training_data of the weights {weights.name!r}"] if not weights.training_data else []
        fetched = not weights.source.startswith("package:")
        lacking += [f"sha256 of the weights {weights.name!r}"] if fetched and not weights.sha256 else []
    lacking += [f"licence of the backbone {b.name!r}" for b in spec.backbones if not b.licence]
    if "\n" in spec.summary or len(spec.summary) > _SUMMARY:
        lacking.append(f"a summary of one line of at most {_SUMMARY} characters")
    if lacking:
        raise Failed(f"The spec lacks {', '.join(lacking)}.")


@SUITE.check(
    "version-range",
    "the spec says which versions of gasdet it is made for, with an upper bound",
    'state requires_gasdet, e.g. ">=0.1,<1".',
)
def _version_range(subject: DetectorSubject) -> str:
    from packaging.specifiers import SpecifierSet

    stated = subject.spec.requires_gasdet
    if not stated:
        raise Failed("requires_gasdet is empty: a later gasdet would load it and fail somewhere inside.")
    if all(part.operator not in ("<", "<=", "==", "~=", "===") for part in SpecifierSet(stated)):
        raise Failed(f"requires_gasdet is {stated!r}, which has no upper bound.")
    return stated


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
