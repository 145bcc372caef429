"""How far properties other than the content separate real from synthetic. docs/audit.md says what is computed and why."""

from __future__ import annotations

from gasdet.inspection.auditing.auditing import CLASSES, Audit, Section, sections
from gasdet.inspection.auditing.collecting import Collected, collect
from gasdet.inspection.auditing.grouping import together
from gasdet.inspection.auditing.measuring import Figure, Measurement, PropertyResult, measure
from gasdet.inspection.auditing.table import Column, PropertyTable, TableBuilder
from gasdet.inspection.auditing.verdicts import THRESHOLDS, Verdict, verdict_of

__all__ = [
    "CLASSES",
    "THRESHOLDS",
    "Audit",
    "Collected",
    "Column",
    "Figure",
    "Measurement",
    "PropertyResult",
    "PropertyTable",
    "Section",
    "TableBuilder",
    "Verdict",
    "collect",
    "measure",
    "sections",
    "together",
    "verdict_of",
]
