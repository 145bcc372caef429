"""The conformance kit on what this package brings."""

from __future__ import annotations

import pytest

from gasdet.testing import check_detector, check_loss


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gend", "gend-image"])
def test_the_detectors_pass_the_conformance_kit(name: str) -> None:
    check_detector(name)


@pytest.mark.parametrize("name", ["alignment", "uniformity", "frame_average", "frame_alignment", "frame_uniformity"])
def test_the_losses_pass_the_conformance_kit(name: str) -> None:
    check_loss(name)
