"""The fixtures that plugins' tests get with the core, used as a plugin's author uses them: in a pytest of their own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

TESTS = textwrap.dedent(
    """
    import os
    from pathlib import Path

    import pytest

    import gasdet


    @pytest.fixture
    def setting(monkeypatch):
        monkeypatch.setenv("OF_THE_TEST", "1")
        yield
        assert os.environ["OF_THE_TEST"] == "1", "the fixtures of gasdet took back what this one has set"


    def test_patches_of_the_test_last_until_its_end(setting, gasdet_run, gasdet_registry):
        gasdet_registry("builtin")
        assert os.environ["GASDET_PLUGINS"] == "builtin"


    def test_registry(gasdet_registry):
        assert "GASDET_PLUGINS" not in os.environ
        registry = gasdet_registry("builtin")
        assert not registry.detectors()
        assert registry.component("metric", "brier").spec.name == "brier"


    def test_the_registry_is_what_it_was():
        assert "GASDET_PLUGINS" not in os.environ
        assert "GASDET_STRICT_PLUGINS" not in os.environ


    def test_media(gasdet_media):
        for modality in ("image", "video", "audio"):
            folder = gasdet_media(modality, per_class=2)
            assert folder == gasdet_media(modality, per_class=2)
            assert [len(list((folder / name).iterdir())) for name in ("real", "synthetic")] == [2, 2]


    def test_run(gasdet_run):
        assert Path.cwd() == gasdet_run
        assert not list(gasdet_run.iterdir())
        from gasdet.cachedir import cache_dir

        assert cache_dir().parent == gasdet_run
    """
)


def test_a_plugins_tests_use_them(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(TESTS)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout


def test_importing_them_imports_nothing_heavy() -> None:
    code = (
        "import sys, gasdet.testing.fixtures, gasdet.testing;"
        "sys.exit(str(sorted({'torch', 'numpy', 'av', 'sklearn', 'safetensors'} & set(sys.modules))).strip('[]'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert not done.stderr.strip(), done.stderr
