"""The conformance kit on what this package brings."""

from __future__ import annotations

import pytest

from gasdet.testing import check_detector


@pytest.mark.slow
def test_the_detector_passes_the_conformance_kit() -> None:
    check_detector("restrav")
