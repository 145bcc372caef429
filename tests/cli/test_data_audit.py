"""``gasdet data audit`` on data with planted shortcuts: what it names, what it writes, and how it ends."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from gasdet.cli.data.audit import command
from gasdet.cli.group import gasdet as group

from ..planted import NAMED, SHORTCUTS, SPEECH_TOP, planted

IMAGES = [name for name in sorted(NAMED) if SHORTCUTS[name] == "image"]
OTHERS = [name for name in sorted(NAMED) if SHORTCUTS[name] != "image"]

Audit = Callable[..., Result]


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch) -> Audit:
    """Runs the command in this process; the decode processes are real ones."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(group, ["data", "audit", *map(str, arguments), "--workers", "2"])

    return run


@pytest.fixture(scope="module")
def quality(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JPEGs of which the synthetic ones have a lower quality."""
    return planted(tmp_path_factory.mktemp("quality"), "quality", 30, seed=3)


def found(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


@pytest.mark.parametrize("shortcut", [*IMAGES, *OTHERS])
def test_a_planted_shortcut_is_named_first(audit: Audit, tmp_path: Path, shortcut: str) -> None:
    document = found(audit(planted(tmp_path, shortcut, 24, seed=2), "--json"))
    section = document["modalities"][str(SHORTCUTS[shortcut])]
    first = section["overall"]["properties"][0]
    assert first["name"] in NAMED[shortcut]
    assert first["auroc"] > 0.95
    assert first["verdict"] in ("strong", "fatal")
    assert section["overall"]["model"]["auroc"] > 0.95
    assert section["equalised"] is None
    assert document["worst"] in ("strong", "fatal")


@pytest.mark.parametrize(
    "shortcut",
    ["quality", "exif", *(pytest.param(name, marks=pytest.mark.slow) for name in ("size", "format", *OTHERS))],
)
def test_equalisation_takes_it_away(audit: Audit, tmp_path: Path, shortcut: str) -> None:
    document = found(audit(planted(tmp_path, shortcut, 40, seed=0), "--equalise", "--json"))
    section = document["modalities"][str(SHORTCUTS[shortcut])]
    assert section["overall"]["model"]["auroc"] > 0.95
    assert section["equalised"]["profile"] == "standard-1"
    assert section["equalised"]["overall"]["model"]["auroc"] < 0.6
    assert document["left_out_equalised"] == {}


@pytest.mark.slow
@pytest.mark.parametrize(("top", "seed"), [(SPEECH_TOP, 0), (SPEECH_TOP, 1), (SPEECH_TOP, 2), (7800, 0)])
def test_no_trace_of_silence_is_left_for_a_model(audit: Audit, tmp_path: Path, top: int, seed: int) -> None:
    document = found(audit(planted(tmp_path, "silence", 150, seed=seed, top=top), "--equalise", "--json"))
    section = document["modalities"]["audio"]
    assert section["overall"]["model"]["auroc"] > 0.95
    assert section["equalised"]["overall"]["model"]["auroc"] < 0.6
    assert section["equalised"]["overall"]["worst"] in ("none", "undecided")


def test_data_without_a_shortcut_are_not_accused(audit: Audit, tmp_path: Path) -> None:
    document = found(audit(planted(tmp_path, "none_image", 120, seed=4), "--json", "--fail-on", "weak"))
    assert document["worst"] == "none"


def test_a_dozen_samples_do_not_exclude_a_shortcut(audit: Audit, tmp_path: Path) -> None:
    folder = planted(tmp_path, "none_image", 12, seed=4)
    assert found(audit(folder, "--json", "--fail-on", "weak"))["worst"] == "undecided"
    text = audit(folder).stdout
    assert re.search(r"all together \(model\) +0\.\d{3} +0\.\d{3}\.\.0\.[789]\d\d +undecided", text)
    assert "image: undecided; " in text


def test_pairs_of_a_manifest_lie_in_one_fold(audit: Audit, tmp_path: Path) -> None:
    """Each synthetic picture has the size of the real one that it was made from."""
    rng = np.random.default_rng(0)
    lines = ["path,label,pair"]
    for index in range(60):
        size = rng.integers(20, 400, 2).tolist()
        for label in ("real", "synthetic"):
            Image.new("RGB", size, tuple(rng.integers(0, 256, 3).tolist())).save(tmp_path / f"{index}{label}.png")
            lines.append(f"{index}{label}.png,{label},p{index}")
    (tmp_path / "pairs.csv").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "apart.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines), encoding="utf-8")
    together, apart = (
        found(audit(tmp_path / f"{name}.csv", "--json"))["modalities"]["image"]["overall"]
        for name in ("pairs", "apart")
    )
    assert together["below_chance"] is None
    assert apart["below_chance"] < 0.3
    assert apart["model"]["verdict"] == "undecided"
    assert "copies or pairs straddle the folds" in " ".join(audit(tmp_path / "apart.csv").stdout.split())


def test_exact_copies_are_one_group(audit: Audit, quality: Path, tmp_path: Path) -> None:
    for label in ("real", "synthetic"):
        (tmp_path / label).mkdir()
        for path in (quality / label).iterdir():
            for copy in range(2 if label == "synthetic" else 1):
                (tmp_path / label / f"{copy}{path.name}").write_bytes(path.read_bytes())
    counts = found(audit(tmp_path, "--json"))["modalities"]["image"]["overall"]["counts"]
    assert counts == {"real": 30, "real_groups": 30, "synthetic": 60, "synthetic_groups": 30}


def test_the_table_names_the_shortcut_and_what_to_do(audit: Audit, quality: Path) -> None:
    result = audit(quality)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "image: 30 real, 30 synthetic"
    assert re.match(r"all together \(model\) +1\.000 +0\.\d{3}\.\.1\.000 +(STRONG|FATAL)", lines[3])
    assert re.match(r"jpeg_tables +1\.000 ", lines[4])
    assert "re-encode: " in result.stdout
    assert "a detector that never looks at the content could reach AUROC 1.000" in " ".join(result.stdout.split())
    assert max(map(len, lines)) <= 120


def test_reports_and_values_are_written(audit: Audit, quality: Path, tmp_path: Path) -> None:
    report, values = tmp_path / "report.html", tmp_path / "values.csv"
    document = found(audit(quality, "--equalise", "standard:side=64", "--json", "--report", report, "--csv", values))
    assert document["modalities"]["image"]["equalised"]["profile"] == "standard-1:side=64"
    with values.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 120
    assert len({row["sample_id"] for row in rows}) == 60
    before = [row for row in rows if not row["equalised"]]
    after = [row for row in rows if row["equalised"] == "yes"]
    assert {(row["label"], row["jpeg_quality"]) for row in before} == {("0", "90"), ("1", "75")}
    assert {row["width"] for row in before} == {"256"}
    assert {row["width"] for row in after} == {"64"}
    assert {row["extension"] for row in after} == {""}
    html = report.read_text(encoding="utf-8")
    assert html.startswith("<!DOCTYPE html>")
    assert html.count("data:image/svg+xml;base64,") >= 3


@pytest.mark.parametrize(("fail_on", "code"), [("weak", 1), ("strong", 1)])
def test_fail_on_is_the_exit_code(audit: Audit, quality: Path, fail_on: str, code: int) -> None:
    assert audit(quality, "--fail-on", fail_on, "--json").exit_code == code


def test_fail_on_looks_at_what_equalisation_leaves(audit: Audit, quality: Path) -> None:
    assert audit(quality, "--fail-on", "weak", "--json", "--equalise").exit_code == 0


def test_the_same_command_gives_the_same_figures(audit: Audit, quality: Path) -> None:
    one, other = (audit(quality, "--json", "--limit", 24).stdout for _ in range(2))
    assert one == other
    assert one != audit(quality, "--json", "--limit", 24, "--seed", 1).stdout


def test_each_data_set_is_audited_by_itself(audit: Audit, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def write(name: str, label: str, width: int) -> None:
        folder = tmp_path / name / label
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(12):
            pixels = rng.integers(0, 256, (32, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")

    for name, widths in (("even", (32, 32)), ("uneven", (32, 48))):
        for label, width in zip(("real", "synthetic"), widths, strict=True):
            write(name, label, width)
    write("alone", "real", 32)
    arguments = (tmp_path / "even", tmp_path / "uneven", tmp_path / "alone")
    document = found(audit(*arguments, "--json"))["modalities"]["image"]
    assert set(document["datasets"]) == {"even", "uneven"}
    assert document["datasets"]["even"]["worst"] == "none"
    assert document["datasets"]["uneven"]["properties"][0]["name"] == "width"
    assert document["datasets"]["uneven"]["properties"][0]["auroc"] == 1
    assert document["one_class"] == {"alone": {"real": 12, "synthetic": 0}}
    assert document["overall"]["counts"]["real"] == 36
    table = audit(*arguments).stdout
    assert "Of one class, and in the figures of all together only: alone." in table
    assert re.search(r"uneven +12 +12 +1\.000", table)


def test_files_that_cannot_be_read_are_counted(audit: Audit, quality: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    for name in ("real", "synthetic"):
        (folder / name).mkdir(parents=True)
        for path in sorted((quality / name).iterdir())[:12]:
            (folder / name / path.name).write_bytes(path.read_bytes())
    (folder / "synthetic" / "empty.jpg").touch()
    result = audit(folder)
    assert result.exit_code == 0, result.output
    assert "image: left out: 1 synthetic (1 file_empty)." in result.stdout
    assert found(audit(folder, "--json"))["left_out"] == {"image": {"synthetic": {"file_empty": 1}}}


def test_one_class_is_refused(audit: Audit, quality: Path) -> None:
    result = CliRunner().invoke(command, [str(quality / "real")])
    assert result.exit_code == 1
    assert "are real" in str(result.exception)


def test_the_labels_are_judged_before_anything_is_read(tmp_path: Path) -> None:
    """None of these files can be read, which is not what is wrong first."""
    (tmp_path / "real").mkdir()
    for index in range(3):
        (tmp_path / "real" / f"{index}.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
    result = CliRunner().invoke(command, [str(tmp_path)])
    assert "all 3 labelled image samples are real; an audit compares both" in str(result.exception)


def test_too_few_groups_are_told_first(quality: Path, tmp_path: Path) -> None:
    for label, count in (("real", 12), ("synthetic", 4)):
        (tmp_path / label).mkdir()
        for path in sorted((quality / label).iterdir())[:count]:
            (tmp_path / label / path.name).write_bytes(path.read_bytes())
    result = CliRunner().invoke(command, [str(tmp_path), "--workers", "1"])
    assert result.exit_code == 0, result.output
    assert "image: 4 groups of synthetic samples; at least 10 of each class are needed" in " ".join(
        result.stderr.split()
    )
    assert "too few groups" in result.stdout


@pytest.mark.parametrize("others", [[], ["more"]])
def test_data_that_went_to_equalise_are_told(quality: Path, others: list[str]) -> None:
    result = CliRunner().invoke(command, ["--equalise", str(quality), *others])
    assert result.exit_code == 2
    told = " ".join(result.stderr.split())
    assert "took" in told
    assert "name DATA before it, or the profile with it: --equalise=standard" in told
    assert "Missing argument 'DATA...'" in CliRunner().invoke(command, ["--equalise", "standard"]).stderr
    assert "Missing argument 'DATA...'" in CliRunner().invoke(command, []).stderr


def test_data_without_labels_are_refused(quality: Path, tmp_path: Path) -> None:
    for path in sorted((quality / "real").iterdir())[:3]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    result = CliRunner().invoke(command, [str(tmp_path)])
    assert result.exit_code == 1
    assert "there are no labelled samples" in str(result.exception)


def test_a_folder_that_is_not_there_is_told_before_any_work(quality: Path, tmp_path: Path) -> None:
    for option in ("--report", "--csv"):
        result = CliRunner().invoke(command, [str(quality), option, str(tmp_path / "absent" / "file")])
        assert "there is no such folder" in str(result.exception)


def test_an_unknown_profile_is_told_before_any_work(quality: Path) -> None:
    result = CliRunner().invoke(command, [str(quality), "--equalise", "standart"])
    assert "did you mean 'standard'" in str(result.exception)


@pytest.mark.slow
def test_cifake_has_no_shortcut_in_its_container(audit: Audit, shared_cifake: Path) -> None:
    overall = found(audit(shared_cifake, "--split", "test", "--json"))["modalities"]["image"]["overall"]
    assert overall["counts"]["real"] == overall["counts"]["synthetic"] == 10000
    assert all(entry["auroc"] <= 0.55 and entry["verdict"] == "none" for entry in overall["properties"])
    size = next(entry for entry in overall["properties"] if entry["name"] == "file_bytes")
    assert size["auroc"] == pytest.approx(0.516, abs=0.002)
    assert overall["model"]["auroc"] < 0.6
