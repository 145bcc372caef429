"""A run's folder: complete, resumable, refused where it does not fit, and never lost."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gasdet.bundle import WeightsInfo
from gasdet.errors import DataError, RunError, UsageError
from gasdet.evaluation import run as run_module
from gasdet.evaluation.records import TIMING_COLUMNS
from gasdet.evaluation.run import Run, RunOptions, evaluate_run
from gasdet.types import Modality, Preprocessing

OPTIONS = RunOptions(device="cpu", workers=2, batch_size=4, part_size=8, resamples=0)
SUPPORT = Path(__file__).parent / "support"


def table(run: Run) -> list[dict[str, Any]]:
    """The run's records without their times."""
    return run.records().drop_columns(list(TIMING_COLUMNS)).to_pylist()


@pytest.fixture
def dataset(samples, make_dataset):
    return make_dataset(samples(*[f"ok:{n}" for n in range(90, 115)]))


def test_a_run_scores_everything_and_keeps_it(hostile, dataset, make_detector, tmp_path, sink):
    out = tmp_path / "runs" / "first"
    run = evaluate_run([make_detector()], dataset, out, OPTIONS, sink)
    records = run.records().to_pylist()
    assert [r["sample_id"] for r in records] == [s.sample_id for s in dataset.samples]
    assert [r["prediction"] for r in records] == [int(n > 100) for n in range(90, 115)]
    assert {r["run_id"] for r in records} == {run.id}
    assert run.summary["detectors"]["tiny"]["counts"]["ok"] == 25
    assert run.summary["run_id"] == run.id
    assert run.samples() == dataset.samples
    assert sorted(p.name for p in out.iterdir()) == [
        ".lock",
        "plan.parquet",
        "records",
        "records.parquet",
        "run.json",
        "summary.json",
    ]
    assert sorted(p.name for p in (out / "records").iterdir()) == [f"part-0000{n}.parquet" for n in range(4)]
    assert sink.calls == [("start", "scoring", 25), ("finish",)]
    assert (sink.done, sink.errors) == (25, 0)
    again = Run.open(out)
    assert (again.id, again.summary, table(again)) == (run.id, run.summary, table(run))


def test_run_json_says_what_the_numbers_come_from(hostile, dataset, make_detector, tmp_path):
    run = evaluate_run([make_detector()], dataset, tmp_path / "run", OPTIONS)
    config = json.loads((tmp_path / "run" / "run.json").read_text())
    assert config == run.config
    told = config["configuration"]
    assert told["data"]["fingerprint"] == dataset.fingerprint
    assert told["detectors"]["tiny"]["weights"]["sha256"] == "0" * 64
    assert told["detectors"]["tiny"]["origin"] == "the tests"
    assert told["detectors"]["tiny"]["libraries"] == {}
    assert told["detectors"]["tiny"]["preprocessing"] == Preprocessing(Modality.IMAGE).to_mapping()
    assert told["device"] == "cpu"
    assert told["options"]["decode_timeout"] == 30.0
    assert told["versions"]["torch"] == torch.__version__
    assert "pillow" in {name.lower() for name in told["versions"]}
    assert "parameters" in config["detectors"]["tiny"]
    session = config["sessions"][0]
    assert session["options"] == {"batch_size": {"image": 4, "video": 4, "audio": 4}, "workers": 2, "resamples": 0}
    assert session["environment"]["python"].count(".") == 2
    assert session["environment"]["torch_threads"] >= 1


def test_a_finished_run_answers_without_decoding_or_inference(hostile, dataset, make_detector, tmp_path, monkeypatch):
    first = evaluate_run([make_detector()], dataset, tmp_path / "run", OPTIONS)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*.*") if p.name != ".lock"}

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a finished run computed something")

    monkeypatch.setattr(run_module, "DecodePool", never)
    again = evaluate_run([make_detector()], dataset, tmp_path / "run", replace(OPTIONS, workers=1, batch_size=7))
    assert (again.id, again.summary) == (first.id, first.summary)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*.*") if p.name != ".lock"} == before


