"""Calibrators: fitted on a calibration split, they map logits to logits whose probabilities are better calibrated.

All of them are functions of the margin z = logit_synthetic - logit_real. What each one is, and when to take it, is in
docs/calibration.md.
"""

from __future__ import annotations

from gasdet.builtin.calibrators.beta import Beta
from gasdet.builtin.calibrators.interface import Calibrator
from gasdet.builtin.calibrators.isotonic import Isotonic
from gasdet.builtin.calibrators.linear import Bias, Platt, TemperatureBias
from gasdet.builtin.calibrators.temperature import MAX_TEMPERATURE, MIN_TEMPERATURE, Temperature, TemperatureSweep

__all__ = [
    "MAX_TEMPERATURE",
    "MIN_TEMPERATURE",
    "Beta",
    "Bias",
    "Calibrator",
    "Isotonic",
    "Platt",
    "Temperature",
    "TemperatureBias",
    "TemperatureSweep",
]
