"""S3 through a real S3 server on loopback (moto's)."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gasdet.data import load_data
from gasdet.data.catalogue import read_catalogue
from gasdet.data.remote import LocalCopy, local, local_copies
from gasdet.data.remote.downloading import Limits
from gasdet.data.remote.patience import Patience
from gasdet.data.remote.s3 import S3Source
from gasdet.data.remote.transfer import Fetched, fetch_file
from gasdet.errors import FetchError

Catalogue = Callable[..., Path]
SECRET = "hush-hush-secret-key"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    import boto3

    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "hush-access-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setattr(local, "Limits", lambda: Limits(3, Patience(2.0, 3, 0.01, 0.05)))
    s3 = boto3.resource("s3", endpoint_url=address, region_name="us-east-1")
    made = s3.Bucket("sets")
    made.create()
    yield made
    made.objects.delete()
    made.delete()


def entry(path: str = "s3://sets/faces", **keys: object) -> dict[str, object]:
    return {"name": "faces", "path": path, "source": "s3", "modality": "image", **keys}


def copy_of(path: Path, **options: object) -> LocalCopy:
    [copy] = local_copies(read_catalogue(path), **options)  # type: ignore[arg-type]
    return copy


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("path", ["s3://sets/faces", "s3://sets/faces/", "sets/faces"])
def test_the_objects_below_a_prefix(bucket: Any, catalogue: Catalogue, png: Callable[[int], bytes], path: str) -> None:
    files = {f"{label}/{i} ä.png": png(i) for label in ("real", "fake") for i in range(4)}
    for name, content in files.items():
        bucket.put_object(Key=f"faces/{name}", Body=content)
    bucket.put_object(Key="faces/", Body=b"")
    bucket.put_object(Key="faces-of-others/x.png", Body=b"not asked for")
    where = catalogue(entry(path))
    assert tree(copy_of(where).path) == files
    assert len(load_data(where, offline=True).samples) == 8


def test_one_object(bucket: Any, catalogue: Catalogue, zipped: Callable[[int, int], bytes]) -> None:
    content = zipped(1, 4)
    bucket.put_object(Key="packed/all.zip", Body=content)
    copy = copy_of(catalogue(entry("s3://sets/packed/all.zip")))
    assert tree(copy.path) == {"all.zip": content}


def test_a_broken_transfer_goes_on_and_a_changed_object_starts_over(
    bucket: Any, catalogue: Catalogue, noise: Callable[[int, int], bytes]
) -> None:
    """What a killed process left: half of the object, and which version it is of."""
    content = noise(1, 1 << 20)
    tag = bucket.put_object(Key="faces/x.zip", Body=content).e_tag
    where = catalogue(entry())
    copy = copy_of(where)
    whole = copy.path / "x.zip"
    whole.unlink()
    half = noise(9, 1 << 19)  # not the object's own bytes: what comes out tells whether they were built on
    (copy.path / "x.zip.part").write_bytes(half)
    (copy.path / "x.zip.part.json").write_text(json.dumps({"validator": tag, "size": len(content)}))
    copy_of(where)
    assert whole.read_bytes() == content  # half + rest has a wrong MD5, so it was fetched again
    whole.unlink()
    (copy.path / "x.zip.part").write_bytes(content[: 1 << 19])
    (copy.path / "x.zip.part.json").write_text(json.dumps({"validator": tag, "size": len(content)}))
    changed = noise(2, (1 << 20) - 7)
    bucket.put_object(Key="faces/x.zip", Body=changed)
    copy_of(where)
    assert whole.read_bytes() == changed


@pytest.mark.parametrize("tag", ["right", "changed", "shorter"])
def test_an_object_that_had_arrived_whole_is_not_fetched_again(
    bucket: Any, tmp_path: Path, noise: Callable[[int, int], bytes], tag: str
) -> None:
    """What a process left that was killed between the last byte and the file's own name."""
    content = noise(1, 1 << 19)
    before = bucket.put_object(Key="faces/x.zip", Body=content).e_tag
    if tag != "right":
        content = noise(2, (1 << 19) - (7 if tag == "shorter" else 0))
        bucket.put_object(Key="faces/x.zip", Body=content)
    target = tmp_path / "x.zip"
    (tmp_path / "x.zip.part").write_bytes(noise(1, 1 << 19))
    (tmp_path / "x.zip.part.json").write_text(json.dumps({"validator": before, "size": 1 << 19}))
    reported: list[int] = []

    async def fetch() -> Fetched | None:
        source = S3Source("s3://sets/faces", Patience(2.0, 3, 0.01, 0.05))
        try:
            file = (await source.find()).files["x.zip"]
            return await fetch_file(source, file, target, Patience(2.0, 3, 0.01, 0.05), reported.append)
        finally:
            await source.close()

    assert asyncio.run(fetch()) == Fetched(len(content), hashlib.sha256(content).hexdigest())
    assert target.read_bytes() == content
    came = [count for count in reported if count]
    assert came == [1 << 19] if tag == "right" else came[:2] == [1 << 19, -(1 << 19)]


def test_what_had_arrived_whole_is_checked_all_the_same(
    bucket: Any, tmp_path: Path, noise: Callable[[int, int], bytes]
) -> None:
    content = noise(1, 1 << 19)
    tag = bucket.put_object(Key="faces/x.zip", Body=content).e_tag
    (tmp_path / "x.zip.part").write_bytes(noise(3, 1 << 19))
    (tmp_path / "x.zip.part.json").write_text(json.dumps({"validator": tag, "size": 1 << 19}))

    async def fetch() -> None:
        source = S3Source("s3://sets/faces", Patience(2.0, 3, 0.01, 0.05))
        try:
            file = (await source.find()).files["x.zip"]
            await fetch_file(source, file, tmp_path / "x.zip", Patience(2.0, 3, 0.01, 0.05), lambda _: None)
        finally:
            await source.close()

    asyncio.run(fetch())
    assert (tmp_path / "x.zip").read_bytes() == content


@pytest.mark.parametrize(("path", "word"), [("s3://sets/none", "has 0 objects"), ("s3://nosuch/x", "no such bucket")])
def test_what_is_not_there_is_a_sentence(bucket: Any, catalogue: Catalogue, path: str, word: str) -> None:
    with pytest.raises(FetchError, match=word):
        copy_of(catalogue(entry(path)))


def test_a_server_that_is_gone_is_a_sentence_without_secrets(
    bucket: Any, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bucket.put_object(Key="faces/a.png", Body=b"x")
    copy_of(catalogue(entry()))
    written = [p for p in (tmp_path / "downloads").rglob("*") if p.is_file()]
    assert written
    assert not any(b"hush" in p.read_bytes() for p in written)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(FetchError, match=r"s3://sets/other cannot be listed: .*3 times in a row") as caught:
        copy_of(catalogue(entry("s3://sets/other")))
    assert "hush" not in str(caught.value)
