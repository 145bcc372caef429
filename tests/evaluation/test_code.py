"""Hashes of code: all of what decides a result, and no more than can be told."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from gasdet.evaluation import code
from gasdet.evaluation.code import modules_sha256, packages_sha256, reached_from

FILES = {
    "gasdet/__init__.py": "from gasdet import unrelated",
    "gasdet/unrelated.py": "",
    "gasdet/start.py": """
        from typing import TYPE_CHECKING
        import numpy, gasdet.plain
        from gasdet.deep import inner
        from gasdet.deep.module import name
        if TYPE_CHECKING:
            from gasdet.unrelated import nothing
        else:
            import gasdet.otherwise
        def later():
            from gasdet.late import something
            import gasdet.package.only
            import gasdet.stop
    """,
    "gasdet/plain.py": "import gasdet.start",
    "gasdet/otherwise.py": "",
    "gasdet/package/__init__.py": "",
    "gasdet/package/only.py": "",
    "gasdet/deep/__init__.py": "",
    "gasdet/deep/inner.py": "from . import sibling\nfrom .module import name\nfrom ..cousin import other",
    "gasdet/deep/sibling.py": "",
    "gasdet/deep/module.py": "name = 1",
    "gasdet/cousin.py": "other = 1",
    "gasdet/late.py": "something = 1",
    "gasdet/stop.py": "import gasdet.unrelated",
}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, content in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = content.strip("\n").splitlines()
        margin = len(lines[0]) - len(lines[0].lstrip()) if lines else 0
        path.write_text("\n".join(line[margin:] for line in lines))
    monkeypatch.setattr(code, "_ROOT", tmp_path / "gasdet")
    return tmp_path / "gasdet"


def test_what_is_imported_in_any_way_is_reached(tree: Path) -> None:
    names = "start plain otherwise package package.only deep deep.inner deep.sibling deep.module cousin late stop"
    assert reached_from("gasdet.start", stop=("gasdet.stop",)) == {f"gasdet.{name}" for name in names.split()}
    assert "gasdet.unrelated" in reached_from("gasdet.start")
    assert reached_from("gasdet.late") == {"gasdet.late"}


def test_every_change_of_a_module_changes_the_hash_of_those_that_reach_it(tree: Path) -> None:
    def told() -> str:
        return modules_sha256(reached_from("gasdet.start", stop=("gasdet.stop",)))

    found = {told()}
    for name in FILES:
        path = tree.parent / name
        with open(path, "a") as file:
            file.write("\n# changed")
        found.add(told())
    assert len(found) == 1 + len(FILES) - len(["gasdet/__init__.py", "gasdet/unrelated.py"])


def test_a_package_is_known_by_all_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "codetest_package"
    package.mkdir()
    for name in ("__init__", "one", "helper"):
        (package / f"{name}.py").write_text("def find(frames):\n    return []\n")
    (tmp_path / "codetest_single.py").write_text("find = None\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    targets = ["codetest_package.one:find", "codetest_single:find", "gasdet.types:Sample"]
    found = [packages_sha256(targets), packages_sha256(targets[:1]), packages_sha256([])]
    assert packages_sha256(["gasdet.types:Sample"]) == found[-1]  # it has a version
    for name in ("codetest_package/helper.py", "codetest_single.py"):
        (tmp_path / name).write_text("# changed\n")
        found.append(packages_sha256(targets))
    assert len(set(found)) == 5
    for name in [name for name in sys.modules if name.startswith("codetest_")]:
        monkeypatch.delitem(sys.modules, name)
