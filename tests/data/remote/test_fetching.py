"""Many files: what fails is counted and told with its lines, and progress is of what arrives, from one thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from loopback import Served, Server

from gasdet.data.catalogue import read_catalogue
from gasdet.data.remote.downloading import Downloader, Limits
from gasdet.data.remote.fetching import Job, fetch_jobs
from gasdet.data.remote.files import RemoteFile
from gasdet.data.remote.manifest import Identity
from gasdet.data.remote.patience import Patience
from gasdet.data.remote.store import DatasetFolder
from gasdet.data.remote.tasks import download, verify
from gasdet.data.remote.web import WebSource
from gasdet.errors import FetchError

Catalogue = Callable[..., Path]
Zipped = Callable[[int, int], bytes]
QUICK = Patience(stall_s=0.5, attempts=3, first_pause_s=0.01, longest_pause_s=0.02)
SIZE = 1 << 20


class Sink:
    """Keeps what it was told, and from which threads."""

    def __init__(self) -> None:
        self.totals: list[int] = []
        self.done: list[int] = []
        self.threads: set[int] = set()

    def start(self, label: str, total: int, unit: str = "samples") -> None:
        self.totals.append(total)
        self.threads.add(threading.get_ident())

    def advance(self, done: int, errors: int) -> None:
        self.done.append(done)
        self.threads.add(threading.get_ident())

    def finish(self) -> None:
        self.threads.add(threading.get_ident())

    def note(self, line: str) -> None:
        self.threads.add(threading.get_ident())


def fetch(
    server: Server, folder: DatasetFolder, files: list[RemoteFile], sink: Sink | None = None, at_once: int = 1
) -> Sink:
    sink = sink or Sink()

    async def work() -> None:
        source = WebSource(f"{server.address}/s/", QUICK)
        jobs = [Job(source, file, folder.file(file.name), folder, [line]) for line, file in enumerate(files, 2)]
        try:
            await fetch_jobs(jobs, at_once, QUICK, sink)
        finally:
            await source.close()

    asyncio.run(work())
    return sink


@pytest.fixture
def folder(tmp_path: Path) -> DatasetFolder:
    made = DatasetFolder(tmp_path, Identity("http", "http://x/y", "", "", ""))
    made.files.mkdir()
    return made


def test_a_file_that_another_process_made_otherwise_is_a_failure_like_any_other(
    server: Server, folder: DatasetFolder
) -> None:
    files = [RemoteFile(f"{i}.bin", 5, sha256="0" * 64) for i in range(5)]
    for file in files[:3]:
        folder.file(file.name).write_bytes(b"other")
    server.files.update({f"/s/{file.name}": Served(b"right") for file in files})
    with pytest.raises(
        FetchError, match=r"0\.bin of .* is here, and is not as its source states; and 2 more"
    ) as caught:
        fetch(server, folder, files)
    assert caught.value.lines == (2, 3, 4)
    assert server.log == []  # after three failures the others are not begun


def test_something_in_a_file_s_place_is_a_sentence(server: Server, folder: DatasetFolder) -> None:
    folder.file("0.bin").mkdir()
    with pytest.raises(FetchError, match=r"0\.bin of .* is here, and cannot be read \(Is a directory\)"):
        fetch(server, folder, [RemoteFile("0.bin", 5)])


def test_a_wrong_checksum_and_what_is_kept_do_not_contradict_each_other(server: Server, folder: DatasetFolder) -> None:
    server.files["/s/0.bin"] = Served(b"wrong")
    with pytest.raises(FetchError) as caught:
        fetch(server, folder, [RemoteFile("0.bin", 5, sha256="0" * 64)])
    told = str(caught.value)
    assert "it was fetched twice, and not kept; files that are whole are kept" in told
    assert "what has arrived is kept" not in told


def test_bytes_of_an_earlier_attempt_come_first_and_at_once(
    server: Server, folder: DatasetFolder, noise: Callable[[int, int], bytes]
) -> None:
    """So that the rate, which counts from the first bytes on, is of what came over the network."""
    contents = [noise(seed, SIZE) for seed in range(2)]
    files = [RemoteFile(f"{i}.bin", SIZE) for i in range(2)]
    for i, content in enumerate(contents):
        server.files[f"/s/{i}.bin"] = Served(content, acts=["truncate", 500, 500, 500])
    with pytest.raises(FetchError):
        fetch(server, folder, files, at_once=2)
    left = sum(folder.file(f"{file.name}.part").stat().st_size for file in files)
    assert left > SIZE // 2
    for served in server.files.values():
        served.acts = []
    sink = fetch(server, folder, files, at_once=2)
    assert sink.totals == [2 * SIZE]
    assert sink.done[0] == left
    assert sum(sink.done) == 2 * SIZE
    assert all(done > 0 for done in sink.done)


def test_a_part_that_is_of_no_use_is_taken_back(
    server: Server, folder: DatasetFolder, noise: Callable[[int, int], bytes]
) -> None:
    server.files["/s/0.bin"] = Served(noise(1, SIZE))
    folder.file("0.bin.part").write_bytes(b"x" * 300_000)  # and nothing says which version it is of
    sink = fetch(server, folder, [RemoteFile("0.bin", SIZE)])
    assert sink.done[:2] == [300_000, -300_000]
    assert sum(sink.done) == SIZE


def test_progress_comes_from_one_thread(server: Server, catalogue: Catalogue, zipped: Zipped) -> None:
    """Reading parts, checking and repairing are other threads' work."""
    server.files["/x.zip"] = Served(zipped(1, 400), acts=["truncate"])
    path = catalogue({"name": "faces", "path": f"{server.address}/x.zip", "modality": "image"})
    sink = Sink()
    (one,) = download([path], progress=sink)
    file = Path(one.path) / "files" / "x.zip"
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[::-1])
    download([path], repair=True, progress=sink)
    assert sink.threads == {threading.get_ident()}
    assert sink.totals == [size] * 3  # of the download, of the reading, of the file that was damaged
    assert sum(sink.done) == sum(sink.totals)


def test_entries_of_one_name_and_folder_are_each_looked_at(
    server: Server, catalogue: Catalogue, zipped: Zipped
) -> None:
    page = b'<a href="a.zip">a</a><a href="b.zip">b</a>'
    server.files["/s/"] = Served(page, headers={"Content-Type": "text/html"})
    for i, name in enumerate("ab"):
        server.files[f"/s/{name}.zip"] = Served(zipped(i, 3))
    entry = {"name": "faces", "path": f"{server.address}/s/", "modality": "image"}
    path = catalogue({**entry, "include_paths": "a.zip"}, {**entry, "include_paths": "b.zip"})
    first, second = read_catalogue(path)
    root = Path(Downloader([second], None, path.parent / "downloads", Limits(2, QUICK)).fetch()[0].folder.path)
    ((name, state),) = verify([path])
    assert name == "faces"
    assert [finding.trouble for finding in state.findings] == ["not downloaded"]  # of the first
    Downloader([first], None, path.parent / "downloads", Limits(2, QUICK)).fetch()
    assert verify([path])[0][1].ok
    (root / "files" / "a.zip").unlink()
    assert [finding.file for finding in verify([path])[0][1].findings] == ["a.zip"]
