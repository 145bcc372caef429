"""docs/cli.md says what the commands take: every command, every option, every default, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from gasdet.cli import data, group, plugin

ROW = re.compile(r"^\| (`[^|]+`) \| (.+) \|$")


def section(text: str, heading: str) -> str:
    return text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


@pytest.fixture(scope="module")
def docs(repository: Path) -> str:
    return (repository / "docs" / "cli.md").read_text(encoding="utf-8")


def documented(text: str) -> dict[str, str]:
    """Option names to what the table says of them; the metavar stands behind the name."""
    rows = (ROW.match(line) for line in text.splitlines())
    return {name.split()[0]: row[0] for row in rows if row for name in re.findall(r"`([^`]+)`", row[1])}


def options_of(command: click.Command) -> dict[str, click.Option]:
    return {name: p for p in command.params if isinstance(p, click.Option) for name in (*p.opts, *p.secondary_opts)}


def command_named(name: str) -> click.Command:
    """A command by its words: "evaluate", "data check", or "" for gasdet itself."""
    command: click.Command | None = group.gasdet
    for word in name.split():
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word)
    assert command is not None
    return command


@pytest.mark.parametrize(
    "name", [*group.COMMANDS, *(f"data {n}" for n in data.COMMANDS), *(f"plugin {n}" for n in plugin.COMMANDS), ""]
)
def test_the_documented_options_are_those_that_the_command_takes(docs: str, name: str) -> None:
    command = command_named(name)
    told, taken = documented(section(docs, f"gasdet {name}".strip())), options_of(command)
    if not name:
        taken |= {"-h": click.Option(["-h"]), "--help": click.Option(["--help"])}
    assert set(told) == set(taken)
    for option, parameter in taken.items():
        line = told[option]
        if parameter.metavar and not parameter.is_flag and not parameter.opts[0].startswith("-h"):
            assert f"`{option} {parameter.metavar}`" in line
        if isinstance(parameter.type, click.Choice):
            assert all(f"`{choice}`" in line for choice in parameter.type.choices)
        if parameter.show_default:
            default = parameter.default
            shown = f"({default:g})" if isinstance(default, int | float) else f"`{default}` (default"
            assert shown in line, line
        if parameter.required:
            assert "Required." in line
        if parameter.multiple:
            assert "repeatable" in line


def test_every_command_has_its_line(docs: str) -> None:
    for name, line in group.COMMANDS.items():
        assert f"| [`gasdet {name}`](#gasdet-{name}) | {line} |" in docs
    for group_name, lines in (("data", data.COMMANDS), ("plugin", plugin.COMMANDS)):
        for name, line in lines.items():
            assert f"| [`gasdet {group_name} {name}`](#gasdet-{group_name}-{name}) | {line} |" in docs


def test_every_environment_variable_that_is_read_is_documented(docs: str, repository: Path) -> None:
    read = set()
    for file in (repository / "src").rglob("*.py"):
        read |= set(re.findall(r"(?:environ(?:\.get\(|\[)|getenv\()\s*[\"']((?:GASDET|HF)_\w+)", file.read_text()))
    told = set(documented(section(docs, "Environment variables")))
    assert {"GASDET_PLUGINS", "GASDET_STRICT_PLUGINS", "GASDET_CACHE"} <= read
    assert read <= told


def test_every_exit_code_is_documented(docs: str) -> None:
    told = {int(row[1]) for row in re.finditer(r"^\| (\d+) \|", section(docs, "Exit codes"), re.MULTILINE)}
    assert told == {0, 1, 2, group.INTERRUPTED}
