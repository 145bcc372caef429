"""``gasdet plugin new`` and ``gasdet plugin check`` as an author types them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gasdet.cli.group import gasdet as cli
from gasdet.registry import load_registry
from gasdet.scaffold import write_plugin

Here = Callable[..., Result]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    """Runs the command line in this process, in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object, **environment: str) -> Result:
        return CliRunner().invoke(cli, [str(word) for word in words], env=environment, catch_exceptions=False)

    return run


@pytest.fixture
def broken_plugin(
    with_plugins: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Path, Path]]:
    """The plugin with broken components is installed, here and for processes that get the two folders as PYTHONPATH."""
    about = tmp_path / "site" / "gasdet_testbroken-0.1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: gasdet-testbroken\nVersion: 0.1.0\n")
    (about / "entry_points.txt").write_text("[gasdet]\ntestbroken = gasdet_testbroken.plugin\n")
    site = (tmp_path / "site", repository / "tests" / "plugins_for_tests" / "gasdet-testbroken" / "src")
    for folder in site:
        monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, site)))  # one check starts processes
    monkeypatch.setenv("GASDET_PLUGINS", "testbroken,testimage")
    load_registry.cache_clear()
    yield site
    load_registry.cache_clear()


def test_new_says_what_is_next(here: Here, tmp_path: Path) -> None:
    done = here("plugin", "new", "mine", "--modality", "audio")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[1:] == ["  pip install -e 'gasdet-mine[test]'", "  gasdet plugin check mine"]
    assert "Modality.AUDIO" in (tmp_path / "gasdet-mine/src/gasdet_mine/plugin.py").read_text()
    again = here("plugin", "new", "mine")
    assert again.exit_code == 2
    assert "\nError: gasdet-mine is there already" in f"\n{again.stderr}"


def test_check_prints_a_table_and_succeeds(here: Here) -> None:
    done = here("plugin", "check", "brier_resolution")
    assert done.exit_code == 0, done.stdout + done.stderr
    assert done.stdout.startswith("metric brier_resolution\n")
    assert "  ties                 ok" in done.stdout
    assert "brier_resolution: all " in done.stdout


@pytest.mark.usefixtures("broken_plugin")
def test_check_fails_with_what_to_change(here: Here) -> None:
    done = here("plugin", "check", "gasdet-testbroken")
    assert done.exit_code == 1
    assert "one-class            FAILED  It raises ZeroDivisionError: no negatives." in done.stdout
    assert "to change: return float('nan')" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("gasdet-testbroken: 1 of ")


def test_check_as_json_in_a_process_of_its_own(gasdet: Any, broken_plugin: tuple[Path, Path]) -> None:
    as_json = gasdet("plugin", "check", "testbroken/one-sided", "--json", site=broken_plugin)
    assert as_json.returncode == 1
    (component,) = json.loads(as_json.stdout)["components"]
    assert (component["kind"], component["passed"]) == ("metric", False)
    assert [c["check"] for c in component["checks"] if c["result"] == "failed"] == ["one-class"]


