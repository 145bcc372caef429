"""``gasdet data clean``: what goes, in which order, and what stays."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path

import forked
import numpy as np
from click.testing import Result
from downloads import write_catalogue
from loopback import Hub

from gasdet.cache.store import Store
from gasdet.data.catalogue import read_catalogue
from gasdet.data.remote import local_copies

Run = Callable[..., Result]


def test_clean_takes_a_decode_cache_of_ones_own_and_respects_its_jobs(run: Run, tmp_path: Path) -> None:
    store = Store(tmp_path / "mine", 1 << 30)
    for i in range(4):
        store.put(f"{i:032x}", b"x" * 4000)
    for path in (tmp_path / "mine" / "entries").rglob("*"):
        os.utime(path, (1e9, 1e9))
    job = store.begin_job()
    assert store.get(f"{0:032x}") is not None  # in use from now on
    clean = ("data", "clean", "--max-size", "0", "--decode-cache", tmp_path / "mine", "--json")
    dry = json.loads(run(*clean, "--dry-run").stdout)
    assert store.total_bytes() == 4 * 4096
    done = json.loads(run(*clean).stdout)
    assert dry["decoded_bytes"] == done["decoded_bytes"] == 3 * 4096
    assert store.total_bytes() == 4096
    job.close()
    assert "no decode cache" in run("data", "clean", "--max-size", "0", "--decode-cache", tmp_path).stderr


def test_clean_removes_what_was_used_longest_ago(hub: Hub, run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    paths = []
    for i in range(3):
        hub.push(f"someone/set{i}", {"x.zip": rng.bytes(1 << 20)})
        path = write_catalogue(tmp_path / f"{i}.yaml", {"path": f"someone/set{i}", "source": "huggingface"})
        done = run("data", "download", path, "--json")
        paths.append(Path(json.loads(done.stdout)["datasets"][0]["path"]))
        os.utime(paths[i] / ".used", (1e9 + [200, 0, 100][i],) * 2)
    done = run("data", "clean", "--max-size", "1.5M", "--dry-run", "--json")
    assert [Path(u["path"]) for u in json.loads(done.stdout)["removed"]] == [paths[1], paths[2]]
    assert all(path.exists() for path in paths)
    with (paths[1] / ".used").open() as used:
        fcntl.flock(used, fcntl.LOCK_SH)  # what a reader does
        done = run("data", "clean", "--max-size", "1.5M")
        assert [path.exists() for path in paths] == [False, True, False]
        assert "in use, kept" in done.stderr
    done = run("data", "clean", "--max-size", "0")
    assert not any(path.exists() for path in paths)
    assert "0 bytes in 0 folders kept" in done.stdout


def test_a_folder_in_use_by_an_evaluation_is_not_removed(
    hub: Hub, environment: dict[str, str], catalogue: Path, tmp_path: Path, run: Run
) -> None:
    hub.push("someone/faces", {"real/a.png": b"x" * 5000})
    with forked.holding(lambda: local_copies(read_catalogue(catalogue))[0].path) as told:
        path = Path(told)
        run("data", "clean", "--max-size", "0")
        assert (path / "real" / "a.png").exists()
    run("data", "clean", "--max-size", "0")
    assert not path.exists()
