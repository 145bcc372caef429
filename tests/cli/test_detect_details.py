"""``gasdet detect`` beyond a score: side outputs, heat maps, and recordings in windows, of small bundles and real files."""

from __future__ import annotations

import csv
import json
import os
import shutil
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import save_file
from scipy.special import expit

import gasdet as public
from gasdet.bundle import Detector
from gasdet.cli.detect import CSV_COLUMNS
from gasdet.cli.group import gasdet
from gasdet.media import decode
from gasdet.reporting.heatmap import REAL_COLOUR, SMALLEST_SIDE, STRONGEST, SYNTHETIC_COLOUR, overlay
from gasdet.types import Modality, Preprocessing

pytestmark = pytest.mark.usefixtures("with_plugins")

LOAD = """

def load_model(weights_path, num_classes=2):
    model = Model()
    model.load_state_dict(load_file(weights_path))
    return model
"""
HEAD = """import torch
from safetensors.torch import load_file
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        return self.forward_with_details(x)[0]
"""
PATCHES = (
    HEAD
    + """
    def forward_with_details(self, x):
        cells = nn.functional.avg_pool2d(x.float().mean(1, keepdim=True) / 255.0, 8)[:, 0]
        margins = (cells - 0.5) * self.scale[0] + self.scale[1]
        z = margins.mean((1, 2))
        return torch.stack([-z / 2, z / 2], 1), {"heatmap": torch.sigmoid(margins), "brightness": cells.mean((1, 2))}
"""
)
"""An image's P(synthetic) is that of its mean brightness, and each place has its own."""
LOUDNESS = (
    HEAD
    + """
    def forward_with_details(self, x):
        level = x[:, : x.shape[1] // 160 * 160].unflatten(1, (-1, 160)).square().mean(2).sqrt()
        seconds = (torch.arange(level.shape[1], dtype=torch.float64) + 0.5) * 0.01
        z = level.mean(1) * self.scale[0] + self.scale[1]
        details = {"level": level, "level_seconds": seconds.expand(len(x), -1)}
        return torch.stack([torch.zeros_like(z), z], 1), details
"""
)
"""A recording's P(synthetic) is that of its loudness, which it tells for every 10 ms."""
SCALE = {"patches": (8.0, 0.5), "level": (20.0, -1.0)}


