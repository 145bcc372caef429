"""``gasdet detect``: a line for each file, none lost, and no demo weights that were not asked for."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.numpy import load_file

from gasdet import api
from gasdet.cli.group import gasdet

pytestmark = pytest.mark.usefixtures("with_plugins")


def detect(*arguments: object) -> Result:
    result = CliRunner().invoke(gasdet, ["detect", *map(str, arguments), "--workers", "1"], catch_exceptions=False)
    assert "Traceback" not in result.stderr
    return result


def expected_edges(path: Path, site: Path, weights: str) -> float:
    """P(synthetic) of the test detector, computed again without the project: Pillow, numpy, and its two features."""
    import cv2

    pixels = np.asarray(Image.open(path).convert("RGB"))[:, 8:56]  # 64 x 48: the centred square
    small = cv2.resize(pixels, (32, 32), interpolation=cv2.INTER_LINEAR).astype(np.float64) / 255.0
    features = np.array([np.abs(np.diff(small, axis=1)).mean(), small.mean()])
    tensors = load_file(site / "gasdet_testimage" / f"{weights}.safetensors")
    real, synthetic = tensors["head.weight"].astype(np.float64) @ features + tensors["head.bias"]
    return 1.0 / (1.0 + math.exp(real - synthetic))


def by_name(document: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {Path(row["path"]).name: row for row in document}


def test_files_by_their_content_with_the_default_release(media: Path, with_plugins: Path) -> None:
    result = detect(media / "noisy.png", media / "smooth.png", "--json")
    assert result.exit_code == 0, result.stderr
    rows = json.loads(result.stdout)
    assert [Path(r["path"]).name for r in rows] == ["noisy.png", "smooth.png"]
    for row in rows:
        assert row["p_synthetic"] == pytest.approx(expected_edges(Path(row["path"]), with_plugins, "release"), abs=1e-6)
        assert row["verdict"] == ("synthetic" if row["p_synthetic"] > 0.5 else "real")
        assert (row["detector"], row["weights"], row["demo_weights"], row["status"]) == ("edges", "v1", False, "ok")
    assert [r["verdict"] for r in rows] == ["real", "synthetic"]


def test_every_file_of_a_folder_has_a_line(media: Path) -> None:
    result = detect(media, "--weights", "demo")
    assert result.exit_code == 1
    lines = {re.search(r"([a-z]+\.[a-z]+)(?:  |$)", line)[1]: line for line in result.stdout.splitlines()}
    assert set(lines) == {"noisy.png", "smooth.png", "sound.wav", "cut.png", "words.jpg"}
    assert re.match(r"(real|synthetic) +0\.\d{3}  edges \(demo weights\) ", lines["noisy.png"])
    assert re.match(r"(real|synthetic) +0\.\d{3}  loudness \(demo weights\) ", lines["sound.wav"])
    assert re.match(r"error +- +edges ", lines["cut.png"])
    assert "truncated: " in lines["cut.png"]
    assert "unknown_format: " in lines["words.jpg"]
    assert "3 of 5 files scored." in result.stderr
    assert "P(synthetic) above 0.5" in result.stderr


def test_demo_weights_are_not_used_unless_asked_for(media: Path) -> None:
    result = detect(media / "sound.wav", media / "noisy.png")
    assert result.exit_code == 1
    sound, noisy = result.stdout.splitlines()
    assert sound.split()[:3] == ["skipped", "-", "-"]
    assert "no_detector: no detector for audio is at hand" in sound
    assert noisy.split()[2:3] == ["edges"]
    assert "weights)" not in noisy
    assert "Left out loudness: " in result.stderr
    assert "demo (demo, CC0-1.0)" in result.stderr
    named = detect(media / "sound.wav", "--plugin", "loudness")
    assert (named.exit_code, named.stdout) == (2, "")
    assert "loudness has no released weights" in named.stderr


def test_weights_for_one_detector_only(media: Path, with_plugins: Path) -> None:
    result = detect(media / "sound.wav", media / "noisy.png", "--weights", "loudness=demo", "--json")
    assert result.exit_code == 0, result.stderr
    rows = by_name(json.loads(result.stdout))
    assert rows["sound.wav"]["demo_weights"] is True
    assert rows["noisy.png"]["weights"] == "v1"


def test_files_that_cannot_be_read(media: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    result = detect(tmp_path / "absent.jpg", tmp_path / "empty.png", tmp_path / "nothing*.jpg", "--json")
    assert result.exit_code == 1
    rows = by_name(json.loads(result.stdout))
    assert {name: (r["status"], r["reason"]) for name, r in rows.items()} == {
        "absent.jpg": ("error", "file_missing"),
        "empty.png": ("error", "file_empty"),
        "nothing*.jpg": ("error", "file_missing"),
    }
    assert all(r["verdict"] is None and r["message"] for r in rows.values())


def test_lines_and_tables_for_machines(media: Path, tmp_path: Path) -> None:
    table = tmp_path / "scores.csv"
    result = detect(media, "--jsonl", "--csv", table, "--weights", "demo")
    objects = [json.loads(line) for line in result.stdout.splitlines()]
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(objects) == 5
    assert [r["path"] for r in rows] == [o["path"] for o in objects]
    assert [r["p_synthetic"] for r in rows] == [
        "" if o["p_synthetic"] is None else str(o["p_synthetic"]) for o in objects
    ]
    assert set(objects[0]) - set(rows[0]) == {"details", "heatmap_file"}
    assert set(rows[0]) < set(objects[0])


def test_an_interrupt_keeps_the_rows_of_what_was_scored(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "scores.csv"
    table.write_text("an older table,\n" * 9)
    whole = api.iterate_detections

    def two_results(*arguments: Any, **options: Any) -> Iterator[api.Detection]:
        results = whole(*arguments, **options)
        yield next(results)
        yield next(results)
        on_disk.extend(table.read_text().splitlines())
        raise KeyboardInterrupt

    on_disk: list[str] = []
    monkeypatch.setattr(api, "iterate_detections", two_results)
    result = detect(media, "--csv", table, "--weights", "demo")
    assert result.exit_code == 130
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(result.stdout.splitlines()) == 2
    assert all(row["path"] and row["status"] for row in rows)
    assert len(on_disk) == 3  # written before the interrupt, not because of it


def test_a_table_that_cannot_be_written_costs_no_scoring(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "iterate_detections", lambda *_, **__: pytest.fail("scored"))
    result = detect(media, "--csv", tmp_path / "absent" / "scores.csv")
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.search(r"^Error: --csv .*scores\.csv cannot be written \(No such file or directory\)", result.stderr)


def test_a_wrong_option_leaves_an_older_table_as_it_was(media: Path, tmp_path: Path) -> None:
    table = tmp_path / "scores.csv"
    table.write_text("an older table\n")
    assert detect(media / "sound.wav", "--plugin", "loudness", "--csv", table).exit_code == 2
    assert table.read_text() == "an older table\n"


def test_an_archive_and_a_name_with_a_line_break(media: Path, tmp_path: Path) -> None:
    import zipfile

    odd = tmp_path / "two\nlines.png"
    odd.write_bytes((media / "noisy.png").read_bytes())
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.write(media / "smooth.png", "inner/smooth.png")
    result = detect(odd, tmp_path / "some.zip")
    assert result.exit_code == 0, result.stderr
    first, second = result.stdout.splitlines()
    assert r"two\nlines.png" in first
    assert "some.zip/inner/smooth.png" in second


def test_wrong_uses(media: Path) -> None:
    unknown = detect(media / "noisy.png", "--plugin", "edgse")
    assert unknown.exit_code == 2
    assert "no detector is called 'edgse' (did you mean 'edges'?)" in unknown.stderr
    broken = detect(media / "noisy.png", "--plugin", "halfway")
    assert broken.exit_code == 1
    assert "plugin 'testhookerror' (gasdet-testhookerror 0.0.2) is broken" in broken.stderr
    both = detect(media / "noisy.png", "--json", "--jsonl")
    assert both.exit_code == 2
    weights = detect(media / "noisy.png", "--plugin", "edges", "--weights", "loudness=demo")
    assert weights.exit_code == 2
    assert "'demo' of 'loudness' belong to no installed detector among those chosen" in weights.stderr
