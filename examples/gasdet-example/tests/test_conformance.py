"""The conformance kit on all five."""

from __future__ import annotations

from gasdet.testing import check_calibrator, check_detector, check_loss, check_metric, check_preprocessor


def test_the_detector() -> None:
    check_detector("example-spectrum")


def test_the_other_components() -> None:
    check_preprocessor("example-texture")
    check_metric("example-partial-auroc")
    check_loss("example-logit-adjusted")
    check_calibrator("example-prior-weighted")
