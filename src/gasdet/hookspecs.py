"""The five hook specifications, and the marker with which plugins implement them.

A plugin is a module (or object) behind an entry point of the group ``gasdet``. It implements any of the five hooks; each
receives a ``register`` callback and calls it once for every component that it brings::

    from gasdet import DetectorSpec, hookimpl

    @hookimpl
    def register_models(register):
        register(DetectorSpec(name="mydetector", modality="image", target="my_package.model", ...))

Only metadata is registered. The component itself is imported when first used, so that an entry-point module imports in a
few milliseconds and never imports torch.
"""

from __future__ import annotations

from collections.abc import Callable

import pluggy

from gasdet.types import ComponentSpec, DetectorSpec

PROJECT = "gasdet"
"""The pluggy project name, and the entry-point group in which plugins are found."""

HOOKSPEC_VERSION = 1
"""Raised when a hook argument is added. Arguments are only ever added, never removed."""


hookspec: pluggy.HookspecMarker = pluggy.HookspecMarker(PROJECT)
hookimpl: pluggy.HookimplMarker = pluggy.HookimplMarker(PROJECT)


@hookspec
def register_preprocessors(register: Callable[[ComponentSpec], None]) -> None:
    """Register what finds the part of a picture that a model gets, such as a face; the core's own decode files."""


@hookspec
def register_models(register: Callable[[DetectorSpec], None]) -> None:
    """Register detectors: their metadata, weights, preprocessing, and where their model.py is."""


@hookspec
def register_losses(register: Callable[[ComponentSpec], None]) -> None:
    """Register training losses: callables of (logits, labels, ...) that return a scalar tensor."""


@hookspec
def register_calibrators(register: Callable[[ComponentSpec], None]) -> None:
    """Register calibrators: fitted on a calibration split, they map logits to calibrated logits."""


@hookspec
def register_metrics(register: Callable[[ComponentSpec], None]) -> None:
    """Register metrics: callables of (labels, scores, weights) that return a float."""


HOOKS: dict[str, str] = {
    "preprocessor": "register_preprocessors",
    "model": "register_models",
    "loss": "register_losses",
    "calibrator": "register_calibrators",
    "metric": "register_metrics",
}
"""Component kind to the name of the hook that registers it."""
