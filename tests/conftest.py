"""Fixtures that every part of the suite shares."""

from __future__ import annotations

import fcntl
import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def _shared(variable: str, *parts: str) -> Path:
    """A folder of real media that lies beside the project, or a skip with the reason."""
    folder = Path(os.environ.get(variable) or REPOSITORY.parent.joinpath("shared", *parts))
    if not folder.is_dir():
        pytest.skip(f"real media are absent: no folder {folder} (set {variable} to one that has them)")
    return folder


@pytest.fixture(scope="session")
def shared_media() -> Path:
    """Real images, clips and recordings: image/, video/, audio/ with real/ and synthetic/ below, and broken.zip."""
    return _shared("GASDET_TEST_MEDIA", "media")


@pytest.fixture(scope="session")
def shared_cifake() -> Path:
    """The CIFAKE benchmark: train.parquet and test.parquet."""
    return _shared("GASDET_TEST_CIFAKE", "bench", "cifake")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout's root."""
    return REPOSITORY


def _install(target: Path, *packages: str) -> Path:
    """Install test plugins into a folder of their own with pip (or uv, where the environment has no pip), offline."""
    sources = [str(REPOSITORY / "tests" / "plugins_for_tests" / name) for name in packages]
    if importlib.util.find_spec("pip"):
        tool = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-index", "--no-compile"]
    else:
        uv = shutil.which("uv")
        assert uv, "the test plugins cannot be installed: this environment has neither pip nor uv"
        tool = [uv, "pip", "install", "--python", sys.executable, "--offline", "--no-cache"]
    command = [*tool, "--quiet", "--no-deps", "--no-build-isolation", "--target", str(target), *sources]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return target


def _site(factory: pytest.TempPathFactory, name: str, *packages: str) -> Path:
    """A folder with these installed: one for all test processes of a run, made by the first that comes."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return _install(factory.mktemp(name), *packages)
    site = factory.getbasetemp().parent / name
    with site.with_name(f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        whole = site.with_name(f"{name}.whole")
        if not whole.exists():
            _install(site, *packages)
            whole.touch()
    return site


@pytest.fixture(scope="session")
def plugin_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with four plugins truly installed: ``edges`` (image, release and demo weights), ``loudness``
    (audio, demo weights only), one that fails to import, one whose hook raises.
    """
    names = ("gasdet-testimage", "gasdet-testaudio", "gasdet-testimporterror", "gasdet-testhookerror")
    return _site(tmp_path_factory, "plugins", *names)


@pytest.fixture(scope="session")
def collision_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with one plugin that registers ``edges`` too, and ``corners``."""
    return _site(tmp_path_factory, "collision", "gasdet-testcollision")


@pytest.fixture(scope="session")
def region_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with one plugin, testregion, whose preprocessor ``faces`` finds red pixels."""
    return _site(tmp_path_factory, "region", "gasdet-testregion")


@pytest.fixture
def with_regions(with_plugins: Path, region_site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The plugins of ``with_plugins`` and testregion, in this process and in those that it starts."""
    from gasdet.registry import load_registry

    monkeypatch.syspath_prepend(str(region_site))
    monkeypatch.setenv("GASDET_PLUGINS", "testimage,testaudio,testregion")
    load_registry.cache_clear()
    return region_site


@pytest.fixture
def with_plugins(plugin_site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same plugins installed for this process: the four of ``plugin_site`` and the core's own, no others."""
    from gasdet.registry import load_registry

    monkeypatch.syspath_prepend(str(plugin_site))
    monkeypatch.setenv("GASDET_PLUGINS", "testimage,testaudio,testimporterror,testhookerror")
    monkeypatch.delenv("GASDET_STRICT_PLUGINS", raising=False)
    load_registry.cache_clear()
    yield plugin_site
    load_registry.cache_clear()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """A function that makes the source folder of a plugin an installed one, in this process and in those that it starts."""
    from gasdet.registry import load_registry

    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.setenv("GASDET_STRICT_PLUGINS", "1")

    def install(folder: Path) -> None:
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        about = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        )
        entries = "".join(f"{name} = {value}\n" for name, value in project["entry-points"]["gasdet"].items())
        (about / "entry_points.txt").write_text(f"[gasdet]\n{entries}")
        for path in (folder / "src", site):
            monkeypatch.syspath_prepend(str(path))
        paths = [str(site), str(folder / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
        monkeypatch.setenv("GASDET_PLUGINS", ",".join(project["entry-points"]["gasdet"]))
        importlib.invalidate_caches()
        load_registry.cache_clear()

    yield install
    monkeypatch.undo()
    load_registry.cache_clear()


Gasdet = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def gasdet(plugin_site: Path, tmp_path: Path) -> Gasdet:
    """Runs the command line in a process of its own, in ``tmp_path``, with the test plugins installed.

    ``gasdet("list", "--json")``; keywords are environment variables, ``site=(...)`` other folders with plugins.
    """

    def run(*arguments: object, site: tuple[Path, ...] = (plugin_site,), **variables: str) -> Any:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("GASDET_PLUGINS", "GASDET_STRICT"))}
        environment |= {"PYTHONPATH": os.pathsep.join(map(str, site)), "OMP_NUM_THREADS": "1", **variables}
        command = [sys.executable, "-m", "gasdet.cli", *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run
