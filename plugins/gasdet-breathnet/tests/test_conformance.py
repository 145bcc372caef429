"""The conformance kit on what this package brings."""

from __future__ import annotations

import pytest

from gasdet.testing import check_detector, check_loss


@pytest.mark.slow
def test_the_detector_passes_the_conformance_kit() -> None:
    check_detector("breathnet")


@pytest.mark.parametrize("name", ["positive_supcon", "center", "contrastive", "breath", "weighted_cross_entropy"])
def test_the_losses_pass_the_conformance_kit(name: str) -> None:
    check_loss(name)
