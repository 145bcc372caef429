"""``gasdet calibrate`` and what follows from it: from data and from a run, refusals, and the file applied everywhere."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from scipy.special import expit

import gasdet as public
from gasdet import api
from gasdet.bundle.calibration import read_calibrator
from gasdet.cli.group import gasdet
from gasdet.data import load_data
from gasdet.errors import UsageError
from gasdet.evaluation.finished import Run
from gasdet.evaluation.records import read_records, table_of, write_records
from gasdet.evaluation.scored_samples import ID_DIGITS

pytestmark = pytest.mark.usefixtures("with_plugins")

EACH = 72


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(gasdet, [*map(str, arguments)], catch_exceptions=False)
    assert "Traceback" not in result.stderr
    return result


def calibrate(*arguments: object) -> Result:
    return call("calibrate", *arguments, "--workers", "1")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images whose noise tells real from synthetic, most of the time."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for name, low, high in (("real", 60, 250), ("synthetic", 5, 110)):
        (folder / name).mkdir()
        for number in range(EACH):
            spread = int(rng.integers(low, high))
            pixels = rng.integers(0, spread, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:03d}.png")
    return folder


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the tests share."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def weights(with_plugins: Path, kept: Path) -> Path:
    """The test detector's weights as a file of the user's own, with nothing beside it."""
    folder = kept / "mine"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return Path(shutil.copy(with_plugins / "gasdet_testimage" / "release.safetensors", folder / "mine.safetensors"))


@pytest.fixture
def run(data: Path, weights: Path, kept: Path) -> Path:
    """A finished run with them; evaluated once, and then it answers at once."""
    done = call("evaluate", "--plugin", "edges", "--weights", weights, "--data", data, "--out", kept / "run")
    assert done.exit_code == 0, done.stderr
    return kept / "run"


def test_a_run_is_calibrated_beside_its_weights_and_everything_applies_it(
    run: Path, data: Path, weights: Path, tmp_path: Path
) -> None:
    result = calibrate("--run", run, "--method", "platt", "--fpr", "0.1", "--json")
    assert result.exit_code == 0, result.stderr
    assert "nothing here says what these weights were trained on" in result.stderr
    told = json.loads(result.stdout)
    stored = read_calibrator(weights.parent / "calibrator.json")
    assert told == stored.to_mapping()
    counts = [told[part]["real"] for part in ("fitted_on", "judged_on")]
    assert counts == [50, 22]
    assert told["before"].keys() == told["after"].keys() >= {"cross_entropy", "brier", "ece", "combined_score"}

    calibrated = call(
        "evaluate", "--plugin", "edges", "--weights", weights, "--data", data, "--out", tmp_path / "calibrated"
    )
    assert calibrated.exit_code == 0, calibrated.stderr
    assert "edges: scores are calibrated (platt, " in calibrated.stderr
    assert "its calibrator was fitted on 100 of these 144 samples" in calibrated.stderr
    assert "before calibration" in calibrated.stdout
    one, other = (Run.open(path).records().to_pydict() for path in (run, tmp_path / "calibrated"))
    line = stored.parameters
    z = np.subtract(one["logit_synthetic"], one["logit_real"])
    assert other["p_raw"] == one["p_synthetic"]
    assert other["p_synthetic"] == pytest.approx(expit(line["scale"] * z + line["bias"]))

    same = call("evaluate", "--plugin", "edges", "--weights", weights, "--data", data, "--no-calibrator", "--out", run)
    assert same.exit_code == 0, same.stderr
    assert "calibrated" not in same.stderr
    refused = call("evaluate", "--plugin", "edges", "--weights", weights, "--data", data, "--out", run)
    assert refused.exit_code == 1
    assert "calibrator: none ->" in refused.stderr


def test_from_data_with_a_named_file_and_tables(data: Path, weights: Path, tmp_path: Path) -> None:
    out, folder = tmp_path / "c.json", tmp_path / "scored"
    result = calibrate(
        "--plugin", "edges", "--weights", weights, "--data", data, "--method", "temperature_bias", "--fpr", "0.05",
        "--fpr", "0.1", "--test-fraction", "0.25", "--out", out, "--run-out", folder, "--seed", "3",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith(
        "edges: temperature_bias, fitted on 54 real and 54 synthetic samples in 108 groups; judged on"
    )
    rows = {line[:14].strip(): line.split() for line in lines}
    assert {"NLL", "Brier score", "ECE", "combined score", "AUROC"} <= set(rows)
    assert rows["AUROC"][1] == rows["AUROC"][3]
    points = [line.split() for line in lines if line.startswith("0.")]
    assert [p[0] for p in points] == ["0.05", "0.05", "0.1", "0.1"]
    assert lines[-1] == f"Written: {out}"
    assert not (weights.parent / "calibrator.json").exists()
    fitted = read_calibrator(out)
    assert f"{fitted.before['brier']['value']:.4f}" in result.stdout
    again = public.calibrate(folder, method="temperature_bias", test_fraction=0.25, seed=3, out=tmp_path / "again.json")
    assert (again.parameters, again.before) == (fitted.parameters, fitted.before)

    # only the weights that it was fitted for take it
    other = call("evaluate", "--plugin", "edges", "--data", data, "--calibrator", out, "--out", tmp_path / "r")
    assert other.exit_code == 0, other.stderr  # the file is a copy of the release: the very same weights
    demo = call("detect", data, "--plugin", "edges", "--weights", "demo", "--calibrator", out)
    assert demo.exit_code == 1
    assert "none of the detectors here runs with" in demo.stderr


def test_a_file_beside_other_weights_is_an_error_and_not_applied(run: Path, data: Path, weights: Path) -> None:
    assert calibrate("--run", run).exit_code == 0
    stored = json.loads((weights.parent / "calibrator.json").read_text())
    (weights.parent / "calibrator.json").write_text(json.dumps({**stored, "weights_sha256": "f" * 64}))
    files = (data / "real" / "000.png", "--plugin", "edges", "--weights", weights)
    refused = call("detect", *files)
    assert refused.exit_code == 1
    assert "fitted for weights with the sha256 ffffffff" in refused.stderr
    assert call("detect", *files, "--no-calibrator").exit_code == 0
    assert call("detect", *files, "--no-calibrator", "--calibrator", "x").exit_code == 2


def detections(*arguments: object) -> list[dict[str, Any]]:
    result = call("detect", *arguments, "--json", "--workers", "1")
    assert result.exit_code == 0, result.stderr
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def test_detect_calibrates_and_abstains(run: Path, data: Path, weights: Path, tmp_path: Path) -> None:
    files = (data, "--plugin", "edges", "--weights", weights)
    raw = detections(*files)
    assert calibrate("--run", run, "--method", "platt", "--fpr", "0.1").exit_code == 0
    stored = read_calibrator(weights.parent / "calibrator.json")
    rows = detections(*files, "--fpr", "0.1")
    threshold = stored.thresholds[0]["threshold"]
    low = min(0.5, threshold)
    for one, other in zip(raw, rows, strict=True):
        assert (one["calibrator"], one["low"], one["high"], one["p_raw"]) == ("", 0.5, 0.5, one["p_synthetic"])
        assert (other["calibrator"], other["low"], other["high"]) == ("platt", low, threshold)
        assert other["p_raw"] == one["p_synthetic"]
        p = other["p_synthetic"]
        assert other["verdict"] == ("synthetic" if p > threshold else "real" if p <= low else "undecided")
    accused = np.mean([r["verdict"] == "synthetic" for r in rows if "/real/" in r["path"]])
    assert 0 < accused <= 0.15

    table = tmp_path / "t.csv"
    result = call("detect", *files, "--abstain", "0.2", "0.9", "--csv", table)
    with table.open(newline="") as file:
        written = list(csv.DictReader(file))
    verdicts = {row["verdict"] for row in written}
    assert verdicts == {"real", "synthetic", "undecided"}
    for row in written:
        p = float(row["p_synthetic"])
        assert row["verdict"] == ("synthetic" if p > 0.9 else "real" if p <= 0.2 else "undecided")
        assert f"{row['verdict']:<9}  {p:.3f}" in result.stdout
    assert "'synthetic' is calibrated P(synthetic) above 0.9, 'undecided' from 0.2 to it." in result.stderr
    assert "'synthetic' is calibrated P(synthetic) above 0.5." in call("detect", *files).stderr
    assert "calibrated for no use" in call("detect", *files, "--no-calibrator").stderr
    lines = call("detect", *files, "--abstain", "0.2", "0.9", "--jsonl").stdout.splitlines()
    assert [json.loads(line)["verdict"] for line in lines] == [row["verdict"] for row in written]


def test_thresholds_that_are_not_there_are_refused(run: Path, data: Path, weights: Path) -> None:
    files = ("detect", data / "real", "--plugin", "edges", "--weights", weights)
    none = call(*files, "--fpr", "0.1")
    assert none.exit_code == 2
    assert "edges has no calibrator" in none.stderr
    assert calibrate("--run", run, "--fpr", "0.1").exit_code == 0
    other = call(*files, "--fpr", "0.01")
    assert other.exit_code == 2
    assert "but those for 0.1" in other.stderr
    assert call(*files, "--fpr", "0.1", "--abstain", "0.1", "0.9").exit_code == 2
    assert "low and high" in call(*files, "--abstain", "0.9", "0.1").stderr
    few = calibrate("--run", run, "--fpr", "0.01")
    assert few.exit_code == 1
    assert "needs at least 99 independent real samples" in few.stderr


def test_what_the_detector_was_trained_or_selected_on_is_refused(run: Path, data: Path, weights: Path) -> None:
    ids = sorted(set(Run.open(run).records()["sample_id"].to_pylist()))
    record = {"weights": {"sha256": Run.open(run).config["detectors"]["edges"]["weights"]["sha256"]}}
    (weights.parent / "train.json").write_text(json.dumps(record))

    def remember(samples: list[str], part: str, contents: list[str | None]) -> None:
        rows = {"sample_id": samples, "content": contents, "part": [part] * len(samples)}
        pq.write_table(pa.table(rows), weights.parent / "samples.parquet")

    remember(ids[:5], "validation", [None] * 5)
    refused = calibrate("--run", run)
    assert refused.exit_code == 1
    assert "5 of 144 samples are samples of this detector's training (5 in its validation part)" in refused.stderr
    assert "--allow-training-data" in refused.stderr
    assert not (weights.parent / "calibrator.json").exists()
    allowed = calibrate("--run", run, "--allow-training-data")
    assert allowed.exit_code == 0
    assert "was not asked" in allowed.stdout

    remember(["elsewhere"], "train", [None])
    assert calibrate("--run", run).exit_code == 0
    record["preprocessing"] = Run.open(run).config["detectors"]["edges"]["preprocessing"]
    (weights.parent / "train.json").write_text(json.dumps(record))
    detector = api.load("edges", str(weights), calibrator=False)
    pixels = np.asarray(Image.open(data / "real" / "007.png").convert("RGB"))
    assert detector.preprocessing.resize == pixels.shape[:2]  # so that decoding changes nothing
    from gasdet.media.digest import digest

    remember(["another name"], "train", [digest(np.ascontiguousarray(pixels.transpose(2, 0, 1)))])
    copied = calibrate("--run", run)
    assert copied.exit_code == 1
    assert "1 of 144 samples are exact copies of samples of this detector's training" in copied.stderr


def test_a_training_split_is_refused(data: Path, weights: Path, tmp_path: Path) -> None:
    table = tmp_path / "data.csv"
    rows = [
        f"{path},{path.parent.name},{'train' if number % 2 else 'calibration'}"
        for number, path in enumerate(sorted(data.glob("*/*.png")))
    ]
    table.write_text("path,label,split\n" + "\n".join(rows) + "\n")
    common = ("--plugin", "edges", "--weights", weights, "--data", table, "--out", tmp_path / "c.json")
    refused = calibrate(*common, "--run-out", tmp_path / "a")
    assert refused.exit_code == 1
    assert "72 of 144 samples belong to a training split" in refused.stderr
    few = calibrate(*common, "--split", "calibration", "--run-out", tmp_path / "b")
    assert few.exit_code == 1  # 36 of each, of which 25 are left to fit on
    assert "needs at least 30 real and 30 synthetic samples to be fitted on" in few.stderr

    # the same of a run that holds both splits
    of_run = calibrate("--run", tmp_path / "a", "--split", "calibration", "--out", tmp_path / "c.json")
    assert of_run.exit_code == 1
    assert "needs at least 30 real and 30 synthetic samples to be fitted on" in of_run.stderr
    assert "72 of 72 samples" in calibrate("--run", tmp_path / "a", "--split", "train").stderr
    assert (
        "is of the split 'test'; there is calibration, train."
        in calibrate("--run", tmp_path / "a", "--split", "test").stderr
    )
    absent = calibrate("--run", tmp_path / "a", "--datasets", "d?t", "--datasets", "x*")
    assert (absent.exit_code, "is of the dataset 'd?t or x*'; there is test_a_train" in absent.stderr) == (1, True)
    assert "72 of 144" in calibrate("--run", tmp_path / "a", "--datasets", "TEST_A*").stderr


def test_weights_that_are_not_those_of_the_run_any_more(run: Path, weights: Path, tmp_path: Path) -> None:
    weights.write_bytes(weights.read_bytes() + b" ")
    refused = calibrate("--run", run)
    assert refused.exit_code == 1
    assert "the weights that this run was made with are not at" in refused.stderr
    beside = calibrate("--run", run, "--out", weights.parent / "calibrator.json")
    assert beside.exit_code == 1
    assert "mine.safetensors beside it is another file" in beside.stderr
    assert not (weights.parent / "calibrator.json").exists()
    elsewhere = calibrate("--run", run, "--out", tmp_path / "c.json")
    assert elsewhere.exit_code == 0, elsewhere.stderr
    assert "could not be checked: its weights are gone" in elsewhere.stdout
    weights.unlink()
    assert calibrate("--run", run).exit_code == 1


def test_a_calibrator_that_makes_things_worse_is_not_written(run: Path, weights: Path, tmp_path: Path) -> None:
    turned = tmp_path / "turned"
    shutil.copytree(run, turned)
    rows = read_records(turned / "records.parquet").to_pylist()
    for row in rows:  # other samples, on which the detector is wrong as often as it is right here
        row |= {"label": 1 - row["label"], "sample_id": row["sample_id"][::-1], "group": row["sample_id"][::-1]}
    write_records(turned / "records.parquet", table_of(rows))
    worse = ("--run", run, "--test", turned, "--method", "temperature_bias")
    refused = calibrate(*worse)
    assert refused.exit_code == 1
    assert "no calibrator is written" in refused.stderr
    assert "makes things worse (NLL " in refused.stderr
    assert not (weights.parent / "calibrator.json").exists()
    forced = calibrate(*worse, "--force")
    assert forced.exit_code == 0, forced.stderr
    assert "makes things worse" in " ".join(read_calibrator(weights.parent / "calibrator.json").notes)


def test_a_report_on_another_run(run: Path, data: Path, weights: Path, tmp_path: Path) -> None:
    other = tmp_path / "others"
    shutil.copytree(data, other / "set")
    judged = call(
        "evaluate", "--plugin", "edges", "--weights", weights, "--data", other / "set", "--out", tmp_path / "judged"
    )
    assert judged.exit_code == 0, judged.stderr
    result = calibrate("--run", run, "--test", tmp_path / "judged", "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert (told["fitted_on"]["samples"], told["judged_on"]["samples"]) == (2 * EACH, 2 * EACH)
    assert calibrate("--run", run, "--test", data).exit_code == 2


def test_packaged_weights_are_calibrated_into_the_working_folder(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = calibrate("--plugin", "edges", "--data", data, "--run-out", "r")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "Written: calibrator-edges-v1.json"
    loaded = api.load("edges", calibrator="calibrator-edges-v1.json")
    assert loaded.calibrator is not None
    assert loaded.calibrator.method == "temperature"
    found = public.detect(data / "real" / "000.png", [loaded])[0]
    assert found.calibrator == "temperature"
    assert found.p_raw != found.p_synthetic
    with pytest.raises(UsageError, match="loaded with a calibrator"):
        public.detect(data / "real" / "000.png", [loaded], calibrator=False)


def test_a_calibrator_of_equalised_files_is_for_these(data: Path, weights: Path, tmp_path: Path) -> None:
    of = ("--plugin", "edges", "--weights", weights, "--data", data)
    profile = ("--equalise", "standard:side=32")
    done = calibrate(
        *of, *profile, "--run-out", tmp_path / "r", "--decode-cache", tmp_path / "kept", "--force", "--json"
    )
    assert done.exit_code == 0, done.stderr
    fitted = json.loads(done.stdout)
    assert fitted["preprocessing"]["equalise"].startswith("standard")
    assert f"it is for --equalise {fitted['preprocessing']['equalise']}." in fitted["notes"][-1]
    assert len(list((tmp_path / "kept").rglob("*.npy.zst"))) == 2 * EACH
    plain = call("evaluate", *of, "--out", tmp_path / "plain", "--limit", 20, "--workers", 1)
    assert "under another preprocessing (equalise" in plain.stderr
    equal = call("evaluate", *of, *profile, "--out", tmp_path / "equal", "--limit", 20, "--workers", 1)
    assert "scores are calibrated" in equal.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "name a finished run"),
        (("--run", "r", "--data", "d"), "leave out --data"),
        (("--run", "r", "--limit", "9", "--run-out", "x", "--device", "cpu"), "leave out --limit, --run-out, --device"),
        (
            ("--run", "r", "--category", "c", "--modality", "image", "--total", "9"),
            "leave out --category, --modality, --total",
        ),
        (("--run", "r", "--equalise", "standard", "--decode-cache", "d"), "leave out --equalise, --decode-cache"),
        (("--data", "d"), "one detector is calibrated at a time"),
        (("--data", "d", "--plugin", "edges", "--plugin", "loudness"), "one detector is calibrated at a time"),
        (("--data", "d", "--plugin", "edgy"), "no detector is called 'edgy'"),
    ],
)
def test_wrong_uses(arguments: tuple[str, ...], words: str) -> None:
    result = calibrate(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def test_an_absent_run_and_detector_are_said(run: Path, tmp_path: Path) -> None:
    assert "there is no run here" in calibrate("--run", tmp_path).stderr
    with pytest.raises(UsageError, match="nothing is scored, so that dtype, limit cannot apply"):
        public.calibrate(run, limit=9, options=api.RunOptions(dtype="bfloat16"))
    assert "no detector 'loudness', but edges" in calibrate("--run", run, "--plugin", "loudness").stderr
    unknown = calibrate("--run", run, "--method", "plat")
    assert unknown.exit_code == 2
    assert "did you mean 'platt'?" in unknown.stderr


def test_of_demo_its_calibration_split_is_taken(weights: Path, tmp_path: Path) -> None:
    result = calibrate(
        "--plugin", "edges", "--weights", weights, "--data", "demo", "--force", "--out", tmp_path / "c.json",
        "--run-out", tmp_path / "run",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    fitted_on = read_calibrator(tmp_path / "c.json").fitted_on["sample_ids"]
    ids = {sample.sample_id[:ID_DIGITS] for sample in load_data("demo", split="calibration").samples}
    assert set(str(fitted_on).split()) < ids
