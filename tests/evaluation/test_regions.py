"""Regions by the preprocessor's name: resolved here and in the decode processes, recorded, refused before any decoding."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from gasdet.errors import GasdetError, PluginError, RunError, UsageError
from gasdet.evaluation import regions
from gasdet.evaluation.configuration import run_configuration
from gasdet.evaluation.options import RunOptions
from gasdet.evaluation.pipeline import DecodePool, DecodeResult
from gasdet.evaluation.regions import region_finder, region_identity
from gasdet.evaluation.run import evaluate_run
from gasdet.types import Locator, Modality, Preprocessing, Sample

KEYS = Preprocessing(Modality.IMAGE, resize=(32, 32), region="faces")


@pytest.fixture(autouse=True)
def fresh() -> Any:
    """What finders were made ready by other tests, in another environment, is forgotten."""
    regions._ready.cache_clear()
    yield
    regions._ready.cache_clear()


@pytest.fixture
def pictures(tmp_path: Path, make_sample: Any) -> list[Sample]:
    """Twelve PNGs; every third has no red, the others a red square of 20 pixels at (10 + 3 i, 20 + i)."""
    samples = []
    for i in range(12):
        pixels = np.random.default_rng(i).integers(0, 150, (80, 100, 3), dtype=np.uint8)
        if i % 3:
            pixels[20 + i : 40 + i, 10 + 3 * i : 30 + 3 * i] = (255, 0, 0)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
        samples.append(make_sample("x", i, locator=Locator("file", str(tmp_path / f"{i}.png"))))
    return samples


def decode_all(samples: Sequence[Sample], keys: Preprocessing = KEYS, workers: int = 2) -> list[DecodeResult]:
    with DecodePool(workers=workers, timeout=30) as pool:
        return list(pool.run(samples, keys))


def test_decode_processes_find_it_by_name(with_regions: Path, pictures: list[Sample]) -> None:
    results = decode_all(pictures)
    for i, result in enumerate(results):
        assert result.decoded is not None, result
        whole = np.asarray(Image.open(pictures[i].locator.path))
        if i % 3:
            square = whole[17 + i : 43 + i, 7 + 3 * i : 33 + 3 * i]
            assert result.decoded.notes == ()
        else:
            square = whole[:, 10:90]
            assert result.decoded.notes == ("no face was found; the whole frame was used",)
        assert np.array_equal(result.decoded.array.transpose(1, 2, 0), cv2.resize(square.copy(), (32, 32)))


def test_a_finder_that_only_the_processes_lack_is_told_once(
    with_regions: Path, pictures: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    region_finder("faces")  # here it is ready
    monkeypatch.setenv("GASDET_TEST_REGION_LACKS", "1")
    with pytest.raises(RunError) as told:
        decode_all(pictures)
    assert str(told.value) == (
        "A decode process cannot use the preprocessor 'faces': red is found with the package redness, which is not installed; "
        "install it."
    )


def test_the_number_of_processes_has_no_bearing(with_regions: Path, pictures: list[Sample]) -> None:
    one, three = decode_all(pictures, workers=1), decode_all(pictures[::-1], workers=3)[::-1]
    assert all(np.array_equal(a.decoded.array, b.decoded.array) for a, b in zip(one, three, strict=True))


def test_one_pool_serves_jobs_with_and_without(with_regions: Path, pictures: list[Sample]) -> None:
    plain, inner = dataclasses.replace(KEYS, region=""), dataclasses.replace(KEYS, region="inner", region_margin=1.0)
    with DecodePool(workers=1, timeout=30) as pool:
        first = [r.decoded.array for r in pool.run(pictures, plain)]
        second = [r.decoded.array for r in pool.run(pictures, inner)]
        third = [r.decoded.array for r in pool.run(pictures, plain)]
    assert np.array_equal(first, third)
    whole = np.asarray(Image.open(pictures[0].locator.path))
    square = whole[:, 10:90]  # 92 x 72 less the inset: as high as the frame, around its centre
    assert np.array_equal(second[0].transpose(1, 2, 0), cv2.resize(square.copy(), (32, 32)))
    assert region_finder("inner")(np.zeros((2, 20, 30, 3), np.uint8)) == [(4, 4, 26, 16)] * 2  # its options came along


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("nowhere", UsageError, "no preprocessor is called 'nowhere'"),
        ("other", PluginError, "finds no regions: without a frame it raised TypeError"),
        ("one", PluginError, r"finds no regions: without a frame it gave \[\(0, 0, 1, 1\)\]"),
        ("image", PluginError, "finds no regions"),
        ("gone", PluginError, "cannot import 'gasdet_testregion.absent'"),
    ],
)
def test_what_cannot_find_regions_is_refused_before_anything_is_decoded(
    with_regions: Path, pictures: list[Sample], name: str, kind: type[GasdetError], words: str
) -> None:
    with pytest.raises(kind, match=words) as raised:
        decode_all(pictures, dataclasses.replace(KEYS, region=name))
    assert str(raised.value).endswith(".")
    assert "\n" not in str(raised.value)


def test_what_it_lacks_is_its_own_sentence(
    with_regions: Path, pictures: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GASDET_TEST_REGION_LACKS", "1")
    with pytest.raises(
        GasdetError, match=r"^red is found with the package redness, which is not installed; install it\.$"
    ):
        decode_all(pictures)


def test_without_a_plugin_for_faces_the_package_is_named(with_plugins: Path) -> None:
    with pytest.raises(UsageError, match=r"pip install 'gasdet-gend\[faces\]'\.$"):
        region_finder("faces")


def test_a_run_states_what_its_regions_depend_on(
    with_regions: Path, pictures: list[Sample], make_dataset: Any, make_detector: Any, tmp_path: Path
) -> None:
    data = make_dataset(pictures)
    whole = make_detector(preprocessing=dataclasses.replace(KEYS, region=""))
    faces = make_detector(preprocessing=KEYS)
    run = evaluate_run([faces], data, tmp_path / "run", RunOptions(workers=1))
    stated = run.config["configuration"]["detectors"]["tiny"]
    assert stated["preprocessing"]["region"] == "faces"
    assert stated["preprocessing"]["region_margin"] == 1.3
    assert stated["region"]["plugin"] == "gasdet-testregion 0.3.0"
    assert stated["region"]["libraries"]["numpy"] == np.__version__
    assert region_identity(KEYS) == {"region": stated["region"]}
    without = run_configuration([whole], data, RunOptions(workers=1))["detectors"]["tiny"]
    assert "region" not in without
    assert "region" not in without["preprocessing"]
    rows = run.records().to_pylist()
    assert [row["message"] for row in rows[:3]] == ["no face was found; the whole frame was used", "", ""]
    assert all(row["status"] == "ok" for row in rows)
    differing = evaluate_run([whole], data, tmp_path / "other", RunOptions(workers=1)).records().to_pylist()
    assert [a["p_synthetic"] == b["p_synthetic"] for a, b in zip(rows, differing, strict=True)][:3] == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("batch_size", [1, 5])
def test_scores_do_not_depend_on_batch_size_and_processes(
    with_regions: Path, pictures: list[Sample], make_dataset: Any, make_detector: Any, tmp_path: Path, batch_size: int
) -> None:
    def scores(name: str, **options: Any) -> list[float]:
        run = evaluate_run(
            [make_detector(preprocessing=KEYS)], make_dataset(pictures), tmp_path / name, RunOptions(**options)
        )
        return [row["p_synthetic"] for row in run.records().to_pylist()]

    assert scores("a", workers=1, batch_size=12) == scores("b", workers=2, batch_size=batch_size)
