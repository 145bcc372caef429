"""What ``gasdet plugin new`` writes: packages of every kind that pass the kit, and sentences for names that cannot be used."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from gasdet.cli.plugin.new import command
from gasdet.errors import UsageError
from gasdet.registry import load_registry
from gasdet.scaffold import KINDS, write_plugin
from gasdet.testing.running import check_plugin, run_detector
from gasdet.types import Kind, Modality

Install = Callable[[Path], None]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "detector"])
def test_a_component_passes_the_kit_at_once(kind: Kind, tmp_path: Path, installed: Install) -> None:
    made = write_plugin(f"my-{kind}", kind=kind, out=tmp_path / "plugin")
    installed(made.folder)
    (report,) = check_plugin(f"gasdet-my-{kind}")
    assert (report.kind, report.name) == (kind, f"my-{kind}")
    assert report.passed, report.failed
    assert sum(r.result == "passed" for r in report.results) >= 6


@pytest.mark.parametrize("modality", list(Modality))
def test_a_detector_passes_the_kit_at_once(modality: Modality, tmp_path: Path, installed: Install) -> None:
    """Without the export, which the kit's own tests run, and which takes most of the time."""
    from gasdet.testing import suites

    made = write_plugin(f"my-{modality}", modality=modality, out=tmp_path / "plugin")
    installed(made.folder)
    report = run_detector(f"my-{modality}", only=[c for c in suites()["detector"].checks if c != "export"])
    assert report.passed, report.failed
    assert {r.check for r in report.results if r.result == "not applicable"} <= {
        "bfloat16",
        "input-dtypes",
        "offers-agree",
        "polarity",
    }


@pytest.mark.parametrize("modality", list(Modality))
def test_a_detector_trains_on_one_sample_at_a_time(modality: Modality, tmp_path: Path, installed: Install) -> None:
    """What --set batch_size=1 does, and --set batch_size=4 --set accumulate=4."""
    import torch

    name = f"single_{modality}"
    installed(write_plugin(name.replace("_", "-"), modality=modality, out=tmp_path / "plugin").folder)
    torch.manual_seed(0)
    network = importlib.import_module(f"gasdet_{name}.model").Detector().train()
    shape = {Modality.IMAGE: (1, 3, 32, 32), Modality.VIDEO: (1, 3, 3, 32, 32), Modality.AUDIO: (1, 8000)}[modality]
    logits = network(torch.rand(shape) * (1.0 if modality is Modality.AUDIO else 255.0))
    torch.nn.functional.cross_entropy(logits, torch.tensor([1])).backward()
    for parameter, tensor in network.named_parameters():
        assert tensor.grad is not None, parameter
        assert tensor.grad.isfinite().all(), parameter
        assert tensor.grad.any(), parameter


