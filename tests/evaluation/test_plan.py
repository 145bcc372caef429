"""The plan: who gets which sample, and a file that gives every sample back exactly."""

from __future__ import annotations

import os
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from gasdet.errors import DataError, RunError
from gasdet.evaluation import plan
from gasdet.types import Locator, MediaType, Modality, Provenance, Reason


def test_a_detector_gets_its_modality_and_what_nobody_knows(make_sample):
    samples = [
        make_sample("a", 0, modality=Modality.IMAGE),
        make_sample("b", 1, modality=Modality.VIDEO),
        make_sample("c", 2, modality=None),
        make_sample("d", 3, modality=Modality.IMAGE),
    ]
    assert plan.rows_for(samples, Modality.IMAGE) == [0, 2, 3]
    assert plan.rows_for(samples, Modality.VIDEO) == [1, 2]
    assert plan.rows_for(samples, Modality.AUDIO) == [2]


def test_what_is_skipped_and_why(make_sample):
    assert plan.skipped(make_sample("a", 0)) is None
    unknown = plan.skipped(make_sample("a", 0, modality=None))
    assert unknown is not None
    assert unknown[0] is Reason.UNKNOWN_MODALITY
    label = make_sample("a", 0, skip=Reason.LABEL_UNREADABLE, skip_message="no such label")
    assert plan.skipped(label) == (Reason.LABEL_UNREADABLE, "no such label")


def test_a_sample_that_comes_twice_is_refused(make_sample):
    with pytest.raises(DataError, match="'x' of dataset 'tests' occurs 2 times"):
        plan.check([make_sample("a", 0, member="x"), make_sample("b", 1), make_sample("c", 2, member="x")])


def test_every_sample_comes_back_as_it_was(make_sample, tmp_path):
    undecodable = os.fsdecode(b"/data/\xff\xfe\n.png")
    samples = (
        make_sample("/data/a.png", 0),
        make_sample(undecodable, 1, member=undecodable, generator="\ud800 lone", split="test", weight=0.25),
        make_sample("c", 2, modality=None, media_type=None, skip=Reason.UNKNOWN_MODALITY, skip_message="what is it?"),
        make_sample(
            "d", 3, media_type=MediaType.SEMISYNTHETIC, modality=Modality.AUDIO, pair="p \udcff", released="2024-08"
        ),
        make_sample("e", 4, locator=Locator("parquet", "x.parquet", row=17, column="image.bytes", size=1234)),
        make_sample("f", 5, locator=Locator("zip", "x.zip", member="a/b.png")),
    )
    plan.write_plan(tmp_path / "plan.parquet", samples)
    assert plan.read_plan(tmp_path / "plan.parquet") == samples
    assert [p.name for p in tmp_path.iterdir()] == ["plan.parquet"]


def test_a_holdout_s_sample_comes_back_without_its_place(make_sample, tmp_path):
    place = Locator("zip", "/secret/place.zip", member="secret/member.png", row=7, column="secret.column", size=4711)
    sample = make_sample("x", 0, locator=place, provenance=Provenance.HOLDOUT, pair="p", group="g")
    plan.write_plan(tmp_path / "plan.parquet", [sample])
    assert plan.read_plan(tmp_path / "plan.parquet") == (replace(sample, locator=plan.NOWHERE),)
    assert b"secret" not in (tmp_path / "plan.parquet").read_bytes()
    cells = pq.read_table(tmp_path / "plan.parquet").to_pylist()[0]
    assert not [name for name, value in cells.items() if value in (4711, 7) or b"secret" in str(value).encode()]


def test_an_empty_plan_comes_back_empty(tmp_path):
    plan.write_plan(tmp_path / "plan.parquet", ())
    assert plan.read_plan(tmp_path / "plan.parquet") == ()


def test_a_damaged_plan_is_an_error_that_names_it(make_sample, tmp_path):
    path = tmp_path / "plan.parquet"
    with pytest.raises(RunError, match=r"plan\.parquet"):
        plan.read_plan(path)
    plan.write_plan(path, [make_sample("a", 0)])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RunError, match=r"plan\.parquet: the plan cannot be read"):
        plan.read_plan(path)


@pytest.mark.parametrize(
    "change",
    [
        {"media_type": MediaType.SEMISYNTHETIC},
        {"generator": "another"},
        {"group": "another"},
        {"split": "another"},
        {"weight": 2.0},
        {"skip": Reason.LABEL_UNREADABLE},
        {"sample_id": "0" * 32},
        {"modality": Modality.VIDEO},
    ],
)
def test_the_fingerprint_changes_with_whatever_a_number_depends_on(make_sample, change):
    samples = [make_sample("a", 0), make_sample("b", 1)]
    assert plan.fingerprint(samples) != plan.fingerprint([samples[0], replace(samples[1], **change)])
    assert plan.fingerprint(samples) != plan.fingerprint(samples[::-1])


def test_the_fingerprint_does_not_change_with_the_place_of_the_files(make_sample):
    one = make_sample("/here/a", 0, member="a")
    other = make_sample("/there/a", 0, member="a")
    assert plan.fingerprint([one]) == plan.fingerprint([other])
