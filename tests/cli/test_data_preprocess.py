"""``gasdet data preprocess`` fills the decode cache that ``evaluate`` then decodes nothing with; scores are the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner, Result
from safetensors.numpy import load_file, save_file

from gasdet.cli.group import gasdet as cli
from gasdet.evaluation import pipeline
from gasdet.evaluation.decode_cache import DecodeCache
from gasdet.registry import load_registry

pytestmark = pytest.mark.usefixtures("with_plugins")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GASDET_CACHE", str(tmp_path / "gasdet-cache"))
    return tmp_path


def gasdet(*arguments: object, workers: bool = True) -> Result:
    fixed = ["--workers", "1"] if workers else []
    result = CliRunner().invoke(cli, [*map(str, arguments), *fixed], catch_exceptions=False)
    assert "Traceback" not in result.stderr
    return result


def preprocess(*arguments: object) -> dict[str, Any]:
    result = gasdet("data", "preprocess", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def entries(folder: Path) -> list[Path]:
    return sorted((folder / "entries").rglob("*.npy.zst"))


def rows(run: str) -> list[dict[str, Any]]:
    table = pq.read_table(Path(run) / "records.parquet").drop_columns(["decode_ms", "inference_ms", "run_id"])
    return table.to_pylist()


def test_evaluate_decodes_nothing_that_was_decoded_ahead(
    labelled: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = here / "dc"
    filled = preprocess(labelled, "--for", "edges", "--decode-cache", cache)
    (part,) = filled["filled"]
    assert (part["samples"], part["stored"], part["hits"], part["no_room"]) == (17, 16, 0, 0)
    assert part["errors"] == {"truncated": 1}
    assert (part["detectors"], part["weights"], part["assumed"]) == (["edges"], ["v1"], {})
    assert part["preprocessing"]["resize"] == [32, 32]
    assert filled["decode_cache"] == str(cache)
    assert filled["total_bytes"] == sum(-(-p.stat().st_size // 4096) * 4096 for p in entries(cache))
    assert len(entries(cache)) == 16

    counted: list[str] = []
    count = pipeline.CacheCounts.count
    monkeypatch.setattr(pipeline.CacheCounts, "count", lambda self, use: counted.append(use) or count(self, use))
    words = ["evaluate", "--plugin", "edges", "--data", labelled]
    runs = {}
    for out, folder, line, hits, stored in (
        ("plain", "", "", 0, 0),
        ("filling", "other", "0 of 17", 0, 16),
        ("cached", "dc", "16 of 17", 16, 0),
    ):
        counted.clear()
        result = gasdet(*words, "--out", out, *(("--decode-cache", folder) if folder else ()))
        assert result.exit_code == 0, result.stderr
        assert sorted(counted) == [""] * (17 - hits - stored) + ["hit"] * hits + ["stored"] * stored
        (session,) = json.loads((here / out / "run.json").read_text())["sessions"]
        if folder:
            assert f"decode cache: {line} samples taken from it, {stored} stored\n" in result.stderr
            told = {"samples": 17, "hits": hits, "stored": stored, "no_room": 0, "changed": 0, "failed": 0}
            assert session["decode_cache"] == told
        else:
            assert "decode cache" not in result.stderr
            assert "decode_cache" not in session
        runs[out] = rows(out)
    assert runs["plain"] == runs["filling"] == runs["cached"]  # scores to the last bit, reasons, sizes, decoders
    assert np.isfinite([row["p_synthetic"] for row in runs["plain"] if row["status"] == "ok"]).all()


def test_a_second_time_nothing_is_decoded(labelled: Path, here: Path) -> None:
    preprocess(labelled, "--for", "edges", "--decode-cache", "dc")
    (part,) = preprocess(labelled, "--for", "edges", "--decode-cache", "dc")["filled"]
    assert (part["stored"], part["hits"]) == (0, 16)
    (part,) = preprocess(labelled, "--for", "edges", "--decode-cache", "dc", "--equalise")["filled"]
    assert (part["stored"], part["hits"]) == (16, 0)
    assert part["preprocessing"]["equalise"].startswith("standard")


def test_what_people_read(labelled: Path, here: Path) -> None:
    result = gasdet("data", "preprocess", labelled, "--for", "edges", "--limit", "4")
    assert result.exit_code == 0, result.stderr
    folder = here / "gasdet-cache" / "decode-cache"
    table, row, made, *_, size, use = result.stdout.splitlines()
    assert table.split() == ["Detectors", "Weights", "Samples", "Decoded", "There", "before", "Not", "kept", "Errors"]
    assert row.split()[:3] == ["edges", "v1", "4"]
    assert made.startswith("Made for edges: resize [32, 32], ")
    assert "no released weights" not in result.stdout
    assert size == f"The cache takes {sum(4 for _ in entries(folder))}.0 KiB."
    assert use == f"Use it: --decode-cache {folder}"


def test_input_for_no_weights_in_particular_says_so(
    labelled: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a detector without a release, whose demo weights take another preprocessing: a run with these finds nothing of it."""
    entry = load_registry().detector("edges")
    demo = replace(entry.spec.weights_named("demo"), preprocessing={"resize": [16, 16]})
    bare = replace(entry, spec=replace(entry.spec, weights=(demo,)))
    monkeypatch.setattr(type(load_registry()), "detector", lambda self, name: bare)
    words = ["data", "preprocess", labelled, "--for", "edges", "--limit", "2", "--decode-cache", "dc"]
    result = gasdet(*words)
    assert result.exit_code == 0, result.stderr
    told = " ".join(result.stdout.split())
    assert "edges - 2 2 0 0 0 Made for edges: resize [32, 32]," in told
    assert "edges has no released weights and none were named with --weights" in told
    assert "a run with its weights demo takes another, and nothing of this." in told
    (part,) = json.loads(gasdet(*words, "--weights", "demo", "--json").stdout)["filled"]
    assert (part["weights"], part["assumed"], part["preprocessing"]["resize"]) == (["demo"], {}, [16, 16])
    assert (part["hits"], part["stored"]) == (0, 2)


