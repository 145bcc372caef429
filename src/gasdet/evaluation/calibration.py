"""From a calibrator.json to the component that does what it says."""

from __future__ import annotations

from typing import Any

from gasdet.bundle.calibration import CalibratorError, CalibratorFile
from gasdet.errors import MetricError, PluginError
from gasdet.registry import Registered, load_registry, load_target
from gasdet.types import ComponentSpec

REQUIRED = ("fit", "apply", "parameters", "from_parameters", "monotone", "minimum_samples")
"""What a calibrator's class has."""


def calibrator_class(method: str) -> tuple[Any, Registered[ComponentSpec]]:
    """The class of a calibrator component, and who brings it.

    Raises:
        UsageError: No plugin has a calibrator of that name.
        PluginError: It cannot be imported, or lacks something.
    """
    entry = load_registry().component("calibrator", method)
    found = load_target(entry.spec.target)
    missing = [name for name in REQUIRED if not hasattr(found, name)]
    if missing:
        raise PluginError(f"the calibrator {method!r} ({entry.plugin.origin}) lacks {', '.join(missing)}.")
    return found, entry


def calibrator_of(file: CalibratorFile) -> Any:
    """The fitted calibrator that a file describes; it has ``apply(logits [N, 2]) -> float64 [N, 2]``.

    Raises:
        UsageError: Its method is not installed.
        CalibratorError: Its parameters are unusable.
    """
    component, _ = calibrator_class(file.method)
    try:
        return component.from_parameters(file.parameters)
    except (MetricError, TypeError, ValueError, KeyError) as error:
        raise CalibratorError(f"{file.path or 'the calibrator'}: {str(error).rstrip('.')}; make it again.") from error
