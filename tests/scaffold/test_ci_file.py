"""What the CI file of a new plugin runs passes as the plugin was written."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from gasdet.scaffold import KINDS, write_plugin
from gasdet.types import Modality

Install = Callable[[Path], None]

CASES = [("detector", "image"), ("detector", "video"), ("detector", "audio")]
CASES += [(kind, "image") for kind in KINDS if kind != "detector"]


def run(line: str, folder: Path, more: dict[str, str]) -> None:
    program, *words = shlex.split(line)
    module = {"gasdet": "gasdet.cli", "pytest": "pytest"}[program]
    options = ["-p", "no:cacheprovider"] if module == "pytest" else []
    environment = {**os.environ, **more, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", module, *words, *options]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize(("kind", "modality"), CASES)
def test_its_steps_pass(kind: Any, modality: str, tmp_path: Path, installed: Install) -> None:
    made = write_plugin("fresh", kind=kind, modality=Modality(modality), out=tmp_path / "plugin")
    workflow: dict[str, Any] = yaml.safe_load((made.folder / ".github/workflows/test.yml").read_text())
    project = tomllib.loads((made.folder / "pyproject.toml").read_text())["project"]
    job = workflow["jobs"]["test"]
    assert job["strategy"]["matrix"]["python"][0] == project["requires-python"].removeprefix(">=")
    steps = [step for step in job["steps"] if "run" in step]
    assert [step["run"].split()[0] for step in steps] == ["pip", "gasdet", "pytest"]
    assert steps[0]["run"] == 'pip install -e ".[test]"'
    assert any(need.startswith("pytest") for need in project["optional-dependencies"]["test"])
    installed(made.folder)
    for step in steps[1:]:
        run(step["run"], made.folder, step.get("env", {}))
