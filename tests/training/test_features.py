"""Extraction: every row belongs to its sample, failures are reported, nothing is computed twice."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gasdet.errors import PluginError
from gasdet.evaluation.pipeline import DecodePool
from gasdet.media import decode
from gasdet.media.digest import digest
from gasdet.training.feature_cache import FeatureCache
from gasdet.training.features import FeatureSet, backbone_sha256, extract_features, feature_key
from gasdet.types import Modality, Preprocessing, Reason, Sample

PREPROCESSING = Preprocessing.from_mapping(Modality.IMAGE, {"resize": [16, 16]})


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with DecodePool(workers=1, timeout=20.0) as started:
        yield started


@pytest.fixture
def module(toy: Any) -> torch.nn.Module:
    return __import__(toy.spec.target).build()  # type: ignore[no-any-return]


def own_features(sample: Sample) -> np.ndarray:
    pixels = np.asarray(Image.open(sample.locator.path), np.float64).reshape(-1, 3) / 255
    return np.concatenate([pixels.mean(0), pixels.std(0, ddof=1)])


def assert_aligned(found: FeatureSet) -> None:
    assert len(found.samples) == len(found.features) == len(found.labels)
    for sample, row in zip(found.samples, found.features, strict=True):
        np.testing.assert_allclose(row, own_features(sample), rtol=1e-4, atol=1e-6)


def test_rows_belong_to_their_samples_when_others_fail(
    tiny_samples: Callable[..., list[Sample]], module: torch.nn.Module, pool: DecodePool, tmp_path: Path
) -> None:
    samples = tiny_samples(20)
    Path(samples[0].locator.path).unlink()
    Path(samples[7].locator.path).write_bytes(b"")
    Path(samples[8].locator.path).write_bytes(b"no picture at all, but long enough to be looked at" * 10)
    Path(samples[19].locator.path).write_bytes(Path(samples[18].locator.path).read_bytes()[:120])
    cache = FeatureCache(tmp_path, {})
    found = extract_features(module, samples, PREPROCESSING, pool=pool, cache=cache, batch_size=3)
    assert [f.sample.member for f in found.failures] == ["000.png", "007.png", "008.png", "019.png"]
    assert [f.reason for f in found.failures[:2]] == [Reason.FILE_MISSING, Reason.FILE_EMPTY]
    assert all(f.message for f in found.failures)
    assert [s.member for s in found.samples] == [s.member for i, s in enumerate(samples) if i not in (0, 7, 8, 19)]
    assert_aligned(found)
    # and again, all of it from the cache
    again = extract_features(module, samples, PREPROCESSING, pool=pool, cache=cache)
    assert again.computed == 0
    assert np.array_equal(again.features, found.features)
    assert [f.sample for f in again.failures] == [f.sample for f in found.failures]


def test_nothing_is_computed_twice_after_an_interruption(
    tiny_samples: Callable[..., list[Sample]], module: torch.nn.Module, pool: DecodePool, tmp_path: Path
) -> None:
    samples = tiny_samples(20)
    features = module.features
    calls = 0

    def stops_midway(x: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return features(x)  # type: ignore[no-any-return,operator]

    module.features = stops_midway  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        extract_features(module, samples, PREPROCESSING, pool=pool, cache=FeatureCache(tmp_path, {}), batch_size=4)
    module.features = features
    cache = FeatureCache(tmp_path, {})
    assert len(cache) == 12
    module.calls.clear()  # type: ignore[union-attr,operator]
    found = extract_features(module, samples, PREPROCESSING, pool=pool, cache=cache, batch_size=4)
    assert module.calls == [4, 4]
    assert found.computed == 8
    assert_aligned(found)


KILLED = """
    import pickle, sys
    from pathlib import Path
    from gasdet.evaluation.pipeline import DecodePool
    from gasdet.training import feature_cache
    from gasdet.training.features import extract_features

    feature_cache._PART_ROWS = 4
    site, name, job, root = sys.argv[1:]
    sys.path.insert(0, site)
    module = __import__(name).build()
    features = module.features

    def slow(x):
        if len(module.calls) == 5:
            print("ten computed", flush=True)
            sys.stdin.read()
        return features(x)

    module.features = slow
    samples, preprocessing = pickle.loads(Path(job).read_bytes())
    with DecodePool(workers=1, timeout=20.0) as pool:
        cache = feature_cache.FeatureCache(Path(root), {})
        extract_features(module, samples, preprocessing, pool=pool, cache=cache, batch_size=2)
