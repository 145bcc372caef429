"""The hub: listed at one commit, fetched from there, and the token kept where it belongs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from loopback import Hub, Server

from gasdet.data.catalogue import read_catalogue
from gasdet.data.remote import LocalCopy, is_at_hand, local, local_copies
from gasdet.data.remote.downloading import Limits
from gasdet.data.remote.patience import Patience
from gasdet.errors import DataError, FetchError

Catalogue = Callable[..., Path]
Zipped = Callable[[int, int], bytes]
ENTRY = {"name": "faces", "path": "someone/faces", "source": "huggingface", "modality": "image"}


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def copy_of(path: Path, **options: object) -> LocalCopy:
    [copy] = local_copies(read_catalogue(path), **options)  # type: ignore[arg-type]
    return copy


@pytest.fixture
def files(zipped: Zipped) -> dict[str, bytes]:
    """Three archives, LFS files all of them, and files of git."""
    archives = {f"data/part-{i}.zip": zipped(i, 20) for i in range(3)}
    return {**archives, "README.md": b"# faces\n", "notes/deep/er.txt": b"words", ".gitattributes": b"*.zip lfs"}


def test_a_data_set_is_fetched_as_it_is_at_the_commit(hub: Hub, catalogue: Catalogue, files: dict[str, bytes]) -> None:
    commit = hub.push("someone/faces", files)
    copy = copy_of(catalogue(ENTRY))
    assert copy.revision == commit
    assert tree(copy.path) == {name: content for name, content in files.items() if not name.startswith(".")}
    assert min(len(content) for name, content in files.items() if name.endswith(".zip")) > hub.lfs


def test_listings_of_several_pages_are_read_to_the_end(
    hub: Hub, catalogue: Catalogue, png: Callable[[int], bytes]
) -> None:
    hub.page = 7
    files = {f"real/{i}.png": png(i) for i in range(40)}
    hub.push("someone/faces", files)
    assert tree(copy_of(catalogue(ENTRY)).path) == files


def test_what_is_here_is_not_asked_for_again(hub: Hub, catalogue: Catalogue, files: dict[str, bytes]) -> None:
    hub.push("someone/faces", files)
    first = copy_of(catalogue(ENTRY))
    asked = len(hub.server.log) + len(hub.storage.log)
    hub.push("someone/faces", {"data/part-0.zip": files["data/part-0.zip"]})  # a newer commit changes nothing here
    assert copy_of(catalogue(ENTRY)) == first
    assert len(hub.server.log) + len(hub.storage.log) == asked


def test_a_revision_is_a_commit_a_branch_or_a_tag(hub: Hub, catalogue: Catalogue, png: Callable[[int], bytes]) -> None:
    old = hub.push("someone/faces", {"a.png": png(1)})
    new = hub.push("someone/faces", {"a.png": png(2)})
    tag = hub.push("someone/faces", {"a.png": png(3)}, branch="v1")
    for revision, commit, seed in [(old, old, 1), ("main", new, 2), ("v1", tag, 3), ("", new, 2)]:
        copy = copy_of(catalogue({**ENTRY, "revision": revision} if revision else ENTRY))
        assert (copy.revision, tree(copy.path)) == (commit, {"a.png": png(seed)})


def test_lfs_files_and_git_files_are_checked(
    hub: Hub, catalogue: Catalogue, files: dict[str, bytes], noise: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "Limits", lambda: Limits(3, Patience(5.0, 3, 0.01, 0.05)))
    hub.push("someone/faces", files)
    served = hub.blob("someone/faces", "data/part-1.zip")
    served.content = noise(3, len(served.content))
    with pytest.raises(FetchError, match=r"data/part-1.zip of someone/faces at http.* has the sha256"):
        copy_of(catalogue(ENTRY))
    served.content = files["data/part-1.zip"]
    copy_of(catalogue(ENTRY))
    hub.push("someone/words", {"README.md": b"# words\n"})
    hub.blob("someone/words", "README.md").content = b"# Words\n"
    with pytest.raises(FetchError, match=r"README.md .* has the sha1"):
        copy_of(catalogue({**ENTRY, "path": "someone/words"}))


def test_a_file_of_another_length_than_listed_is_refused(hub: Hub, catalogue: Catalogue, monkeypatch, files) -> None:
    monkeypatch.setattr(local, "Limits", lambda: Limits(2, Patience(0.5, 2, 0.01, 0.02)))
    hub.push("someone/faces", files)
    hub.blob("someone/faces", "data/part-1.zip").content += b"more"
    with pytest.raises(FetchError, match=r"states \d+ bytes instead of \d+"):
        copy_of(catalogue(ENTRY))


def test_the_token_goes_to_the_hub_and_nowhere_else(
    hub: Hub, catalogue: Catalogue, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub.token = "hf_secrettoken1234"
    hub.push("someone/faces", files)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    copy_of(catalogue(ENTRY))
    api = [request for request in hub.server.log if request.path.startswith(("/api/", "/datasets/"))]
    assert all(request.headers.get("Authorization") == f"Bearer {hub.token}" for request in api)
    storage = [request for request in hub.storage.log if request.path.startswith("/lfs/")]
    assert len(storage) == 3
    assert not any("Authorization" in request.headers for request in storage)
    written = b"".join(path.read_bytes() for path in (tmp_path / "downloads").rglob("*.json"))
    assert b"hf_secret" not in written
    assert b"presigned" not in written


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"path": "someone/nothing"}, "no data set someone/nothing at http"),
        ({"revision": "v9"}, "no revision 'v9'"),
        ({"path": "someone/gated"}, "accept its terms"),
    ],
)
def test_what_the_hub_refuses_is_a_sentence(hub: Hub, catalogue: Catalogue, change: dict[str, str], word: str) -> None:
    hub.push("someone/faces", {"a.txt": b"x"})
    hub.push("someone/gated", {"a.txt": b"x"})
    hub.gated.add("someone/gated")
    with pytest.raises(FetchError, match=word):
        copy_of(catalogue({**ENTRY, **change}))


def test_a_hub_that_does_not_answer_is_told_within_seconds(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(FetchError, match=r"http://127.0.0.1:9 cannot be reached"):
        copy_of(catalogue(ENTRY))


@pytest.mark.parametrize(
    "name", ["../../escape.zip", "a/../../b.zip", "/etc/x.zip", "a\\b.zip", "a//b.zip", "x\n.zip", "é" * 200]
)
def test_names_that_lead_elsewhere_are_refused(hub: Hub, catalogue: Catalogue, name: str, tmp_path: Path) -> None:
    hub.push("someone/faces", {"ok.zip": b"x", name: b"y"})
    with pytest.raises(FetchError, match="no path inside a folder"):
        copy_of(catalogue(ENTRY))
    assert not list(tmp_path.rglob("*.zip"))


def test_offline_touches_no_network_and_says_what_is_missing(
    hub: Hub, catalogue: Catalogue, files: dict[str, bytes]
) -> None:
    hub.push("someone/faces", files)
    other = {**ENTRY, "name": "hands", "path": "someone/hands"}
    path = catalogue(ENTRY, other)
    with pytest.raises(
        DataError, match=r"faces \(someone/faces: nothing of it is here\), hands .*gasdet data download"
    ):
        local_copies(read_catalogue(path), offline=True)
    assert hub.server.log == []
    one = catalogue(ENTRY)
    assert not is_at_hand(read_catalogue(one)[0])
    copy = copy_of(one)
    assert is_at_hand(read_catalogue(one)[0])
    asked = len(hub.server.log)
    assert copy_of(one, offline=True) == copy
    (copy.path / "data" / "part-2.zip").resolve().unlink()
    assert not is_at_hand(read_catalogue(one)[0])
    with pytest.raises(DataError, match=r"faces \(someone/faces: 1 of 5 files, .* MB\); .*--datasets 'faces'"):
        copy_of(one, offline=True)
    assert len(hub.server.log) == asked
    assert tree(copy_of(one).path) == tree(copy.path)  # fetched again


def test_two_entries_of_one_data_set_share_its_files(hub: Hub, catalogue: Catalogue, files: dict[str, bytes]) -> None:
    hub.push("someone/faces", files)
    path = catalogue(
        {**ENTRY, "name": "one", "include_paths": ["part-0", "part-1"]},
        {**ENTRY, "name": "two", "include_paths": ["part-1"]},
    )
    one, two = local_copies(read_catalogue(path))
    archives = [sorted(p.name for p in copy.path.rglob("*.zip")) for copy in (one, two)]
    assert archives == [["part-0.zip", "part-1.zip"], ["part-1.zip"]]
    assert len(hub.storage.log) == 2  # each archive once


@pytest.mark.parametrize("offline", [False, True])
def test_a_source_that_cannot_be_fetched_from_is_a_sentence(catalogue: Catalogue, offline: bool) -> None:
    entry = {**ENTRY, "source": "modelscope"}
    with pytest.raises(DataError, match="modelscope, from which gasdet does not fetch"):
        copy_of(catalogue(entry), offline=offline)


def test_local_entries_are_passed_through(catalogue: Catalogue, tmp_path: Path, server: Server) -> None:
    copy = copy_of(catalogue({"name": "mine", "path": "mine", "modality": "image"}), offline=True)
    assert copy == LocalCopy(tmp_path / "mine", "")


def test_a_notebook_with_a_loop_of_its_own_can_fetch_too(
    hub: Hub, catalogue: Catalogue, png: Callable[[int], bytes]
) -> None:
    import asyncio

    hub.push("someone/faces", {"real/a.png": png(1)})
    path = catalogue(ENTRY)

    async def cell() -> LocalCopy:
        return copy_of(path)

    assert tree(asyncio.run(cell()).path) == {"real/a.png": png(1)}
