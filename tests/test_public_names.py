"""The names that plugins and programs may import. To remove one is a decision: change the list, and say so in the CHANGELOG."""

from __future__ import annotations

from types import ModuleType

import pytest

import gasdet
import gasdet.testing

NAMES = {
    gasdet: "BackboneSpec ComponentSpec DetectorSpec GasdetError MediaType Modality Preprocessing Reason Recipe Sample Status "
    "WeightsSpec __version__ calibrate detect evaluate export hookimpl load",
    gasdet.testing: "Check CheckResult ConformanceError KINDS Report Suite check_calibrator check_detector check_loss "
    "check_metric check_plugin check_preprocessor suites",
}


@pytest.mark.parametrize("module", NAMES, ids=lambda module: module.__name__)
def test_the_public_names_are_these(module: ModuleType) -> None:
    assert sorted(module.__all__) == sorted(NAMES[module].split())
    for name in module.__all__:
        assert getattr(module, name) is not None, name
