"""Servers on loopback, and data that lie on them."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

SUPPORT = Path(__file__).parent / "support"
sys.path.insert(0, str(SUPPORT))

import loopback  # noqa: E402


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download folder and a hub login of the test's own, and no waiting between tries."""
    monkeypatch.setenv("GASDET_DATA", str(tmp_path / "downloads"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)


@pytest.fixture
def server() -> Iterator[loopback.Server]:
    with loopback.serving() as one:
        yield one


@pytest.fixture
def storage() -> Iterator[loopback.Server]:
    with loopback.serving() as one:
        yield one


@pytest.fixture
def hub(server: loopback.Server, storage: loopback.Server, monkeypatch: pytest.MonkeyPatch) -> loopback.Hub:
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    return loopback.Hub(server, storage)


@pytest.fixture
def noise() -> Callable[[int, int], bytes]:
    """So many random bytes, by seed."""
    return lambda seed, size: np.random.default_rng(seed).bytes(size)


@pytest.fixture
def png() -> Callable[[int], bytes]:
    """A small image, by seed."""
    from PIL import Image

    def make(seed: int) -> bytes:
        pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()

    return make


@pytest.fixture
def zipped(png: Callable[[int], bytes]) -> Callable[[int, int], bytes]:
    """An archive of so many images below real/ and as many below fake/, by seed."""

    def make(seed: int, count: int) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for label in ("real", "fake"):
                for i in range(count):
                    archive.writestr(zipfile.ZipInfo(f"{label}/{seed}-{i}.png"), png(seed * 1000 + i))
        return buffer.getvalue()

    return make


@pytest.fixture
def catalogue(tmp_path: Path) -> Callable[..., Path]:
    """A catalogue file with these entries."""

    def make(*entries: dict[str, object], name: str = "sets.yaml") -> Path:
        import yaml

        path = tmp_path / name
        path.write_text(yaml.safe_dump({"datasets": list(entries)}))
        return path

    return make
