"""Nothing that identifies a holdout leaves: every artefact, line and traceback of runs with failing holdouts is searched."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from gasdet.cli.group import gasdet as cli
from gasdet.data import load_data
from gasdet.evaluation import pipeline
from gasdet.evaluation.run import Run

sys.path.insert(0, str(Path(__file__).parent.parent))
import holdout_data
from holdout_data import KEY, OTHER_KEY, SECRET, Planted, artefacts, traces_in

SUPPORT = Path(__file__).parent / "support"
OK, ERRORS, SKIPPED = 31, 11, 2
ALL = OK + ERRORS + SKIPPED


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    found = holdout_data.plant(tmp_path_factory.mktemp("private"))
    assert (found.usable, found.failing) == (OK, ERRORS)
    return found


@pytest.fixture(scope="module")
def traces(planted: Planted) -> Planted:
    """What was planted, with the ids and the fingerprint that the data have as public data among the traces."""
    public = load_data(planted.catalogue)
    ids = {sample.sample_id[:16] for sample in public.samples}
    assert len(ids) == ALL
    more = planted.traces | ids | {public.fingerprint[:16]}
    return Planted(planted.catalogue, planted.folder, planted.usable, planted.failing, more)


@pytest.fixture
def here(tmp_path: Path, with_plugins: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GASDET_HOLDOUT_KEY", KEY)
    return tmp_path


def evaluate(*arguments: object, code: int = 0) -> Any:
    """``gasdet --debug evaluate`` in this process, which has all that is heavy imported already."""
    words = ["--debug", "evaluate", "--plugin", "edges", "--workers", "1", *map(str, arguments)]
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert done.exit_code == code, done.stderr
    return done


def search(planted: Planted, folder: Path, stdout: str, stderr: str) -> dict[str, str]:
    """All that a command left and said; it is checked that there is no trace in it, and not the key."""
    texts = {**artefacts(folder), "stdout": stdout, "stderr": stderr}
    assert traces_in(planted, texts) == []
    assert not [name for name, text in texts.items() if KEY in text]
    return texts


def test_the_search_finds_what_it_is_to_find(traces: Planted, here: Path) -> None:
    """The same data as public data leave traces in every artefact: a search that found none there would prove nothing."""
    done = evaluate("--data", traces.catalogue, "--out", "run")
    found = traces_in(traces, {**artefacts(here), "stdout": done.stdout, "stderr": done.stderr})
    where = {line.partition(":")[0] for line in found}
    assert {"run/run.json (bytes)", "run/records.parquet (cells)", "run/plan.parquet (cells)", "stdout"} <= where
    assert {"run/summary.json (bytes)", "run/records/part-00000.parquet (cells)", "stderr"} <= where
    kinds = {line.partition(": ")[2] for line in found}
    assert any(kind.isdigit() for kind in kinds)  # sizes
    assert any(re.fullmatch("[0-9a-f]{16}", kind) for kind in kinds)  # ids


def test_no_trace_of_failing_holdouts(
    traces: Planted, labelled: Path, tmp_path: Path, gasdet: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    data = ("--data", labelled, "--holdout", traces.catalogue)
    done = gasdet("--debug", "evaluate", "--plugin", "edges", *data, "--full", "--workers", "2", GASDET_HOLDOUT_KEY=KEY)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch("edges-labelled-holdouts-[0-9a-f]{8}", folder.name)
    search(traces, folder, done.stdout, done.stderr)
    records = pq.read_table(folder / "records.parquet").to_pylist()
    public, own = ([r for r in records if r["provenance"] == kind] for kind in ("public", "holdout"))
    assert (len(public), len(own)) == (17, ALL)
    statuses = [r["status"] for r in own]
    assert [statuses.count(s) for s in ("ok", "error", "skipped")] == [OK, ERRORS, SKIPPED]
    reasons = {r["reason"] for r in own}
    assert {"file_missing", "file_empty", "truncated", "unknown_format", "unsupported", "archive_damaged"} <= reasons
    assert all(r["message"] for r in own if r["status"] != "ok")
    assert {r[c] for r in own for c in ("width", "height", "frames", "duration_s", "decode_ms")} == {None}
    assert {r[c] for r in own for c in ("member", "decoder")} == {""}
    scored = [r for r in public if r["status"] == "ok"]
    assert all(r["width"] and r["decode_ms"] and r["member"] and r["decoder"] for r in scored)
    plan = Run.open(folder).samples()
    assert {s.locator.path for s in plan if s.provenance == "holdout"} == {""}
    summary = json.loads((folder / "summary.json").read_text())["detectors"]["edges"]
    assert [c["counts"]["planned"] for c in summary["by_provenance"]["parts"]] == [17, ALL]
    assert {c["name"][:14] for c in summary["by_dataset"]} == {"labelled", "image-holdout-"}
    assert "Public data and holdouts" in done.stdout


def test_no_trace_of_decoders_that_hang_crash_and_talk(
    traces: Planted, here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(SUPPORT))
    monkeypatch.setattr(pipeline, "DECODE_FUNCTION", "holdout_decoders:decode")
    done = evaluate("--holdout", traces.catalogue, "--holdouts-only", "--decode-timeout", "1.5", "--json")
    (folder,) = (here / "runs").iterdir()
    assert re.fullmatch("edges-holdouts-[0-9a-f]{8}", folder.name)
    texts = search(traces, folder, done.stdout, done.stderr)
    assert traces_in(traces, {"file descriptors": "".join(capfd.readouterr())}) == []
    messages = {(r["reason"], r["message"]) for r in pq.read_table(folder / "records.parquet").to_pylist()}
    assert ("decode_timeout", "decoding took too long") in messages
    assert ("decoder_crashed", "the decode process died") in messages
    assert ("decode_failed", "decoding failed") in messages
    assert "the holdouts" in texts["run.json (bytes)"]


def test_an_interrupted_run_leaves_no_trace_and_goes_on_under_the_same_names(
    traces: Planted, labelled: Path, here: Path, plugin_site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ["--data", str(labelled), "--holdout", str(traces.catalogue), "--batch-size", "1", "--json"]
    command = [sys.executable, "-m", "gasdet.cli", "--debug", "evaluate", "--plugin", "edges", "--workers", "1", *own]
    paths = [str(plugin_site), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([*command, "--out", "run"], cwd=here, env=environment, **pipes)
    deadline = time.monotonic() + 60
    while not (here / "run" / "run.json").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    search(traces, here / "run", out, err)
    assert not (here / "run" / "summary.json").exists()
    resumed = evaluate(*own, "--out", "run")
    search(traces, here / "run", resumed.stdout, resumed.stderr)
    undisturbed = evaluate(*own, "--out", "undisturbed")
    assert json.loads(undisturbed.stdout)["run_id"] == json.loads(resumed.stdout)["run_id"]
    names = [
        [(r["sample_id"], r["dataset"], r["status"]) for r in Run.open(folder).records().to_pylist()]
        for folder in ("run", "undisturbed")
    ]
    assert names[0] == names[1]
    monkeypatch.setenv("GASDET_HOLDOUT_KEY", OTHER_KEY)
    other = evaluate(*own, "--out", "run", code=1)  # other names: another run
    assert "another configuration" in other.stderr
    search(traces, here / "run", other.stdout, other.stderr)


CATALOGUES = {
    "an unknown key": f"datasets:\n  - name: {SECRET}\n    path: .\n    {SECRET}_key: 1\n",
    "no YAML": f"datasets: [{SECRET}: {SECRET}: x\n",
    "a missing folder": f"datasets:\n  - name: {SECRET}\n    path: {SECRET}-nowhere\n    media_type: real\n",
    "a damaged archive": f"datasets:\n  - name: {SECRET}\n    path: {SECRET}-bad.zip\n    media_type: real\n",
    "an address": f"datasets:\n  - name: {SECRET}\n    path: http://{SECRET}.invalid/{SECRET}.zip\n    source: http\n"
    "    media_type: real\n",
}


@pytest.mark.parametrize("case", CATALOGUES)
def test_no_trace_of_a_failing_catalogue(case: str, planted: Planted, labelled: Path, here: Path) -> None:
    catalogue = planted.folder / f"{SECRET}-bad.yaml"
    catalogue.write_text(CATALOGUES[case])
    (planted.folder / f"{SECRET}-bad.zip").write_bytes(b"PK\x03\x04" + SECRET.encode() * 20)
    before = set(here.rglob("*"))
    code = 2 if case in ("an unknown key", "no YAML") else 1
    done = evaluate("--data", labelled, "--holdout", catalogue, "--offline", code=code)
    assert re.search(r"Error: .*holdout catalogue.* line \d", done.stderr), done.stderr
    assert "Traceback" in done.stderr  # --debug
    assert traces_in(planted, {"stdout": done.stdout, "stderr": done.stderr}) == []
    assert set(here.rglob("*")) == before


def test_another_key_gives_names_that_share_nothing(planted: Planted, here: Path) -> None:
    cells: list[set[str]] = []
    rows: list[list[tuple[Any, ...]]] = []
    (here / "other.key").write_text(OTHER_KEY)
    for number, option in enumerate(([], ["--holdout-key", "other.key"])):
        evaluate("--holdout", planted.catalogue, "--holdouts-only", *option, "--out", f"run{number}")
        columns = Run.open(Path(f"run{number}")).records().to_pydict()
        cells.append({v for c in ("run_id", "sample_id", "dataset", "generator", "group") for v in columns[c]} - {""})
        rows.append(list(zip(*(columns[c] for c in ("status", "reason", "label", "media_type")), strict=True)))
    assert not cells[0] & cells[1]
    assert len(cells[0]) == len(cells[1]) > ALL
    # Nor does a row's place: by the catalogue's own order, row n of one run would be row n of the other.
    assert sorted(rows[0], key=str) == sorted(rows[1], key=str)
    assert rows[0] != rows[1]


def test_wrong_uses(planted: Planted, labelled: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object) -> str:
        done = evaluate(*arguments, code=2)
        assert not (here / "runs").exists()
        assert traces_in(planted, {"stderr": done.stderr, "stdout": done.stdout}) == []
        return str(done.stderr)

    holdout = ("--holdout", planted.catalogue)
    assert "--holdouts-only without --data" in refused(*holdout)
    assert "--holdouts-only without --data" in refused(*holdout, "--data", labelled, "--holdouts-only")
    assert "--holdouts-only can only stand beside --holdout" in refused("--data", labelled, "--holdouts-only")
    assert "--holdout-share can only stand" in refused("--data", labelled, "--holdout-share", "0.3")
    assert "0<=x<=1" in refused(*holdout, "--data", labelled, "--holdout-share", "1.5")
    (here / "short.key").write_text("secret")
    assert "can be guessed" in refused(*holdout, "--data", labelled, "--holdout-key", "short.key")
    monkeypatch.delenv("GASDET_HOLDOUT_KEY")
    assert "secrets.token_hex" in refused(*holdout, "--data", labelled)


def test_provenance_chooses(planted: Planted, labelled: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holdout = ("--holdout", planted.catalogue)

    def planned(*arguments: object) -> set[str]:
        done = evaluate(*holdout, *arguments, "--out", "run", "--restart")
        assert traces_in(planted, {"stdout": done.stdout, "stderr": done.stderr}) == []
        return set(Run.open("run").records()["provenance"].to_pylist())

    assert planned("--data", labelled) == {"public", "holdout"}
    assert planned("--provenance", "holdout") == {"holdout"}
    assert "--total is for one provenance" in evaluate("--data", labelled, *holdout, "--total", "9", code=2).stderr
    monkeypatch.delenv("GASDET_HOLDOUT_KEY")  # which is not needed for public data
    assert planned("--data", labelled, "--provenance", "public") == {"public"}
    assert "exclude each other" in evaluate(*holdout, "--holdouts-only", "--provenance", "public", code=2).stderr
    alone = evaluate("--data", labelled, "--provenance", "holdout", code=2)
    assert "--provenance holdout can only stand beside --holdout" in alone.stderr


def test_a_limit_counts_both(planted: Planted, labelled: Path, here: Path) -> None:
    done = evaluate("--data", labelled, "--holdout", planted.catalogue, "--limit", "20", "--json")
    told = json.loads(done.stdout)["detectors"]["edges"]
    assert told["counts"]["planned"] == 20
    assert all(part["counts"]["planned"] for part in told["by_provenance"]["parts"])


def test_datasets_are_chosen_by_the_names_that_are_shown(planted: Planted, labelled: Path, here: Path) -> None:
    both = ("--data", labelled, "--holdout", planted.catalogue, "--out", "run", "--restart")
    evaluate(*both)
    names = sorted(set(Run.open("run").records()["dataset"].to_pylist()) - {"labelled"})
    assert len(names) == 4
    evaluate(*both, "--datasets", "lab*", "--datasets", names[2])
    assert set(Run.open("run").records()["dataset"].to_pylist()) == {"labelled", names[2]}
    refused = evaluate(*both, "--datasets", "labelled", code=1)
    assert (
        "no holdout's name matches labelled; --datasets chooses holdouts by the names that reports give"
        in refused.stderr
    )
    assert traces_in(planted, {"stderr": refused.stderr}) == []


def test_holdouts_take_no_part_in_a_calibration(planted: Planted, labelled: Path, here: Path) -> None:
    for seed in range(600, 640):
        (labelled / "real" / f"{seed}.png").write_bytes(holdout_data.image(seed, smooth=False))
        (labelled / "synthetic" / "gan" / f"{seed}.png").write_bytes(holdout_data.image(seed, smooth=True))

    def calibrate(*arguments: object) -> Any:
        words = ["calibrate", "--force", "--allow-training-data", "--json", *map(str, arguments)]
        return CliRunner().invoke(cli, words, catch_exceptions=False)

    private = ("--holdout", planted.catalogue)
    evaluate("--data", labelled, *private, "--out", "both")
    done = calibrate("--run", "both", "--out", "c.json")
    assert done.exit_code == 0, done.stderr
    assert f"{OK} scored samples of holdouts take no part" in done.stderr
    fitted = json.loads(done.stdout)
    assert fitted["fitted_on"]["samples"] + fitted["judged_on"]["samples"] == 96
    assert "public samples" in fitted["fitted_on"]["description"]
    evaluate(*private, "--holdouts-only", "--out", "only")
    refused = calibrate("--run", "only", "--out", "d.json")
    assert refused.exit_code == 1
    assert "holdouts take no part in it" in refused.stderr


def test_another_share_is_computed_from_the_records(planted: Planted, labelled: Path, here: Path) -> None:
    def told(*share: object) -> dict[str, Any]:
        done = evaluate("--data", labelled, "--holdout", planted.catalogue, "--out", "run", "--json", *share)
        found = json.loads(done.stdout)["detectors"]["edges"]["by_provenance"]
        assert isinstance(found, dict)
        return found

    half = told()
    public, holdout = (part["metrics"]["combined_score"]["value"] for part in half["parts"])
    assert half["shared"]["share"] == 0.5
    assert half["shared"]["value"] == pytest.approx((public + holdout) / 2)
    written = (Path("run") / "records.parquet").stat().st_mtime_ns
    tenth = told("--holdout-share", 0.1)["shared"]
    assert (tenth["share"], tenth["value"]) == (0.1, pytest.approx(0.9 * public + 0.1 * holdout))
    assert (Path("run") / "records.parquet").stat().st_mtime_ns == written
