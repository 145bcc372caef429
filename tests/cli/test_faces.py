"""``--faces``, with a plugin that finds red pixels under that name."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from PIL import Image

import gasdet as public
from gasdet.cli.group import gasdet as command
from gasdet.errors import GasdetError, UsageError
from gasdet.evaluation import regions
from gasdet.training.recipe import Recipe

from .conftest import write_recording

WHOLE = "no face was found; the whole frame was used"


@pytest.fixture(autouse=True)
def fresh() -> Any:
    regions._ready.cache_clear()
    yield
    regions._ready.cache_clear()


@pytest.fixture
def here(with_regions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """real/ and synthetic/ with fifty images each: red noise in a smooth picture, or a smooth red square in a noisy one."""
    folder = tmp_path_factory.mktemp("faces") / "pictures"
    for seed in range(100):
        rng = np.random.default_rng(seed)
        noise = rng.integers(0, 60, (60, 80, 3), dtype=np.uint8)
        kind = "synthetic" if seed % 2 else "real"
        pixels = np.full_like(noise, 90) if kind == "real" else noise * 2
        pixels[20:40, 30:50] = (200, 20, 20)
        if kind == "real":
            pixels[20:40, 30:50] += noise[20:40, 30:50] % 40
        path = folder / kind / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return folder


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(command, [*map(str, arguments)], catch_exceptions=False)
    assert "Traceback" not in result.stderr
    return result


def refused(code: int, words: str, *arguments: object) -> None:
    """The command ends with this exit code and one sentence that matches, and prints nothing else."""
    result = call(*arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert re.fullmatch(rf"Error: {words}\n", result.stderr), result.stderr


def cut_by_hand(picture: Path, to: Path) -> Path:
    """The square around the red one of 20 pixels at (30, 20): 26 pixels, for which the face finder changes nothing."""
    Image.open(picture).crop((27, 17, 53, 43)).save(to)
    return to


def test_detect_gives_the_model_the_face(pictures: Path, here: Path) -> None:
    Image.new("RGB", (50, 40), (0, 90, 0)).save(here / "none.png")
    whole = pictures / "real" / "0.png"
    files = (whole, cut_by_hand(whole, here / "cut.png"), here / "none.png")
    done = call("detect", *files, "--plugin", "edges", "--json", "--workers", 1, "--faces")
    assert done.exit_code == 0, done.stderr
    face, cut, none = json.loads(done.stdout)
    assert face["p_synthetic"] == cut["p_synthetic"]
    assert (face["message"], face["width"], face["height"]) == ("", 80, 60)
    assert (cut["message"], cut["width"], cut["height"]) == ("", 26, 26)
    assert none["message"] == WHOLE


def test_evaluate_records_it_and_is_another_run(pictures: Path, here: Path) -> None:
    of = ("evaluate", "--plugin", "edges", "--data", pictures, "--out", here / "run", "--workers", 1)
    assert call(*of, "--faces").exit_code == 0
    run = json.loads((here / "run" / "run.json").read_text())
    told = run["configuration"]["detectors"]["edges"]
    assert told["preprocessing"]["region"] == "faces"
    assert told["region"]["plugin"] == "gasdet-testregion 0.3.0"
    refused(1, ".*preprocessing.region: faces -> none.*", *of)


def test_calibrate_scores_faces_and_says_so(pictures: Path, here: Path) -> None:
    fit = ("calibrate", "--plugin", "edges", "--data", pictures, "--out", here / "c.json", "--workers", 1)
    done = call(*fit, "--faces", "--run-out", here / "run", "--force", "--json")
    assert done.exit_code == 0, done.stderr
    assert "Fitted on the scores of face crops: it is for --faces." in json.loads(done.stdout)["notes"]
    run = json.loads((here / "run" / "run.json").read_text())
    assert run["configuration"]["detectors"]["edges"]["preprocessing"]["region"] == "faces"
    refused(2, ".*leave out --faces.", "calibrate", "--run", here / "run", "--faces")


def test_a_calibrator_is_for_the_pixels_that_it_was_fitted_on(pictures: Path, here: Path, with_plugins: Path) -> None:
    weights = here / "mine" / "mine.safetensors"
    weights.parent.mkdir()
    shutil.copy(with_plugins / "gasdet_testimage" / "release.safetensors", weights)
    of = ("--plugin", "edges", "--weights", weights, "--workers", 1)
    ran = call("evaluate", *of, "--data", pictures, "--faces", "--out", here / "run", "--no-calibrator")
    assert ran.exit_code == 0, ran.stderr
    done = call("calibrate", "--run", here / "run", "--force", "--json")
    assert done.exit_code == 0, done.stderr
    fitted = json.loads(done.stdout)
    assert fitted["preprocessing"]["region"] == "faces"
    assert "Fitted on the scores of face crops: it is for --faces." in fitted["notes"]
    file, path = weights.parent / "calibrator.json", pictures / "real" / "0.png"

    def rows(*more: object) -> tuple[str, str]:
        result = call("detect", path, *of, "--json", *more)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)[0]["calibrator"], result.stderr

    assert rows("--faces")[0] == rows("--faces", "--calibrator", file)[0] == "temperature"
    applied, said = rows()
    assert applied == ""
    differs = r"under another preprocessing \(region: faces -> none, region_margin: 1.3 -> none\)"
    assert len(re.findall(rf"calibrator.json: fitted for edges {differs}, so that it is left out\.", said)) == 1
    refused(1, rf".*{differs}; calibrate again .*", "detect", path, *of, "--calibrator", file)
    loaded = public.load("edges", str(weights), faces=True)
    assert loaded.preprocessing.region == "faces"
    assert loaded.calibrator is not None
    # and the other way round; a file that does not say what it was fitted under is applied as ever
    whole = {key: value for key, value in fitted["preprocessing"].items() if not key.startswith("region")}
    file.write_text(json.dumps({**fitted, "preprocessing": whole}))
    assert rows()[0] == "temperature"
    assert rows("--faces")[0] == ""
    held = public.load("edges", str(weights))
    with pytest.raises(UsageError, match="load it with calibrator=False"):
        public.detect(path, [held], faces=True)
    file.write_text(json.dumps({**fitted, "preprocessing": {**whole, "resize": [8, 8]}}))
    assert rows()[0] == ""
    del fitted["preprocessing"]
    file.write_text(json.dumps(fitted))
    assert rows()[0] == rows("--faces")[0] == "temperature"


@pytest.mark.usefixtures("without_process")
def test_an_exported_bundle_takes_faces_by_itself(pictures: Path, here: Path) -> None:
    done = call(
        "export", "--plugin", "edges", "--out", here / "bundle", "--data", pictures, "--faces", "--json", "--workers", 1
    )
    assert done.exit_code == 0, done.stderr
    assert "it does not know region: faces" in json.loads(done.stdout)["gasbench"]
    config = yaml.safe_load((here / "bundle" / "model_config.yaml").read_text())
    assert config["preprocessing"]["region"] == "faces"
    whole = pictures / "real" / "0.png"
    files = (whole, cut_by_hand(whole, here / "cut.png"))
    face, cut = json.loads(
        call("detect", *files, "--model", here / "bundle", "--trust-code", "--json", "--workers", 1).stdout
    )
    assert face["p_synthetic"] == cut["p_synthetic"]
    assert face["width"] == 80


def test_train_is_given_the_recipe_s_setting(pictures: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    received: dict[str, Any] = {}

    def trained(spec: Any, data: Any, out: Any, options: Any, *rest: Any, **more: Any) -> Any:
        received["settings"] = options.settings
        raise GasdetError("far enough.")

    monkeypatch.setattr("gasdet.training.train_detector", trained)
    monkeypatch.setattr(
        "gasdet.training.building.recipe_of", lambda spec: Recipe(builder="nowhere:build", head=("head",))
    )
    train = ("train", "--plugin", "edges", "--data", pictures, "--out", here / "t", "--set", "epochs=2")
    refused(1, "far enough.", *train, "--faces", "--seed", 3)
    assert received["settings"] == ("seed=3", "preprocessing.region=faces", "epochs=2")
    refused(1, "far enough.", *train)
    assert received["settings"] == ("epochs=2",)
    features = ("--features", here / "f.parquet")
    refused(2, "--features brings vectors.*", "train", "--plugin", "edges", *features, "--out", here / "t", "--faces")


COMMANDS = (
    ("detect", "{data}", "--plugin", "edges"),
    ("evaluate", "--plugin", "edges", "--data", "{data}", "--out", "o"),
    ("calibrate", "--plugin", "edges", "--data", "{data}"),
    ("train", "--plugin", "edges", "--data", "{data}", "--out", "o"),
    ("export", "--plugin", "edges", "--data", "{data}", "--out", "o"),
)


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda a: a[0])
def test_what_is_lacking_is_one_sentence_before_any_work(
    pictures: Path, here: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    from gasdet.registry import load_registry

    given = [text.format(data=pictures) for text in arguments]
    monkeypatch.setenv("GASDET_TEST_REGION_LACKS", "1")
    refused(1, "red is found with the package redness, which is not installed; install it.", *given, "--faces")
    monkeypatch.setenv("GASDET_PLUGINS", "testimage,testaudio")
    load_registry.cache_clear()
    refused(2, r"no installed plugin .*: pip install 'gasdet-gend\[faces\]'\.", *given, "--faces")
    assert not list(here.iterdir())


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda a: a[0])
def test_recordings_have_no_faces(here: Path, arguments: tuple[str, ...]) -> None:
    for seed in range(2):
        write_recording(here / "sounds" / ("real" if seed else "synthetic") / f"{seed}.wav", seed)
    given = [text.format(data=here / "sounds").replace("edges", "loudness") for text in arguments]
    given += ["--weights", "demo"]
    words = "faces are looked for in images and clips, and loudness takes recordings; leave --faces out."
    refused(2, words, *given, "--faces")
