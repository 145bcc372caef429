"""``gasdet evaluate``: one table, a folder of results, the same command again, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gasdet.cli.group import gasdet as cli
from gasdet.evaluation.records import TIMING_COLUMNS
from gasdet.evaluation.run import Run
from gasdet.registry import load_registry


def evaluate(*arguments: object) -> Result:
    fixed = ["--workers", "1"]
    result = CliRunner().invoke(cli, ["evaluate", *map(str, arguments), *fixed], catch_exceptions=False)
    assert "Traceback" not in result.stderr
    return result


@pytest.fixture(autouse=True)
def here(tmp_path: Path, with_plugins: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_with_labels(labelled: Path, here: Path) -> None:
    result = evaluate("--plugin", "edges", "--data", labelled)
    assert result.exit_code == 0, result.stderr
    assert re.search(r"edges +16 ok +0\.\d+ +1\.000", result.stdout), result.stdout
    assert "1 error" in result.stdout
    folder = Path(re.search(r"^Results: (.+)$", result.stdout, re.MULTILINE)[1])
    assert re.fullmatch(r"runs/edges-labelled-[0-9a-f]{8}", str(folder))
    counts = json.loads((folder / "summary.json").read_text())["detectors"]["edges"]["counts"]
    assert (counts["planned"], counts["ok"], counts["error"], counts["skipped"]) == (17, 16, 1, 0)
    assert "Demo weights" not in result.stdout


def test_the_same_command_again_answers_from_the_run(labelled: Path, here: Path) -> None:
    first = evaluate("--plugin", "edges", "--data", labelled)
    (folder,) = (here / "runs").iterdir()
    stamps = {f.name: f.stat().st_mtime_ns for f in (folder / "records").iterdir()}
    again = evaluate("--plugin", "edges", "--data", labelled)
    assert again.stdout == first.stdout
    assert {f.name: f.stat().st_mtime_ns for f in (folder / "records").iterdir()} == stamps
    other = evaluate("--plugin", "edges", "--data", labelled, "--limit", "6")
    assert other.exit_code == 0, other.stderr
    assert len(list((here / "runs").iterdir())) == 2


def test_another_configuration_in_the_same_folder_is_refused(labelled: Path, here: Path) -> None:
    assert evaluate("--plugin", "edges", "--data", labelled, "--out", "one").exit_code == 0
    changed = evaluate("--plugin", "edges", "--weights", "demo", "--data", labelled, "--out", "one")
    assert changed.exit_code == 1
    assert re.search(
        r"^Error: one: this run was made with another configuration \(.*weights", changed.stderr, re.MULTILINE
    )
    assert (
        evaluate("--plugin", "edges", "--weights", "demo", "--data", labelled, "--out", "one", "--restart").exit_code
        == 0
    )


def test_json_and_demo_weights(labelled: Path) -> None:
    result = evaluate("--plugin", "edges", "--weights", "demo", "--data", labelled, "--json")
    summary = json.loads(result.stdout)
    assert summary["detectors"]["edges"]["metrics"]["combined_score"]["value"] is not None
    table = evaluate("--plugin", "edges", "--weights", "demo", "--data", labelled).stdout
    assert "Demo weights (edges) are trained on simulated data" in table


def test_a_precision_that_the_weights_do_not_state_is_told(labelled: Path) -> None:
    line = "edges: its weights 'demo' are not stated to keep their scores in bfloat16; compare with float32.\n"
    arguments = ("--plugin", "edges", "--weights", "demo", "--data", labelled, "--limit", "4")
    assert line in evaluate(*arguments, "--dtype", "bfloat16").stderr
    assert "not stated" not in evaluate(*arguments, "--dtype", "float32").stderr
    demo = load_registry().detector("edges").spec.weights_named("demo")
    object.__setattr__(demo, "dtypes", ("float32", "bfloat16"))
    try:
        assert "not stated" not in evaluate(*arguments, "--dtype", "bfloat16").stderr
    finally:
        object.__setattr__(demo, "dtypes", ("float32",))


def test_a_plugin_s_metric_is_in_the_summary(labelled: Path) -> None:
    summary = json.loads(evaluate("--plugin", "edges", "--data", labelled, "--json").stdout)
    assert summary["detectors"]["edges"]["metrics"]["share_above_half"]["value"] == pytest.approx(0.5)


def test_data_without_a_fitting_sample_or_weights(labelled: Path, media: Path) -> None:
    none = evaluate("--plugin", "loudness", "--weights", "demo", "--data", labelled)
    assert none.exit_code == 1
    assert "17 image samples left out: no chosen detector takes them" in none.stderr
    choices = evaluate("--plugin", "loudness", "--data", media)
    assert choices.exit_code == 2
    assert "loudness has no released weights" in choices.stderr
    assert "choose with --weights" in choices.stderr


def test_every_detector_that_fits(labelled: Path) -> None:
    (labelled / "real" / "what.is.this").write_bytes(bytes(range(256)))
    result = evaluate("--all", "--data", labelled)
    assert result.exit_code == 0, result.stderr
    assert "edges" in result.stdout
    assert "1 skipped" in result.stdout
    assert "loudness" not in result.stdout  # though nobody knows whether the odd file is a recording


def test_no_detector_at_all(labelled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GASDET_PLUGINS", "")
    load_registry.cache_clear()
    result = evaluate("--all", "--data", labelled)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no detector is installed" in result.stderr


@pytest.fixture
def bundle(here: Path, with_plugins: Path) -> Path:
    """The test detector's model.py as a bundle of its own, with the demo weights."""
    folder = here / "bundled"
    folder.mkdir()
    package = with_plugins / "gasdet_testimage"
    (folder / "model.py").write_text((package / "model.py").read_text())
    (folder / "model.safetensors").write_bytes((package / "demo.safetensors").read_bytes())
    (folder / "model_config.yaml").write_text(
        "name: bundled\nversion: 1.0.0\nmodality: image\npreprocessing:\n  resize: [32, 32]\n"
        "model:\n  num_classes: 2\n  weights_file: model.safetensors\n"
    )
    return folder


