"""The download folder: views, updates, repairs, and what cannot be written."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import forked
import pytest
from loopback import Served, Server

from gasdet.data.catalogue import read_catalogue
from gasdet.data.remote import LocalCopy, local_copies
from gasdet.data.remote.files import RemoteFile
from gasdet.data.remote.manifest import Identity, Manifest
from gasdet.data.remote.store import DatasetFolder
from gasdet.data.remote.tasks import download, verify
from gasdet.errors import DataError

Catalogue = Callable[..., Path]
Zipped = Callable[[int, int], bytes]
NAMES = [f"d/f{i}.png" for i in range(60)]
LISTED = Manifest(files={name: RemoteFile(name, 1) for name in [*NAMES, "other"]})


def _views(root: Path, barrier: Any, counts: Any, rounds: int) -> None:
    folder = DatasetFolder(root, Identity("http", "http://x/y", "", "", ""))
    bad = 0
    for _ in range(rounds):
        barrier.wait()
        view = folder.view(NAMES, LISTED)
        bad += any(not (view / "d").is_dir() or len(list((view / "d").iterdir())) != len(NAMES) for _ in range(5))
        if barrier.wait() == 0:
            shutil.rmtree(folder.path / "views")
        barrier.wait()
    counts.put(bad)


def test_several_processes_that_make_one_view_never_see_half_of_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, counts = context.Barrier(4, timeout=60), context.Queue()
    processes = [context.Process(target=_views, args=(tmp_path, barrier, counts, 15)) for _ in range(4)]
    for process in processes:
        process.start()
    assert [counts.get(timeout=60) for _ in processes] == [0] * 4
    for process in processes:
        process.join()


def test_a_view_is_mended_without_taking_it_away(tmp_path: Path) -> None:
    folder = DatasetFolder(tmp_path, Identity("http", "http://x/y", "", "", ""))
    view = folder.view(NAMES, LISTED)
    (view / NAMES[3]).unlink()
    before = os.stat(view).st_ino
    assert folder.view(NAMES, LISTED) == view
    assert os.stat(view).st_ino == before
    assert len(list((view / "d").iterdir())) == len(NAMES)


def snapshot(root: Path) -> dict[str, tuple[int, bytes]]:
    return {
        p.relative_to(root).as_posix(): (p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else b"")
        for p in sorted(root.rglob("*"))
    }


@pytest.fixture
def sets(server: Server, catalogue: Catalogue, zipped: Zipped) -> Path:
    server.files["/x.zip"] = Served(zipped(1, 3))
    return catalogue({"name": "faces", "path": f"{server.address}/x.zip", "modality": "image"})


def fetched(sets: Path) -> Path:
    [one] = download([sets])
    assert not one.error
    return Path(one.path)


def test_a_dry_run_writes_and_removes_nothing(server: Server, sets: Path, zipped: Zipped, tmp_path: Path) -> None:
    root = tmp_path / "downloads"
    assert download([sets], dry_run=True)[0].missing_files == 1
    assert not root.exists()
    path = fetched(sets)
    server.files["/x.zip"] = Served(zipped(2, 5))
    damaged = (path / "files" / "x.zip").read_bytes()[::-1]
    (path / "files" / "x.zip").write_bytes(damaged)
    before = snapshot(root)
    assert download([sets], dry_run=True, update=True)[0].missing_files == 1
    assert download([sets], dry_run=True, repair=True)[0].missing_files == 1
    assert download([sets], dry_run=True)[0].missing_files == 0
    assert snapshot(root) == before


def test_an_update_removes_nothing_that_another_process_reads(server: Server, sets: Path, zipped: Zipped) -> None:
    path = fetched(sets)
    server.files["/x.zip"] = Served(zipped(2, 5))
    gc.collect()  # a process of its own has no lock of this one's
    with forked.holding(lambda: local_copies(read_catalogue(sets), offline=True)[0].path) as told:
        assert told == str(path / "files")
        [one] = download([sets], update=True)
        assert "another process uses them" in one.error
        assert (path / "files" / "x.zip").read_bytes() == zipped(1, 3)
    assert download([sets], update=True)[0].error == ""
    assert (path / "files" / "x.zip").read_bytes() == zipped(2, 5)


def test_an_update_that_does_not_fit_leaves_what_is_here(
    server: Server, sets: Path, zipped: Zipped, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fetched(sets)
    server.files["/x.zip"] = Served(zipped(2, 5))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 1000))  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="GB are free there"):
        download([sets], update=True)
    assert (path / "files" / "x.zip").read_bytes() == zipped(1, 3)


@pytest.mark.parametrize("damage", [lambda b: b[:100], lambda b: b + b"x"])
def test_a_file_of_another_size_is_fetched_again(sets: Path, zipped: Zipped, damage: Callable[[bytes], bytes]) -> None:
    file = fetched(sets) / "files" / "x.zip"
    file.write_bytes(damage(file.read_bytes()))
    fetched(sets)
    assert file.read_bytes() == zipped(1, 3)


def test_repair_fetches_again_what_differs_and_nothing_else(server: Server, sets: Path, zipped: Zipped) -> None:
    file = fetched(sets) / "files" / "x.zip"
    asked = len(server.gets("/x.zip"))
    download([sets], repair=True)
    assert len(server.gets("/x.zip")) == asked
    file.write_bytes(file.read_bytes()[::-1])
    assert [f.trouble for f in verify([sets])[0][1].findings] == ["corrupt"]
    download([sets])  # believes sizes
    assert file.read_bytes() != zipped(1, 3)
    download([sets], repair=True)
    assert file.read_bytes() == zipped(1, 3)
    assert verify([sets])[0][1].ok


def test_offline_takes_what_a_killed_process_had_not_recorded(server: Server, sets: Path) -> None:
    path = fetched(sets)
    stated = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**stated, "have": {}, "selections": {}}))
    asked = len(server.log)
    [copy] = local_copies(read_catalogue(sets), offline=True)
    assert (copy.path / "x.zip").exists()
    assert len(server.log) == asked


def test_the_catalogue_is_named_where_something_is_missing(sets: Path) -> None:
    with pytest.raises(DataError, match=rf"'gasdet data download {sets} --datasets 'faces'' fetches"):
        local_copies(read_catalogue(sets), offline=True)


def test_sizes_of_two_entries_of_one_data_set_add_up(
    server: Server, catalogue: Catalogue, png: Callable[[int], bytes]
) -> None:
    links = "".join(f'<a href="{n}.png">x</a>' for n in "abc")
    server.files["/s/"] = Served(links.encode(), headers={"Content-Type": "text/html"})
    for i, name in enumerate("abc"):
        server.files[f"/s/{name}.png"] = Served(png(i))
    where = {"path": f"{server.address}/s/", "modality": "image"}
    path = catalogue({"name": "x", **where, "exclude_paths": "c"}, {"name": "y", **where, "exclude_paths": "a"})
    sizes = [len(png(i)) for i in range(3)]
    plan = download([path], dry_run=True)
    assert [one.missing_bytes for one in plan] == [sizes[0] + sizes[1], sizes[1] + sizes[2]]
    assert sum(one.own_missing_bytes for one in plan) == sum(one.own_most_bytes for one in plan) == sum(sizes)
    assert sum(one.own_bytes for one in download([path])) == sum(sizes)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    subprocess.run(["chmod", "-R", "u+rwX", str(folder)], check=True)
    shutil.rmtree(folder)


@pytest.mark.parametrize("recorded", [True, False])
def test_a_download_folder_that_cannot_be_written_is_read(
    server: Server, zipped: Zipped, open_folder: Path, monkeypatch: pytest.MonkeyPatch, recorded: bool
) -> None:
    monkeypatch.setenv("GASDET_DATA", str(open_folder / "downloads"))
    cache = open_folder / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    monkeypatch.setenv("GASDET_CACHE", str(cache))
    links = "".join(f'<a href="{n}.zip">x</a>' for n in "ab")
    server.files["/s/"] = Served(links.encode(), headers={"Content-Type": "text/html"})
    for i, name in enumerate("ab"):
        server.files[f"/s/{name}.zip"] = Served(zipped(i, 3))
    sets = open_folder / "sets.yaml"
    sets.write_text(f"datasets: [{{name: f, path: '{server.address}/s/', modality: image, include_paths: a.zip}}]")
    entries = read_catalogue(sets)
    path = Path(download([sets])[0].path)
    gc.collect()  # a process of its own would have let go of the folder by now
    if not recorded:
        stated = json.loads((path / "manifest.json").read_text())
        (path / "manifest.json").write_text(json.dumps({**stated, "have": {}, "selections": {}}))
        (path / ".used").unlink()
    subprocess.run(["chmod", "-R", "a-w,a+rX", str(open_folder / "downloads")], check=True)
    before = snapshot(open_folder / "downloads")
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # for root, nothing is read-only
    try:
        [copy] = local_copies(entries, offline=True)
        assert isinstance(copy, LocalCopy)
        assert [(p.name, p.read_bytes()) for p in copy.path.iterdir()] == [("a.zip", zipped(0, 3))]
        assert local_copies(entries) == [copy]
    finally:
        os.seteuid(user)
    assert snapshot(open_folder / "downloads") == before
