"""``gasdet data verify``: every kind of damage, and what a download then puts right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result
from downloads import tree, write_catalogue

Run = Callable[..., Result]


def test_verify_finds_each_kind_of_damage(fetched: Path, catalogue: Path, run: Run, files: dict[str, bytes]) -> None:
    assert json.loads(run("data", "verify", catalogue, "--json").stdout)["datasets"][0]["findings"] == []
    (fetched / "data" / "part-0.zip").unlink()
    cut = fetched / "data" / "part-1.zip"
    cut.write_bytes(cut.read_bytes()[:-10])
    flipped = bytearray(files["data/part-2.zip"])
    flipped[5000] ^= 4
    (fetched / "data" / "part-2.zip").write_bytes(flipped)
    with (fetched / "data" / "part-3.zip").open("ab") as longer:
        longer.write(b"x")
    (fetched / "data" / "stray.zip").write_bytes(b"stray")
    (fetched / "data" / "half.zip.part").write_bytes(b"half")
    done = run("data", "verify", catalogue, "--json")
    assert done.exit_code == 1
    found = {f["file"]: f["trouble"] for f in json.loads(done.stdout)["datasets"][0]["findings"]}
    assert found == {
        "data/part-0.zip": "missing",
        "data/part-1.zip": "short",
        "data/part-2.zip": "corrupt",
        "data/part-3.zip": "corrupt",
        "data/stray.zip": "extra",
        "data/half.zip.part": "unfinished",
    }
    shown = run("data", "verify").stdout
    assert "short: data/part-1.zip: 196,598 of 196,608 bytes" in shown
    quick = json.loads(run("data", "verify", catalogue, "--json", "--quick").stdout)["datasets"][0]["findings"]
    assert "data/part-2.zip" not in {f["file"] for f in quick}
    # A download puts right what verify told; for what was flipped it must be told to look.
    (fetched / "data" / "stray.zip").unlink()
    (fetched / "data" / "half.zip.part").unlink()
    assert "download CATALOGUE --repair'" in shown
    assert run("data", "download", catalogue, "--repair").exit_code == 0
    assert tree(fetched) == files
    assert run("data", "verify", catalogue).exit_code == 0


def test_verify_tells_what_was_never_fetched(fetched: Path, tmp_path: Path, run: Run) -> None:
    path = write_catalogue(
        tmp_path / "two.yaml",
        {"path": "someone/hands", "source": "huggingface"},
        {"path": "someone/faces", "source": "huggingface", "exclude_paths": "part-1"},
    )
    done = run("data", "verify", path)
    assert done.exit_code == 1
    assert done.stdout.count("not downloaded") == 4  # each in the table and below it
