"""A part of the demo data, made once for the tests of this folder, and the whole of them for the slow ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from gasdet.data.demo import ensure_demo
from gasdet.data.demo.__main__ import make_scene
from gasdet.data.demo.catalogue import Scene
from gasdet.data.demo.plan import plan


def write_scenes(scenes: list[Scene], folder: Path) -> None:
    for scene in scenes:
        (folder / scene.real_path).parent.mkdir(parents=True, exist_ok=True)
        make_scene(scene, folder)


@pytest.fixture(scope="session")
def scenes() -> list[Scene]:
    """Scenes of each modality out of the test split; fewer clips, which take the longest."""
    return [
        s
        for m, count in (("image", 12), ("video", 6), ("audio", 12))
        for s in [s for s in plan() if s.modality == m and s.split == "test"][:count]
    ]


@pytest.fixture(scope="session")
def made(scenes: list[Scene], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of ``scenes``."""
    folder = tmp_path_factory.mktemp("demo")
    write_scenes(scenes, folder)
    return folder


@pytest.fixture(scope="session")
def whole() -> Path:
    """The whole demo data, from the cache where they are there already."""
    return ensure_demo()
