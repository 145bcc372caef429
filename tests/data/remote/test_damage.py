"""What happens to downloads on a disk, and to those of which nothing ever said how long they are."""

from __future__ import annotations

import builtins
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from loopback import Served, Server

from gasdet.data.catalogue import read_catalogue
from gasdet.data.remote import local_copies, wanted
from gasdet.data.remote.store import names_on_disk
from gasdet.data.remote.tasks import download, verify
from gasdet.data.remote.verifying import Verified, verify_folder
from gasdet.errors import DataError
from gasdet.progress import Silent

Catalogue = Callable[..., Path]
Zipped = Callable[[int, int], bytes]
Damage = Callable[[Path], None]


class Notes(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def sets(server: Server, catalogue: Catalogue, zipped: Zipped) -> Path:
    """A data set of three archives at a page, and one of another archive."""
    server.files["/s/"] = Served(
        b"".join(b'<a href="%d.zip">x</a>' % i for i in range(3)), headers={"Content-Type": "text/html"}
    )
    for i in range(3):
        server.files[f"/s/{i}.zip"] = Served(zipped(i, 3))
    server.files["/other.zip"] = Served(zipped(9, 3))
    return catalogue(
        {"name": "faces", "path": f"{server.address}/s/", "modality": "image"},
        {"name": "other", "path": f"{server.address}/other.zip", "modality": "image"},
    )


@pytest.fixture
def files(sets: Path) -> Path:
    one, other = download([sets])
    assert (one.error, other.error) == ("", "")
    return Path(one.path) / "files"


def troubles(state: Verified) -> dict[str, str]:
    return {finding.file: finding.trouble for finding in state.findings}


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def looping(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize(
    ("damage", "trouble"), [(dangling, "missing"), (folder, "missing"), (pipe, "corrupt"), (looping, "unreadable")]
)
def test_one_bad_file_hides_no_other(sets: Path, files: Path, damage: Damage, trouble: str, quick: bool) -> None:
    damage(files / "0.zip")
    (files / "1.zip").unlink()
    for state in (verify([sets], quick=quick)[0][1], verify_folder(files.parent, None, quick=quick)):
        assert troubles(state) == {"0.zip": trouble, "1.zip": "missing"}
        assert not state.ok


@pytest.mark.parametrize("repair", [False, True])
@pytest.mark.parametrize("damage", [dangling, folder, pipe, looping])
def test_a_download_puts_it_right(sets: Path, files: Path, zipped: Zipped, damage: Damage, repair: bool) -> None:
    damage(files / "0.zip")
    (files / "1.zip").write_bytes(b"cut")
    assert [one.error for one in download([sets], repair=repair)] == ["", ""]
    assert [(files / f"{i}.zip").read_bytes() for i in range(3)] == [zipped(i, 3) for i in range(3)]
    assert all(state.ok for _, state in verify([sets]))


@pytest.mark.parametrize("repair", [False, True])
def test_a_folder_with_something_in_it_stays_and_so_does_all_else(
    sets: Path, files: Path, zipped: Zipped, repair: bool
) -> None:
    folder(files / "2.zip")
    (files / "2.zip" / "mine.txt").write_text("mine")
    cut = (files / "0.zip").read_bytes()[:-5]
    (files / "0.zip").write_bytes(cut)
    other = Path(download([sets], dry_run=True)[1].path) / "files" / "other.zip"
    other.unlink()
    told = {one.name: one.error for one in download([sets], repair=repair)}
    assert told["other"] == ""  # it is not stopped by the first
    assert other.read_bytes() == zipped(9, 3)
    assert "2.zip stands where a file is to be fetched to, and cannot be removed" in told["faces"]
    assert (files / "2.zip" / "mine.txt").read_text() == "mine"
    assert (files / "0.zip").read_bytes() == cut  # nothing has gone before it was known that all can


def test_what_the_disk_does_not_give_is_told_and_fetched_again(
    sets: Path, files: Path, zipped: Zipped, monkeypatch: pytest.MonkeyPatch
) -> None:
    inode = (files / "0.zip").stat().st_ino
    real = builtins.open

    def failing(path: Any, *arguments: Any, **keywords: Any) -> Any:
        if isinstance(path, Path) and path.name == "0.zip" and path.exists() and path.stat().st_ino == inode:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path, *arguments, **keywords)

    monkeypatch.setattr(builtins, "open", failing)
    (files / "1.zip").unlink()
    state = verify([sets])[0][1]
    assert troubles(state) == {"0.zip": "unreadable", "1.zip": "missing"}
    assert "Input/output error" in next(finding.message for finding in state.findings)
    keep = os.open(files / "0.zip", os.O_RDONLY)  # its inode is not given to another file
    assert [one.error for one in download([sets], repair=True)] == ["", ""]
    os.close(keep)
    assert verify([sets])[0][1].ok


def test_a_link_that_leads_nowhere_and_was_never_recorded_is_no_file(
    server: Server, catalogue: Catalogue, zipped: Zipped
) -> None:
    server.files["/x.zip"] = Served(zipped(1, 3))
    path = catalogue({"name": "faces", "path": f"{server.address}/x.zip", "modality": "image"})
    (one,) = download([path])
    file = Path(one.path) / "files" / "x.zip"
    manifest = file.parent.parent / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"have": {', '"have": {}, "had": {'))
    dangling(file)
    assert [one.error for one in download([path])] == [""]
    assert file.read_bytes() == zipped(1, 3)


@pytest.mark.parametrize("trouble", [errno.EMFILE, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("offline", [True, False])
def test_what_was_never_recorded_and_cannot_be_read_for_once_stays(
    sets: Path, files: Path, monkeypatch: pytest.MonkeyPatch, trouble: int, offline: bool
) -> None:
    manifest = files.parent / "manifest.json"
    stated = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**stated, "have": {}, "selections": {}}))
    contents = {file.name: file.read_bytes() for file in files.iterdir()}

    def failing(path: Path, stated: object) -> NoReturn:
        raise OSError(trouble, os.strerror(trouble))

    with monkeypatch.context() as patch:
        patch.setattr(wanted, "recorded_of", failing)
        if offline:
            with pytest.raises(DataError):
                local_copies(read_catalogue(sets), offline=True)
        else:
            download([sets], dry_run=True)
    assert {file.name: file.read_bytes() for file in files.iterdir()} == contents


def test_names_on_disk_are_all_files_and_links(tmp_path: Path) -> None:
    for name in ("files/b/1.zip", "files/a.zip", "files/b/c/2.zip.part"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "files" / "b" / "link").symlink_to(tmp_path)
    assert names_on_disk(tmp_path) == ["a.zip", "b/1.zip", "b/c/2.zip.part", "b/link"]


@pytest.fixture
def endless(server: Server, catalogue: Catalogue, zipped: Zipped) -> Path:
    """An archive that a server sends without saying how long it is, the first time cut."""
    server.files["/x.zip"] = Served(zipped(1, 3)[:-40], state_length=False)
    return catalogue({"name": "faces", "path": f"{server.address}/x.zip", "modality": "image"})


def test_what_came_without_a_length_is_told_and_its_size_counts(endless: Path) -> None:
    notes = Notes()
    (one,) = download([endless], progress=notes)
    assert one.own_bytes == one.bytes == (Path(one.path) / "files" / "x.zip").stat().st_size > 0
    told = "1 file came without a length or a checksum (x.zip), so that nothing says whether they are whole"
    assert notes.lines == [f"faces: {told}"]
    assert local_copies(read_catalogue(endless))[0].notes == (told,)


def test_what_came_without_a_length_and_cannot_be_opened_is_corrupt_and_repaired(
    endless: Path, server: Server, zipped: Zipped
) -> None:
    path = Path(download([endless])[0].path) / "files" / "x.zip"
    (finding,) = verify([endless])[0][1].findings
    assert (finding.trouble, finding.file) == ("corrupt", "x.zip")
    assert "came without a length or a checksum, and cannot be opened: " in finding.message
    server.files["/x.zip"].content = zipped(1, 3)
    download([endless])  # believes what was recorded
    assert path.read_bytes() == zipped(1, 3)[:-40]
    download([endless], repair=True)
    assert path.read_bytes() == zipped(1, 3)
    assert verify([endless])[0][1].ok
    asked = len(server.gets("/x.zip"))
    download([endless], repair=True)  # it can be opened, so that it stays
    assert len(server.gets("/x.zip")) == asked


@pytest.mark.parametrize(
    ("name", "content", "opens"),
    [
        ("x.parquet", b"PAR1 and no more", False),
        ("x.tar.gz", b"no archive", False),
        ("x.png", b"", False),
        ("x.png", b"x", True),
    ],
)
def test_what_can_be_opened(server: Server, catalogue: Catalogue, name: str, content: bytes, opens: bool) -> None:
    server.files[f"/{name}"] = Served(content, state_length=False)
    path = catalogue({"name": "faces", "path": f"{server.address}/{name}", "modality": "image", "media_type": "real"})
    download([path])
    assert verify([path])[0][1].ok is opens


def test_where_a_length_or_a_checksum_was_known_nothing_is_said(server: Server, sets: Path) -> None:
    for served in server.files.values():
        served.head = 403  # a listing that knows no sizes; the answers state them
        served.ranges = False
    notes = Notes()
    download([sets], progress=notes)
    assert notes.lines == []
