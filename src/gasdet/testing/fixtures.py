"""pytest fixtures for plugins' tests. The core's entry point in the group ``pytest11`` brings them wherever it is installed.

Nothing heavy is imported until a test asks for a fixture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gasdet.registry import Registry


@pytest.fixture
def gasdet_registry() -> Iterator[Callable[..., Registry]]:
    """A function that loads the registry anew with some plugins only: ``gasdet_registry("mydetector")``.

    The core's own components are always there. After the test the registry is what it was.
    """
    from gasdet.registry import load_registry

    # patches of its own: to undo those of the test's monkeypatch would take back what the test itself has set
    with pytest.MonkeyPatch.context() as patches:

        def load(*plugins: str, strict: bool = True) -> Registry:
            patches.setenv("GASDET_PLUGINS", ",".join(plugins))
            patches.setenv("GASDET_STRICT_PLUGINS", "1" if strict else "0")
            load_registry.cache_clear()
            return load_registry()

        yield load
    load_registry.cache_clear()


@pytest.fixture(scope="session")
def gasdet_media(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that gives a small labelled data set: ``gasdet_media("video")`` is a folder with ``real`` and ``synthetic``.

    Eight files of each class, made once in a session: soft waves or hum, with a fine grid or a whistle in the synthetic ones.
    ``per_class`` asks for another number.
    """
    from gasdet.testing.samples import write_folder
    from gasdet.types import Modality

    made: dict[tuple[str, int], Path] = {}

    def folder(modality: str, per_class: int = 8) -> Path:
        key = (str(Modality(modality)), per_class)
        if key not in made:
            made[key] = write_folder(
                tmp_path_factory.mktemp(f"gasdet-{key[0]}") / "media", Modality(modality), per_class
            )
        return made[key]

    return folder


@pytest.fixture
def gasdet_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new folder that is the working directory, with a cache of its own: what commands write stays in it."""
    folder = tmp_path / "gasdet-run"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GASDET_CACHE", str(folder / "cache"))
    return folder