"""


def test_a_killed_extraction_goes_on_from_its_last_part(
    toy: Any, tiny_samples: Callable[..., list[Sample]], module: torch.nn.Module, pool: DecodePool, tmp_path: Path
) -> None:
    samples = tiny_samples(20)
    (tmp_path / "job").write_bytes(pickle.dumps((samples, PREPROCESSING)))
    arguments = [str(tmp_path / "site"), toy.spec.target, str(tmp_path / "job"), str(tmp_path / "cache")]
    command = [sys.executable, "-c", textwrap.dedent(KILLED), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ten computed"
        process.kill()
    found = extract_features(
        module, samples, PREPROCESSING, pool=pool, cache=FeatureCache(tmp_path / "cache", {}), batch_size=4
    )
    assert found.computed == 12  # two parts of four were on disk
    assert module.calls == [4, 4, 4]
    assert_aligned(found)


def test_equal_files_are_computed_once_and_have_equal_digests(
    tiny_samples: Callable[..., list[Sample]], module: torch.nn.Module, pool: DecodePool, tmp_path: Path
) -> None:
    samples = tiny_samples(6)
    Path(samples[4].locator.path).write_bytes(Path(samples[1].locator.path).read_bytes())
    Image.open(samples[0].locator.path).save(samples[2].locator.path, format="BMP")  # other bytes, equal pixels
    for _ in range(2):
        found = extract_features(module, samples, PREPROCESSING, pool=pool, cache=FeatureCache(tmp_path, {}))
        assert_aligned(found)
        assert len(found.samples) == 6
        assert found.digests[4] == found.digests[1]
        assert found.digests[2] == found.digests[0]
        assert len(set(found.digests)) == 4
        assert found.digests[5] == digest(decode(Path(samples[5].locator.path), PREPROCESSING).array)
    assert module.calls == [5]
    part = found.part([samples[4], samples[0]])
    assert part.samples == (samples[4], samples[0])
    assert part.digests == (found.digests[4], found.digests[0])
    assert_aligned(part)


def test_the_cache_goes_by_content_not_by_name(
    tiny_samples: Callable[..., list[Sample]], module: torch.nn.Module, pool: DecodePool, tmp_path: Path
) -> None:
    samples = tiny_samples(6)
    extract_features(module, samples, PREPROCESSING, pool=pool, cache=FeatureCache(tmp_path, {}))
    one, two = Path(samples[0].locator.path), Path(samples[1].locator.path)
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    found = extract_features(module, samples, PREPROCESSING, pool=pool, cache=FeatureCache(tmp_path, {}))
    assert found.computed == 0
    assert_aligned(found)


def test_batch_size_does_not_change_a_row(
    tiny_samples: Callable[..., list[Sample]], module: torch.nn.Module, pool: DecodePool, tmp_path: Path
) -> None:
    samples = tiny_samples(10)
    found = [
        extract_features(
            module, samples, PREPROCESSING, pool=pool, cache=FeatureCache(tmp_path / str(size), {}), batch_size=size
        )
        for size in (1, 4)
    ]
    np.testing.assert_allclose(found[0].features, found[1].features, rtol=1e-6)


def test_samples_of_unequal_shape_go_in_batches_of_their_own(
    tmp_path: Path, tiny_samples: Callable[..., list[Sample]], module: torch.nn.Module, pool: DecodePool
) -> None:
    samples = tiny_samples(6)
    Image.new("RGB", (9, 5), (200, 100, 50)).save(samples[2].locator.path)
    as_it_is = Preprocessing.from_mapping(Modality.IMAGE, {"resize_mode": "none"})
    found = extract_features(module, samples, as_it_is, pool=pool, cache=FeatureCache(tmp_path, {}), batch_size=4)
    assert module.calls == [2, 1, 3]
    assert_aligned(found)


def test_features_that_are_not_finite_are_a_failure_of_that_sample(
    tiny_samples: Callable[..., list[Sample]], module: torch.nn.Module, pool: DecodePool, tmp_path: Path
) -> None:
    samples = tiny_samples(4)
    features = module.features

    def with_a_nan(x: torch.Tensor) -> torch.Tensor:
        values = features(x)  # type: ignore[operator]
        values[1, 2] = float("nan")
        return values  # type: ignore[no-any-return]

    module.features = with_a_nan  # type: ignore[assignment]
    cache = FeatureCache(tmp_path, {})
    found = extract_features(module, samples, PREPROCESSING, pool=pool, cache=cache)
    assert [f.sample.member for f in found.failures] == ["001.png"]
    assert found.failures[0].reason is Reason.BAD_OUTPUT
    assert_aligned(found)
    assert len(cache) == 3


@pytest.mark.parametrize("shape", [(3,), (1, 3), (4, 2, 3)])
def test_features_of_the_wrong_shape_are_the_plugins_fault(
    shape: tuple[int, ...],
    tiny_samples: Callable[..., list[Sample]],
    module: torch.nn.Module,
    pool: DecodePool,
    tmp_path: Path,
) -> None:
    module.features = lambda x: torch.zeros(shape)  # type: ignore[assignment]
    with pytest.raises(PluginError, match=r"must be \[4, F\]"):
        extract_features(module, tiny_samples(4), PREPROCESSING, pool=pool, cache=FeatureCache(tmp_path, {}))


def test_all_failed(module: torch.nn.Module, pool: DecodePool, tmp_path: Path, tiny_samples: Any) -> None:
    samples = tiny_samples(2)
    for sample in samples:
        Path(sample.locator.path).unlink()
    found = extract_features(module, samples, PREPROCESSING, pool=pool, cache=FeatureCache(tmp_path, {}))
    assert len(found.failures) == 2
    assert len(found.features) == 0


def test_backbone_hash_is_of_everything_but_the_head(module: torch.nn.Module) -> None:
    tensors = module.state_dict()
    digest = backbone_sha256(tensors, ("head",))
    weight = tensors["backbone.weight"]
    expected = hashlib.sha256(b"backbone.weight torch.float32 [6, 6]\n" + weight.numpy().tobytes())
    assert digest == expected.hexdigest()
    changed = {**tensors, "head.bias": tensors["head.bias"] + 1}
    assert backbone_sha256(changed, ("head",)) == digest
    assert backbone_sha256({**tensors, "backbone.weight": weight + 1}, ("head",)) != digest


def test_key_changes_with_everything_that_features_depend_on(toy: Any, module: torch.nn.Module) -> None:
    key = feature_key(module, ("head",), {}, PREPROCESSING, "cpu")
    more_frames = dataclasses.replace(Preprocessing(Modality.VIDEO), num_frames=24)
    others = [
        feature_key(__import__(toy.spec.target).build(gain=2.0), ("head",), {}, PREPROCESSING, "cpu"),
        feature_key(module, ("head",), {"gain": 2.0}, PREPROCESSING, "cpu"),
        feature_key(module, ("head",), {}, dataclasses.replace(PREPROCESSING, antialias=True), "cpu"),
        feature_key(module, ("head",), {}, more_frames, "cpu"),
        feature_key(module, ("head",), {}, PREPROCESSING, "cuda"),
    ]
    assert all(other != key for other in others)
    module.head.bias.data += 1  # type: ignore[union-attr,operator]
    assert feature_key(module, ("head",), {}, PREPROCESSING, "cpu") == key
    assert more_frames.num_frames == others[3]["preprocessing"]["num_frames"]
