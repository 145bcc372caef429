"""``gasdet data check``: the table, the JSON, the CSV and the exit codes."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from gasdet.cli.group import gasdet as root
from gasdet.data import load_data
from gasdet.inspection import running

SUPPORT = Path(__file__).resolve().parent.parent / "inspection" / "support"
sys.path.insert(0, str(SUPPORT))

from without_processes import PoolHere  # noqa: E402


def picture(path: Path, seed: int, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((160, 160), Image.Resampling.NEAREST).save(path, **options)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Eight pictures in two splits and two classes."""
    for seed in range(8):
        picture(
            tmp_path / "data" / ("train" if seed < 4 else "test") / ("real" if seed % 2 else "fake") / f"{seed}.png",
            seed,
        )
    return tmp_path / "data"


@pytest.fixture
def faulty(data: Path) -> Path:
    """A copy in the other split, a near copy in the other class, a cut file, and one with a wrong extension."""
    shutil.copy(data / "train" / "real" / "1.png", data / "test" / "real" / "copy.png")
    picture(data / "train" / "fake" / "near.jpg", 3, quality=5)
    content = (data / "test" / "fake" / "4.png").read_bytes()
    (data / "test" / "fake" / "cut.png").write_bytes(content[: len(content) // 2])
    picture(data / "test" / "fake" / "jpeg.png", 99, format="JPEG")
    return data


Check = Callable[..., Any]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Check:
    """The command in this process, without decode processes."""
    monkeypatch.setattr(running, "DecodePool", PoolHere)
    return lambda *arguments: CliRunner().invoke(root, ["data", "check", *map(str, arguments)])


def test_nothing_found_is_exit_0(data: Path, run: Check) -> None:
    done = run(data)
    assert done.exit_code == 0, done.output
    assert "8 samples, 8 decoded." in done.stdout
    assert done.stdout.rstrip().endswith("Nothing found.")


def test_the_table_shows_what_was_found_with_examples(faulty: Path, run: Check) -> None:
    done = run(faulty)
    assert done.exit_code == 1, done.output
    lines = done.stdout.splitlines()
    rows = {line.split()[0]: line.split()[1:5] for line in lines if len(line.split()) > 5}
    assert rows["truncated"][:3] == ["yes", "1", "1"]
    assert rows["mislabelled"][:3] == ["no", "1", "1"]
    assert rows["duplicates"] == ["no", "1", "2", "1"]
    assert rows["duplicates_across_splits"] == ["yes", "1", "2", "1"]
    assert rows["near_duplicates_across_classes"][:3] == ["no", "1", "2"]
    assert "12 samples, 11 decoded, 1 failed." in lines[0]
    assert any(
        "test/fake/cut.png [test]: The file ends after" in line and line.endswith("(truncated)") for line in lines
    )
    assert any("train/real/1.png [train]: equal files, in test and train" in line for line in lines)
    assert lines[-1] == "Serious: truncated, duplicates_across_splits."


def test_json_and_csv_have_everything(faulty: Path, run: Check, tmp_path: Path) -> None:
    done = run(faulty, "--json", "--csv", tmp_path / "found.csv")
    assert done.exit_code == 1
    report = json.loads(done.stdout)
    assert report["samples"] == report["decoded"] + report["failed"] + report["skipped"] == 12
    assert report["ok"] is False
    assert report["kinds"]["duplicates_across_splits"]["pairs"] == 1
    with open(tmp_path / "found.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(finding["samples"]) for finding in report["findings"])
    assert {row["kind"] for row in rows} == {finding["kind"] for finding in report["findings"]}
    assert "found.csv" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--fail-on", "none"], 0),
        (["--fail-on", "missing", "--fail-on", "unreadable"], 0),
        (["--fail-on", "near_duplicates"], 1),
        (["--no-near", "--fail-on", "near_duplicates"], 0),
        (["--near-distance", "0", "--fail-on", "near_duplicates"], 0),
        (["--split", "train", "--fail-on", "duplicates"], 0),
        (["--modality", "audio"], 1),
        (["--fail-on", "everything"], 2),
        (["--near-distance", "48"], 2),
        (["--csv", "no/such/folder/x.csv"], 2),
    ],
)
def test_exit_codes(faulty: Path, run: Check, arguments: list[str], code: int) -> None:
    assert run(faulty, *arguments).exit_code == code


def test_what_an_evaluation_would_take_can_be_checked_alone(data: Path, run: Check) -> None:
    """--mode, --total and --seed choose as they do for evaluate, so that no more need be there."""
    catalogue = data.parent / "sets.yaml"
    catalogue.write_text("sampling: {total: {debug: 2, small: 5, full: 8}}\ndatasets: [{name: all, path: data}]\n")

    def checked(*options: str) -> tuple[int, str]:
        report = json.loads(run(catalogue, "--json", *options).stdout)
        taken = [s.sample_id for s in load_data(catalogue, **named(options)).samples]
        assert report["fingerprint"] == load_data(catalogue, **named(options)).fingerprint
        assert report["samples"] == report["decoded"] == len(taken)
        return len(taken), report["fingerprint"]

    def named(options: tuple[str, ...]) -> dict[str, Any]:
        pairs = zip(options[::2], options[1::2], strict=True)
        return {name.removeprefix("--"): int(value) if value.isdigit() else value for name, value in pairs}

    chosen = [
        ("--mode", "debug"),
        ("--mode", "small"),
        ("--mode", "full"),
        ("--total", "3"),
        ("--total", "3", "--seed", "1"),
        ("--mode", "small", "--limit", "1"),
    ]
    found = [checked(*options) for options in chosen]
    assert [count for count, _ in found] == [2, 5, 8, 3, 3, 1]
    assert len({fingerprint for _, fingerprint in found}) == len(chosen)


def test_examples_are_few_and_many_samples_are_cut_short(data: Path, run: Check) -> None:
    for number in range(9):
        shutil.copy(data / "train" / "real" / "1.png", data / "train" / "real" / f"copy{number}.png")
    for number in range(7):
        (data / "test" / "fake" / f"text{number}.png").write_text(f"text {number}")
    lines = run(data).stdout.splitlines()
    assert any("and 6 more: equal files" in line for line in lines)
    assert any(line.strip().startswith("and 2 more;") for line in lines)


def test_what_cannot_be_compared_is_told(data: Path, run: Check) -> None:
    for shade in (10, 200):
        Image.new("RGB", (64, 64), (shade, shade, shade)).save(data / "train" / "real" / f"flat{shade}.png")
    assert "Not compared for near copies, being flat, short or silent: 2 images." in run(data).stdout
    assert "Not compared" not in run(data, "--no-near").stdout


def test_an_interrupt_is_exit_130(data: Path, run: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(PoolHere, "run", interrupted)
    done = run(data)
    assert done.exit_code == 130
    assert "Interrupted. Nothing of a check is kept" in done.stderr


def test_wrong_use(run: Check, tmp_path: Path) -> None:
    assert run().exit_code == 2
    done = run(tmp_path / "nowhere")
    assert done.exit_code == 1
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr


def test_odd_names_stay_on_their_line(data: Path, run: Check) -> None:
    (data / "test" / "fake" / "new\nline.png").write_text("no picture")
    lines = run(data).stdout.splitlines()
    assert any(r"new\nline.png" in line for line in lines)


def test_it_works_as_a_command_of_its_own(gasdet: Any, data: Path) -> None:
    done = gasdet("data", "check", data, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["findings"] == []
