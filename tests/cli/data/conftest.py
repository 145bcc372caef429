"""A hub on loopback, a data set on it, and commands that run in this process."""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from gasdet.cli.group import gasdet

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "data" / "remote" / "support"))
sys.path.insert(0, str(Path(__file__).parent / "support"))

from downloads import write_catalogue
from loopback import Hub, Server, serving

Run = Callable[..., Result]


@pytest.fixture(scope="module", autouse=True)
def quick_collections() -> Iterator[None]:
    """Collecting what a command leaves does not go through all that was imported before it each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as one:
        yield one


@pytest.fixture
def hub(server: Server) -> Iterator[Hub]:
    with serving() as storage:
        yield Hub(server, storage)


@pytest.fixture
def files() -> dict[str, bytes]:
    """Four MiB in LFS files of different sizes, and small files of git."""
    rng = np.random.default_rng(7)
    large = {f"data/part-{i}.zip": rng.bytes(size << 16) for i, size in enumerate((1, 3, 5, 9, 14, 20, 2, 10))}
    return {**large, **{f"notes/{i}.txt": rng.bytes(200) for i in range(12)}}


@pytest.fixture
def environment(tmp_path: Path, hub: Hub) -> dict[str, str]:
    own = {
        "HF_ENDPOINT": hub.server.address,
        "HF_HOME": str(tmp_path / "hf"),
        "GASDET_DATA": str(tmp_path / "downloads"),
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "GASDET_", "AWS_"))}
    return {**kept, "GASDET_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1", **own}


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    return write_catalogue(tmp_path / "sets.yaml", {"path": "someone/faces", "source": "huggingface"})


@pytest.fixture
def run(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in this process; keywords are environment variables."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def go(*arguments: object, **more: str) -> Result:
        result = CliRunner().invoke(gasdet, list(map(str, arguments)), env=more, prog_name="gasdet")
        gc.collect()  # a process of its own would have let go of every folder by now
        return result

    return go


@pytest.fixture
def fetched(hub: Hub, files: dict[str, bytes], catalogue: Path, run: Run, tmp_path: Path) -> Path:
    """A downloaded data set's folder of files."""
    hub.push("someone/faces", files)
    done = run("data", "download", catalogue, "--json")
    assert done.exit_code == 0, done.stderr
    return Path(json.loads(done.stdout)["datasets"][0]["path"]) / "files"
