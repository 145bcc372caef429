"""Entry points to plugins: each is imported, checked and asked for its components on its own.

pluggy's own loader stops at the first entry point that fails, and calling one hook on all plugins stops at the first
that raises. Therefore every plugin gets a plugin manager of its own here: whatever it does wrong stays with it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import importlib_metadata
import pluggy

from gasdet import hookspecs
from gasdet.errors import ConfigError, PluginError, UsageError
from gasdet.types import ComponentSpec, DetectorSpec, Modality, Preprocessing
from gasdet.version import __version__

PluginState = Literal["ok", "broken", "refused", "not selected"]

CORE = "gasdet"
"""The distribution whose own components are always loaded."""

Spec = DetectorSpec | ComponentSpec


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """One entry point of the group ``gasdet``, and what became of it.

    Attributes:
        name: The entry point's name.
        distribution: The installed package that declares it.
        version: Of that package.
        module: What the entry point refers to, e.g. "gasdet_restrav.plugin".
        state: ``ok``; ``broken`` (it failed to import, or does not keep the hooks' contract); ``refused`` (it asks for
            another version of gasdet); ``not selected`` (GASDET_PLUGINS leaves it out: it was not imported).
        error: Why it is broken or refused, one line with the error's type and place; empty otherwise.
        notes: What its author should know although it works.
    """

    name: str
    distribution: str
    version: str
    module: str
    state: PluginState = "ok"
    error: str = ""
    notes: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """Distribution and version, e.g. "gasdet-restrav 0.1.0": what a run records."""
        return f"{self.distribution} {self.version}".rstrip()

    def answers_to(self, name: str) -> bool:
        """Whether ``name`` means this plugin: its entry point's name, or its distribution's (in any spelling of that)."""
        return name == self.name or _normalised(name) == _normalised(self.distribution)


@dataclass(frozen=True, slots=True)
class LoadedPlugin:
    """A plugin with all that it registered, usable only where its state is ``ok``.

    Attributes:
        info: The plugin.
        specs: Component kind (a key of ``hookspecs.HOOKS``) and spec, in the order registered.
        failure: The exception behind ``info.error``, where there is one.
    """

    info: PluginInfo
    specs: tuple[tuple[str, Spec], ...] = ()
    failure: BaseException | None = None


class _RefusedError(PluginError):
    """The plugin states that it needs another version of the core."""


def _normalised(name: str) -> str:
    """A distribution's name as installers compare it: lower case, runs of -, _ and . are one hyphen."""
    return re.sub(r"[-_.]+", "-", name).lower()


def load_plugins(selection: str | None) -> tuple[LoadedPlugin, ...]:
    """Load every installed plugin, each on its own.

    Args:
        selection: The value of GASDET_PLUGINS: names of plugins with commas between them; the others are listed but not
            imported. The core's own components are always loaded. None selects all.

    Raises:
        UsageError: ``selection`` names a plugin that is not installed.
    """
    entries = sorted(importlib_metadata.entry_points(group=hookspecs.PROJECT), key=lambda e: (e.name, e.value))
    found = [(entry, _info(entry)) for entry in entries]
    wanted = None if selection is None else [name for name in (part.strip() for part in selection.split(",")) if name]
    for name in wanted or ():
        if not any(info.answers_to(name) for _, info in found):
            raise UsageError(f"GASDET_PLUGINS names {name!r}, which is not installed; {_listed(i for _, i in found)}.")
    return tuple(
        _load(entry, info)
        if wanted is None or _normalised(info.distribution) == CORE or any(info.answers_to(name) for name in wanted)
        else LoadedPlugin(dataclasses.replace(info, state="not selected"))
        for entry, info in found
    )


def _listed(infos: Iterable[PluginInfo]) -> str:
    names = sorted({info.name for info in infos if _normalised(info.distribution) != CORE})
    return f"installed plugins: {', '.join(names)}" if names else "no plugin is installed"


def _info(entry: importlib_metadata.EntryPoint) -> PluginInfo:
    fallback = entry.value.split(":")[0].split(".")[0]
    return PluginInfo(entry.name, _stated(entry, "Name") or fallback, _stated(entry, "Version"), entry.value)


