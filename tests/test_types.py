from __future__ import annotations

import hashlib
import pickle

import pytest

from gasdet.errors import ConfigError, MediaError
from gasdet.types import DetectorSpec, MediaType, Modality, Preprocessing, Reason, WeightsSpec, sample_id


def test_polarity_is_real_zero_synthetic_one() -> None:
    assert [m.label for m in MediaType] == [0, 1, 1]


def test_defaults_are_gasbench() -> None:
    image = Preprocessing.from_mapping("image", {})
    assert image.resize == (224, 224)
    assert (image.resize_mode, image.interpolation, image.antialias, image.exif_orientation) == (
        "crop",
        "bilinear",
        False,
        False,
    )
    video = Preprocessing.from_mapping("video", None)
    assert (video.num_frames, video.frame_rate, video.sampling, video.frame_pad) == (16, None, "start", "repeat_last")
    audio = Preprocessing.from_mapping("audio", {})
    assert (audio.num_samples, audio.audio_crop, audio.audio_pad) == (96_000, "center", "zeros")


def test_max_frames_is_the_other_name_of_num_frames() -> None:
    assert Preprocessing.from_mapping("video", {"max_frames": 8}).num_frames == 8
    assert Preprocessing.from_mapping("video", {"max_frames": 8, "num_frames": 12}).num_frames == 12


def test_num_samples_rounds_down() -> None:
    assert Preprocessing.from_mapping("audio", {"sample_rate": 22050, "duration_seconds": 1.99999}).num_samples == 44099


@pytest.mark.parametrize(
    ("modality", "mapping", "expected"),
    [
        ("image", {"rezise": [1, 1]}, "did you mean 'resize'"),
        ("image", {"num_frames": 3}, "unknown key 'num_frames' for image"),
        ("audio", {"resize": [1, 1]}, "known keys: sample_rate"),
        ("image", {"resize": [224]}, r"\[height, width\]"),
        ("image", {"resize": [224, 0]}, "1 to 16384"),
        ("image", {"resize": [True, True]}, "whole numbers"),
        ("image", {"resize_mode": "squash"}, "one of crop"),
        ("image", {"antialias": 1}, "true or false"),
        ("video", {"num_frames": 0}, "at least 1"),
        ("video", {"num_frames": 1.5}, "at least 1"),
        ("video", {"frame_rate": float("nan")}, "above 0"),
        ("video", {"window_seconds": -1}, "above 0"),
        ("audio", {"duration_seconds": -1}, "whole recording"),
        ("audio", {"sample_rate": "16k"}, "at least 1"),
        ("audio", {"region": "faces"}, "unknown key 'region' for audio"),
        ("image", {"region": "Faces!"}, "name of a registered preprocessor"),
        ("image", {"region": 1}, "name of a registered preprocessor"),
        ("image", {"region": "faces", "region_margin": 0.9}, "from 1 to 10"),
        ("video", {"region": "faces", "region_margin": True}, "from 1 to 10"),
        ("video", {"region": "faces", "resize_mode": "none"}, "differ in size"),
    ],
)
def test_unusable_preprocessing_is_one_sentence(modality: str, mapping: dict[str, object], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as caught:
        Preprocessing.from_mapping(modality, mapping, where="model_config.yaml: preprocessing")
    assert str(caught.value).startswith("model_config.yaml: preprocessing")


def test_fingerprint_tells_whether_a_decode_can_be_shared() -> None:
    plain = Preprocessing.from_mapping("video", {})
    assert (
        plain.fingerprint()
        == Preprocessing.from_mapping("video", {"max_frames": 16, "normalize": {"mean": 0}}).fingerprint()
    )
    assert plain.fingerprint() != Preprocessing.from_mapping("video", {"num_frames": 17}).fingerprint()
    assert plain.fingerprint() != Preprocessing.from_mapping("image", {}).fingerprint()


def test_fingerprint_ignores_keys_of_other_modalities() -> None:
    assert Preprocessing(Modality.AUDIO, resize=(1, 1)).fingerprint() == Preprocessing(Modality.AUDIO).fingerprint()


def test_mapping_round_trip() -> None:
    given = Preprocessing.from_mapping("video", {"resize": [96, 128], "sampling": "window", "frame_rate": 8})
    assert Preprocessing.from_mapping("video", given.to_mapping()) == given


def test_a_region_is_stated_only_where_one_is_looked_for() -> None:
    plain = Preprocessing.from_mapping("video", {})
    assert not {"region", "region_margin"} & set(plain.to_mapping())
    assert (
        plain.fingerprint() == "474b04fded68ea71"
    )  # as before there were regions: runs and caches made then stay valid
    for none in ({"region": ""}, {"region": None, "region_margin": 2}):
        assert Preprocessing.from_mapping("video", none) == plain
    faces = Preprocessing.from_mapping("video", {"region": "gasdet-gend/faces"})
    assert faces.to_mapping() == {**plain.to_mapping(), "region": "gasdet-gend/faces", "region_margin": 1.3}
    assert Preprocessing.from_mapping("video", faces.to_mapping()) == faces
    wider = Preprocessing.from_mapping("video", {"region": "gasdet-gend/faces", "region_margin": 2})
    assert len({p.fingerprint() for p in (plain, faces, wider)}) == 3


def test_sample_id_is_a_stable_hash_of_dataset_and_member() -> None:
    assert sample_id("a", "b/c.png") == hashlib.sha256(b"a\0b/c.png").hexdigest()[:32]
    assert sample_id("a", "x\udcff.png") != sample_id("a", "x.png")  # an undecodable file name has an id too


def test_media_error_keeps_its_reason_across_processes() -> None:
    error = pickle.loads(pickle.dumps(MediaError(Reason.TRUNCATED, "cut off")))
    assert (error.reason, str(error)) == (Reason.TRUNCATED, "cut off")


def test_weights_are_found_by_name() -> None:
    weights = WeightsSpec(name="demo", source="package:demo.safetensors", sha256="0", licence="MIT", kind="demo")
    spec = DetectorSpec(name="x", modality=Modality.IMAGE, target="x.model", summary="", weights=(weights,))
    assert spec.weights_named("demo") is weights
    assert spec.weights_named("v1") is None
