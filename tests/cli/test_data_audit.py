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

from gasdet.api.auditing import audit as run_audit
from gasdet.cli.data.audit import command
from gasdet.cli.group import gasdet as group
from gasdet.data import load_data
from gasdet.errors import UsageError
from gasdet.inspection.auditing import Verdict, collect, sections
from gasdet.reporting.audit_tables import audit_grids, conclusions
from gasdet.reporting.tables import to_plain
from gasdet.types import Modality

from ..planted import NAMED, SHORTCUTS, SPEECH_TOP, planted

OTHERS = [name for name in sorted(NAMED) if SHORTCUTS[name] != "image"]

Audit = Callable[..., Result]


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch) -> Audit:
    """Runs the command in this process; the decode processes are real ones."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(group, ["data", "audit", *map(str, arguments), "--workers", "1"])

    return run


@pytest.fixture(scope="module")
def quality(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JPEGs of which the synthetic ones have a lower quality."""
    return planted(tmp_path_factory.mktemp("quality"), "quality", 30, seed=3)


def found(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


@pytest.mark.parametrize(
    "shortcut",
    ["quality", "exif", *(pytest.param(name, marks=pytest.mark.slow) for name in ("size", "format", *OTHERS))],
)
def test_a_planted_shortcut_is_named_first_and_equalisation_takes_it_away(
    audit: Audit, tmp_path: Path, shortcut: str
) -> None:
    document = found(audit(planted(tmp_path, shortcut, 30, seed=0), "--equalise", "--json"))
    section = document["modalities"][str(SHORTCUTS[shortcut])]
    first = section["overall"]["properties"][0]
    assert first["name"] in NAMED[shortcut]
    assert first["auroc"] > 0.95
    assert first["verdict"] in ("strong", "fatal")
    assert section["overall"]["model"]["auroc"] > 0.95
    assert section["overall"]["worst"] in ("strong", "fatal")
    assert section["equalised"]["profile"] == "standard-1"
    assert section["equalised"]["overall"]["model"]["auroc"] < 0.6
    assert document["left_out_equalised"] == {}
    assert document["worst"] == section["equalised"]["overall"]["worst"]


@pytest.mark.slow
@pytest.mark.parametrize("top", [SPEECH_TOP, 7800])
def test_no_trace_of_silence_is_left_for_a_model(tmp_path: Path, top: int) -> None:
    """So many recordings show what thirty of each class do not; benchmarks/equalised_silence.py has more seeds."""
    dataset = load_data(planted(tmp_path, "silence", 150, seed=0, top=top))
    collected = collect(dataset.samples, equalise={Modality.AUDIO: "standard"}, workers=2)
    left = sections(collected)[Modality.AUDIO].overall
    assert left.counts["real"] == left.counts["synthetic"] == 150
    assert left.model.auroc is not None
    assert left.model.auroc < 0.6
    assert left.worst in (Verdict.NONE, Verdict.UNDECIDED)


def test_data_without_a_shortcut_are_not_accused(audit: Audit, tmp_path: Path) -> None:
    document = found(audit(planted(tmp_path, "none_image", 70, seed=4), "--json", "--fail-on", "weak"))
    assert document["worst"] == "none"


def test_a_dozen_samples_do_not_exclude_a_shortcut(audit: Audit, tmp_path: Path) -> None:
    folder = planted(tmp_path, "none_image", 12, seed=4)
    result = audit(folder, "--fail-on", "weak")
    assert result.exit_code == 0, result.output
    text = result.stdout
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
    both = [found(audit(tmp_path / f"{name}.csv", "--json")) for name in ("pairs", "apart")]
    together, apart = (one["modalities"]["image"]["overall"] for one in both)
    assert together["below_chance"] is None
    assert apart["below_chance"] < 0.3
    assert apart["model"]["verdict"] == "undecided"
    assert "copies or pairs straddle the folds" in conclusions(both[1])[0]


def test_exact_copies_are_one_group(audit: Audit, quality: Path, tmp_path: Path) -> None:
    for label in ("real", "synthetic"):
        (tmp_path / label).mkdir()
        for path in (quality / label).iterdir():
            for copy in range(2 if label == "synthetic" else 1):
                (tmp_path / label / f"{copy}{path.name}").write_bytes(path.read_bytes())
    counts = found(audit(tmp_path, "--json"))["modalities"]["image"]["overall"]["counts"]
    assert counts == {"real": 30, "real_groups": 30, "synthetic": 60, "synthetic_groups": 30, "near_copies": 0}


def test_near_copies_are_one_group_and_no_shortcut(audit: Audit, tmp_path: Path) -> None:
    """Twelve pictures of each class at twelve sizes, each saved five times anew: who knows the sizes knows the class."""
    for label, name in enumerate(("real", "synthetic")):
        (tmp_path / name).mkdir()
        for index in range(12):
            rng = np.random.default_rng([label, index])
            coarse = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8))
            picture = coarse.resize(rng.integers(120, 300, 2).tolist(), Image.Resampling.BICUBIC)
            for copy, quality in enumerate((70, 75, 80, 85, 90)):
                picture.save(tmp_path / name / f"{index}_{copy}.jpg", quality=quality)
    result = audit(tmp_path, "--json", "--fail-on", "weak")
    overall = found(result)["modalities"]["image"]["overall"]
    assert overall["counts"]["near_copies"] == 120
    assert (overall["counts"]["real_groups"], overall["counts"]["synthetic_groups"]) == (12, 12)
    assert overall["worst"] in ("none", "undecided")


