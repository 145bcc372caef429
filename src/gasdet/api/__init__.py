"""The Python interface: load a detector, score files, evaluate on a dataset. The command line is a thin layer over it.

Score files with every installed detector that takes them::

    import gasdet

    for result in gasdet.detect(["photo.jpg", "clips/"], weights="demo"):
        print(result.path, result.verdict, result.p_synthetic, result.reason)

Measure detectors on data with labels, with errors counted and intervals::

    run = gasdet.evaluate(["restrav"], data="demo")
    print(run.summary["detectors"]["restrav"]["metrics"]["combined_score"])

Use a detector on arrays of your own::

    detector = gasdet.load("restrav", weights="demo")
    logits = detector.logits(batch)  # [B, ...] as detector.preprocessing says -> [B, 2], (real, synthetic)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gasdet.evaluation.processors import share_processors, wait_passively

wait_passively()  # before anything imports torch

if TYPE_CHECKING:
    from gasdet.api.calibrating import calibrate
    from gasdet.api.choosing import Bases, Calibrators, Choice, Weights, load
    from gasdet.api.deltas import export_delta
    from gasdet.api.detecting import THRESHOLD, Detection, detect, iterate_detections
    from gasdet.api.evaluating import evaluate
    from gasdet.api.exporting import export
    from gasdet.bundle import Detector
    from gasdet.bundle.completing import Written
    from gasdet.bundle.export import Export
    from gasdet.evaluation.decode_cache import DecodeCache
    from gasdet.evaluation.options import RunOptions
    from gasdet.evaluation.run import Run

__all__ = [
    "THRESHOLD",
    "Bases",
    "Calibrators",
    "Choice",
    "DecodeCache",
    "Detection",
    "Detector",
    "Export",
    "Run",
    "RunOptions",
    "Weights",
    "Written",
    "calibrate",
    "detect",
    "evaluate",
    "export",
    "export_delta",
    "iterate_detections",
    "load",
]

_HOMES = {
    "gasdet.api.calibrating": ("calibrate",),
    "gasdet.api.choosing": ("Bases", "Calibrators", "Choice", "Weights", "load"),
    "gasdet.api.deltas": ("export_delta",),
    "gasdet.api.detecting": ("THRESHOLD", "Detection", "detect", "iterate_detections"),
    "gasdet.api.evaluating": ("evaluate",),
    "gasdet.api.exporting": ("export",),
    "gasdet.bundle": ("Detector",),
    "gasdet.bundle.completing": ("Written",),
    "gasdet.bundle.export": ("Export",),
    "gasdet.evaluation.decode_cache": ("DecodeCache",),
    "gasdet.evaluation.options": ("RunOptions",),
    "gasdet.evaluation.run": ("Run",),
}
"""Where each name is at home: what looks at data alone (``gasdet data ...``) starts without torch."""


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for."""
    for home, names in _HOMES.items():
        if name in names:
            share_processors()
            return getattr(importlib.import_module(home), name)
    raise AttributeError(f"module 'gasdet.api' has no attribute {name!r}")
