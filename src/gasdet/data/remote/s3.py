"""S3 through fsspec's s3fs: the objects below a prefix."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from gasdet.data.remote.files import MOST_FILES, Answer, Found, RemoteFile, Transient, checked_name
from gasdet.data.remote.patience import Patience
from gasdet.data.remote.secrets import said
from gasdet.errors import FetchError

_CHUNK = 1 << 20
_CONNECT_S = 15.0
_MD5 = re.compile(r'"?([0-9a-f]{32})"?')


class S3Source:
    """The objects below ``s3://bucket/prefix`` (or that one object).

    Credentials, region and endpoint come from where Amazon's own client takes them (``AWS_*``, its configuration files);
    without credentials the bucket is read anonymously.

    Raises:
        FetchError: The location has no bucket, or s3fs is not installed.
    """

    def __init__(self, location: str, patience: Patience) -> None:
        self._bucket, _, self._prefix = location.removeprefix("s3://").strip("/").partition("/")
        self.shown = f"s3://{self._bucket}/{self._prefix}".rstrip("/")
        self._patience = patience
        self._system: Any = None
        self._single = False
        if not self._bucket:
            raise FetchError("an S3 location without a bucket; write s3://bucket/prefix")

    async def _connected(self) -> Any:
        if self._system is None:
            try:
                import botocore.session  # type: ignore[import-untyped]
                from s3fs import S3FileSystem
            except ImportError:
                raise FetchError(
                    f"{self.shown} is read through s3fs, which is not here: pip install 'gasdet[s3]'"
                ) from None
            anonymous = botocore.session.Session().get_credentials() is None
            limits = {
                "connect_timeout": _CONNECT_S,
                "read_timeout": self._patience.stall_s,
                "retries": {"max_attempts": 0},  # tried again here, where it can be told from a start over
            }
            self._system = S3FileSystem(
                anon=anonymous, asynchronous=True, loop=asyncio.get_running_loop(), config_kwargs=limits,
                skip_instance_cache=True,
            )  # fmt: skip
            self._system.retries = 1
            await self._system.set_session()
        return self._system

    async def find(self) -> Found:
        """The objects whose keys begin with the prefix and a "/", else the object with that very key."""
        system = await self._connected()
        whole = f"{self._bucket}/{self._prefix}".rstrip("/")
        failures = 0
        while True:
            try:
                with _translated(self.shown):
                    listed: dict[str, dict[str, Any]] = await system._find(whole, detail=True)
                break
            except Transient as error:
                failures += 1
                if failures >= self._patience.attempts:
                    raise FetchError(f"{self.shown} cannot be listed: {error}, {failures} times in a row") from None
                await asyncio.sleep(self._patience.pause(failures, error.wait_s))
        objects = {key: facts for key, facts in listed.items() if facts.get("type") == "file" and not key.endswith("/")}
        if not objects or len(objects) > MOST_FILES:
            raise FetchError(f"{self.shown} has {len(objects):,} objects; check bucket and prefix")
        self._single = list(objects) == [whole]
        cut = whole.rpartition("/")[0] if self._single else whole
        names = {checked_name(key.removeprefix(cut).lstrip("/"), self.shown): facts for key, facts in objects.items()}
        return Found(
            "",
            {
                name: RemoteFile(name, int(facts["size"]), version=str(facts.get("ETag", "")))
                for name, facts in names.items()
            },
        )

    @asynccontextmanager
    async def open(self, file: RemoteFile, offset: int, validator: str) -> AsyncIterator[Answer]:
        """Ask for an object's bytes."""
        system = await self._connected()
        # A manifest remembers names only, so whether the location is one object is read off them.
        last = self._prefix.rpartition("/")[2]
        single = self._single or (file.name == last and await self._is_object(system))
        key = self._prefix if single else f"{self._prefix}/{file.name}".lstrip("/")
        asked: dict[str, str] = {"Range": f"bytes={offset}-", "IfMatch": validator} if offset else {}
        try:
            with _translated(self.shown):
                answer = await system._call_s3("get_object", Bucket=self._bucket, Key=key, **asked)
        except _NoSuchPart:
            with _translated(self.shown):
                answer = await system._call_s3("head_object", Bucket=self._bucket, Key=key, IfMatch=validator)
            if int(answer["ContentLength"]) != offset:
                raise  # there are fewer bytes than arrived
            yield Answer(offset, offset, str(answer.get("ETag", "")), _md5_of(answer), _nothing())
            return
        async with answer["Body"] as body:  # outside of the translation: what the reader raises is the reader's
            total = offset + int(answer["ContentLength"])
            yield Answer(offset, total, str(answer.get("ETag", "")), _md5_of(answer), _chunks(body, self.shown))

    async def _is_object(self, system: Any) -> bool:
        with _translated(self.shown):
            try:
                await system._call_s3("head_object", Bucket=self._bucket, Key=self._prefix)
            except FileNotFoundError:
                return False
        self._single = True
        return True

    async def close(self) -> None:
        """Close the connections."""
        if self._system is not None:
            await self._system._s3creator.__aexit__(None, None, None)
            self._system = None


class _NoSuchPart(Transient):
    """There is nothing from the byte on that was asked for: the object is shorter, or all of it has arrived before."""


def _md5_of(answer: Mapping[str, Any]) -> str:
    """An object's MD5, where its ETag is that."""
    encrypted = str(answer.get("ServerSideEncryption", "")).startswith("aws:kms")
    match = _MD5.fullmatch(str(answer.get("ETag", "")))
    return match[1] if match and not encrypted and not answer.get("SSECustomerAlgorithm") else ""


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


async def _chunks(body: Any, shown: str) -> AsyncIterator[bytes]:
    with _translated(shown):
        while chunk := await body.read(_CHUNK):
            yield chunk


@contextmanager
def _translated(shown: str) -> Iterator[None]:
    """The exceptions of s3fs and of Amazon's client as ours."""
    try:
        yield
    except (FetchError, Transient):
        raise
    except FileNotFoundError:
        raise FetchError(f"{shown} has no such bucket or object") from None
    except PermissionError as error:
        raise FetchError(f"{shown} refuses ({said(error)}); check your AWS credentials") from None
    except Exception as error:
        status, wait = _status(error)
        if status in (412, 416):
            kind = _NoSuchPart if status == 416 else Transient
            raise kind("it was changed meanwhile", anew=True) from None
        if status is None or status >= 500 or status in (408, 429):
            raise Transient(said(error), wait) from None
        raise FetchError(f"{shown} answers {status} ({said(error)})") from None


def _status(error: BaseException) -> tuple[int | None, float | None]:
    """The HTTP status that an exception of Amazon's client, or what s3fs made of it, stands for."""
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    if not isinstance(response, dict):
        return None, None
    facts = response.get("ResponseMetadata", {})
    asked = str(facts.get("HTTPHeaders", {}).get("retry-after", ""))
    status = facts.get("HTTPStatusCode")
    return (status if isinstance(status, int) else None), (float(asked) if asked.isdigit() else None)
