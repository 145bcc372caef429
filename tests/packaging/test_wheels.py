"""Core, plugins and the example as wheels in a fresh virtual environment, and the guides' commands there."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def build_environment(repository: Path, folder: Path) -> Path:
    """A virtual environment with the wheels of everything; what they depend on is that of this environment."""
    wheels = folder / "wheels"
    sources = [
        repository,
        *sorted((repository / "plugins").glob("gasdet-*")),
        repository / "examples" / "gasdet-example",
    ]
    for source in sources:
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(wheels), str(source)]
        subprocess.run(command, check=True, capture_output=True)
    environment = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    # only a path: this environment's .pth files, which lead to the source tree, are not read
    site = next(environment.glob("lib/python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    install(environment, *sorted(wheels.glob("*.whl")))
    return environment


@pytest.fixture(scope="session")
def environment(repository: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """The same for all test processes: whoever comes first builds it."""
    several = hasattr(request.config, "workerinput")
    shared = tmp_path_factory.getbasetemp().parent if several else tmp_path_factory.getbasetemp()
    folder = shared / "wheels-and-venv"
    with open(shared / "wheels-and-venv.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            build_environment(repository, folder)
            (folder / "done").touch()
    return folder / "venv"


@pytest.fixture
def command(environment: Path, tmp_path: Path) -> Command:
    """Runs a line of a guide in an empty folder: ``gasdet ...`` by the environment's own console script, pip as below."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("GASDET_PLUGINS", "GASDET_STRICT", "PYTHON"))}

    def run(line: str, **more: str) -> Any:
        words = shlex.split(line, comments=True)
        if words[:3] == ["pip", "install", "-e"]:
            # hatchling makes editable installs with the package editables; without it, the same folder and extra, not editable
            how = ["-e"] if importlib.util.find_spec("editables") else []
            install(environment, *how, f"./{words[3]}", folder=tmp_path)
            return None
        assert words[0] == "gasdet", line
        done = subprocess.run(
            [str(environment / "bin" / "gasdet"), *words[1:]],
            cwd=tmp_path,
            env={**variables, **more},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done

    return run


def python(environment: Path, code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code by the environment's Python, without this one's import path."""
    interpreter = str(environment / "bin" / "python")
    return subprocess.run([interpreter, "-I", "-c", code], cwd=folder, capture_output=True, text=True, check=True)


def install(environment: Path, *what: str | Path, folder: Path | None = None) -> None:
    """Install with pip (or uv, where this environment has no pip), from what is here alone.

    Dependencies are not looked up: those of this environment are lent by a path, which pip does not see. That they are
    stated is what tests/scaffold looks at.
    """
    interpreter = str(environment / "bin" / "python")
    if importlib.util.find_spec("pip"):
        tool = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            interpreter,
            "install",
            "--no-index",
            "--disable-pip-version-check",
        ]
    else:
        uv = shutil.which("uv")
        assert uv, "this environment has neither pip nor uv"
        tool = [uv, "pip", "install", "--python", interpreter, "--offline"]
    command = [*tool, "--quiet", "--no-deps", "--no-build-isolation", *map(str, what)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


def commands_of(text: str) -> list[str]:
    """The lines of a guide's code blocks that begin with ``gasdet``."""
    blocks = re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("gasdet ")]


def test_every_wheel_is_listed_and_comes_from_the_environment(command: Command, environment: Path) -> None:
    listed = json.loads(command("gasdet list --json").stdout)
    plugins = {p["distribution"]: p["state"] for p in listed["plugins"]}
    assert set(plugins.values()) == {"ok"}, plugins
    ours = ("example", "dinov3", "gend", "breathnet", "restrav", "npr")
    assert {"gasdet", *(f"gasdet-{name}" for name in ours)} <= set(plugins)
    code = "import gasdet, gasdet_npr, gasdet_example; print(gasdet.__file__, gasdet_npr.__file__, gasdet_example.__file__)"
    done = python(environment, code, environment)
    assert all(Path(file).is_relative_to(environment) for file in done.stdout.split())


HEAVY = (
    "torch",
    "timm",
    "peft",
    "torchaudio",
    "decord",
    "numpy",
    "sklearn",
    "matplotlib",
    "huggingface_hub",
    "aiohttp",
)


@pytest.mark.parametrize("line", ["--help", "list", "list --hooks", "plugin --help", "data --help"])
def test_the_start_imports_nothing_heavy(line: str, environment: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom gasdet.cli import main\n"
        f"sys.argv = ['gasdet', *{line.split()!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print('heavy', sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)"
    )
    done = python(environment, code, tmp_path)
    assert done.stderr.splitlines()[-1] == "heavy []"


def test_the_guides_commands_from_nothing_to_a_bundle(command: Command, repository: Path, tmp_path: Path) -> None:
    guide = (repository / "docs" / "plugins.md").read_text()
    block = re.search(r"^## From nothing to a published package\n+```\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    assert block is not None
    lines = block[1].splitlines()
    new, editable, *rest = lines
    assert editable.startswith("pip install -e ")
    steps = ["plugin", "train", "plugin", "calibrate", "evaluate", "export", "evaluate"]
    assert [line.split()[1] for line in rest] == steps
    assert editable in command(new).stdout
    readme = commands_of((tmp_path / "gasdet-mine" / "README.md").read_text())
    assert [line for line in readme if line != "gasdet list"] == rest
    command(editable)
    assert "mine" in command("gasdet list").stdout
    printed = [command(line).stdout for line in rest]
    assert all("mine: all " in printed[i] for i in (0, 2))
    assert re.search(r"polarity +ok", printed[2])
    scores = [re.search(r"^mine +\d+ ok.*", text, re.MULTILINE) for text in (printed[4], printed[6])]
    assert scores[0] is not None
    assert scores[1] is not None
    # the bundle holds the calibrator, and scores as the plugin does
    assert scores[0][0].split()[1:] == scores[1][0].split()[1:]
    assert metrics_of(printed[4], tmp_path, "mine")["auroc"]["value"] > 0.6


def metrics_of(printed: str, folder: Path, detector: str) -> Any:
    """What an evaluation that printed this measured."""
    found = re.search(r"^Results: (.+)$", printed, re.MULTILINE)
    assert found is not None, printed
    return json.loads((folder / found[1] / "summary.json").read_text())["detectors"][detector]["metrics"]


def test_the_examples_commands(command: Command, repository: Path, tmp_path: Path) -> None:
    lines = commands_of((repository / "examples" / "gasdet-example" / "README.md").read_text())
    assert [line.split()[1] for line in lines] == ["plugin", "train", "calibrate", "evaluate", "export"]
    done = [command(line) for line in lines]
    printed = [one.stdout for one in done]
    assert "gasdet-example: all " in printed[0]
    assert "example-prior-weighted" in printed[2]
    assert "flatters" not in done[3].stderr  # the calibrator was fitted on none of what is judged
    metrics = metrics_of(printed[3], tmp_path, "example-spectrum")
    assert metrics["auroc"]["value"] > 0.6
    assert 0.4 < metrics["example-partial-auroc"]["value"] <= 1.0
    more = (
        "gasdet train --plugin example-spectrum --data demo --limit 60 --out other/ --set epochs=2 "
        "--set \"losses={'example-logit-adjusted': 1.0}\" --set preprocessing.region=example-texture"
    )
    command(more)
    record = json.loads((tmp_path / "other" / "train.json").read_text())
    assert "example-logit-adjusted" in json.dumps(record)
    assert "example-texture" in json.dumps(record)