def write_bundle(folder: Path, name: str, code: str, modality: str, preprocessing: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(code + LOAD)
    config = {
        "name": name,
        "version": "1",
        "modality": modality,
        "preprocessing": preprocessing,
        "model": {"num_classes": 2},
    }
    (folder / "model_config.yaml").write_text(yaml.safe_dump(config))
    save_file(
        {"scale": torch.tensor(SCALE["patches" if modality == "image" else "level"])}, folder / "model.safetensors"
    )
    return folder


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """patches (image, heat map), plain (image, none), level (audio, windows of 1 s), brief (audio, 0.25 s)."""
    folder = tmp_path_factory.mktemp("bundles")
    pixels = {"resize": [32, 48]}
    write_bundle(folder / "patches", "patches", PATCHES, "image", pixels)
    plain = PATCHES.replace("forward_with_details", "_both").replace('"heatmap"', '"map"')
    write_bundle(folder / "plain", "plain", plain, "image", pixels)
    coarse = PATCHES.replace('{"heatmap": torch.sigmoid(margins), ', "{")
    write_bundle(folder / "coarse", "coarse", coarse, "image", pixels)
    for name, seconds in (("level", 1.0), ("brief", 0.25)):
        write_bundle(folder / name, name, LOUDNESS, "audio", {"sample_rate": 16000, "duration_seconds": seconds})
    return folder


def detect(*arguments: object) -> Result:
    command = ["detect", *map(str, arguments), "--trust-code", "--workers", "1"]
    result = CliRunner().invoke(gasdet, command, catch_exceptions=False)
    assert "Traceback" not in result.stderr
    return result


def rows_of(result: Result) -> list[dict[str, Any]]:
    rows = json.loads(result.stdout)
    assert isinstance(rows, list)
    return rows


def rounded(values: Any) -> Any:
    return np.array([float(f"{v:.6g}") for v in np.asarray(values, np.float64).ravel()]).reshape(np.shape(values))


def picture(path: Path, seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8).repeat(12, 0).repeat(12, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def recording(path: Path, seconds: float, rate: int = 16000, channels: int = 1) -> Path:
    count = round(seconds * rate)
    loud = np.linspace(0.0, 0.3, count)[:, None]
    samples = np.random.default_rng(count).uniform(-1, 1, (count, channels)) * loud
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def levels(samples: np.ndarray) -> np.ndarray:
    """The bundle's series, by hand."""
    whole = samples[: len(samples) // 160 * 160].astype(np.float64).reshape(-1, 160)
    return np.sqrt((whole**2).mean(axis=1))


def test_side_outputs_are_in_the_json_and_not_in_the_table(bundles: Path, tmp_path: Path) -> None:
    paths = [picture(tmp_path / "a.png", 1), picture(tmp_path / "b.png", 2)]
    table = tmp_path / "t.csv"
    result = detect(*paths, "--model", bundles / "patches", "--json", "--csv", table)
    assert result.exit_code == 0, result.stderr
    rows = rows_of(result)
    for path, row in zip(paths, rows, strict=True):
        pixels = decode(path, Preprocessing(Modality.IMAGE, resize=(32, 48))).array.astype(np.float64)
        cells = pixels.mean(0).reshape(4, 8, 6, 8).mean((1, 3)) / 255
        expected = expit((cells - 0.5) * 8 + 0.5)
        assert set(row["details"]) == {"heatmap", "brightness"}
        np.testing.assert_allclose(row["details"]["heatmap"], expected, rtol=1e-5)
        np.testing.assert_array_equal(row["details"]["heatmap"], rounded(row["details"]["heatmap"]))
        assert row["p_synthetic"] == pytest.approx(expit(((cells - 0.5) * 8 + 0.5).mean()), abs=1e-6)
        assert row["heatmap_file"] == ""
    lines = [json.loads(line) for line in detect(*paths, "--model", bundles / "patches", "--jsonl").stdout.splitlines()]
    assert lines == rows
    with table.open(newline="", encoding="utf-8") as file:
        header, *body = list(csv.reader(file))
    assert tuple(header) == CSV_COLUMNS
    assert {"details", "heatmap_file"}.isdisjoint(header)
    assert [float(line[2]) for line in body] == [row["p_synthetic"] for row in rows]


def test_heat_maps_are_of_the_picture_that_the_model_saw(bundles: Path, tmp_path: Path) -> None:
    paths = [
        picture(tmp_path / "one" / "same.png", 1),
        picture(tmp_path / "two" / "same.png", 2),
        picture(tmp_path / "odd\nname ü.png", 3),
    ]
    maps = tmp_path / "new" / "maps"
    models = ["--model", bundles / "patches", "--model", bundles / "plain", "--model", bundles / "level"]
    result = detect(*paths, *models, "--heatmap", maps, "--json")
    assert result.exit_code == 0, result.stderr
    assert "plain gives no heat maps of pictures." in result.stderr
    assert f"3 heat maps in {maps}." in result.stderr
    rows = rows_of(result)
    assert [bool(row["heatmap_file"]) for row in rows] == [True, False] * 3
    files = [Path(row["heatmap_file"]) for row in rows[::2]]
    assert len(set(files)) == 3
    assert sorted(files) == sorted(maps.iterdir())
    assert all(file.name.isascii() and file.name.isprintable() and ".patches." in file.name for file in files)
    for path, file, row in zip(paths, files, rows[::2], strict=True):
        seen = decode(path, Preprocessing(Modality.IMAGE, resize=(32, 48))).array
        painted = overlay(seen, np.array(row["details"]["heatmap"]))
        pixels = np.asarray(Image.open(file)).astype(int)
        assert (np.abs(pixels[:256:8, ::8] - painted) <= 1).all()
    names = [file.name for file in files]
    detect(*paths, *models, "--heatmap", maps)
    assert sorted(names) == sorted(file.name for file in maps.iterdir())  # the same again


@pytest.mark.parametrize("names", [["plain"], ["plain", "coarse"]])
def test_heat_maps_that_no_detector_gives_are_refused_before_anything_is_scored(
    bundles: Path, tmp_path: Path, names: list[str]
) -> None:
    models = [word for name in names for word in ("--model", bundles / name)]
    result = detect(picture(tmp_path / "a.png"), *models, "--heatmap", tmp_path / "maps")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"given by none of the detectors that run ({', '.join(names)}); choose one that has them" in result.stderr
    assert not (tmp_path / "maps").exists()


def test_a_folder_for_heat_maps_that_cannot_be_made(bundles: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = detect(
        picture(tmp_path / "a.png"), "--model", bundles / "patches", "--heatmap", tmp_path / "file" / "maps"
    )
    assert (result.exit_code, result.stdout) == (2, "")
    assert "for heat maps cannot be made (Not a directory); name another." in result.stderr


def test_a_heat_map_that_cannot_be_written_ends_with_a_sentence(
    bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    path, maps = picture(tmp_path / "a.png"), tmp_path / "maps"
    assert detect(path, "--model", bundles / "patches", "--heatmap", maps).exit_code == 0
    (before,) = maps.iterdir()
    complete = before.read_bytes()
    picture(path, 7)
    monkeypatch.setattr(os, "fsync", full)
    result = detect(path, "--model", bundles / "patches", "--heatmap", maps)
    assert [(file, file.read_bytes()) for file in maps.iterdir()] == [(before, complete)]  # no half of a new one
    assert result.exit_code == 1
    assert "cannot be written (No space left on device); free space, or name another folder." in result.stderr


def test_a_long_recording_is_scored_to_its_end(bundles: Path, tmp_path: Path) -> None:
    paths = [recording(tmp_path / "long.wav", 3.6, 44100, 2), recording(tmp_path / "short.wav", 0.4)]
    result = detect(*paths, "--model", bundles / "level", "--model", bundles / "brief", "--json")
    assert result.exit_code == 0, result.stderr
    long, brief, short, cut = rows_of(result)
    whole = decode(paths[0], Preprocessing(Modality.AUDIO, duration_seconds=0.0)).array
    starts = [0, 16000, 32000, len(whole) - 16000]
    margins = np.array([20 * levels(whole[s : s + 16000]).mean() - 1 for s in starts])
    told = long["details"]["windows"]
    assert long["p_synthetic"] == pytest.approx(expit(margins.mean()), abs=1e-5)
    assert told["p"] == pytest.approx(list(expit(margins)), abs=1e-5)
    assert told["seconds"] == [[0, 1], [1, 2], [2, 3], [2.6, 3.6]]
    assert [told[k] for k in ("mean_logit", "max_logit", "p_max")] == pytest.approx(
        [margins.mean(), margins.max(), expit(margins.max())], abs=1e-4
    )
    assert long["message"] == "the mean of 4 windows of 1 s"
    np.testing.assert_allclose(long["details"]["level_seconds"], np.arange(360) * 0.01 + 0.005, rtol=1e-5)
    np.testing.assert_allclose(long["details"]["level"][:300], levels(whole)[:300], rtol=1e-4, atol=1e-6)
    assert len(brief["details"]["windows"]["p"]) == 15
    # the short one is padded for one, as evaluate pads it, and the padding has no levels
    assert "windows" not in short["details"]
    assert short["message"] == "padded 9600 samples"
    assert len(short["details"]["level"]) == len(short["details"]["level_seconds"]) == 40
    assert len(cut["details"]["windows"]["p"]) == 2


def test_no_windows_takes_the_one_that_evaluate_takes(bundles: Path, tmp_path: Path) -> None:
    for name in ("real", "synthetic"):
        (tmp_path / "data" / name).mkdir(parents=True)
    path = recording(tmp_path / "data" / "real" / "a.wav", 3.6)
    recording(tmp_path / "data" / "synthetic" / "b.wav", 2.0)
    (row,) = rows_of(detect(path, "--model", bundles / "level", "--no-windows", "--json"))
    run = public.evaluate([public.load(bundles / "level", trust_code=True)], [tmp_path / "data"], out=tmp_path / "run")
    records = {r["member"]: r for r in run.records().to_pylist()}
    assert row["p_synthetic"] == next(r["p_synthetic"] for m, r in records.items() if m.endswith("a.wav"))
    assert set(row["details"]) == {"level", "level_seconds"}
    np.testing.assert_allclose(row["details"]["level_seconds"], np.arange(100) * 0.01 + 1.305, rtol=1e-5)
    assert "details" not in run.records().column_names
    (whole,) = rows_of(detect(path, "--model", bundles / "level", "--json"))
    assert whole["p_synthetic"] != row["p_synthetic"]


def test_verdicts_and_calibrators_with_windows(bundles: Path, tmp_path: Path) -> None:
    path = recording(tmp_path / "long.wav", 3.6)
    (raw,) = rows_of(detect(path, "--model", bundles / "level", "--json"))
    folder = shutil.copytree(bundles / "level", tmp_path / "level")
    sha256 = public.load(folder, trust_code=True).weights.sha256
    calibrator = {
        "schema_version": 1, "method": "platt", "parameters": {"scale": 0.5, "bias": -1.0}, "detector": "level",
        "weights_sha256": sha256, "thresholds": [{"fpr": 0.05, "threshold": 0.9}],
    }  # fmt: skip
    full = json.loads(json.dumps(calibrator)) | {
        "fitted_on": {}, "judged_on": {}, "before": {}, "after": {}, "created": "", "versions": {}, "notes": [],
    }  # fmt: skip
    (folder / "calibrator.json").write_text(json.dumps(full))
    result = detect(path, "--model", folder, "--json", "--fpr", "0.05")
    assert result.exit_code == 0, result.stderr
    (row,) = rows_of(result)
    told, before = row["details"]["windows"], raw["details"]["windows"]
    mean = before["mean_logit"]
    assert row["p_raw"] == raw["p_synthetic"]
    assert row["p_synthetic"] == pytest.approx(expit(0.5 * mean - 1), abs=1e-5)
    assert (told["mean_logit"], told["max_logit"]) == (before["mean_logit"], before["max_logit"])
    margins = np.log(np.array(before["p"])) - np.log1p(-np.array(before["p"]))
    assert told["p"] == pytest.approx(list(expit(0.5 * margins - 1)), abs=1e-4)
    assert (row["low"], row["high"]) == (0.5, 0.9)
    assert row["verdict"] == ("real" if row["p_synthetic"] <= 0.5 else "undecided")
    (abstained,) = rows_of(detect(path, "--model", folder, "--json", "--abstain", "0", "1"))
    assert abstained["verdict"] == "undecided"


def test_one_note_says_that_a_calibrator_is_of_single_windows(bundles: Path, tmp_path: Path) -> None:
    files = [recording(tmp_path / "a.wav", 3.6), recording(tmp_path / "b.wav", 2.5), recording(tmp_path / "c.wav", 0.4)]
    note = "calibrators and thresholds are fitted on single windows"
    plain = detect(*files, "--model", bundles / "level")
    assert note not in plain.stderr
    assert [line[line.rindex("/") :] for line in plain.stdout.splitlines()] == [
        "/a.wav  (mean of 4 windows)",
        "/b.wav  (mean of 3 windows)",
        "/c.wav",
    ]
    abstain = detect(*files, "--model", bundles / "level", "--abstain", "0.2", "0.8")
    assert abstain.stderr.count(note) == 1
    for more in ((files[2],), (*files, "--no-windows")):
        assert note not in detect(*more, "--model", bundles / "level", "--abstain", "0.2", "0.8").stderr


def test_side_outputs_are_computed_only_where_something_shows_them(
    bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, passes = picture(tmp_path / "a.png"), []
    inner = Detector.logits_with_details

    def counted(self: Detector, batch: Any) -> Any:
        passes.append(len(batch))
        return inner(self, batch)

    monkeypatch.setattr(Detector, "logits_with_details", counted)
    model = ("--model", bundles / "patches")
    detect(path, *model, "--csv", tmp_path / "t.csv")
    (quiet,) = public.detect(path, [public.load(bundles / "patches", trust_code=True)])
    assert (passes, quiet.details) == ([], {})
    for shown in (("--json",), ("--jsonl",), ("--heatmap", tmp_path / "maps")):
        detect(path, *model, *shown)
        assert passes, shown
        passes.clear()


def test_heat_maps_are_tried_once_where_the_model_runs(
    bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = []
    for name, inner in (("logits", Detector.logits), ("logits_with_details", Detector.logits_with_details)):

        def counted(self: Detector, batch: Any, name: str = name, inner: Any = inner) -> Any:
            passes.append((name, len(batch), self.dtype))
            return inner(self, batch)

        monkeypatch.setattr(Detector, name, counted)
    files = [picture(tmp_path / f"{n}.png", n) for n in range(3)]
    before = torch.random.get_rng_state()
    result = detect(*files, "--model", bundles / "patches", "--heatmap", tmp_path / "maps", "--dtype", "float16")
    assert result.exit_code == 0, result.stderr
    half = "float16"  # the trial takes the place of the first batch's warm-up
    assert passes == [("logits", 1, half), ("logits_with_details", 1, half), ("logits_with_details", 3, half)]
    assert torch.equal(before, torch.random.get_rng_state())


def test_python_gets_arrays(bundles: Path, tmp_path: Path) -> None:
    detector = public.load(bundles / "level", trust_code=True)
    (found,) = public.detect(recording(tmp_path / "long.wav", 1.5), [detector], details=True)
    assert found.details["level"].shape == found.details["level_seconds"].shape == (150,)
    assert len(found.details["windows"]["p"]) == 2
    (one,) = public.detect(tmp_path / "long.wav", [detector], windows=False)
    assert "windows" not in one.details
    assert found == found
    image = public.load(bundles / "patches", trust_code=True)
    (seen,) = public.detect(picture(tmp_path / "a.png"), [image], heatmap=tmp_path / "maps")
    assert seen.details["heatmap"].shape == (4, 6)
    assert Path(seen.heatmap_file).parent == tmp_path / "maps"


def test_real_files(shared_media: Path, bundles: Path, tmp_path: Path) -> None:
    folders = [shared_media / "audio" / "real", shared_media / "image" / "real"]
    models = ["--model", bundles / "level", "--model", bundles / "patches"]
    result = detect(*folders, *models, "--heatmap", tmp_path / "maps", "--json")
    assert result.exit_code == 0, result.stderr
    rows = rows_of(result)
    images = [row for row in rows if row["modality"] == "image"]
    assert len(images) > 20
    assert {Path(row["heatmap_file"]) for row in images} == set((tmp_path / "maps").iterdir())
    sounds = [row for row in rows if row["modality"] == "audio"]
    assert len(sounds) > 8
    for row in sounds:
        info = soundfile.info(Path(row["path"]))
        windows = row["details"]["windows"]
        assert len(windows["p"]) == int(np.ceil(row["duration_s"] - 1e-9))
        assert windows["seconds"][-1][1] == pytest.approx(info.frames / info.samplerate, abs=1e-3)
        assert row["p_synthetic"] == pytest.approx(expit(windows["mean_logit"]), abs=1e-5)
        times = np.array(row["details"]["level_seconds"])
        assert (np.diff(times) > 0).all()
        assert times[-1] < row["duration_s"]


def test_the_documentation_has_every_field_and_the_scale(repository: Path, bundles: Path, tmp_path: Path) -> None:
    text = (repository / "docs" / "detecting.md").read_text(encoding="utf-8")
    (row,) = rows_of(detect(recording(tmp_path / "long.wav", 1.5), "--model", bundles / "level", "--json"))
    fields, windows = (
        {name.strip() for line in part.splitlines() if line.startswith("| ") for name in line.split("|")[1].split(",")}
        for part in (text.split("## The fields of a result")[1].split("\n## ")[0], text.split("## Long recordings")[1])
    )
    assert fields == {*row, "field"}
    assert {*row["details"]["windows"], "field"} <= windows
    for colour in (REAL_COLOUR, SYNTHETIC_COLOUR):
        assert f"{colour}, hiding {STRONGEST:.0%} of the picture".replace("%", " %") in text
    assert f"under {SMALLEST_SIDE} pixels" in text
