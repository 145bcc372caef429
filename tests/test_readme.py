"""The README's commands print what it says they print."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from gasdet.cli.group import gasdet as cli

README = Path(__file__).resolve().parent.parent / "README.md"
SCRIPT = README.parent / "scripts" / "readme_output.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("readme_output", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_readme_says_what_the_commands_print(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands are run in this process, which imports torch once for all of them."""
    script.sample_clip(tmp_path)
    monkeypatch.chdir(tmp_path)

    def run(command: str) -> str:
        program, *words = shlex.split(command)
        assert program == "gasdet"
        done = CliRunner(env=script.SCREEN).invoke(cli, words, prog_name=program, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return script.tidied(done.stdout)

    text = README.read_text(encoding="utf-8")
    pasted, found, stale = script.renewed(text, run)
    assert found >= 4
    assert not stale, "\n".join(stale)
    assert pasted == text


README_OF_ONE = """\
<!-- first 2 lines of: gasdet list -->
```console
$ gasdet list
{}```
"""


def test_the_script_checks_and_writes_a_block(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command in a process of its own, as ``make readme`` runs it."""
    readme = tmp_path / "README.md"
    readme.write_text(README_OF_ONE.format("nothing\n"))
    monkeypatch.setattr(script, "REPOSITORY", tmp_path)
    monkeypatch.setattr(script, "sample_clip", lambda folder: None)

    def called(option: str) -> None:
        monkeypatch.setattr(sys, "argv", ["readme_output.py", option])
        script.main()

    with pytest.raises(SystemExit, match=r"(?s)no longer says.*--- README\.md\nnothing\n\+\+\+ now\n.*\.\.\.\n"):
        called("--check")
    assert readme.read_text() == README_OF_ONE.format("nothing\n")
    called("--write")
    shown = "\n".join([*script.run("gasdet list", tmp_path).splitlines()[:2], "...", ""])
    assert readme.read_text() == README_OF_ONE.format(shown)
    called("--check")
    assert capsys.readouterr().out == "1 blocks, 1 renewed\n1 blocks agree\n"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("AUROC 0.914\n", "AUROC 0.921\n", True),
        ("AUROC 0.914\n", "AUROC 0.714\n", False),
        ("ok 120\n", "ok 119\n", False),
        ("done in 3.2 s\n", "done in 14 s\n", True),
        ("Results: runs/restrav-demo-0123abcd\n", "Results: runs/restrav-demo-fedc9876\n", True),
        ("restrav  video\n", "restrav video\n", True),
        ("restrav\n", "dinov3\n", False),
    ],
)
def test_what_counts_as_the_same_output(script: ModuleType, old: str, new: str, expected: bool) -> None:
    assert script.agrees(old, new) is expected


@pytest.mark.slow
def test_the_python_example_runs(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    script.sample_clip(tmp_path)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {"__name__": "__main__"})
    scored, summary = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"clip\.mp4 (0|1)\.\d+ ", scored)
    assert "'value': 0." in summary
