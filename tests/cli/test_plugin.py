"""``gasdet plugin new`` and ``gasdet plugin check`` as an author types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def broken_site(repository: Path) -> Path:
    """A folder for PYTHONPATH with the broken components."""
    return repository / "tests" / "plugins_for_tests" / "gasdet-testbroken" / "src"


def test_new_says_what_is_next(gasdet: Any, tmp_path: Path) -> None:
    done = gasdet("plugin", "new", "mine", "--modality", "audio")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1:] == ["  pip install -e 'gasdet-mine[test]'", "  gasdet plugin check mine"]
    assert "Modality.AUDIO" in (tmp_path / "gasdet-mine/src/gasdet_mine/plugin.py").read_text()
    again = gasdet("plugin", "new", "mine")
    assert again.returncode == 2
    assert "\nError: gasdet-mine is there already" in f"\n{again.stderr}"


def test_check_prints_a_table_and_succeeds(gasdet: Any) -> None:
    done = gasdet("plugin", "check", "brier_resolution")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("metric brier_resolution\n")
    assert "  ties                 ok" in done.stdout
    assert "brier_resolution: all " in done.stdout


def test_check_fails_with_what_to_change(gasdet: Any, broken_site: Path, tmp_path: Path) -> None:
    about = tmp_path / "site" / "gasdet_testbroken-0.1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: gasdet-testbroken\nVersion: 0.1.0\n")
    (about / "entry_points.txt").write_text("[gasdet]\ntestbroken = gasdet_testbroken.plugin\n")
    site = (tmp_path / "site", broken_site)
    done = gasdet("plugin", "check", "gasdet-testbroken", site=site)
    assert done.returncode == 1
    assert "one-class            FAILED  It raises ZeroDivisionError: no negatives." in done.stdout
    assert "to change: return float('nan')" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("gasdet-testbroken: 1 of ")
    as_json = gasdet("plugin", "check", "testbroken/one-sided", "--json", site=site)
    assert as_json.returncode == 1
    (component,) = json.loads(as_json.stdout)["components"]
    assert (component["kind"], component["passed"]) == ("metric", False)
    assert [c["check"] for c in component["checks"] if c["result"] == "failed"] == ["one-class"]


def test_check_of_a_folder_is_that_of_what_is_installed_from_it(gasdet: Any, repository: Path, tmp_path: Path) -> None:
    done = gasdet("plugin", "check", repository / "tests/plugins_for_tests/gasdet-testbroken")
    assert done.returncode == 2
    assert "gasdet-testbroken is not installed here; install it with: pip install -e " in done.stderr
    (tmp_path / "empty").mkdir()
    assert "is no pyproject.toml with a project's name" in gasdet("plugin", "check", "./empty").stderr
    assert "there is no folder ./absent" in gasdet("plugin", "check", "./absent").stderr


def test_a_broken_plugin_and_an_unknown_name_are_told(gasdet: Any) -> None:
    done = gasdet("plugin", "check", "testimporterror")
    assert done.returncode == 1
    assert "is broken" in done.stderr
    unknown = gasdet("plugin", "check", "briar")
    assert unknown.returncode == 2
    assert "'briar'" in unknown.stderr
