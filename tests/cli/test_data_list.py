from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gasdet.cli.group import gasdet
from gasdet.data import remote
from gasdet.data.catalogue import CatalogueEntry, load_catalogue
from gasdet.data.dates import days_of

TEXT = """
datasets:
  - {name: hub, path: owner/pictures, source: huggingface, modality: image, media_type: real, licence: CC0-1.0,
     revision: 0123456789abcdef, content_category: faces, notes: "Faces,  of\\n people"}
  - {name: web, path: "https://me:password@host/x.zip?sig=password", modality: audio, media_type: synthetic,
     generator: voice, released: 2024-05, sampling: 1500}
  - {name: here, path: mine.zip}
  - {name: gone, path: nowhere, modality: image}
"""


@pytest.fixture
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine.zip").write_bytes(bytes(3000))
    (tmp_path / "sets.yaml").write_text(TEXT)

    def at_hand(entry: CatalogueEntry, _: Path | None) -> bool:
        return entry.name == "hub"

    monkeypatch.setattr(remote, "is_at_hand", at_hand)
    return tmp_path / "sets.yaml"


@pytest.fixture
def run() -> Callable[..., Result]:
    def invoke(*words: str) -> Result:
        return CliRunner().invoke(gasdet, ["data", "list", *words], env={"COLUMNS": ""})

    return invoke


def test_the_table(catalogue: Path, run: Callable[..., Result]) -> None:
    result = run(str(catalogue))
    assert result.exit_code == 0
    head, *rows = result.stdout.splitlines()
    assert head.split("  ")[0] == "NAME"
    for title in ("MODALITY", "TYPE", "CATEGORY", "SOURCE", "PATH", "REVISION", "SIZE", "AT MOST", "LICENCE", "HERE"):
        assert title in head
    assert rows[0].split() == [
        *(
            "hub",
            "image",
            "real",
            "faces",
            "huggingface",
            "owner/pictures",
            "0123456789ab",
            "-",
            "-",
            "CC0-1.0",
            "-",
            "-",
        ),
        "yes",
    ]
    assert rows[1].split() == [
        *(
            "web",
            "audio",
            "synthetic",
            "-",
            "https",
            "https://host/x.zip",
            "-",
            "-",
            "1,500",
            "-",
            "voice",
            "2024-05",
            "no",
        )
    ]
    assert rows[2].split() == ["here", "-", "labelled", "-", "local", "mine.zip", "-", "2.9", "KiB", *"----", "yes"]
    assert rows[3].split()[-1] == "no"
    assert "4 data sets, 2 of them on this machine." in result.stdout
    assert "gasdet data download" in result.stdout
    assert "password" not in result.output


def test_columns_without_anything_are_left_out(catalogue: Path, run: Callable[..., Result]) -> None:
    result = run(str(catalogue), "--datasets", "here")
    assert result.stdout.splitlines()[0].split() == ["NAME", "TYPE", "SOURCE", "PATH", "SIZE", "HERE"]
    assert "gasdet data download" not in result.stdout


def test_a_narrow_terminal_gets_two_tables_with_nothing_lost(catalogue: Path) -> None:
    result = CliRunner().invoke(gasdet, ["data", "list", str(catalogue)], env={"COLUMNS": "100"})
    what, where, summary = result.stdout.split("\n\n")
    assert max(map(len, [*what.splitlines(), *where.splitlines()])) <= 100
    head = what.splitlines()[0].replace("AT MOST", "AT-MOST").split()
    assert head == ["NAME", "MODALITY", "TYPE", "CATEGORY", "AT-MOST", "LICENCE", "GENERATOR", "RELEASED", "HERE"]
    assert where.splitlines()[0].split() == ["NAME", "SOURCE", "PATH", "REVISION", "SIZE"]
    assert where.splitlines()[1].split() == ["hub", "huggingface", "owner/pictures", "0123456789ab", "-"]
    assert summary.startswith("4 data sets")


def test_json_has_every_fact(catalogue: Path, run: Callable[..., Result]) -> None:
    result = run(str(catalogue), "--json")
    told = {dataset["name"]: dataset for dataset in json.loads(result.stdout)["datasets"]}
    hub = told["hub"]
    assert (hub["revision"], hub["category"], hub["notes"]) == ("0123456789abcdef", "faces", "Faces, of people")
    assert (hub["at_hand"], hub["size_bytes"], hub["line"]) == (True, None, 3)
    assert (told["web"]["max_samples"], told["web"]["released"]) == (1500, "2024-05")
    assert told["here"]["size_bytes"] == 3000
    assert "password" not in result.output


def test_a_download_folder_of_one_s_own(
    catalogue: Path, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def at_hand(entry: CatalogueEntry, root: Path | None) -> bool:
        asked.append(root)
        return False

    monkeypatch.setattr(remote, "is_at_hand", at_hand)
    assert run(str(catalogue), "--data-dir", "elsewhere").exit_code == 0
    assert asked == [Path.cwd() / "elsewhere"] * 2
    run(str(catalogue))
    assert asked[2:] == [None] * 2


def test_filters(catalogue: Path, run: Callable[..., Result]) -> None:
    def names(*words: str) -> list[str]:
        result = run(str(catalogue), "--json", *words)
        assert result.exit_code == 0, result.output
        return [dataset["name"] for dataset in json.loads(result.stdout)["datasets"]]

    assert names("--modality", "image") == ["hub", "here", "gone"]  # what states none may be one
    assert names("--category", "FACE*") == ["hub"]
    assert names("--datasets", "h*", "--datasets", "web") == ["hub", "web", "here"]
    refused = run(
        str(catalogue), "--provenance", "public"
    )  # of evaluate alone: a catalogue that is listed is no holdout
    assert (refused.exit_code, "No such option" in refused.stderr) == (2, True)


def test_a_catalogue_with_problems(tmp_path: Path, run: Callable[..., Result]) -> None:
    (tmp_path / "bad.yaml").write_text("datasets:\n  - {path: x, modalty: image}\n  - {path: y, released: soon}\n")
    result = run(str(tmp_path / "bad.yaml"))
    assert result.exit_code == 2
    assert "line 2: unknown key 'modalty' (did you mean 'modality'?); line 3: released must be a date" in result.stderr
    missing = run(str(tmp_path / "none.yaml"))
    assert missing.exit_code == 1
    assert "none.yaml cannot be read" in missing.stderr


def test_the_starter_catalogue(run: Callable[..., Result]) -> None:
    entries = load_catalogue("starter").entries
    assert {entry.stated.modality for entry in entries} == {"image", "video", "audio"}
    for entry in entries:
        assert entry.source == "huggingface"
        assert entry.location.count("/") == 1
        assert entry.licence
        assert entry.notes
        assert entry.category
        assert not entry.stated.released or days_of(entry.stated.released)
        assert entry.stated.media_type is None or entry.stated.media_type == "real" or entry.stated.generator
        assert not entry.revision or len(entry.revision) == 40, "a pinned revision is a whole commit"
    result = run("starter")
    assert result.exit_code == 0
    assert all(entry.name in result.stdout for entry in entries)


def test_it_is_quick_and_asks_no_server(catalogue: Path) -> None:
    code = (
        "import sys; from gasdet.cli.group import gasdet\n"
        "try: gasdet(['data', 'list', sys.argv[1]])\n"
        "except SystemExit as end: assert end.code in (0, None), end.code\n"
        "heavy = [m for m in ('torch', 'pyarrow', 'aiohttp', 'huggingface_hub', 'sklearn', 'cv2') if m in sys.modules]\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code, str(catalogue)], check=True, stdout=subprocess.DEVNULL)
