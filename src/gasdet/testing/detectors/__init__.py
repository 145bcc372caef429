"""What a detector is held to: its plugin, its model, its files, its training. The imports' order is that of the checks."""

from __future__ import annotations

from gasdet.testing.detectors.plugin_checks import SUITE  # isort: skip
from gasdet.testing.detectors import model_checks, file_checks, training_checks  # isort: skip
from gasdet.testing.detectors.subject import DetectorSubject

__all__ = ["SUITE", "DetectorSubject", "file_checks", "model_checks", "training_checks"]
