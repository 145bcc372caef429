"""Plugins are found, loaded each on its own, and named; what one does wrong stays with it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from gasdet.errors import GasdetError, PluginError, UsageError
from gasdet.registry import Registry, load_registry, load_target
from gasdet.registry.loading import load_plugins


def good(name: str, extra: str = "") -> str:
    """The module of a plugin with one detector."""
    return textwrap.dedent(f"""\
        from gasdet import DetectorSpec, hookimpl
        @hookimpl
        def register_models(register):
            register(DetectorSpec(name="{name}", modality="image", target="nowhere.model", summary="x"{extra}))
        """)


class Site:
    """A folder on sys.path into which distributions with one entry point each are put, as an installer lays them out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str, code: str, *, version: str = "1.0", entry: str = "") -> None:
        module = (
            f"{name.replace('-', '_')}_{abs(hash(str(self.folder))):x}"  # sys.modules must not hold an earlier test's
        )
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[gasdet]\n{entry or name} = {module}\n")
        (self.folder / f"{module}.py").write_text(code)

    def registry(self, selection: str | None = None) -> Registry:
        return Registry(load_plugins(selection))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.syspath_prepend(str(tmp_path))
    return Site(tmp_path)


@pytest.fixture
def fresh() -> object:
    load_registry.cache_clear()
    yield
    load_registry.cache_clear()


def state_of(registry: Registry, name: str) -> tuple[str, str]:
    plugin = next(p for p in registry.plugins if p.name == name)
    return plugin.state, plugin.error


def test_a_good_plugin_brings_its_detector(site: Site) -> None:
    site.add("alpha", good("a"))
    found = site.registry().detector("a")
    assert (found.spec.name, found.plugin.origin, found.qualified) == ("a", "alpha 1.0", "alpha/a")
    assert found.spec.modality.value == "image"


def test_the_core_registers_through_its_own_entry_point(site: Site) -> None:
    plugin = next(p for p in site.registry().plugins if p.name == "builtin")
    assert (plugin.distribution, plugin.state) == ("gasdet", "ok")
    assert site.registry().component("metric", "combined_score").plugin == plugin


