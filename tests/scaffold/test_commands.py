"""The commands that a new detector's README names, from the check to the evaluated bundle, for clips and recordings.

Pictures go the same way through wheels and a fresh environment: tests/packaging/test_wheels.py.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from gasdet.cli.group import gasdet
from gasdet.scaffold import write_plugin
from gasdet.types import Modality

Install = Callable[[Path], None]


def call(line: str) -> str:
    """Run a line of a guide in this process; what it printed."""
    done = CliRunner().invoke(gasdet, shlex.split(line)[1:], catch_exceptions=False)
    assert done.exit_code == 0, f"{line}\n{done.output}"
    return done.stdout


def auroc(printed: str, detector: str) -> float:
    found = re.search(r"^Results: (.+)$", printed, re.MULTILINE)
    assert found is not None, printed
    summary = json.loads((Path(found[1]) / "summary.json").read_text())
    return float(summary["detectors"][detector]["metrics"]["auroc"]["value"])


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["video", "audio"])
def test_the_readmes_commands(
    modality: str, tmp_path: Path, installed: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"learning-{modality}"
    made = write_plugin(name, modality=Modality(modality), out=tmp_path / "plugin")
    lines = re.findall(r"^gasdet .*$", (made.folder / "README.md").read_text(), re.MULTILINE)
    assert [line.split()[1] for line in lines] == [
        "list", "plugin", "train", "plugin", "calibrate", "evaluate", "export", "evaluate",
    ]  # fmt: skip
    installed(made.folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # untrained, it is checked in test_writing.py and in test_ci_file.py
    printed = {line: call(line) for line in lines if line != f"gasdet plugin check {name}"}
    of_plugin, of_bundle = (auroc(text, name) for line, text in printed.items() if line.split()[1] == "evaluate")
    assert of_plugin > 0.6
    assert of_bundle == pytest.approx(of_plugin, abs=0.01)
    assert (tmp_path / "trained" / "calibrator.json").is_file()