HIDING = ["class", "lambda", "if", "none", "float", "np", "torch", "spec", "recipe", "gasdet"]
"""Words of Python, its builtins, and what the templates import or call their own things."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["a", "two-words", "x9", "x" * 40, *HIDING])
def test_every_file_is_sound(kind: Kind, name: str, tmp_path: Path) -> None:
    made = write_plugin(name, kind=kind, out=tmp_path / "plugin")
    project = tomllib.loads((made.folder / "pyproject.toml").read_text())
    assert project["project"]["name"] == f"gasdet-{name}"
    for file in made.files:
        text = (made.folder / file).read_text()
        assert "$" not in text.replace("${{ matrix.python }}", ""), file
        if file.endswith(".py"):
            compile(text, file, "exec")
            assert max(map(len, text.splitlines()), default=0) <= 128 + max(0, len(name) - 20), file
    assert {"README.md", "LICENSE", "pyproject.toml", ".github/workflows/test.yml"} < set(made.files)
    assert (
        f"gasdet plugin check {name if kind == 'detector' else f'gasdet-{name}'}"
        in (made.folder / "README.md").read_text()
    )


@pytest.mark.skipif(importlib.util.find_spec("ruff") is None, reason="ruff is not installed")
@pytest.mark.parametrize("kind", KINDS)
def test_the_code_is_clean(kind: Kind, tmp_path: Path) -> None:
    made = write_plugin("clean", kind=kind, out=tmp_path / "plugin")
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--select",
        "E,F,W,I,B,UP,SIM",
        "--line-length",
        "128",
    ]
    done = subprocess.run([*command, "."], cwd=made.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("My Plugin", "'my-plugin'"),
        ("9lives", "'lives'"),
        ("a--b", "'a-b'"),
        ("under_score", "'under-score'"),
        ("", ""),
        ("ü", ""),
    ],
)
def test_a_name_that_is_none_is_refused_with_one_that_is(name: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no name for a plugin") as raised:
        write_plugin(name, out=tmp_path / "plugin")
    assert hint in str(raised.value)
    assert not (tmp_path / "plugin").exists()


def test_a_name_that_is_taken_is_refused(tmp_path: Path, installed: Install) -> None:
    for kind, name in (("metric", "brier"), ("loss", "focal"), ("calibrator", "platt")):
        with pytest.raises(UsageError, match=f"there is a {kind} called '{name}' already, of gasdet"):
            write_plugin(name, kind=kind, out=tmp_path / name)
    made = write_plugin("here", out=tmp_path / "here")
    installed(made.folder)
    with pytest.raises(UsageError, match="there is a detector called 'here' already"):
        write_plugin("here", out=tmp_path / "again")
    with pytest.raises(UsageError, match=r"a package gasdet-here 0\.1\.0 is installed here already"):
        write_plugin("here", kind="metric", out=tmp_path / "again")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "detector"])
def test_no_name_hides_what_the_code_uses(kind: Kind, tmp_path: Path, installed: Install) -> None:
    """Each name is that of something else in some template: a builtin, an import, a parameter."""
    for name in HIDING:
        made = write_plugin(name, kind=kind, out=tmp_path / name)
        code = (made.folder / "src" / f"gasdet_{name}" / f"{kind}.py").read_text()
        bound = {node.name for node in ast.parse(code).body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
        assert name not in bound
        assert len([target for target in ("metric", "loss", "find", "Calibrator") if target in bound]) == 1
    name = {"metric": "float", "loss": "torch", "calibrator": "np", "preprocessor": "list"}[kind]
    installed(write_plugin(name, kind=kind, out=tmp_path / f"{name}-again").folder)
    (report,) = check_plugin(f"gasdet-{name}")
    assert report.passed, report.failed


def test_a_detector_may_be_called_like_a_constant_of_its_own_code(tmp_path: Path, installed: Install) -> None:
    installed(write_plugin("preprocessing", out=tmp_path / "plugin").folder)
    recipe = load_registry().detector("preprocessing").spec.recipe
    module, _, attribute = recipe.partition(":")
    assert getattr(importlib.import_module(module), attribute).losses == {"cross_entropy": 1.0}


@pytest.mark.parametrize("length", [41, 260, 5000])
def test_a_name_that_is_too_long_is_refused(length: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"at most 40 letters, and 'x+'… has {length}"):
        write_plugin("x" * length, out=tmp_path / "plugin")


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for out in (tmp_path / ("x" * 300), tmp_path / "nul\0byte"):
        with pytest.raises(UsageError, match=r"cannot be .*name another"):
            write_plugin("mine", out=out)

    def full(self: Path, *_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UsageError, match=r"plugin cannot be written \(No space left on device\)"):
        write_plugin("mine", out=tmp_path / "plugin")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no folder here in which nobody may write")
def test_a_folder_in_which_nobody_may_write_is_refused() -> None:
    with pytest.raises(UsageError, match="/proc/gasdet-mine cannot be written"):
        write_plugin("mine", out=Path("/proc/gasdet-mine"))


@pytest.mark.parametrize("folder", ["plain", "it's", "pl\u00e4ne x's", "$(touch x)"])
def test_the_printed_line_is_one_that_a_shell_takes(folder: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(command, ["mine", "--out", str(tmp_path / folder)])
    assert done.exit_code == 0, done.output
    (line,) = (line for line in done.output.splitlines() if "pip install" in line)
    assert shlex.split(line) == ["pip", "install", "-e", f"{tmp_path / folder}[test]"]
    assert [path.name for path in tmp_path.iterdir()] == [folder]


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("gasdet-mine").mkdir()
    with pytest.raises(UsageError, match="gasdet-mine is there already"):
        write_plugin("mine")
    assert not list(Path("gasdet-mine").iterdir())
    with pytest.raises(UsageError, match="there is no folder"):
        write_plugin("mine", out=tmp_path / "absent" / "plugin")
    assert write_plugin("other").folder == Path("gasdet-other")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["gasdet-mine", "gasdet-other"]


def test_what_is_written_asks_for_this_core(tmp_path: Path) -> None:
    load_registry.cache_clear()
    text = (write_plugin("now", out=tmp_path / "plugin").folder / "src/gasdet_now/plugin.py").read_text()
    assert 'requires_gasdet=">=0.1,<1"' in text
