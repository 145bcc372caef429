"""docs/plugins.md says what the code has: every hook, field of a spec, check and fixture; and the guide's commands."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

from gasdet import hookspecs
from gasdet.testing import fixtures


@pytest.fixture(scope="module")
def script(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("plugin_docs", repository / "scripts" / "plugin_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def guide(repository: Path) -> str:
    return (repository / "docs" / "plugins.md").read_text(encoding="utf-8")


def test_the_tables_are_those_of_the_code(script: ModuleType, guide: str) -> None:
    assert script.filled(guide) == guide, "renew them: python scripts/plugin_docs.py"
    assert len(script.parts()) == 9
    assert min(map(len, script.parts().values())) > 300


def test_every_hook_and_its_argument_are_described(guide: str) -> None:
    table = guide.split("## The hooks", 1)[1].split("\n## ", 1)[0]
    for hook in hookspecs.HOOKS.values():
        assert f"| `{hook}` |" in table
        assert list(inspect.signature(getattr(hookspecs, hook)).parameters) == ["register"]
    assert "`register` callback" in table


def test_every_fixture_is_described(guide: str) -> None:
    made = {name for name in vars(fixtures) if name.startswith("gasdet_")}
    assert set(re.findall(r"^\| `(gasdet_\w+)` \|", guide, re.MULTILINE)) == made


def test_the_guides_commands_are_those_of_the_scaffolds_readme(guide: str, tmp_path: Path) -> None:
    """Which a test in a fresh environment runs."""
    from gasdet.scaffold import write_plugin

    readme = (write_plugin("mine", out=tmp_path / "plugin").folder / "README.md").read_text()

    def commands(text: str, *without: str) -> list[str]:
        return [line for line in re.findall(r"^gasdet .*", text, re.MULTILINE) if line.split()[1] not in without]

    first = guide.split("```")[1]
    assert commands(first)[0] == "gasdet plugin new mine --modality image"
    assert commands(first)[1:] == commands(readme, "list")
