"""Profiles as text: what they mean, their one canonical form, and what is refused."""

from __future__ import annotations

import pytest

from gasdet.equalise_profiles import PROFILES, canonical, keys_of, numbers_of, only_for
from gasdet.errors import ConfigError
from gasdet.types import Modality, Preprocessing


@pytest.mark.parametrize("modality", list(Modality))
def test_standard_is_recorded_with_its_version(modality: Modality) -> None:
    assert canonical("standard", modality) == canonical(" standard-1 ", modality) == "standard-1"
    assert numbers_of("standard", modality) == PROFILES["standard-1"][modality]
    preprocessing = Preprocessing.from_mapping(modality, {"equalise": "standard"})
    assert preprocessing.equalise == "standard-1"
    assert preprocessing.to_mapping()["equalise"] == "standard-1"
    again = Preprocessing.from_mapping(modality, preprocessing.to_mapping())
    assert again == preprocessing
    assert again.fingerprint() == preprocessing.fingerprint()


@pytest.mark.parametrize("modality", list(Modality))
def test_without_it_nothing_changes(modality: Modality) -> None:
    """Records, caches and calibrators of before keep their identity."""
    plain = Preprocessing.from_mapping(modality, {})
    assert "equalise" not in plain.to_mapping()
    for nothing in ("", None):
        same = Preprocessing.from_mapping(modality, {"equalise": nothing})
        assert same.fingerprint() == plain.fingerprint()
    assert Preprocessing.from_mapping(modality, {"equalise": "standard"}).fingerprint() != plain.fingerprint()


def test_one_text_for_one_meaning() -> None:
    assert canonical("standard: quality=60 , side=128", "image") == "standard-1:side=128,quality=60"
    assert canonical("standard:side=224", "image") == "standard-1"
    assert canonical("standard:frame_rate=12.0", "video") == "standard-1:frame_rate=12"
    assert numbers_of("standard:side=128", "image") == {"side": 128, "quality": 50}
    assert keys_of("standard:side=128,crf=35") == ("side", "crf")
    assert only_for("standard:side=128,crf=35", "video") == "standard-1:side=128,crf=35"
    assert only_for("standard:side=128,crf=35", "image") == "standard-1:side=128"
    assert only_for("standard:side=128,crf=35", "audio") == "standard-1"


@pytest.mark.parametrize(
    ("text", "modality", "says"),
    [
        ("standrad", "image", "did you mean 'standard'"),
        ("standard:sides=3", "image", "did you mean 'side'"),
        ("standard:crf=3", "image", "no key 'crf' for image"),
        ("standard:side", "image", "key=value"),
        ("standard:", "image", "key=value"),
        ("standard:side=64,side=65", "image", "given twice"),
        ("standard:side=big", "image", "a whole number from 16 to 2048"),
        ("standard:side=8", "image", "a whole number from 16 to 2048"),
        ("standard:side=64.5", "image", "a whole number"),
        ("standard:frame_rate=nan", "video", "a number from 1 to 60"),
        ("standard:side=63", "video", "must be even"),
        ("standard:sample_rate=16001", "audio", "one of 8000"),
        ("standard:bandwidth=9000", "audio", "at most half of the sample rate, 8000 Hz"),
        ("standard:kbps=33", "audio", "one of 32"),
    ],
)
def test_what_is_unusable_is_told(text: str, modality: str, says: str) -> None:
    with pytest.raises(ConfigError, match="(?s)here.*equalise.*" + says):
        Preprocessing.from_mapping(modality, {"equalise": text}, where="here")


def test_a_value_that_is_no_text_is_refused() -> None:
    with pytest.raises(ConfigError, match="equalisation profile"):
        Preprocessing.from_mapping("image", {"equalise": True})
