"""What plugins of any kind are held to, and which code the folder of a plugin's source stands for."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from gasdet.errors import UsageError
from gasdet.registry import CORE, load_registry
from gasdet.testing import plugins
from gasdet.testing.running import check_plugin, run_component
from gasdet.testing.sources import plugin_of

Author = Callable[..., Path]
Install = Callable[[Path], None]

PLUGIN = textwrap.dedent(
    """
    from gasdet import ComponentSpec, hookimpl

    requires_gasdet = ">=0.1,<1"


    @hookimpl
    def register_metrics(register):
        register(ComponentSpec("mine", "gasdet_mine.metric:mine", "mean error", higher_is_better=False))
    """
)
METRIC = textwrap.dedent(
    """
    import numpy as np


    def mine(labels, scores, weights=None):
        if not ((scores >= 0) & (scores <= 1)).all():
            raise ValueError("no probability")
        return float(np.average(abs(scores - labels), weights=weights))
    """
)


@pytest.fixture
def author(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Author:
    """A function that writes a plugin with a metric, with something replaced in its plugin.py."""
    import sys

    for name in [name for name in sys.modules if name.partition(".")[0] == "gasdet_mine"]:
        monkeypatch.delitem(sys.modules, name)
    plugins._time_once.cache_clear()

    def write(old: str = "", new: str = "", folder: str = "gasdet-mine") -> Path:
        assert old in PLUGIN
        package = tmp_path / folder / "src" / "gasdet_mine"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "plugin.py").write_text(PLUGIN.replace(old, new, 1) if old else new + PLUGIN)
        (package / "metric.py").write_text(METRIC)
        (tmp_path / folder / "pyproject.toml").write_text(
            '[project]\nname = "gasdet-mine"\nversion = "0.1.0"\n\n'
            '[project.entry-points.gasdet]\nmine = "gasdet_mine.plugin"\n'
        )
        return tmp_path / folder

    return write


def test_one_that_is_right_passes_whatever_it_prints(author: Author, installed: Install) -> None:
    installed(author(new="print('hello')\n"))
    (report,) = check_plugin("mine")
    assert report.passed, report.failed
    results = {r.check: r for r in report.results}
    assert [results[name].result for name in ("light", "metadata", "version-range")] == ["passed"] * 3
    assert results["version-range"].detail == ">=0.1,<1"


FAULTS = {
    "heavy": ("", "import numpy\n", "light", "gasdet_mine.plugin imports numpy."),
    "slow": ("", "import time\ntime.sleep(0.06)\n", "light", " ms to import, the shortest of 5 times."),
    "no summary": ('"mean error"', '""', "metadata", "The spec lacks summary."),
    "a long summary": ('"mean error"', '"mean error " * 20', "metadata", "lacks a summary of one line"),
    "no range": ("requires_gasdet", "required", "version-range", "requires_gasdet is empty"),
    "no upper bound": (">=0.1,<1", ">=0.1", "version-range", "has no upper bound."),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_a_plugin_fails_its_check_and_no_other(fault: str, author: Author, installed: Install) -> None:
    old, new, check, words = FAULTS[fault]
    installed(author(old, new))
    (report,) = check_plugin("mine")
    assert [r.check for r in report.failed] == [check]
    assert words in report.failed[0].detail


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os\nos._exit(3)\n", "the process ends with exit code 3"),
        ("raise RuntimeError('not here.')\n", "RuntimeError: not here."),
        ("import time\ntime.sleep(60)\n", "is not imported after 1 seconds"),
    ],
)
def test_an_entry_point_that_cannot_be_imported_alone(
    code: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gasdet.testing.suite import Failed

    (tmp_path / "unimportable.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    if "sleep" in code:
        monkeypatch.setattr(plugins, "_PATIENCE", 1.0)
    with pytest.raises(Failed, match=words):
        plugins.import_time("unimportable")


def test_a_range_that_only_the_detectors_state_is_enough() -> None:
    (entry,) = [e for e in load_registry().components("loss") if e.qualified == "gend/alignment"]
    report = run_component("loss", entry, only=["version-range"])
    assert [(r.result, r.detail) for r in report.results] == [("passed", ">=0.1,<1")]


def test_the_core_needs_no_range_and_a_spec_alone_has_no_plugin() -> None:
    entry = load_registry().component("metric", "brier")
    assert entry.plugin.distribution == CORE
    (own,) = run_component("metric", entry, only=["version-range"]).results
    assert (own.result, own.detail) == ("not applicable", "the core itself brings it")
    alone = run_component("metric", entry.spec, only=["light", "version-range"]).results
    assert {(r.result, r.detail) for r in alone} == {("not applicable", "no plugin brings it")}


def test_a_folder_stands_for_what_is_installed_from_it(author: Author, installed: Install) -> None:
    folder = author()
    installed(folder)
    assert plugin_of(str(folder)) == "gasdet-mine"


def test_a_folder_whose_code_is_not_the_installed_one_is_refused(author: Author, installed: Install) -> None:
    folder = author()
    installed(folder)
    copy = folder.parent / "it's a copy"
    shutil.copytree(folder, copy)
    # as where a wheel was made of it: another place, the same code
    assert plugin_of(str(copy)) == "gasdet-mine"
    metric = copy / "src" / "gasdet_mine" / "metric.py"
    metric.write_text(METRIC.replace("return float(", "return -float("))
    with pytest.raises(UsageError) as raised:
        plugin_of(str(copy))
    assert f"that of {folder / 'src' / 'gasdet_mine'}, and the code in {copy} is not the same" in str(raised.value)
    assert "pip install -e '" in str(raised.value)


def test_a_copy_in_the_folders_own_environment_is_compared_too(
    author: Author, installed: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = author()
    installed(folder)
    site = folder / ".venv" / "lib" / "site-packages"
    shutil.copytree(folder / "src" / "gasdet_mine", site / "gasdet_mine")
    monkeypatch.syspath_prepend(str(site))
    (site / "gasdet_mine" / "_version.py").write_text("version = '0.1.0'\n")  # as a build writes it
    assert plugin_of(str(folder)) == "gasdet-mine"
    (site / "gasdet_mine" / "metric.py").write_text("")
    with pytest.raises(UsageError, match="is not the same"):
        plugin_of(str(folder))


def test_a_folder_of_another_layout_cannot_be_compared(author: Author, installed: Install) -> None:
    folder = author()
    installed(folder)
    copy = folder.parent / "copy"
    shutil.copytree(folder, copy)
    (copy / "src").rename(copy / "python")
    with pytest.raises(UsageError, match=r"cannot be compared with .*; give the name gasdet-mine"):
        plugin_of(str(copy))


def test_an_editors_dangling_link_is_no_code(author: Author, installed: Install) -> None:
    folder = author()
    installed(folder)
    copy = folder.parent / "copy"
    shutil.copytree(folder, copy)
    (copy / "src" / "gasdet_mine" / ".#metric.py").symlink_to("me@host.1")
    assert plugin_of(str(copy)) == "gasdet-mine"