FAULTS = {
    "unknown argument": (
        "from gasdet import hookimpl\n@hookimpl\ndef register_models(register, config): pass",
        r"a hook asks for arguments that gasdet [\d.]+ does not offer .*config",
    ),
    "wrong type": (
        "from gasdet import hookimpl\n@hookimpl\ndef register_models(register): register({'name': 'x'})",
        "register_models must register a DetectorSpec, not dict .*py:3",
    ),
    "wrong kind of spec": (
        "from gasdet import ComponentSpec, hookimpl\n@hookimpl\n"
        "def register_models(register): register(ComponentSpec(name='x', target='a:b', summary=''))",
        "must register a DetectorSpec, not ComponentSpec",
    ),
    "twice": (
        good("a") + good("a").splitlines()[-1],
        "registers the model 'a' twice",
    ),
    "missing field": (
        "from gasdet import DetectorSpec, hookimpl\n@hookimpl\ndef register_models(register): register(DetectorSpec('x'))",
        "TypeError: .*missing 3 required positional arguments.*py:3",
    ),
    "bad name": (good("My Detector"), "lower case letters, digits"),
    "bad preprocessing": (
        good("a", ', preprocessing={"resise": 3}'),
        "detector 'a': preprocessing: unknown key 'resise' for image .did you mean 'resize'",
    ),
    "bad recipe": (good("a", ', recipe="module"'), "recipe is 'module'"),
    "bad specifier": (good("a", ', requires_gasdet="new"'), "requires_gasdet is 'new'"),
    "import error": ("import nothing_like_this", "ModuleNotFoundError: No module named 'nothing_like_this' .*py:1"),
    "syntax error": ("def", "SyntaxError: invalid syntax .*py:1"),
    "exit at import": ("import sys; sys.exit('no GPU')", "SystemExit: no GPU .*py:1"),
    "raises with line breaks": ("raise ValueError('one\\ntwo')", "ValueError: one two .*py:1"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_marks_only_its_plugin_broken(site: Site, fault: str) -> None:
    code, message = FAULTS[fault]
    site.add("alpha", good("good"))
    site.add("zeta", code)
    registry = site.registry()
    state, error = state_of(registry, "zeta")
    assert state == "broken"
    assert "\n" not in error
    assert_matches(message, error)
    assert registry.detector("good").plugin.name == "alpha"
    assert [r.plugin.name for r in registry.detectors() if r.plugin.name == "zeta"] == []
    with pytest.raises(PluginError, match=r"plugin 'zeta' \(zeta 1\.0\) is broken"):
        registry.detector("zeta")


def assert_matches(pattern: str, text: str) -> None:
    assert re.search(pattern, text), f"{text!r} does not match {pattern!r}"


def test_nothing_of_a_plugin_whose_hook_raises_later_is_usable(site: Site) -> None:
    site.add("zeta", good("half") + "    raise RuntimeError('then this')\n")
    registry = site.registry()
    assert all(r.spec.name != "half" for r in registry.detectors())
    with pytest.raises(PluginError, match="RuntimeError: then this"):
        registry.detector("half")


def test_an_unknown_hook_is_ignored_with_a_note(site: Site) -> None:
    site.add("alpha", good("a") + "\n@hookimpl\ndef register_model(register): raise SystemError\n")
    registry = site.registry()
    plugin = registry.detector("a").plugin
    assert plugin.state == "ok"
    assert_matches(r"register_model is no hook of gasdet .*did you mean register_models", " ".join(plugin.notes))


def test_a_half_removed_installation_does_no_harm(site: Site) -> None:
    site.add("alpha", good("a"))
    (site.folder / "alpha-1.0.dist-info" / "METADATA").unlink()
    site.add("beta", good("b"))
    (site.folder / "beta-1.0.dist-info" / "METADATA").write_text("")
    (site.folder / "gamma-1.0.dist-info").mkdir()
    (site.folder / "gamma-1.0.dist-info" / "entry_points.txt").write_text("[gasdet]\ngamma = gone.plugin\n")
    registry = site.registry()
    assert registry.detector("a").plugin.distribution.startswith("alpha")
    assert registry.detector("b").plugin.version == ""
    assert state_of(registry, "gamma") == ("broken", "ModuleNotFoundError: No module named 'gone'")


def test_a_plugin_that_forgot_the_marker_gets_a_note(site: Site) -> None:
    site.add("alpha", "def register_models(register): pass")
    plugin = next(p for p in site.registry().plugins if p.name == "alpha")
    assert plugin.state == "ok"
    assert "hookimpl" in plugin.notes[0]


def test_an_incompatible_plugin_is_refused_with_a_sentence(site: Site) -> None:
    site.add("alpha", good("a", ', requires_gasdet=">=99"'))
    site.add("beta", good("b", ', requires_gasdet=">=0.1"'))
    registry = site.registry()
    assert state_of(registry, "alpha")[0] == "refused"
    with pytest.raises(PluginError, match=r"refused: its detector 'a' needs gasdet >=99 and this is gasdet"):
        registry.detector("a")
    assert registry.detector("b").plugin.name == "beta"


def test_a_name_of_two_distributions_is_an_error_when_asked_for(site: Site) -> None:
    site.add("alpha", good("same"))
    site.add("beta", good("same"), version="2.5")
    registry = site.registry()
    assert [r.qualified for r in registry.detectors() if r.spec.name == "same"] == ["alpha/same", "beta/same"]
    with pytest.raises(
        PluginError, match=r"'same' is used by alpha 1.0 and beta 2.5; ask for 'alpha/same' or 'beta/same'"
    ):
        registry.detector("same")
    assert registry.detector("beta/same").plugin.version == "2.5"
    assert len(registry.collisions()) == 1


def test_two_distributions_with_one_entry_point_name_are_told_apart_by_distribution(site: Site) -> None:
    site.add("dist-one", good("same"), entry="twin")
    site.add("dist-two", good("same"), entry="twin")
    registry = site.registry()
    with pytest.raises(PluginError, match="'dist-one/same' or 'dist-two/same'"):
        registry.detector("twin/same")
    assert registry.detector("dist_two/same").plugin.distribution == "dist-two"


def test_an_unknown_name_lists_the_nearest(site: Site) -> None:
    site.add("alpha", good("trajectory"))
    with pytest.raises(
        UsageError, match=r"no detector is called 'trajectry' \(did you mean 'trajectory'\?\); installed"
    ):
        site.registry().detector("trajectry")
    with pytest.raises(UsageError, match="no loss is called 'focl'"):
        site.registry().component("loss", "focl")


def test_the_selection_leaves_others_unimported_and_keeps_the_core(site: Site) -> None:
    site.add("alpha", good("a"))
    site.add("beta", "raise AssertionError('it was imported')")
    registry = site.registry("alpha")
    assert state_of(registry, "beta") == ("not selected", "")
    assert state_of(registry, "builtin")[0] == "ok"
    with pytest.raises(PluginError, match="GASDET_PLUGINS does not name it"):
        registry.detector("beta")
    assert state_of(site.registry(""), "alpha")[0] == "not selected"
    with pytest.raises(
        UsageError, match="GASDET_PLUGINS names 'alhpa', which is not installed; installed plugins: alpha"
    ):
        site.registry("alhpa")


def test_strict_mode_raises_what_is_otherwise_listed(
    site: Site, monkeypatch: pytest.MonkeyPatch, fresh: object
) -> None:
    site.add("alpha", "raise KeyError('missing')")
    monkeypatch.setenv("GASDET_PLUGINS", "alpha")
    assert state_of(load_registry(), "alpha")[0] == "broken"
    assert load_registry() is load_registry()
    load_registry.cache_clear()
    monkeypatch.setenv("GASDET_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError, match=r"plugin 'alpha' .* is broken: KeyError: 'missing'") as caught:
        load_registry()
    assert isinstance(caught.value.__cause__, KeyError)


def test_strict_mode_raises_on_a_collision(site: Site, monkeypatch: pytest.MonkeyPatch, fresh: object) -> None:
    site.add("alpha", good("same"))
    site.add("beta", good("same"))
    monkeypatch.setenv("GASDET_PLUGINS", "alpha,beta")
    monkeypatch.setenv("GASDET_STRICT_PLUGINS", "true")
    with pytest.raises(PluginError, match=r"used by alpha 1\.0 and beta 1\.0"):
        load_registry()


def test_targets_are_imported_when_asked_for() -> None:
    assert load_target("json") is json
    assert load_target("os:path.join") is os.path.join
    with pytest.raises(PluginError, match="module 'json' has no attribute 'dumpz'"):
        load_target("json:dumpz")
    with pytest.raises(PluginError, match="cannot import 'no_such_module_here': ModuleNotFoundError"):
        load_target("no_such_module_here:x")


def test_every_error_is_a_gasdet_error() -> None:
    assert issubclass(PluginError, GasdetError)
    assert (PluginError.exit_code, UsageError.exit_code) == (1, 2)


def test_installed_packages_are_found_in_a_new_process(plugin_site: Path, collision_site: Path) -> None:
    """The same through real installations: what pip wrote is what is read."""
    code = (
        "import json, sys; from gasdet.registry import load_registry; r = load_registry();"
        "print(json.dumps([[p.name, p.distribution, p.version, p.state, p.error] for p in r.plugins]));"
        "print(json.dumps([d.qualified for d in r.detectors()])); print(json.dumps(sorted(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(plugin_site), str(collision_site)))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    plugins, detectors, modules = (json.loads(line) for line in done.stdout.splitlines())
    by_name = {name: rest for name, *rest in plugins}
    assert by_name["testimage"] == ["gasdet-testimage", "1.2.0", "ok", ""]
    assert by_name["testimporterror"][2] == "broken"
    assert by_name["testhookerror"][2:] == [
        "broken",
        "RuntimeError: the table of weights is missing (gasdet_testhookerror/plugin.py:11)",
    ]
    assert {"testimage/edges", "testcollision/edges", "testcollision/corners", "testaudio/loudness"} <= set(detectors)
    assert not {"torch", "numpy", "gasdet_testimage.model"} & set(modules)


@pytest.mark.parametrize(
    ("statement", "state", "sentence"),
    [
        ('requires_gasdet = ">=99"', "refused", "it needs gasdet >=99 and this is gasdet"),
        ('requires_gasdet = "<0.1"', "refused", "it needs gasdet <0.1 and this is gasdet"),
        ('requires_gasdet = "new"', "broken", "requires_gasdet is 'new', not a version specifier"),
        ("hookspec_version = 99", "refused", "it is made for version 99 of the hooks and gasdet"),
        ("hookspec_version = 'two'", "broken", "hookspec_version is 'two', not a whole number"),
        ("hookspec_version = 1", "ok", ""),
    ],
)
def test_a_plugin_made_for_another_core_is_refused_with_one_sentence(
    statement: str, state: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = tmp_path / "gasdet_other-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: gasdet-other\nVersion: 1.0\n")
    module = f"made_for_{abs(hash(statement))}"
    (about / "entry_points.txt").write_text(f"[gasdet]\nother = {module}\n")
    (tmp_path / f"{module}.py").write_text(
        "from gasdet import ComponentSpec, hookimpl\n"
        f"{statement}\n"
        "@hookimpl\ndef register_metrics(register):\n    register(ComponentSpec('odd', 'math:sqrt', 'for tests'))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("GASDET_PLUGINS", "other")
    monkeypatch.delenv("GASDET_STRICT_PLUGINS", raising=False)
    load_registry.cache_clear()
    try:
        found = next(plugin for plugin in load_registry().plugins if plugin.name == "other")
    finally:
        load_registry.cache_clear()
    assert found.state == state
    assert sentence in found.error
