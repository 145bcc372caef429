"""Every sample through one function: one result each, whatever the function does."""

from __future__ import annotations

from pathlib import Path

import pytest

from gasdet.inspection.running import Inspection, inspect
from gasdet.media import MediaLimits
from gasdet.progress import Silent
from gasdet.types import Locator, MediaType, Modality, Preprocessing, Reason, Sample, sample_id

FUNCTION = "inspecting_functions:obey"


class Recorder(Silent):
    """Adds up what it is told."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int]] = []
        self.done = self.errors = self.finished = 0

    def start(self, label: str, total: int) -> None:
        self.stages.append((label, total))

    def advance(self, done: int, errors: int) -> None:
        self.done += done
        self.errors += errors

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture(autouse=True)
def functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "support"))


def sample(name: str, modality: Modality | None = Modality.IMAGE, skip: Reason | None = None) -> Sample:
    return Sample(
        sample_id=sample_id("d", name), dataset="d", member=name, locator=Locator("file", name), modality=modality,
        media_type=MediaType.REAL, group=sample_id("d", name), skip=skip, skip_message="why" if skip else "",
    )  # fmt: skip


def test_skipped_samples_come_first_then_each_modality_in_the_order_given() -> None:
    samples = [
        sample("ok-1", Modality.AUDIO),
        sample("ok-2"),
        sample("ok-3", skip=Reason.LABEL_UNREADABLE),
        sample("ok-4", Modality.VIDEO),
        sample("ok-5", None),
        *(sample(f"ok-{n}") for n in range(100, 300)),
    ]
    sink = Recorder()
    found = list(inspect(samples, function=FUNCTION, workers=2, progress=sink, label="looking"))
    assert [i.sample.member for i in found] == [
        "ok-3",
        "ok-5",
        "ok-2",
        *(f"ok-{n}" for n in range(100, 300)),
        "ok-4",
        "ok-1",
    ]
    assert [(i.reason, i.skipped) for i in found[:2]] == [
        (Reason.LABEL_UNREADABLE, True),
        (Reason.UNKNOWN_MODALITY, True),
    ]
    assert found[0].message == "why"
    assert found[1].message
    for inspection in found[2:]:
        assert (inspection.reason, inspection.message, inspection.skipped) == (None, "", False)
        assert inspection.facts["name"] == inspection.sample.member
        assert inspection.facts["modality"] == inspection.sample.modality
    assert sink.stages == [("looking", 205)]
    assert (sink.done, sink.errors, sink.finished) == (205, 0, 1)


def test_a_failure_costs_its_own_sample_only() -> None:
    samples = [sample(name) for name in ("ok-1", "raise-2", "crash-3", "hang-4", "tell-5", "ok-6")]
    sink = Recorder()
    found = list(inspect(samples, function=FUNCTION, workers=2, timeout=1.5, progress=sink))
    assert [i.reason for i in found] == [
        None,
        Reason.CORRUPT,
        Reason.DECODER_CRASHED,
        Reason.DECODE_TIMEOUT,
        Reason.TRUNCATED,
        None,
    ]
    assert all(bool(i.message) == (i.reason is not None) for i in found)
    assert not any(i.skipped for i in found)
    assert dict(found[1].facts) == {}
    assert found[4].facts["name"] == "tell-5"  # what was found out besides is kept
    assert found[4].message == "known all the same"
    assert (sink.done, sink.errors) == (6, 4)


def test_limits_reach_the_function() -> None:
    (found,) = inspect([sample("ok-1")], function=FUNCTION, limits=MediaLimits(max_pixels=77))
    assert found.facts["limit"] == 77


def test_a_modalitys_preprocessing_reaches_the_function() -> None:
    given = {Modality.VIDEO: Preprocessing(Modality.VIDEO, equalise="standard")}
    found = inspect([sample("ok-1"), sample("ok-2", Modality.VIDEO)], function=FUNCTION, preprocessing=given)
    assert [(i.facts["modality"], i.facts["equalise"]) for i in found] == [("image", ""), ("video", "standard")]


def test_leaving_early_is_safe_and_finishes_the_progress() -> None:
    sink = Recorder()
    results = inspect([sample(f"ok-{n}") for n in range(500)], function=FUNCTION, workers=2, progress=sink)
    assert [next(results).sample.member for _ in range(3)] == ["ok-0", "ok-1", "ok-2"]
    results.close()
    assert (sink.done, sink.finished) == (3, 1)


def test_no_process_is_started_where_there_is_nothing_to_do() -> None:
    assert list(inspect([], function="no_such_module:at_all")) == []
    only_skipped = [sample("ok-1", skip=Reason.LABEL_UNREADABLE)]
    (found,) = inspect(only_skipped, function="no_such_module:at_all")
    assert isinstance(found, Inspection)
    assert found.skipped


def test_no_more_processes_than_samples() -> None:
    found = list(inspect([sample("ok-1"), sample("ok-2")], function=FUNCTION, workers=8))
    assert len({i.facts["pid"] for i in found}) <= 2