def _stated(entry: importlib_metadata.EntryPoint, field: str) -> str:
    """A field of the distribution's metadata; empty where a half-removed installation has none."""
    try:
        return str(entry.dist.metadata[field] or "") if entry.dist else ""
    except Exception:  # importlib_metadata's releases differ in what they raise here, and in whether they do
        return ""


def _load(entry: importlib_metadata.EntryPoint, info: PluginInfo) -> LoadedPlugin:
    """Import one entry point and collect what it registers; whatever it raises becomes its state."""
    collector = _Collector()
    try:
        # What a plugin prints while it loads must not end up in the output of --json.
        with contextlib.redirect_stdout(sys.stderr):
            plugin = entry.load()
            _check_made_for(plugin)
            notes = _call_hooks(plugin, info.name, collector)
        collector.check_versions()
    except (Exception, SystemExit) as failure:
        state: PluginState = "refused" if isinstance(failure, _RefusedError) else "broken"
        info = dataclasses.replace(info, state=state, error=one_line(failure))
        return LoadedPlugin(info, tuple(collector.specs), failure)
    return LoadedPlugin(dataclasses.replace(info, notes=notes), tuple(collector.specs))


def _call_hooks(plugin: object, name: str, collector: _Collector) -> tuple[str, ...]:
    """Register the plugin with a manager of its own, call the five hooks, return notes for its author."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(plugin, name)
    except pluggy.PluginValidationError as error:
        raise PluginError(
            f"a hook asks for arguments that gasdet {__version__} does not offer ({' '.join(str(error).split())})"
        ) from error
    hooks = tuple(hookspecs.HOOKS.values())
    callers = manager.get_hookcallers(plugin) or []
    notes = [
        f"{caller.name} is no hook of gasdet {__version__} and is ignored{_nearest(caller.name, hooks)}"
        for caller in callers
        if not caller.has_spec()
    ]
    for kind, hook in hookspecs.HOOKS.items():
        getattr(manager.hook, hook)(register=collector.callback(kind))
    if not collector.specs:
        notes.append("it registers nothing: are its functions marked with @gasdet.hookimpl?")
    return tuple(notes)


def _nearest(name: str, known: tuple[str, ...]) -> str:
    match = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {match[0]}?)" if match else ""


_DETECTOR_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_COMPONENT_NAME = re.compile(r"[a-z0-9]+([-_][a-z0-9]+)*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*")
_ATTRIBUTE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


class _Collector:
    """Takes and checks what one plugin registers. One faulty spec makes the whole plugin broken."""

    def __init__(self) -> None:
        self.specs: list[tuple[str, Spec]] = []

    def callback(self, kind: str) -> Callable[[Any], None]:
        """The ``register`` that the hook of this kind is called with."""

        def register(spec: Any) -> None:
            expected: type[Spec] = DetectorSpec if kind == "model" else ComponentSpec
            if not isinstance(spec, expected):
                raise PluginError(
                    f"{hookspecs.HOOKS[kind]} must register a {expected.__name__}, not {type(spec).__name__}"
                )
            checked = _checked_detector(spec) if isinstance(spec, DetectorSpec) else _checked_component(kind, spec)
            if any(k == kind and s.name == checked.name for k, s in self.specs):
                raise PluginError(f"it registers the {kind} {checked.name!r} twice")
            self.specs.append((kind, checked))

        return register

    def check_versions(self) -> None:
        """Refuse the plugin where one of its detectors asks for another version of the core."""
        for _, spec in self.specs:
            if isinstance(spec, DetectorSpec) and spec.requires_gasdet:
                _check_requirement(spec.requires_gasdet, f"detector {spec.name!r}", f"its detector {spec.name!r}")


def _checked_detector(spec: DetectorSpec) -> DetectorSpec:
    what = f"detector {spec.name!r}"
    if not isinstance(spec.name, str) or not _DETECTOR_NAME.fullmatch(spec.name):
        raise PluginError(f"{what}: a name has lower case letters, digits and single hyphens only")
    try:
        modality = Modality(spec.modality)
    except ValueError:
        raise PluginError(f"{what}: modality is {spec.modality!r}, not one of {', '.join(Modality)}") from None
    if not _TARGET.fullmatch(spec.target):
        raise PluginError(f"{what}: target is {spec.target!r}, not a module's import path")
    if spec.recipe and not _ATTRIBUTE.fullmatch(spec.recipe):
        raise PluginError(f"{what}: recipe is {spec.recipe!r}, not 'package.module:attribute'")
    names = [w.name for w in spec.weights]
    for name in names:
        if names.count(name) > 1:
            raise PluginError(f"{what}: two sets of weights are called {name!r}")
    try:
        Preprocessing.from_mapping(modality, spec.preprocessing, where=f"{what}: preprocessing")
        for weights in spec.weights:
            merged = {**spec.preprocessing, **weights.preprocessing}
            Preprocessing.from_mapping(modality, merged, where=f"{what}: preprocessing of weights {weights.name!r}")
    except ConfigError as error:
        raise PluginError(str(error)) from error
    return dataclasses.replace(spec, modality=modality)


def _checked_component(kind: str, spec: ComponentSpec) -> ComponentSpec:
    if not isinstance(spec.name, str) or not _COMPONENT_NAME.fullmatch(spec.name):
        raise PluginError(f"{kind} {spec.name!r}: a name has lower case letters, digits, hyphens and underscores only")
    if not _ATTRIBUTE.fullmatch(spec.target):
        raise PluginError(f"{kind} {spec.name!r}: target is {spec.target!r}, not 'package.module:attribute'")
    return spec


def _check_made_for(plugin: object) -> None:
    """Refuse a plugin whose module states that it is made for another core, before any of its hooks is called.

    ``requires_gasdet`` is a version specifier, for plugins that bring no detector to state it; ``hookspec_version`` the version
    of the hooks that it implements.
    """
    stated = getattr(plugin, "requires_gasdet", "")
    if stated:
        _check_requirement(stated, "the plugin", "it")
    version = getattr(plugin, "hookspec_version", hookspecs.HOOKSPEC_VERSION)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise PluginError(f"the plugin: hookspec_version is {version!r}, not a whole number of at least 1")
    if version > hookspecs.HOOKSPEC_VERSION:
        raise _RefusedError(
            f"it is made for version {version} of the hooks and gasdet {__version__} has version "
            f"{hookspecs.HOOKSPEC_VERSION}; install a newer gasdet, or an older version of the plugin"
        )


def _check_requirement(stated: object, what: str, who: str) -> None:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # 25 ms, and few plugins state a requirement

    try:
        fits = SpecifierSet(str(stated)).contains(__version__, prereleases=True)
    except InvalidSpecifier:
        raise PluginError(f"{what}: requires_gasdet is {stated!r}, not a version specifier like '>=0.1,<1'") from None
    if not fits:
        raise _RefusedError(
            f"{who} needs gasdet {stated} and this is gasdet {__version__}; install a fitting version of either"
        )


_MACHINERY = tuple(
    os.path.dirname(os.path.abspath(module.__file__ or "")) + os.sep
    for module in (importlib, importlib_metadata, pluggy)
)


def one_line(failure: BaseException, limit: int = 400) -> str:
    """An exception in one line: its type, its message, and the last place in the plugin (or what it imports)."""
    text = " ".join(str(failure).split())
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if isinstance(failure, PluginError):  # ours: a sentence of its own
        head = text
    else:
        head = f"{type(failure).__name__}: {text}" if text else type(failure).__name__
    place = _place(failure)
    return f"{head} ({place})" if place else head


def _place(failure: BaseException) -> str:
    """File (with its folder) and line of the last frame outside the import and hook machinery; empty if there is none."""
    if isinstance(failure, SyntaxError) and failure.filename and failure.lineno:
        return f"{'/'.join(Path(failure.filename).parts[-2:])}:{failure.lineno}"
    own = os.path.dirname(os.path.abspath(__file__)) + os.sep
    frame, place = failure.__traceback__, ""
    while frame is not None:
        file = frame.tb_frame.f_code.co_filename
        if not file.startswith(("<", own, *_MACHINERY)) and not file.endswith(os.path.join("gasdet", "types.py")):
            place = f"{'/'.join(Path(file).parts[-2:])}:{frame.tb_lineno}"
        frame = frame.tb_next
    return place
