"""Checking data sets before they are scored or trained on: damage, wrong extensions, duplicates, leaks.

``probe`` runs in decode processes and looks at one sample; ``check`` collects what it found; ``near`` looks for what is
nearly the same by ``pictures`` and ``hamming`` (images, frames) and by ``sounds`` (recordings).
"""

from __future__ import annotations

from gasdet.inspection.checking.check import NEAR_DISTANCE, check_data
from gasdet.inspection.checking.findings import KINDS, SERIOUS, CheckReport, Finding, Kind, checked_kinds
from gasdet.inspection.checking.hamming import MAX_RADIUS
from gasdet.inspection.checking.output import check_place, write_csv

__all__ = [
    "KINDS",
    "MAX_RADIUS",
    "NEAR_DISTANCE",
    "SERIOUS",
    "CheckReport",
    "Finding",
    "Kind",
    "check_data",
    "check_place",
    "checked_kinds",
    "write_csv",
]
