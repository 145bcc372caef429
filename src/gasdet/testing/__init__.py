"""The conformance kit: what every detector, metric, loss, calibrator and preprocessor is held to, for the tests of plugins.

In a plugin's tests::

    from gasdet.testing import check_detector

    def test_it_passes_the_conformance_kit():
        check_detector("mydetector")

Each function runs all checks and raises a ``ConformanceError`` (an AssertionError) that lists those which fail, with what to
change; ``gasdet plugin check`` runs the same. docs/plugins.md lists the checks. The pytest plugin that comes with the core adds
fixtures (:mod:`gasdet.testing.fixtures`).
"""

from __future__ import annotations

from gasdet.testing.running import (
    check_calibrator,
    check_detector,
    check_loss,
    check_metric,
    check_plugin,
    check_preprocessor,
    suites,
)
from gasdet.testing.suite import Check, CheckResult, ConformanceError, Report, Suite
from gasdet.types import KINDS

__all__ = [
    "KINDS",
    "Check",
    "CheckResult",
    "ConformanceError",
    "Report",
    "Suite",
    "check_calibrator",
    "check_detector",
    "check_loss",
    "check_metric",
    "check_plugin",
    "check_preprocessor",
    "suites",
]
