"""Data sets at HTTP addresses: a file, or a page that lists files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from loopback import Served, Server

from gasdet.data import load_data
from gasdet.data.catalogue import read_catalogue
from gasdet.data.remote import LocalCopy, local, local_copies
from gasdet.data.remote.downloading import Limits
from gasdet.data.remote.patience import Patience
from gasdet.data.remote.places import identity_of
from gasdet.errors import DataError, FetchError

Catalogue = Callable[..., Path]
Zipped = Callable[[int, int], bytes]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "Limits", lambda: Limits(3, Patience(0.5, 3, 0.01, 0.05)))


def entry(path: str, **keys: object) -> dict[str, object]:
    return {"name": "faces", "path": path, "modality": "image", **keys}


def copy_of(path: Path, **options: object) -> LocalCopy:
    [copy] = local_copies(read_catalogue(path), **options)  # type: ignore[arg-type]
    return copy


def names_at(path: Path) -> list[str]:
    return sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if not p.is_dir())


def test_one_archive_at_an_address(server: Server, catalogue: Catalogue, zipped: Zipped) -> None:
    content = zipped(1, 6)
    server.files["/sets/my faces.zip"] = Served(content)
    path = catalogue(entry(f"{server.address}/sets/my%20faces.zip"))
    copy = copy_of(path)
    assert (copy.revision, names_at(copy.path)) == ("", ["my faces.zip"])
    assert (copy.path / "my faces.zip").read_bytes() == content
    assert len(load_data(path).samples) == 12
    assert len(server.gets("/sets/my%20faces.zip")) == 1


@pytest.mark.parametrize("right", [True, False])
def test_the_catalogues_sha256_is_compared(server: Server, catalogue: Catalogue, zipped: Zipped, right: bool) -> None:
    content = zipped(1, 6)
    server.files["/x.zip"] = Served(content)
    stated = hashlib.sha256(content if right else b"other").hexdigest()
    path = catalogue(entry(f"{server.address}/x.zip", sha256=stated))
    if right:
        assert (copy_of(path).path / "x.zip").read_bytes() == content
    else:
        with pytest.raises(FetchError, match=r"x.zip .* has the sha256"):
            copy_of(path)


def page(*links: str) -> Served:
    listed = "".join(f'<a href="{link}">{link}</a>' for link in links)
    return Served(f"<html><a href='?C=N;O=D'>Name</a><a href='../'>up</a>{listed}</html>".encode(),
                  headers={"Content-Type": "text/html"})  # fmt: skip


def test_a_page_with_links_is_a_folder(server: Server, catalogue: Catalogue, png: Callable[[int], bytes]) -> None:
    server.files["/sets/"] = page("real/", "fake/", "README.txt")
    server.files["/sets/real/"] = page("1.png", "2%20b.png")
    server.files["/sets/fake/"] = page("3.png")
    for i, name in enumerate(["real/1.png", "real/2 b.png", "fake/3.png", "README.txt"]):
        server.files[f"/sets/{name}"] = Served(png(i))
    path = catalogue(entry(f"{server.address}/sets/"))
    assert names_at(copy_of(path).path) == ["README.txt", "fake/3.png", "real/1.png", "real/2 b.png"]
    assert sorted(str(s.label) for s in load_data(path).samples) == ["0", "0", "1"]


def test_where_head_is_refused_the_first_byte_is_asked_for(
    server: Server, catalogue: Catalogue, zipped: Zipped
) -> None:
    server.files["/x.zip"] = Served(zipped(1, 3), head=403)
    copy = copy_of(catalogue(entry(f"{server.address}/x.zip")))
    assert names_at(copy.path) == ["x.zip"]
    assert server.gets("/x.zip")[0].headers["Range"] == "bytes=0-0"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"<html>log in, please</html>", "text/html; charset=utf-8"),
        (b"\n <!DOCTYPE HTML>\n<title>wait</title>", "application/octet-stream"),
        (b"<div>not here any more</div>", "text/html"),
        (b"\xef\xbb\xbf<html>", "text/plain"),
    ],
)
@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz", "x.parquet", "x.jpg", "x.wav"])
def test_a_page_in_the_place_of_a_file_is_refused(
    server: Server, catalogue: Catalogue, name: str, content: bytes, kind: str, tmp_path: Path
) -> None:
    server.files[f"/{name}"] = Served(content, headers={"Content-Type": kind})
    with pytest.raises(FetchError, match=rf"/{name} sends a page to look at instead of the file"):
        copy_of(catalogue(entry(f"{server.address}/{name}", media_type="real")))
    assert len(server.gets(f"/{name}")) == 1
    assert not [p for p in (tmp_path / "downloads").rglob(name) if p.is_file()]


def test_a_file_that_is_called_a_page_by_its_server_is_taken(
    server: Server, catalogue: Catalogue, zipped: Zipped
) -> None:
    server.files["/x.zip"] = Served(zipped(1, 3), headers={"Content-Type": "text/html"})
    assert names_at(copy_of(catalogue(entry(f"{server.address}/x.zip"))).path) == ["x.zip"]


def test_variables_stand_in_for_secrets(
    server: Server, catalogue: Catalogue, zipped: Zipped, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SIGNATURE", "sig-77-secret")
    server.files["/x.zip"] = Served(zipped(1, 3))
    copy_of(catalogue(entry(f"{server.address}/x.zip?X-Amz-Signature=${{MY_SIGNATURE}}")))
    assert server.gets("/x.zip")[0].path == "/x.zip?X-Amz-Signature=sig-77-secret"


def test_another_signature_is_the_same_data_set_and_another_query_is_not(catalogue: Catalogue) -> None:
    def folder(query: str) -> str:
        return identity_of(read_catalogue(catalogue(entry(f"https://host/x.zip{query}")))[0]).folder

    assert folder("?X-Amz-Signature=a&X-Amz-Expires=9") == folder("?X-Amz-Signature=b") == folder("")
    assert folder("?part=1") != folder("?part=2")
    assert folder("?part=1&sig=x") == folder("?part=1&sig=y")


@pytest.mark.parametrize("act", [404, "stall", 403])
def test_nothing_secret_is_said_or_written(
    server: Server,
    catalogue: Catalogue,
    zipped: Zipped,
    tmp_path: Path,
    act: object,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local, "Limits", lambda: Limits(3, Patience(0.2, 2, 0.01, 0.05)))
    where = server.address.replace("http://", "http://user-hush:password-hush@")
    path = catalogue(entry(f"{where}/x.zip?X-Amz-Credential=credential-hush&token=token-hush"))
    server.files["/x.zip"] = Served(zipped(1, 3), acts=[act] * 9)
    with pytest.raises(FetchError) as caught:
        copy_of(path)
    server.files["/x.zip"].acts = []
    monkeypatch.setattr(local, "Limits", lambda: Limits(3, Patience(5.0, 2, 0.01, 0.05)))
    copy_of(path)
    chain: list[BaseException | None] = [caught.value]
    told = ""
    while (error := chain.pop()) is not None:
        told += str(error) + repr(error.args)
        chain.append(error.__cause__ or (None if error.__suppress_context__ else error.__context__))
    written = list((tmp_path / "downloads").rglob("*"))
    told += "".join(map(str, written)) + "".join(p.read_text("latin-1") for p in written if p.is_file())
    told += "".join(capfd.readouterr())
    assert "hush" not in told
    assert server.gets("/x.zip")[0].headers["Authorization"].startswith("Basic ")


def test_a_changed_file_is_seen_when_asked_to_update(
    server: Server, catalogue: Catalogue, zipped: Zipped, tmp_path: Path
) -> None:
    from gasdet.data.remote.tasks import download

    server.files["/x.zip"] = Served(zipped(1, 3))
    path = catalogue(entry(f"{server.address}/x.zip"))
    first = (copy_of(path).path / "x.zip").read_bytes()
    server.files["/x.zip"] = Served(zipped(2, 5))
    assert (copy_of(path).path / "x.zip").read_bytes() == first
    assert download([path])[0].missing_files == 0
    assert (copy_of(path).path / "x.zip").read_bytes() == first
    download([path], update=True)
    assert (copy_of(path).path / "x.zip").read_bytes() == zipped(2, 5)
    asked = len(server.gets("/x.zip"))
    download([path], update=True)  # nothing has changed, so nothing is fetched
    assert len(server.gets("/x.zip")) == asked


def test_an_address_without_a_file_is_a_sentence(server: Server, catalogue: Catalogue) -> None:
    server.files["/sets/"] = Served(b"<html>nothing</html>", headers={"Content-Type": "text/html"})
    with pytest.raises(FetchError, match="lists 0 files"):
        copy_of(catalogue(entry(f"{server.address}/sets/")))


def test_a_file_that_leads_out_of_its_folder_is_refused(server: Server, catalogue: Catalogue, tmp_path: Path) -> None:
    server.files["/sets/"] = page("..%2f..%2fescape.zip")
    with pytest.raises(FetchError, match="no path inside a folder"):
        copy_of(catalogue(entry(f"{server.address}/sets/")))
    assert not list(tmp_path.rglob("escape*"))


def test_more_than_the_disk_holds_is_refused_before_anything_is_fetched(
    server: Server, catalogue: Catalogue, zipped: Zipped, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    server.files["/x.zip"] = Served(zipped(1, 3))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 1000))  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"are to be fetched into .* GB are free there"):
        copy_of(catalogue(entry(f"{server.address}/x.zip")))
    assert server.gets("/x.zip") == []


def test_a_finished_file_that_was_never_recorded_is_taken_as_it_is(
    server: Server, catalogue: Catalogue, zipped: Zipped
) -> None:
    server.files["/x.zip"] = Served(zipped(1, 3))
    path = catalogue(entry(f"{server.address}/x.zip"))
    copy = copy_of(path)
    manifest = copy.path.parent / "manifest.json"
    stated = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**stated, "have": {}, "selections": {}}))  # as after a kill before the record
    asked = len(server.log)
    assert copy_of(path) == copy
    assert len(server.log) == asked
    assert json.loads(manifest.read_text()) == stated


@pytest.mark.parametrize(
    "word", ["key", "keyword", "design", "author", "authority", "signal", "policyholder", "expiry"]
)
def test_a_parameter_that_only_sounds_like_a_signature_makes_another_data_set(catalogue: Catalogue, word: str) -> None:
    def folder(query: str) -> str:
        return identity_of(read_catalogue(catalogue(entry(f"https://host/get.zip?{query}")))[0]).folder

    assert folder(f"{word}=real.zip") != folder(f"{word}=syn.zip")


@pytest.mark.parametrize("word", ["X-Goog-Signature", "AWSAccessKeyId", "Key-Pair-Id", "SE", "skoid", "Access_Token"])
def test_signatures_of_every_kind_make_no_other_data_set(catalogue: Catalogue, word: str) -> None:
    def folder(query: str) -> str:
        return identity_of(read_catalogue(catalogue(entry(f"https://host/get.zip?{query}")))[0]).folder

    assert folder(f"{word}=a&part=1") == folder("part=1")


@pytest.mark.parametrize("offline", [False, True])
def test_two_addresses_that_would_share_a_folder_are_refused(
    server: Server, catalogue: Catalogue, offline: bool
) -> None:
    where = f"{server.address}/x.zip?token="
    path = catalogue(entry(f"{where}hush-1"), {**entry(f"{where}hush-2"), "name": "others"})
    with pytest.raises(DataError, match=r"faces \(line \d+ of .*\) and others .* give both the same address") as caught:
        local_copies(read_catalogue(path), offline=offline)
    assert "hush" not in str(caught.value)
    assert server.log == []
    same = catalogue(entry(f"{where}1", include_paths="a"), entry(f"{where}1", include_paths="b"))
    assert len({identity_of(one).folder for one in read_catalogue(same)}) == 1


@pytest.mark.parametrize("where", ["/deny/${MY_SECRET}/x.zip", "/none/${MY_SECRET}/", "/none/${MY_SECRET}.zip"])
def test_a_variable_in_a_path_is_never_said(
    server: Server, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setenv("MY_SECRET", "path-hush")
    server.files["/deny/path-hush/x.zip"] = Served(b"", acts=[403] * 9)
    with pytest.raises(FetchError) as caught:
        copy_of(catalogue(entry(server.address + where)))
    assert "hush" not in str(caught.value)
    assert "MY_SECRET" in str(caught.value)
    assert any("path-hush" in request.path for request in server.log)


def test_a_variable_is_no_part_of_a_file_name(
    server: Server, catalogue: Catalogue, zipped: Zipped, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MY_SECRET", "path-hush")
    server.files["/path-hush.zip"] = Served(zipped(1, 3))
    path = catalogue(entry(f"{server.address}/${{MY_SECRET}}.zip"))
    assert names_at(copy_of(path).path) == ["MY_SECRET.zip"]
    written = list((tmp_path / "downloads").rglob("*"))
    told = "".join(map(str, written)) + "".join(p.read_text("latin-1") for p in written if p.is_file())
    assert "hush" not in told
    monkeypatch.delenv("MY_SECRET")
    with pytest.raises(FetchError, match="needs MY_SECRET, which is not set"):
        copy_of(catalogue(entry(f"{server.address}/other/${{MY_SECRET}}.zip")))


def test_a_port_that_is_none_after_all_is_a_sentence_and_stops_no_other(
    server: Server, catalogue: Catalogue, zipped: Zipped, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gasdet.data.remote.tasks import download

    monkeypatch.setenv("MY_PORT", "87hush65")
    server.files["/x.zip"] = Served(zipped(1, 3))
    path = catalogue(entry("http://h:${MY_PORT}/x.zip"), {**entry(f"{server.address}/x.zip"), "name": "good"})
    told = {one.name: one.error for one in download([path])}
    assert told["good"] == ""
    assert "the port a number" in told["faces"]
    assert "hush" not in told["faces"]
