"""What finds the part of a picture that a model gets: a preprocessor that a plugin registers, by its name.

Such a preprocessor is a function of frames (:data:`gasdet.media.FindRegions`). Before the first file it is called once with no
frames, ``[0, 1, 1, 3]``: it loads what it needs then, or raises a :class:`~gasdet.errors.GasdetError` that says what to
install. Nothing here imports torch, since decode processes ask here too.
"""

from __future__ import annotations

import ast
import functools
import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np

from gasdet.errors import GasdetError, PluginError, UsageError, first_line
from gasdet.media import FindRegions
from gasdet.registry import Registered, load_registry, load_target
from gasdet.types import ComponentSpec, Preprocessing

_BROUGHT_BY = {"faces": "gasdet-gend[faces]"}
"""What to install for a name that a package of this project brings."""


def region_finder(name: str) -> FindRegions:
    """What finds regions under this name, loaded and ready; once in each process.

    Raises:
        UsageError: No plugin registers a preprocessor of that name.
        PluginError: Its plugin is broken, its name ambiguous, or it finds no regions.
        GasdetError: What the preprocessor says it lacks.
    """
    spec = _registered(name).spec
    return _ready(spec.target, json.dumps(dict(spec.options), sort_keys=True), name)


def region_identity(preprocessing: Preprocessing) -> dict[str, Any]:
    """What the regions depend on beside the name, as an entry of a record: the plugin, and the packages that its code imports.

    Empty where the preprocessing names no region.

    Raises:
        GasdetError: As ``region_finder``.
    """
    if not preprocessing.region:
        return {}
    from gasdet.bundle.load import libraries_of  # torch

    entry = _registered(preprocessing.region)
    region_finder(preprocessing.region)
    file = inspect.getsourcefile(inspect.unwrap(load_target(entry.spec.target)))
    libraries = {} if file is None else libraries_of(ast.parse(Path(file).read_bytes()))
    libraries.pop("torch", None)  # named always, whether imported or not
    found = {"plugin": entry.plugin.origin, "options": dict(entry.spec.options), "libraries": libraries}
    return {"region": found}


def region_target(preprocessing: Preprocessing) -> str:
    """Import path of what finds the preprocessing's region.

    Raises:
        GasdetError: As ``region_finder``.
    """
    return _registered(preprocessing.region).spec.target


def _registered(name: str) -> Registered[ComponentSpec]:
    try:
        return load_registry().component("preprocessor", name)
    except UsageError as error:
        package = _BROUGHT_BY.get(name)
        if package is None:
            raise
        raise UsageError(
            f"no installed plugin brings the preprocessor {name!r}, which finds the part of a picture that the model gets; "
            f"install one with: pip install '{package}'."
        ) from error


@functools.cache
def _ready(target: str, options: str, name: str) -> FindRegions:
    function = functools.partial(load_target(target), **json.loads(options))
    try:
        found = list(function(np.empty((0, 1, 1, 3), np.uint8)))
    except GasdetError:
        raise
    except Exception as error:
        raise PluginError(
            f"the preprocessor {name!r} ({target}) finds no regions: without a frame it raised {type(error).__name__} "
            f"({first_line(error)})."
        ) from error
    if found:
        raise PluginError(f"the preprocessor {name!r} ({target}) finds no regions: without a frame it gave {found!r}.")
    return function
