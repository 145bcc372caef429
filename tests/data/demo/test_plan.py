from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections import Counter

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from gasdet.builtin.calibrators.temperature import Temperature
from gasdet.data.demo.catalogue import Scene
from gasdet.data.demo.plan import COLUMNS, PARTS, SPLITS, manifest, plan
from gasdet.data.demo.seeds import stream
from gasdet.evaluation.calibrating import DEFAULT_TEST_FRACTION

Row = dict[str, str]


@pytest.fixture(scope="module")
def text() -> str:
    return manifest(plan())


@pytest.fixture(scope="module")
def rows(text: str) -> list[Row]:
    return list(csv.DictReader(io.StringIO(text)))


def test_streams_are_the_same_everywhere_and_differ_by_name() -> None:
    # numpy keeps Philox's raw numbers for ever; a change of the streams would silently change every file.
    assert stream("a", 1).bit_generator.random_raw() == 11373572723488959163
    assert stream("a", 1).random() == stream("a", "1").random()
    assert len({stream(*name).bit_generator.random_raw() for name in [("a", 1), ("a1",), ("a", 2), ("b", 1)]}) == 4


def test_manifest_columns_and_values(rows: list[Row]) -> None:
    assert tuple(rows[0]) == COLUMNS
    assert COLUMNS[:6] == ("path", "label", "modality", "generator", "split", "group")
    assert {row["label"] for row in rows} == {"real", "synthetic"}
    assert {row["split"] for row in rows} == set(SPLITS)
    assert len({row["path"] for row in rows}) == len(rows)
    assert [row["path"] for row in rows] == sorted(row["path"] for row in rows)
    assert all((row["difficulty"] in {"easy", "medium", "hard"}) == (row["label"] == "synthetic") for row in rows)


def test_every_split_has_as_many_real_as_synthetic_files(rows: list[Row]) -> None:
    counts = Counter((row["modality"], row["split"], row["label"]) for row in rows)
    assert len(counts) == 24
    for modality, part in PARTS.items():
        for split, expected in zip(SPLITS, part.scenes, strict=True):
            assert counts[modality, split, "real"] == counts[modality, split, "synthetic"] == expected


def test_groups_stay_in_one_split_and_hold_one_file_of_each_class(rows: list[Row]) -> None:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["group"], []).append(row)
    for members in groups.values():
        assert {row["label"] for row in members} == {"real", "synthetic"}
        assert len(members) == 2
        assert len({(row["split"], row["modality"]) for row in members}) == 1


@pytest.mark.parametrize("modality", PARTS)
def test_what_is_held_back_occurs_in_the_test_split_only(modality: str) -> None:
    part = PARTS[modality]
    used: dict[str, set[str]] = {split: set() for split in SPLITS}
    for scene in plan():
        if scene.modality == modality:
            used[scene.split] |= {scene.device, scene.generator}
    held = {x.name for x in (*part.devices, *part.generators) if x.held_back}
    everything = {x.name for x in (*part.devices, *part.generators)}
    assert sum(d.held_back for d in part.devices) >= 1
    assert sum(g.held_back for g in part.generators) >= 1
    assert used["train"] == used["val"] == used["calibration"] == everything - held
    assert used["test"] == everything


def test_the_calibration_split_is_enough_for_the_default_method() -> None:
    """With as much kept back for the report as ``gasdet calibrate`` keeps by default."""
    for part in PARTS.values():
        scenes = part.scenes[SPLITS.index("calibration")]
        assert scenes - round(DEFAULT_TEST_FRACTION * scenes) >= Temperature.minimum_samples


def test_the_size_of_one_split_changes_nothing_in_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what demo weights were trained and judged on stays, whatever is added beside it."""
    before = [scene for scene in plan() if scene.split != "calibration"]
    for modality, part in PARTS.items():
        monkeypatch.setitem(PARTS, modality, dataclasses.replace(part, scenes=(*part.scenes[:3], 5)))
    assert [scene for scene in plan() if scene.split != "calibration"] == before
    assert sum(scene.split == "calibration" for scene in plan()) == 15


@pytest.mark.parametrize("modality", PARTS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_devices_and_generators_are_dealt_evenly_and_independently(modality: str, split: str) -> None:
    chosen = [s for s in plan() if s.modality == modality and s.split == split]
    for counts in (Counter(s.device for s in chosen), Counter(s.generator for s in chosen)):
        assert max(counts.values()) - min(counts.values()) <= 1
    assert len({(s.device, s.generator) for s in chosen}) > 2 * len({s.device for s in chosen})


def test_strengths_cover_the_stated_range_and_the_hard_ones_come_near_zero() -> None:
    strengths: dict[tuple[str, str], list[float]] = {}
    for scene in plan():
        strengths.setdefault((scene.modality, scene.generator), []).append(scene.strength)
    for modality, part in PARTS.items():
        for generator in part.generators:
            values, (low, high) = strengths[modality, generator.name], generator.strengths
            assert low <= min(values) <= max(values) <= high
            if generator.difficulty == "hard":
                assert min(values) < 0.1
            if generator.difficulty == "easy":
                assert min(values) > 0.3


@pytest.mark.parametrize("modality", PARTS)
def test_names_do_not_tell_the_label(modality: str, rows: list[Row]) -> None:
    own = [row for row in rows if row["modality"] == modality]
    for row in own:
        assert re.fullmatch(rf"{modality}/{row['split']}/\d{{6}}\.[a-z0-9]+", row["path"])
    number = np.array([int(re.findall(r"\d{6}", row["path"])[0]) for row in own])
    label = np.array([row["label"] == "synthetic" for row in own])
    assert 0.4 < roc_auc_score(label, number) < 0.6
    assert 0.4 < roc_auc_score(label, number % 2) < 0.6


def test_the_manifest_says_where_the_breaths_are(rows: list[Row]) -> None:
    audio = [row for row in rows if row["modality"] == "audio"]
    assert not any(row["breath_mask"] for row in rows if row["modality"] != "audio")
    assert all(re.fullmatch(r"(\d+\.\d\d-\d+\.\d\d( |$))*", row["breath_mask"]) for row in audio)
    by_group: dict[str, dict[str, int]] = {}
    for row in audio:
        spans = [tuple(map(float, span.split("-"))) for span in row["breath_mask"].split()]
        assert all(0 <= start < end for start, end in spans)
        assert spans == sorted(spans)
        by_group.setdefault(row["group"], {})[row["label"]] = len(spans)
    generator_of = {row["group"]: row["generator"] for row in audio if row["label"] == "synthetic"}
    lost = {generator_of[g] for g, count in by_group.items() if count["synthetic"] < count["real"]}
    assert lost == {"even"}
    assert not any(count["synthetic"] > count["real"] for count in by_group.values())


def test_the_plan_is_the_same_each_time(text: str) -> None:
    again: tuple[Scene, ...] = plan()
    assert again == plan()
    assert manifest(again) == text
