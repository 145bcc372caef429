"""gasdet: a registry and harness for detectors of AI-generated images, video and audio.

The public names below are what plugins and programs import; they load lazily where they need more than the standard
library, so that ``import gasdet`` costs a few milliseconds and never imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gasdet.errors import GasdetError
from gasdet.hookspecs import hookimpl
from gasdet.types import (
    BackboneSpec,
    ComponentSpec,
    DetectorSpec,
    MediaType,
    Modality,
    Preprocessing,
    Reason,
    Sample,
    Status,
    WeightsSpec,
)
from gasdet.version import __version__

if TYPE_CHECKING:
    from gasdet.api import calibrate, detect, evaluate, export, load
    from gasdet.training.recipe import Recipe

__all__ = [
    "BackboneSpec",
    "ComponentSpec",
    "DetectorSpec",
    "GasdetError",
    "MediaType",
    "Modality",
    "Preprocessing",
    "Reason",
    "Recipe",
    "Sample",
    "Status",
    "WeightsSpec",
    "__version__",
    "calibrate",
    "detect",
    "evaluate",
    "export",
    "hookimpl",
    "load",
]

_LAZY = ("calibrate", "detect", "evaluate", "export", "load")


def __getattr__(name: str) -> Any:
    """Import the functions that need the evaluation machinery when they are first asked for."""
    if name in _LAZY:
        from gasdet import api

        return getattr(api, name)
    if name == "Recipe":
        from gasdet.training.recipe import Recipe

        return Recipe
    raise AttributeError(f"module 'gasdet' has no attribute {name!r}")
