"""One file from a server that misbehaves: what arrives is whole or is not there."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from loopback import CHANGED, Served, Server, git_blob_sha1, http_date

from gasdet.data.remote.files import RemoteFile
from gasdet.data.remote.patience import Patience, retry_after
from gasdet.data.remote.transfer import Fetched, fetch_file
from gasdet.data.remote.web import WebSource
from gasdet.errors import DataError, FetchError

SIZE = 1 << 20
QUICK = Patience(stall_s=0.4, attempts=8, first_pause_s=0.01, longest_pause_s=1.5)
IMPATIENT = Patience(stall_s=0.4, attempts=4, first_pause_s=0.01, longest_pause_s=0.02)


def fetch(
    server: Server, target: Path, file: RemoteFile | None = None, patience: Patience = QUICK
) -> tuple[Fetched | None, int]:
    """Fetch /data/x.bin; with the sum of what was reported."""
    reported = 0

    def report(count: int) -> None:
        nonlocal reported
        reported += count

    async def work() -> Fetched | None:
        source = WebSource(f"{server.address}/data/x.bin", patience)
        try:
            return await fetch_file(source, file or RemoteFile("x.bin"), target, patience, report)
        finally:
            await source.close()

    return asyncio.run(work()), reported


@pytest.fixture
def content(noise: Callable[[int, int], bytes]) -> bytes:
    return noise(1, SIZE)


@pytest.fixture
def served(server: Server, content: bytes) -> Served:
    server.files["/data/x.bin"] = Served(content)
    return server.files["/data/x.bin"]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "here" / "x.bin"


def left(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir()) if target.parent.is_dir() else []


@pytest.mark.parametrize(
    "acts",
    [
        [],
        ["truncate"],
        ["truncate", "truncate", "truncate", "truncate", "truncate"],
        ["stall"],
        ["stall_halfway"],
        [503],
        [500, 502],
        ["more"],
        ["truncate", 503, "stall", "truncate"],
    ],
    ids=str,
)
def test_what_arrives_is_whole_whatever_happens_on_the_way(
    server: Server, served: Served, content: bytes, target: Path, acts: list[object]
) -> None:
    served.acts = list(acts)
    fetched, reported = fetch(server, target)
    assert target.read_bytes() == content
    assert fetched == Fetched(SIZE, hashlib.sha256(content).hexdigest())
    assert left(target) == ["x.bin"]
    assert reported == SIZE
    assert not served.acts


def test_a_broken_transfer_goes_on_where_it_stopped(server: Server, served: Served, target: Path) -> None:
    served.acts = ["truncate"]
    fetch(server, target)
    first, second = server.gets("/data/x.bin")
    assert "Range" not in first.headers
    start = int(second.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= SIZE // 2
    assert second.headers["If-Range"] == served.tag


def test_a_date_stands_in_for_an_etag(server: Server, served: Served, content: bytes, target: Path) -> None:
    served.etag, served.acts = 'W/"weak"', ["truncate"]
    fetch(server, target)
    assert server.gets("/data/x.bin")[1].headers["If-Range"] == CHANGED
    assert target.read_bytes() == content


def test_without_anything_that_names_the_version_it_starts_over(
    server: Server, served: Served, content: bytes, target: Path
) -> None:
    served.etag, served.headers, served.acts = None, {"Last-Modified": ""}, ["truncate"]
    fetch(server, target)
    assert "Range" not in server.gets("/data/x.bin")[1].headers
    assert target.read_bytes() == content


def test_a_file_that_changes_meanwhile_starts_over(
    server: Server, served: Served, noise: Callable[[int, int], bytes], target: Path
) -> None:
    served.acts = ["truncate"] + [500] * 3
    with pytest.raises(FetchError):
        fetch(server, target, patience=IMPATIENT)
    assert left(target) == ["x.bin.part", "x.bin.part.json"]
    served.content = noise(2, SIZE - 5000)
    fetched, reported = fetch(server, target)
    assert target.read_bytes() == served.content
    assert reported == SIZE - 5000
    assert fetched is not None
    assert fetched.size == SIZE - 5000
    assert left(target) == ["x.bin"]


def test_a_server_that_ignores_ranges_sends_it_again(
    server: Server, served: Served, content: bytes, target: Path
) -> None:
    served.ranges, served.acts = False, ["truncate"]
    _, reported = fetch(server, target)
    assert target.read_bytes() == content
    assert reported == SIZE


def test_a_server_that_ignores_if_range_does_not_mix_two_versions(
    server: Server, served: Served, noise: Callable[[int, int], bytes], target: Path
) -> None:
    served.acts = ["truncate"] + [500] * 3
    with pytest.raises(FetchError):
        fetch(server, target, patience=IMPATIENT)
    served.content, served.if_range = noise(2, SIZE), False
    _, reported = fetch(server, target)
    assert server.gets("/data/x.bin")[-2].headers["Range"].startswith("bytes=")
    assert target.read_bytes() == served.content
    assert reported == SIZE


def test_a_length_that_is_too_small_is_not_believed_where_the_size_is_known(
    server: Server, served: Served, content: bytes, target: Path
) -> None:
    served.acts = ["less"]
    stated = RemoteFile("x.bin", SIZE, sha256=hashlib.sha256(content).hexdigest())
    fetch(server, target, stated)
    assert target.read_bytes() == content


def test_a_server_that_always_lies_is_given_up_and_nothing_is_kept_under_the_name(
    server: Server, served: Served, target: Path
) -> None:
    served.ranges, served.acts = False, ["more"] * 50
    with pytest.raises(FetchError, match=r"broke off after 1048576 of 1049576 bytes|\d times in a row"):
        fetch(server, target, patience=IMPATIENT)
    assert not target.exists()


def test_a_wrong_checksum_is_tried_once_more_and_then_refused(server: Server, served: Served, target: Path) -> None:
    with pytest.raises(FetchError, match=r"x.bin of http.* has the sha256 .* instead of 0000"):
        fetch(server, target, RemoteFile("x.bin", SIZE, sha256="0" * 64))
    assert len(server.gets("/data/x.bin")) == 2
    assert not target.exists()
    assert (target.parent / "x.bin.part").stat().st_size == 0


@pytest.mark.parametrize("kind", ["sha256", "git_sha1"])
def test_a_stated_checksum_is_compared(server: Server, served: Served, content: bytes, target: Path, kind: str) -> None:
    right = hashlib.sha256(content).hexdigest() if kind == "sha256" else git_blob_sha1(content)
    fetch(server, target, RemoteFile("x.bin", SIZE, **{kind: right}))
    assert target.read_bytes() == content
    target.unlink()
    wrong = right[:-1] + ("0" if right[-1] != "0" else "1")
    with pytest.raises(FetchError, match=kind.removeprefix("git_")):
        fetch(server, target, RemoteFile("x.bin", SIZE, **{kind: wrong}))


def test_a_part_whose_bytes_were_damaged_is_fetched_again(
    server: Server, served: Served, content: bytes, target: Path
) -> None:
    stated = RemoteFile("x.bin", SIZE, sha256=hashlib.sha256(content).hexdigest())
    served.acts = ["truncate"] + [500] * 3
    with pytest.raises(FetchError):
        fetch(server, target, stated, IMPATIENT)
    part = target.parent / "x.bin.part"
    damaged = bytearray(part.read_bytes())
    damaged[1000] ^= 1
    part.write_bytes(damaged)
    fetch(server, target, stated)
    assert target.read_bytes() == content


def test_a_part_that_had_all_bytes_needs_no_request(
    server: Server, content: bytes, served: Served, target: Path
) -> None:
    stated = RemoteFile("x.bin", SIZE, sha256=hashlib.sha256(content).hexdigest())
    served.acts = ["truncate"] + [500] * 3
    with pytest.raises(FetchError):
        fetch(server, target, stated, IMPATIENT)
    (target.parent / "x.bin.part").write_bytes(content)
    before = len(server.log)
    fetch(server, target, stated)
    assert len(server.log) == before
    assert target.read_bytes() == content


def test_retry_after_is_obeyed(server: Server, served: Served, target: Path) -> None:
    served.acts = [("retry_after", 1)]
    fetch(server, target)
    first, second = server.gets("/data/x.bin")
    assert second.when - first.when >= 0.95


def test_retry_after_reads_seconds_and_dates() -> None:
    assert retry_after({"Retry-After": "7"}) == 7.0
    assert retry_after({"Retry-After": http_date(30)}) == pytest.approx(30, abs=2)
    assert retry_after({"Retry-After": http_date(-30)}) == 0.0
    assert retry_after({}) is None
    assert retry_after({"Retry-After": "soon"}) is None


def test_pauses_double_with_jitter_up_to_the_longest() -> None:
    patience = Patience(first_pause_s=1.0, longest_pause_s=10.0)
    for failures, longest in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (50, 10)]:
        pauses = {patience.pause(failures, None) for _ in range(50)}
        assert all(longest / 2 <= pause <= longest for pause in pauses)
        assert len(pauses) > 10
    assert 5 <= patience.pause(1, 5.0) <= 5
    assert patience.pause(1, 1000.0) == 10.0


@pytest.mark.parametrize(
    ("status", "word"), [(404, "404"), (403, "no permission"), (401, "no permission"), (410, "410")]
)
def test_a_no_is_not_asked_again(server: Server, served: Served, target: Path, status: int, word: str) -> None:
    served.acts = [status] * 5
    with pytest.raises(FetchError, match=word):
        fetch(server, target)
    assert len(server.gets("/data/x.bin")) == 1


def test_a_dead_server_is_given_up_after_the_stated_tries(tmp_path: Path, server: Server, target: Path) -> None:
    server.files["/data/x.bin"] = Served(b"x" * 100, acts=["stall"] * 9)
    begun = time.monotonic()
    with pytest.raises(FetchError, match="4 times in a row"):
        fetch(server, target, patience=replace(IMPATIENT, stall_s=0.1))
    assert 4 * 0.1 <= time.monotonic() - begun < 6


def test_without_a_length_the_end_of_the_connection_is_the_end(
    server: Server, served: Served, content: bytes, target: Path
) -> None:
    served.state_length = False
    fetched, _ = fetch(server, target)
    assert target.read_bytes() == content
    assert fetched is not None
    assert not fetched.sure
    target.unlink()
    stated = RemoteFile("x.bin", SIZE, sha256=hashlib.sha256(content).hexdigest())
    fetched, _ = fetch(server, target, stated)  # a checksum says that it is whole
    assert fetched is not None
    assert fetched.sure


def test_an_empty_file_arrives_too(server: Server, target: Path) -> None:
    server.files["/data/x.bin"] = Served(b"")
    fetched, _ = fetch(server, target)
    assert fetched == Fetched(0, hashlib.sha256().hexdigest())
    assert target.read_bytes() == b""


def test_a_folder_that_cannot_be_written_is_a_sentence(server: Server, served: Served, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"cannot be written .*GASDET_DATA"):
        fetch(server, tmp_path / "file" / "x.bin")


def test_what_is_sent_compressed_unasked_is_refused(server: Server, served: Served, target: Path) -> None:
    served.headers["Content-Encoding"] = "gzip"
    with pytest.raises(FetchError, match="sent compressed"):
        fetch(server, target)
