"""Scores without a run: records as they are ready, in the order of the samples."""

from __future__ import annotations

import time

import pytest

from gasdet.bundle import Detector
from gasdet.evaluation import score
from gasdet.evaluation.options import RunOptions
from gasdet.evaluation.records import schema
from gasdet.evaluation.score import score_samples
from gasdet.types import Modality, Preprocessing

OPTIONS = RunOptions(device="cpu", workers=2, batch_size=4)


def test_records_have_the_columns_of_a_runs_records(hostile, samples, make_detector, sink):
    records = list(score_samples([make_detector()], samples("ok:90", "raise:", "ok:110"), OPTIONS, sink))
    assert [set(r) for r in records] == [set(schema().names)] * 3
    assert [r["status"] for r in records] == ["ok", "error", "ok"]
    assert [r["prediction"] for r in records] == [0, None, 1]
    assert [r["run_id"] for r in records] == [""] * 3
    assert (sink.calls, sink.done, sink.errors) == ([("start", "scoring", 3), ("finish",)], 3, 1)


def test_the_order_is_that_of_the_samples_and_then_of_the_detectors(hostile, make_sample, make_detector, monkeypatch):
    monkeypatch.setattr(score, "_CHUNK", 8)
    kinds = [Modality.IMAGE, Modality.VIDEO, Modality.AUDIO, None]
    samples = [make_sample(f"ok:{n}", n, modality=kinds[n % 4]) for n in range(30)]
    detectors = [
        make_detector(name="a"),
        make_detector(name="b", modality=Modality.AUDIO),
        make_detector(name="c", preprocessing=Preprocessing(Modality.IMAGE, resize=(64, 64))),
        make_detector(name="d"),
    ]
    records = list(score_samples(detectors, samples, OPTIONS))
    expected = [(s.sample_id, d.name) for s in samples for d in detectors if s.modality in (None, d.modality)]
    assert [(r["sample_id"], r["detector"]) for r in records] == expected
    assert {r["status"] for r in records if r["detector"] == "b" and r["reason"] != "unknown_modality"} <= {"error"}


def test_records_come_while_later_files_are_still_to_do(hostile, samples, make_detector):
    paths = ["ok:1"] * 4 + ["sleep:0.1"] * 24
    start = time.monotonic()
    records = score_samples([make_detector()], samples(*paths), OPTIONS)
    assert next(records)["status"] == "ok"
    first = time.monotonic() - start
    assert sum(1 for _ in records) == 27
    assert time.monotonic() - start > first + 0.7


def test_leaving_early_ends_everything(hostile, samples, make_detector, sink):
    records = score_samples([make_detector()], samples(*["sleep:0.05"] * 100), OPTIONS, sink)
    next(records)
    start = time.monotonic()
    records.close()
    assert time.monotonic() - start < 5
    assert sink.calls[-1] == ("finish",)


def test_only_one_groups_models_are_on_the_device_at_a_time(hostile, samples, make_detector, monkeypatch):
    on_device: set[str] = set()
    seen: list[set[str]] = []

    def to(self, device, dtype=None):
        (on_device.discard if device == "cpu" else on_device.add)(self.name)
        seen.append(set(on_device))
        return self

    monkeypatch.setattr(score, "resolve_device", lambda choice: "cuda")
    monkeypatch.setattr(Detector, "to", to)
    monkeypatch.setattr(score, "_CHUNK", 2)
    large = Preprocessing(Modality.IMAGE, resize=(64, 64))
    detectors = [make_detector(name="a"), make_detector(name="b", preprocessing=large), make_detector(name="c")]
    records = list(score_samples(detectors, samples(*["ok:1"] * 5), OPTIONS))
    assert [r["detector"] for r in records] == ["a", "b", "c"] * 5
    assert {"a", "c"} in seen
    assert {"b"} in seen
    assert all(together <= {"a", "c"} or together == {"b"} for together in seen)


@pytest.mark.parametrize("count", [0, 1])
def test_few_samples(hostile, samples, make_detector, count):
    assert len(list(score_samples([make_detector()], samples(*["ok:1"] * count), OPTIONS))) == count


def test_samples_for_which_there_is_no_detector_give_nothing(hostile, make_sample, make_detector):
    assert list(score_samples([make_detector()], [make_sample("ok:1", 0, modality=Modality.AUDIO)], OPTIONS)) == []