def test_other_intervals_are_computed_from_the_records(hostile, dataset, make_detector, tmp_path, monkeypatch):
    evaluate_run([make_detector()], dataset, tmp_path / "run", OPTIONS)
    monkeypatch.setattr(run_module, "DecodePool", None)
    again = evaluate_run([make_detector()], dataset, tmp_path / "run", replace(OPTIONS, resamples=20))
    assert again.summary["intervals"]["resamples"] == 20
    assert Run.open(tmp_path / "run").summary == again.summary


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"time_limit_ms": 50.0}, "options.time_limit_ms: none -> 50.0"),
        ({"decode_timeout": 5.0}, "options.decode_timeout: 30.0 -> 5.0"),
        ({"part_size": 4}, "options.part_size: 8 -> 4"),
        ({"seed": 1}, "options.seed: 0 -> 1"),
        ({"dtype": "bfloat16"}, "detectors.tiny.dtype: float32 -> bfloat16"),
    ],
)
def test_a_changed_option_is_refused_with_what_differs(hostile, dataset, make_detector, tmp_path, change, words):
    evaluate_run([make_detector()], dataset, tmp_path / "run", OPTIONS)
    with pytest.raises(RunError) as refusal:
        evaluate_run([make_detector()], dataset, tmp_path / "run", replace(OPTIONS, **change))
    assert words in str(refusal.value)
    assert "--restart" in str(refusal.value)
    assert str(refusal.value).count("->") == (2 if "time_limit_ms" in change else 1)


def test_changed_data_or_weights_are_refused(hostile, dataset, make_dataset, make_detector, tmp_path):
    evaluate_run([make_detector()], dataset, tmp_path / "run", OPTIONS)
    with pytest.raises(RunError, match=r"data\.fingerprint"):
        evaluate_run([make_detector()], make_dataset(dataset.samples[:-1]), tmp_path / "run", OPTIONS)
    other = make_detector()
    other.weights = replace(other.weights, sha256="f" * 64)
    with pytest.raises(RunError, match=r"detectors\.tiny\.weights\.sha256: 0000000000000000… -> ffffffffffffffff…"):
        evaluate_run([other], dataset, tmp_path / "run", OPTIONS)
    with pytest.raises(RunError, match=r"detectors\.second"):
        evaluate_run([make_detector(), make_detector(name="second")], dataset, tmp_path / "run", OPTIONS)


def test_moved_files_are_the_same_configuration(hostile, dataset, make_detector, tmp_path):
    bundle = WeightsInfo("model.safetensors", "bundle", Path("/here/model.safetensors"), "0" * 64)
    first = evaluate_run([make_detector(weights=bundle, origin="/here")], dataset, tmp_path / "run", OPTIONS)
    moved = make_detector(weights=replace(bundle, path=Path("/elsewhere/model.safetensors")), origin="/elsewhere")
    assert evaluate_run([moved], dataset, tmp_path / "run", OPTIONS).id == first.id


def test_another_version_of_a_plugin_or_of_what_it_imports_is_refused(hostile, dataset, make_detector, tmp_path):
    def made(origin: str = "gasdet-tiny 1.0", timm: str = "1.0.15") -> Any:
        return make_detector(origin=origin, libraries={"timm": timm})

    evaluate_run([made()], dataset, tmp_path / "run", OPTIONS)
    with pytest.raises(RunError, match=r"detectors\.tiny\.origin: gasdet-tiny 1\.0 -> gasdet-tiny 1\.1"):
        evaluate_run([made("gasdet-tiny 1.1")], dataset, tmp_path / "run", OPTIONS)
    with pytest.raises(RunError, match=r"detectors\.tiny\.libraries\.timm: 1\.0\.15 -> 1\.0\.16"):
        evaluate_run([made(timm="1.0.16")], dataset, tmp_path / "run", OPTIONS)


def test_with_a_time_limit_another_batch_size_is_refused(hostile, dataset, make_detector, tmp_path):
    limited = replace(OPTIONS, time_limit_ms=60000.0)
    evaluate_run([make_detector()], dataset, tmp_path / "run", limited)
    with pytest.raises(RunError, match=r"\(options\.batch_size\.image: 4 -> 7\)"):
        evaluate_run([make_detector()], dataset, tmp_path / "run", replace(limited, batch_size=7))