def test_a_bundle_beside_an_installed_detector(labelled: Path, bundle: Path) -> None:
    refused = evaluate("--model", bundle, "--data", labelled)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "--trust-code" in refused.stderr
    arguments = ("--model", bundle, "--plugin", "edges", "--weights", "demo", "--data", labelled, "--json")
    result = evaluate(*arguments, "--trust-code")
    assert result.exit_code == 0, result.stderr
    detectors = json.loads(result.stdout)["detectors"]
    assert detectors["bundled"]["metrics"] == detectors["edges"]["metrics"]  # the same model, weights and data
    scored = CliRunner().invoke(
        cli, ["detect", str(labelled / "real" / "0.png"), "--model", str(bundle), "--trust-code"]
    )
    assert re.match(r"real +0\.\d{3}  bundled  ", scored.stdout), scored.stderr


def test_wrong_uses(labelled: Path, here: Path) -> None:
    assert "name a detector with --plugin NAME" in evaluate("--data", labelled).stderr
    both = evaluate("--all", "--plugin", "edges")
    assert (both.exit_code, both.stdout) == (2, "")
    absent = evaluate("--plugin", "edges", "--data", here / "absent")
    assert absent.exit_code == 1
    assert re.search(r"^Error: .*absent", absent.stderr, re.MULTILINE)
    assert not (here / "runs").exists()