def test_frames_without_a_group_are_known_by_their_size_and_no_shortcut(audit: Audit, tmp_path: Path) -> None:
    """Frames that have nothing in common but their size."""
    lines = ["path,label,group"]
    for label, name in enumerate(("real", "synthetic")):
        for index in range(60):
            rng = np.random.default_rng([label, index])
            side = np.random.default_rng([label, index // 5]).integers(40, 120, 2)
            Image.fromarray(rng.integers(0, 256, (*side, 3), np.uint8)).save(tmp_path / f"{name}{index}.jpg")
            lines.append(f"{name}{index}.jpg,{name},{name}{index}")
    (tmp_path / "own.csv").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "none.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines), encoding="utf-8")
    result = audit(tmp_path / "none.csv", "--fail-on", "weak")
    assert result.exit_code == 0, result.output
    text = " ".join(result.stdout.split())
    assert re.search(
        r"image: undecided; all properties together reach AUROC [01]\.\d+ \(.*?\), but 0\.\d+ on sizes", text
    )
    assert "give them a common group" in text
    overall = found(audit(tmp_path / "own.csv", "--json"))["modalities"]["image"]["overall"]
    assert overall["model"]["verdict"] in ("strong", "fatal"), "the data say that all are independent"


def test_the_table_names_the_shortcut_and_what_to_do(audit: Audit, quality: Path) -> None:
    result = audit(quality, "--fail-on", "strong")
    assert result.exit_code == 1, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "image: 30 real, 30 synthetic"
    assert re.match(r"all together \(model\) +1\.000 +0\.\d{3}\.\.1\.000 +(STRONG|FATAL)", lines[3])
    assert re.match(r"jpeg_tables +1\.000 ", lines[4])
    assert "re-encode: " in result.stdout
    assert "a detector that never looks at the content could reach AUROC 1.000" in " ".join(result.stdout.split())
    assert max(map(len, lines)) <= 120


def test_reports_and_values_are_written(audit: Audit, quality: Path, tmp_path: Path) -> None:
    report, values = tmp_path / "report.html", tmp_path / "values.csv"
    arguments = ("--equalise", "standard:side=64", "--json", "--report", report, "--csv", values)
    document = found(audit(quality, *arguments, "--fail-on", "weak"))  # which looks at what is left
    assert document["modalities"]["image"]["overall"]["worst"] == "fatal"
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


def test_the_same_command_gives_the_same_figures(audit: Audit, quality: Path) -> None:
    one, other, seeded = (audit(quality, "--json", "--limit", 24, *more).stdout for more in ((), (), ("--seed", 1)))
    assert one == other
    assert one != seeded
    assert json.loads(one)["modalities"]["image"]["equalised"] is None


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
    whole = found(audit(*arguments, "--json"))
    document = whole["modalities"]["image"]
    assert set(document["datasets"]) == {"even", "uneven"}
    assert document["datasets"]["even"]["worst"] == "none"
    assert document["datasets"]["uneven"]["properties"][0]["name"] == "width"
    assert document["datasets"]["uneven"]["properties"][0]["auroc"] == 1
    assert document["one_class"] == {"alone": {"real": 12, "synthetic": 0}}
    assert document["overall"]["counts"]["real"] == 36
    table = to_plain(audit_grids(whole), 120)
    assert "Of one class, and in the figures of all together only: alone." in table
    assert re.search(r"uneven +12 +12 +1\.000", table)


def test_files_that_cannot_be_read_are_counted(audit: Audit, quality: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    for name in ("real", "synthetic"):
        (folder / name).mkdir(parents=True)
        for path in sorted((quality / name).iterdir())[:12]:
            (folder / name / path.name).write_bytes(path.read_bytes())
    (folder / "synthetic" / "empty.jpg").touch()
    document = found(audit(folder, "--json"))
    assert document["left_out"] == {"image": {"synthetic": {"file_empty": 1}}}
    assert "image: left out: 1 synthetic (1 file_empty)." in conclusions(document)


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
        assert "is to be in a folder that does not exist" in str(result.exception)


@pytest.mark.parametrize(("name", "word"), [("report", "report"), ("values", "CSV file")])
def test_a_folder_in_the_place_of_a_file_is_told_before_any_work(tmp_path: Path, name: str, word: str) -> None:
    """In the command, click refuses it; the data would be looked for next, and are not there."""
    with pytest.raises(UsageError, match=f"The {word} cannot be .*: that is a folder"):
        run_audit(tmp_path / "absent", **{name: tmp_path})


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