@pytest.mark.parametrize("changed", [True, False])
def test_changed_code_is_told_where_a_run_goes_on(
    hostile, dataset, make_detector, tmp_path, sink, monkeypatch, changed
):
    with pytest.raises(KeyboardInterrupt):
        evaluate_run([make_detector(Interrupts(6))], dataset, tmp_path / "run", OPTIONS)
    if changed:
        monkeypatch.setattr(run_module, "code_sha256", lambda: "other")
    run = evaluate_run([make_detector()], dataset, tmp_path / "run", OPTIONS, sink)
    assert run.records().num_rows == 25
    assert len([line for line in sink.notes if "own code has changed" in line]) == changed


def test_detectors_in_another_order_are_the_same_run(hostile, dataset, make_detector, tmp_path, sink):
    large = Preprocessing(Modality.IMAGE, resize=(64, 64))
    detectors = [make_detector(name="b"), make_detector(name="a", preprocessing=large), make_detector(name="c")]
    out = tmp_path / "run"
    first = evaluate_run(detectors, dataset, out, OPTIONS)
    records = table(first)
    assert [r["detector"] for r in records] == ["a", "b", "c"] * 25
    (out / "records.parquet").unlink()
    again = evaluate_run(detectors[::-1], dataset, out, OPTIONS, sink)
    assert (again.id, table(again), sink.done) == (first.id, records, 0)
    assert not [line for line in sink.notes if "part-" in line]


def test_restart_starts_over_and_touches_nothing_else(hostile, dataset, make_detector, tmp_path):
    out = tmp_path / "run"
    first = evaluate_run([make_detector()], dataset, out, OPTIONS)
    (out / "notes.txt").write_text("mine")
    (out / "records" / "mine.txt").write_text("mine too")
    changed = replace(OPTIONS, seed=1, part_size=16, restart=True)
    run = evaluate_run([make_detector()], dataset, out, changed)
    assert run.id != first.id
    assert {r["run_id"] for r in run.records().to_pylist()} == {run.id}
    assert (out / "notes.txt").read_text() == "mine"
    assert sorted(p.name for p in (out / "records").iterdir()) == [
        "mine.txt",
        "part-00000.parquet",
        "part-00001.parquet",
    ]


def test_a_folder_with_other_files_is_refused(hostile, dataset, make_detector, tmp_path):
    (tmp_path / "thesis.tex").write_text("\\documentclass{book}")
    for restart in (False, True):
        with pytest.raises(RunError, match=r"holds other files \(thesis\.tex\) and no run"):
            evaluate_run([make_detector()], dataset, tmp_path, replace(OPTIONS, restart=restart))
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be made"):
        evaluate_run([make_detector()], dataset, tmp_path / "file" / "run", OPTIONS)


@pytest.mark.parametrize("damage", ["cut", "removed", "another run's", "merged"])
def test_damaged_records_are_computed_again(hostile, dataset, make_detector, tmp_path, sink, damage):
    out = tmp_path / "run"
    first = table(evaluate_run([make_detector()], dataset, out, OPTIONS))
    part = out / "records" / "part-00001.parquet"
    merged = out / "records.parquet"
    if damage == "cut":
        part.write_bytes(part.read_bytes()[:100])
        merged.unlink()
    elif damage == "removed":
        part.unlink()
        merged.unlink()
    elif damage == "another run's":
        part.write_bytes((out / "records" / "part-00002.parquet").read_bytes())
        merged.unlink()
    else:
        merged.write_bytes(b"PAR1 not really PAR1")
    again = evaluate_run([make_detector()], dataset, out, OPTIONS, sink)
    assert table(again) == first
    assert sink.done == {"merged": 0}.get(damage, 8)
    damaged = [line for line in sink.notes if "damaged" in line and "part-00001" in line]
    assert len(damaged) == (damage in ("cut", "another run's"))


def test_a_damaged_run_json_is_an_error_and_restart_helps(hostile, dataset, make_detector, tmp_path):
    out = tmp_path / "run"
    evaluate_run([make_detector()], dataset, out, OPTIONS)
    (out / "run.json").write_text("{")
    with pytest.raises(RunError, match=r"run\.json: this file is damaged"):
        evaluate_run([make_detector()], dataset, out, OPTIONS)
    assert evaluate_run([make_detector()], dataset, out, replace(OPTIONS, restart=True)).records().num_rows == 25