def test_a_cache_without_room_is_told_and_fails(labelled: Path, here: Path) -> None:
    result = gasdet(
        "data", "preprocess", labelled, "--for", "edges", "--decode-cache", "dc", "--decode-cache-size", "16K"
    )
    assert result.exit_code == 1
    assert "decode cache: 0 of 17 samples taken from it, 4 stored; 12 not kept, for dc (at most 16,384" in result.stderr
    assert len(entries(here / "dc")) == 4


def test_what_one_detector_needs_does_not_drive_out_what_another_does(labelled: Path, here: Path) -> None:
    """Room for the input of either, and not of both: the command fails, and says of how many. A bundle is read, and not run."""
    (here / "other").mkdir()
    config = {"name": "b", "modality": "image", "preprocessing": {"resize": [40, 40]}}
    (here / "other" / "model_config.yaml").write_text(yaml.safe_dump(config))
    (here / "other" / "model.py").write_text("import os; os.mkdir('ran')")
    words = ["data", "preprocess", labelled, "--for", "edges", "--model", "other", "--decode-cache", "dc"]
    result = gasdet(*words, "--decode-cache-size", f"{20 * 4}K", "--json")
    assert result.exit_code == 1
    filled = json.loads(result.stdout)["filled"]
    edges, other = filled
    assert (edges["samples"], edges["stored"], edges["no_room"]) == (17, 16, 0)
    assert (other["samples"], other["hits"]) == (17, 0)
    assert other["no_room"] > 0
    assert len(entries(here / "dc")) == 16 + other["stored"]
    assert [part["detectors"] for part in filled] == [["edges"], ["b"]]
    assert [part["weights"] for part in filled] == [["v1"], [""]]
    assert [part["preprocessing"]["resize"] for part in filled] == [[32, 32], [40, 40]]
    assert not (here / "ran").exists()
    (again,) = preprocess(labelled, "--for", "edges", "--decode-cache", "dc")["filled"]
    assert (again["hits"], again["stored"]) == (16, 0)