def test_a_detector_without_a_scored_sample_is_a_failure(here: Path) -> None:
    for label in ("real", "synthetic"):
        (here / "bad" / label).mkdir(parents=True)
        (here / "bad" / label / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    result = evaluate("--plugin", "edges", "--data", here / "bad")
    assert result.exit_code == 1
    assert "2 errors" in result.stdout


def records_of(folder: str) -> list[dict[str, object]]:
    table = Run.open(folder).records()
    return list(table.drop_columns([*TIMING_COLUMNS]).to_pylist())


def test_decoded_samples_from_a_cache_give_the_same_records(labelled: Path, here: Path) -> None:
    arguments = ("--plugin", "edges", "--data", labelled)
    assert evaluate(*arguments, "--out", "plain").exit_code == 0
    kept = ("--decode-cache", "kept", "--decode-cache-size", "1G")
    for name in ("filled", "read"):
        result = evaluate(*arguments, *kept, "--out", name)
        assert result.exit_code == 0, result.stderr
        assert records_of(name) == records_of("plain")
        entries = list(Path("kept").rglob("*.npy.zst"))
        assert len(entries) == 16
    alone = evaluate(*arguments, "--decode-cache-size", "1G")
    assert alone.exit_code == 2
    assert "--decode-cache DIR" in alone.stderr


def test_equalised_files_are_another_run_that_says_so(labelled: Path, here: Path) -> None:
    arguments = ("--plugin", "edges", "--data", labelled)
    assert evaluate(*arguments, "--out", "plain").exit_code == 0
    result = evaluate(*arguments, "--equalise", "standard:side=48", "--out", "equal")
    assert result.exit_code == 0, result.stderr
    told = [json.loads(Path(name, "run.json").read_text()) for name in ("plain", "equal")]
    profiles = [one["configuration"]["detectors"]["edges"]["preprocessing"].get("equalise", "") for one in told]
    assert profiles[0] == ""
    assert profiles[1].startswith("standard")
    assert told[0]["run_id"] != told[1]["run_id"]
    scores = [[r["p_synthetic"] for r in records_of(name)] for name in ("plain", "equal")]
    assert scores[0] != scores[1]
    unknown = evaluate(*arguments, "--equalise", "no-such-profile")
    assert unknown.exit_code == 2
    assert "no-such-profile" in unknown.stderr


def test_choosing_among_a_catalogue_s_data_sets(labelled: Path, here: Path) -> None:
    Path("catalogue.yaml").write_text(
        f"datasets:\n  - {{name: one, path: {labelled}, content_category: scenes, licence: CC0-1.0, modality: image}}\n"
        f"  - {{name: two, path: {labelled}, content_category: faces, modality: image}}\n"
        f"  - {{name: three, path: {labelled}, modality: audio}}\n"
    )

    def datasets(*arguments: object) -> set[object]:
        result = evaluate("--plugin", "edges", "--data", "catalogue.yaml", *arguments, "--out", "run", "--restart")
        assert result.exit_code == 0, result.stderr
        return {record["dataset"] for record in records_of("run")}

    assert datasets("--modality", "image") == {"one", "two"}
    (told, _) = json.loads(Path("run", "run.json").read_text())["data"]["sources"]
    assert (told["name"], told["source"], told["licence"]) == ("one", "local", "CC0-1.0")
    assert datasets("--category", "face*") == {"two"}
    assert datasets("--modality", "image", "--total", "10") == {"one", "two"}
    assert len(records_of("run")) == 10


def test_an_interrupt_says_how_to_go_on(labelled: Path, here: Path, with_plugins: Path) -> None:
    for number in range(120):
        target = labelled / "real" / f"more{number}.png"
        target.write_bytes((labelled / "real" / "1.png").read_bytes())
    command = [
        sys.executable, "-m", "gasdet.cli", "evaluate", "--plugin", "edges", "--data", str(labelled), "--out", "run",
        "--workers", "1", "--batch-size", "1",
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(with_plugins), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=here, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (here / "run" / "run.json").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, ""), err
    assert "The same command goes on" in err
    assert "Traceback" not in err
    done = evaluate("--plugin", "edges", "--data", labelled, "--out", "run", "--batch-size", "1")
    assert done.exit_code == 0, done.stderr
