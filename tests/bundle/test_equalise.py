"""A bundle of a detector that was trained on equalised files says so, and loads as such."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gasdet.bundle import load_bundle
from gasdet.bundle.export import _gasbench
from gasdet.errors import ConfigError


def test_a_bundle_may_ask_for_equalised_files(make_bundle: Callable[..., Path]) -> None:
    detector = load_bundle(make_bundle(preprocessing={"equalise": "standard"}), trust_code=True)
    assert detector.preprocessing.equalise == "standard-1"
    assert "it does not know equalise: standard-1" in _gasbench(detector, 0.0, 0.0)


def test_a_profile_that_there_is_not_is_refused(make_bundle: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match="no equalisation profile 'strict'"):
        load_bundle(make_bundle(preprocessing={"equalise": "strict"}), trust_code=True)