def test_help_says_which_cache_is_taken_without_the_option() -> None:
    told = " ".join(CliRunner().invoke(cli, ["data", "preprocess", "--help"]).stdout.split())
    assert "Default: decode-cache in gasdet's cache folder." in told
    assert "none are kept" not in told
    assert "none are kept" in CliRunner().invoke(cli, ["evaluate", "--help"]).stdout


def test_weights_may_bring_a_preprocessing_of_their_own(labelled: Path, here: Path) -> None:
    """A folder with a model_config.yaml beside its weights, as a training leaves it, is what evaluate would take too."""
    import gasdet_testimage

    package = Path(gasdet_testimage.__file__).parent
    own = here / "own"
    own.mkdir()
    tensors = load_file(package / "release.safetensors")
    save_file({name: tensor * np.float32(1.5) for name, tensor in tensors.items()}, own / "model.safetensors")
    config = {"name": "edges", "modality": "image", "preprocessing": {"resize": [48, 48]}}
    (own / "model_config.yaml").write_text(yaml.safe_dump(config))
    (part,) = preprocess(labelled, "--for", "edges", "--weights", own / "model.safetensors", "--decode-cache", "dc")[
        "filled"
    ]
    before = len(entries(here / "dc"))
    result = gasdet(
        "evaluate", "--plugin", "edges", "--weights", own / "model.safetensors", "--data", labelled, "--out", "r",
        "--decode-cache", "dc",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert len(entries(here / "dc")) == before == part["stored"] == 16
    assert part["preprocessing"]["resize"] == [48, 48]


def test_wrong_uses(labelled: Path, here: Path) -> None:
    for words, told in (
        ((labelled,), "name a detector with --for NAME or --model PATH"),
        ((labelled, "--for", "edgse"), "edges"),
        ((labelled, "--for", "loudness"), "no chosen detector takes them"),
        ((labelled, "--for", "edges", "--decode-cache-size", "lots"), "no size like 500M"),
        ((here / "none", "--for", "edges"), "none"),
        ((labelled, "--for", "edges", "--model", here / "none"), "none does not exist"),
        ((labelled, "--for", "edges", "--for", "edges"), "two of the detectors are called 'edges'"),
    ):
        result = gasdet("data", "preprocess", *words)
        assert result.exit_code in (1, 2), words
        assert told in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("--weights", "loudness=demo"),
        ("--base", "nowhere.safetensors"),
        ("--weights", "demo", "--base", "nowhere.safetensors"),
        ("--weights", "v2"),
    ],
)
def test_what_evaluate_refuses_is_refused_in_the_same_words(labelled: Path, here: Path, words: tuple[str, ...]) -> None:
    """A mistyped name would else fill the cache for another preprocessing."""
    made = gasdet("data", "preprocess", labelled, "--for", "edges", *words, "--decode-cache", "dc")
    run = gasdet("evaluate", "--plugin", "edges", "--data", labelled, *words, "--out", "run")
    assert (made.exit_code, made.stderr.splitlines()[-1]) == (run.exit_code, run.stderr.splitlines()[-1])
    assert made.exit_code == 2
    assert entries(here / "dc") == []
    assert not (here / "run" / "records.parquet").exists()


def test_a_size_without_a_folder_is_refused(labelled: Path) -> None:
    result = gasdet("evaluate", "--plugin", "edges", "--data", labelled, "--decode-cache-size", "5G")
    assert result.exit_code == 2
    assert "--decode-cache-size is the bound of --decode-cache DIR" in result.stderr


def test_a_folder_that_cannot_be_used_is_told(labelled: Path, here: Path) -> None:
    (here / "file").write_bytes(b"")
    result = gasdet("evaluate", "--plugin", "edges", "--data", labelled, "--decode-cache", here / "file" / "dc")
    assert result.exit_code == 1
    assert "the cache cannot be used" in result.stderr
    with pytest.raises(Exception, match="cannot be used"):
        DecodeCache(here / "file" / "dc").begin_job()