def test_without_run_json_the_finished_parts_are_still_good(hostile, dataset, make_detector, tmp_path, sink):
    out = tmp_path / "run"
    first = table(evaluate_run([make_detector()], dataset, out, OPTIONS))
    (out / "run.json").unlink()
    (out / "records" / "part-00002.parquet").unlink()
    assert table(evaluate_run([make_detector()], dataset, out, OPTIONS, sink)) == first
    assert sink.done == 8


def test_what_an_interrupted_writer_left_is_cleared_away(hostile, dataset, make_detector, tmp_path):
    out = tmp_path / "run"
    (out / "records").mkdir(parents=True)
    (out / "run.json.pending").write_text("{")
    (out / "plan.parquet").write_bytes(b"half")
    (out / "records" / "part-00000.parquet.pending").write_bytes(b"half")
    assert evaluate_run([make_detector()], dataset, out, OPTIONS).records().num_rows == 25
    assert not list(out.rglob("*.pending"))


class Interrupts(torch.nn.Module):
    """Raises KeyboardInterrupt in its nth call, as Ctrl-C does."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.left = at

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        mean = x.float().flatten(1).mean(1)
        return torch.stack([torch.zeros_like(mean), (mean - 100) / 20], 1)


def test_ctrl_c_leaves_a_run_that_goes_on(hostile, dataset, make_detector, tmp_path, sink):
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        evaluate_run([make_detector(Interrupts(6))], dataset, out, OPTIONS, sink)
    assert sink.calls[-1] == ("finish",)
    assert len(list((out / "records").glob("part-*.parquet"))) == 2
    with pytest.raises(RunError, match="not complete"):
        Run.open(out)
    resumed = type(sink)()
    run = evaluate_run([make_detector()], dataset, out, OPTIONS, resumed)
    assert resumed.done == 25 - 16
    assert any("16 records of 25 are there already" in line for line in resumed.notes)
    assert table(run) == table(evaluate_run([make_detector()], dataset, tmp_path / "undisturbed", OPTIONS))
    assert len(run.config["sessions"]) == 2


@pytest.mark.slow
def test_killed_at_any_moment_a_run_ends_with_the_same_records(hostile, tmp_path):
    """SIGKILL while parts are being written, other worker counts each time: all columns but the times are equal."""
    import evaluation_builders as build

    count = 128
    options = replace(OPTIONS, workers=3)
    undisturbed = evaluate_run(build.two_detectors(), build.long_dataset(count), tmp_path / "whole", options)
    out = tmp_path / "killed"
    for parts, workers in ((2, 1), (8, 2)):
        process = subprocess.Popen(
            [sys.executable, str(SUPPORT / "run_once.py"), str(out), str(workers), "4", str(count)],
            stderr=subprocess.PIPE,
            text=True,
        )
        while len(list(out.glob("records/part-*.parquet"))) < parts:
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.001)
        time.sleep(0.013 * parts)
        process.kill()
        process.communicate()
    assert not (out / "records.parquet").exists(), "the run was over before it was killed"
    resumed = evaluate_run(build.two_detectors(), build.long_dataset(count), out, options)
    assert table(resumed) == table(undisturbed)
    assert resumed.id == undisturbed.id
    assert [r["status"] for r in table(resumed)].count("error") == 4
    assert [r["status"] for r in table(resumed)].count("skipped") == 2


def test_another_batch_size_changes_nothing_but_rounding(hostile, dataset, make_detector, tmp_path):
    one = evaluate_run([make_detector()], dataset, tmp_path / "one", OPTIONS)
    other = evaluate_run([make_detector()], dataset, tmp_path / "other", replace(OPTIONS, batch_size=7))
    assert one.id == other.id
    for a, b in zip(table(one), table(other), strict=True):
        assert a.pop("p_synthetic") == pytest.approx(b.pop("p_synthetic"), rel=1e-6)
        for column in ("p_raw", "logit_synthetic", "logit_real", "batch_size"):
            del a[column], b[column]
        assert a == b


def test_a_folder_in_use_is_refused_and_a_dead_holders_is_taken_over(hostile, dataset, make_detector, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path; from gasdet.atomic_files import locked\n"
            f"with locked(Path({str(out)!r})): print('held', flush=True); time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(RunError, match=f"process {holder.pid} on .* is working on this run"):
            evaluate_run([make_detector()], dataset, out, OPTIONS)
        with pytest.raises(RunError, match="is working on this run"):
            evaluate_run([make_detector()], dataset, out, replace(OPTIONS, restart=True))
    finally:
        holder.kill()
        holder.communicate()
    assert evaluate_run([make_detector()], dataset, out, OPTIONS).records().num_rows == 25


def test_several_detectors_and_modalities(hostile, make_sample, make_dataset, make_detector, tmp_path, sink):
    kinds = [Modality.IMAGE, Modality.VIDEO, None]
    dataset = make_dataset([make_sample(f"ok:{n}", n, modality=kinds[n % 3]) for n in range(30)])
    detectors = [
        make_detector(name="images"),
        make_detector(name="large-images", preprocessing=Preprocessing(Modality.IMAGE, resize=(64, 64))),
        make_detector(name="images-too"),
        make_detector(name="sounds", modality=Modality.AUDIO),
    ]
    run = evaluate_run(detectors, dataset, tmp_path / "run", OPTIONS, sink)
    records = run.records().to_pylist()
    places = [(r["sample_id"], r["detector"]) for r in records]
    names = sorted(d.name for d in detectors)
    assert places == [
        (s.sample_id, name)
        for s in dataset.samples
        for name in names
        if s.modality in (None, Modality.AUDIO if name == "sounds" else Modality.IMAGE)
    ]
    assert [r["status"] for r in records if r["detector"] == "sounds"] == ["skipped"] * 10
    assert run.summary["detectors"]["images"]["counts"]["planned"] == 20
    assert "10 video samples are not planned: no detector of this run takes them." in sink.notes


def test_a_detector_without_data_is_left_out_with_a_note(hostile, dataset, make_detector, tmp_path, sink):
    detectors = [make_detector(), make_detector(name="sounds", modality=Modality.AUDIO)]
    run = evaluate_run(detectors, dataset, tmp_path / "run", OPTIONS, sink)
    assert list(run.summary["detectors"]) == ["tiny"]
    assert "sounds: left out, since there is no audio in this data." in sink.notes
    with pytest.raises(DataError, match="there is no audio in this data"):
        evaluate_run(detectors[1:], dataset, tmp_path / "other", OPTIONS)


def test_misuse_is_refused(hostile, dataset, make_detector, tmp_path):
    with pytest.raises(UsageError, match="different names"):
        evaluate_run([make_detector(), make_detector()], dataset, tmp_path / "run", OPTIONS)
    with pytest.raises(UsageError, match="no device 'gpu7'"):
        evaluate_run([make_detector()], dataset, tmp_path / "run", replace(OPTIONS, device="gpu7"))
    for change in (
        {"batch_size": 0},
        {"workers": 0},
        {"decode_timeout": 0.0},
        {"time_limit_ms": -1},
        {"resamples": -1},
    ):
        with pytest.raises(UsageError, match=next(iter(change))):
            replace(OPTIONS, **change)
    with pytest.raises(RunError, match="there is no run here"):
        Run.open(tmp_path / "nowhere")


def test_missing_files_are_records(make_sample, make_dataset, make_detector, tmp_path):
    undecodable = os.fsdecode(os.fsencode(str(tmp_path)) + b"/\xff\nname.png")
    dataset = make_dataset([make_sample(str(tmp_path / "gone.png"), 0), make_sample(undecodable, 1)])
    run = evaluate_run([make_detector()], dataset, tmp_path / "run", OPTIONS)
    assert [(r["status"], r["reason"]) for r in table(run)] == [("error", "file_missing")] * 2
    counts = run.summary["detectors"]["tiny"]["counts"]
    assert (counts["planned"], counts["ok"], counts["error"]) == (2, 0, 2)


def test_a_metric_with_other_options_is_computed_anew(hostile, dataset, make_detector, tmp_path, sink):
    def share_above(labels, scores, weights=None, *, threshold=0.5):
        return float((scores > threshold).mean())

    values = [
        evaluate_run(
            [make_detector()],
            dataset,
            tmp_path / "run",
            OPTIONS,
            sink,
            metrics={"share_above": functools.partial(share_above, threshold=threshold)},
        ).summary["detectors"][make_detector().name]["metrics"]["share_above"]["value"]
        for threshold in (-1.0, 2.0, 2.0)
    ]
    assert values == [1.0, 0.0, 0.0]
