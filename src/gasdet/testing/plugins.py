"""What every plugin is held to, whatever it brings: a light entry point, a stated range of cores, a summary."""

from __future__ import annotations

import functools
import importlib
import json
import subprocess
import sys
from typing import Any, Protocol, TypeVar

from gasdet.registry import CORE, PluginInfo, load_registry
from gasdet.testing.suite import Failed, NotApplicable, Suite
from gasdet.types import ComponentSpec

MAX_IMPORT_MS = 50.0
"""How long an entry point's module may take to import: ``gasdet list`` imports those of all plugins."""
MAX_SUMMARY = 120
"""Characters of a summary, which is a line of ``gasdet list``."""
_TRIES = 5
_PATIENCE = 60.0
"""Seconds after which an import that does not end is given up."""
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
_TIMED_IMPORT = """
import contextlib, importlib, json, sys, time
import gasdet
module, heavy = sys.argv[1], sys.argv[2].split(",")
def waited():
    try:  # for a processor, in nanoseconds; told by Linux
        with open("/proc/self/schedstat") as file:
            return int(file.read().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
before = set(sys.modules)
start = time.perf_counter_ns() - waited()
with contextlib.redirect_stdout(sys.stderr):
    importlib.import_module(module)
elapsed = (time.perf_counter_ns() - waited() - start) / 1e6
print(json.dumps({"ms": elapsed, "heavy": [name for name in heavy if name in sys.modules and name not in before]}))
"""


def import_time(module: str) -> float:
    """Milliseconds that a module takes to import in a process of its own, the shortest of a few times.

    On Linux without the time in which other processes had the processor.

    Raises:
        Failed: It does not import, or imports what is heavy.
    """
    times = []
    for _ in range(_TRIES):
        try:
            done = subprocess.run(
                [sys.executable, "-c", _TIMED_IMPORT, module, ",".join(_HEAVY)],
                capture_output=True,
                text=True,
                check=False,
                timeout=_PATIENCE,
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"{module} is not imported after {_PATIENCE:.0f} seconds.") from None
        if done.returncode or not done.stdout.strip():
            said = done.stderr.strip().splitlines()[-1:] or [f"the process ends with exit code {done.returncode}"]
            raise Failed(f"{module} does not import in a process of its own: {said[0].rstrip('.')}.")
        found = json.loads(done.stdout.splitlines()[-1])
        if found["heavy"]:
            raise Failed(f"{module} imports {', '.join(found['heavy'])}.")
        times.append(float(found["ms"]))
        if min(times) < MAX_IMPORT_MS:  # a busy machine makes the others slow, not this one fast
            break
    return min(times)


_time_once = functools.cache(import_time)
"""For components, of which one entry point may bring twenty."""


def check_light(plugin: PluginInfo, *, once: bool = False) -> str:
    """How long the plugin's entry point takes to import.

    Args:
        plugin: Whose.
        once: Whether a time that was taken before in this process will do.

    Raises:
        Failed: Too long, or it imports what is heavy, or does not import.
    """
    module = plugin.module.partition(":")[0]
    taken = (_time_once if once else import_time)(module)
    if taken >= MAX_IMPORT_MS:
        raise Failed(f"{module} takes {taken:.0f} ms to import, the shortest of {_TRIES} times.")
    return f"{taken:.1f} ms"


def check_range(stated: str) -> str:
    """The range of cores that a plugin states.

    Raises:
        Failed: It states none, or no upper bound.
    """
    from packaging.specifiers import SpecifierSet

    if not stated:
        raise Failed("requires_gasdet is empty: a later gasdet would load it and fail somewhere inside.")
    if all(part.operator not in ("<", "<=", "==", "~=", "===") for part in SpecifierSet(stated)):
        raise Failed(f"requires_gasdet is {stated!r}, which has no upper bound.")
    return stated


def lacking_summary(summary: str) -> list[str]:
    """What is wrong with a spec's summary, as parts of a sentence; empty where nothing is."""
    if not summary.strip():
        return ["summary"]
    if "\n" in summary or len(summary) > MAX_SUMMARY:
        return [f"a summary of one line of at most {MAX_SUMMARY} characters"]
    return []


class ComponentSubject(Protocol):
    """What the three checks look at."""

    @property
    def spec(self) -> ComponentSpec:
        """The component's."""

    @property
    def plugin(self) -> PluginInfo | None:
        """Which brought it; None where a spec is checked that nobody has registered."""


Subject = TypeVar("Subject", bound=ComponentSubject)


def add_plugin_checks(suite: Suite[Subject]) -> None:
    """Begin a suite for components with what their plugin must state."""

    @suite.check(
        "light",
        f"its entry point's module imports in less than {MAX_IMPORT_MS:.0f} ms and imports neither torch nor numpy",
        "keep plugin.py to specs; name everything else by its import path.",
    )
    def _light(subject: Subject) -> str:
        return check_light(_plugin(subject), once=True)

    @suite.check(
        "metadata",
        "its spec has a summary of one line",
        f"say in ComponentSpec.summary what it is, in at most {MAX_SUMMARY} characters.",
    )
    def _metadata(subject: Subject) -> None:
        lacking = lacking_summary(subject.spec.summary)
        if lacking:
            raise Failed(f"The spec lacks {lacking[0]}.")

    @suite.check(
        "version-range",
        "its plugin says which versions of gasdet it is made for, with an upper bound",
        'write requires_gasdet = ">=0.1,<1" in the module of the entry point, or state it in the DetectorSpecs.',
    )
    def _version_range(subject: Subject) -> str:
        plugin = _plugin(subject)
        if plugin.distribution == CORE:
            raise NotApplicable("the core itself brings it")
        return check_range(_stated_range(plugin))


def _plugin(subject: ComponentSubject) -> PluginInfo:
    if subject.plugin is None:
        raise NotApplicable("no plugin brings it")
    return subject.plugin


def _stated_range(plugin: PluginInfo) -> str:
    """What the entry point's module states, else the first that one of the plugin's detectors does; empty where none does."""
    name, _, attribute = plugin.module.partition(":")
    loaded: Any = importlib.import_module(name)
    for part in filter(None, attribute.split(".")):
        loaded = getattr(loaded, part)
    of_detectors = (e.spec.requires_gasdet for e in load_registry().detectors() if e.plugin == plugin)
    return str(getattr(loaded, "requires_gasdet", "") or next(filter(None, of_detectors), ""))