@pytest.mark.usefixtures("broken_plugin")
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["table", "json"])
def test_what_a_component_prints_is_not_among_the_results(
    here: Here, form: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import gasdet_testbroken.metrics as theirs

    own = theirs.one_class

    def talking(*given: Any, **options: Any) -> float:
        print("looking at it")  # noqa: T201 (what authors do)
        return float(own(*given, **options))

    monkeypatch.setattr(theirs, "one_class", talking)
    done = here("plugin", "check", "testbroken/one-sided", *form)
    assert "looking at it" in done.stderr
    assert "looking at it" not in done.stdout
    if form:
        assert len(json.loads(done.stdout)["components"]) == 1


def test_check_of_a_folder_is_that_of_what_is_installed_from_it(here: Here, repository: Path, tmp_path: Path) -> None:
    done = here("plugin", "check", repository / "tests/plugins_for_tests/gasdet-testbroken")
    assert done.exit_code == 2
    assert "gasdet-testbroken is not installed here; install it with: pip install -e " in done.stderr
    (tmp_path / "empty").mkdir()
    assert "is no pyproject.toml with a project's name" in here("plugin", "check", "./empty").stderr
    assert "there is no folder ./absent" in here("plugin", "check", "./absent").stderr


@pytest.mark.usefixtures("with_plugins")
def test_a_broken_plugin_and_an_unknown_name_are_told(here: Here) -> None:
    done = here("plugin", "check", "testimporterror")
    assert done.exit_code == 1
    assert "is broken" in done.stderr
    unknown = here("plugin", "check", "briar")
    assert unknown.exit_code == 2
    assert "'briar'" in unknown.stderr


@pytest.mark.usefixtures("with_plugins")
def test_data_and_weights_that_are_not_there_are_wrong_use(here: Here) -> None:
    for words, said in (
        (("--data", "absent"), "the data for the polarity check cannot be used: there is no file or folder "),
        (("--weights", "absent"), "edges has no weights named 'absent'"),
    ):
        done = here("plugin", "check", "edges", *words)
        assert (done.exit_code, done.stdout) == (2, "")
        assert f"Error: {said}" in done.stderr


def test_nothing_to_check_is_a_failure(tmp_path: Path, here: Here, installed: Callable[[Path], None]) -> None:
    folder = write_plugin("vacuous", out=tmp_path / "gasdet-vacuous").folder
    plugin = folder / "src" / "gasdet_vacuous" / "plugin.py"
    plugin.write_text(plugin.read_text().replace("    recipe=", "    # "))
    installed(folder)
    done = here("plugin", "check", "vacuous", COLUMNS="80")
    assert done.exit_code == 1
    told = " ".join(done.stdout.split())
    assert "loads FAILED There are no weights to check it with" in told
    assert re.search(r"vacuous: 1 of \d checks failed, \d\d did not apply\.$", told)
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_long_lines_are_wrapped_and_nothing_is_cut(
    here: Here, tmp_path: Path, installed: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from gasdet.testing import suites

    detector = suites()["detector"]
    chosen = {name: detector.checks[name] for name in ("loads", "output-shape", "cost")}
    monkeypatch.setattr(detector, "checks", chosen)
    installed(write_plugin("narrow", out=tmp_path / "gasdet-narrow").folder)
    done = here("plugin", "check", "narrow", COLUMNS="60")
    assert done.exit_code == 0, done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 60
    told = " ".join(done.stdout.split())
    assert " ms alone, " in told
    assert "; weights 0.2 MiB" in told


def test_data_of_one_detectors_modality_are_not_anothers_mistake(
    here: Here,
    tmp_path: Path,
    installed: Callable[[Path], None],
    gasdet_media: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from gasdet.testing import suites

    detector = suites()["detector"]
    monkeypatch.setattr(
        detector, "checks", {name: detector.checks[name] for name in ("loads", "output-shape", "polarity")}
    )
    folder = write_plugin("both", out=tmp_path / "gasdet-both").folder
    plugin = folder / "src" / "gasdet_both" / "plugin.py"
    audio = (
        "    import dataclasses\n\n    keys = {'sample_rate': 16000, 'duration_seconds': 3.0}\n"
        "    register(SPEC)\n    register(dataclasses.replace(SPEC, name='heard', modality=Modality.AUDIO, preprocessing=keys))"
    )
    plugin.write_text(plugin.read_text().replace("    register(SPEC)", audio))
    installed(folder)
    done = here("plugin", "check", "gasdet-both", "--data", gasdet_media("image"), "--json")
    assert done.exit_code != 2, done.stderr
    polarity = {c["name"].rpartition("/")[2]: c["checks"][-1] for c in json.loads(done.stdout)["components"]}
    assert polarity["both"]["detail"].startswith("AUROC ")
    assert polarity["heard"]["result"] == "not applicable"
    none = here("plugin", "check", "gasdet-both", "--data", gasdet_media("video"), "--json")
    assert (none.exit_code, none.stdout) == (2, "")
