"""Real servers on loopback: one that misbehaves as told, and one that speaks the hub's protocol on top of it."""

from __future__ import annotations

import email.utils
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

CHANGED = "Wed, 01 Jan 2025 00:00:00 GMT"


@dataclass
class Served:
    """One address.

    `acts` are used up by GET requests, one each: "stall" (headers, then nothing), "stall_halfway", "truncate" (half of the
    bytes, then the connection is closed), "more" and "less" (a Content-Length that lies), an int (that status), or
    ("retry_after", seconds).
    """

    content: bytes
    acts: list[Any] = field(default_factory=list)
    etag: str | None = "auto"
    ranges: bool = True
    if_range: bool = True
    head: int = 200
    chunk_delay_s: float = 0.0
    chunk: int = 16384
    redirect: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    state_length: bool = True

    @property
    def tag(self) -> str:
        return f'"{hashlib.md5(self.content).hexdigest()}"' if self.etag == "auto" else self.etag or ""


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    when: float


class Server:
    """`files` by path; `log` of all requests; `address` of the root."""

    def __init__(self) -> None:
        self.files: dict[str, Served] = {}
        self.log: list[Request] = []
        self.dynamic: (
            Callable[[str, dict[str, list[str]], dict[str, str]], tuple[int, Any, dict[str, str]] | None] | None
        )
        self.dynamic = None
        self.address = ""
        self.stalled = threading.Event()

    def gets(self, path: str) -> list[Request]:
        return [r for r in self.log if r.method == "GET" and urlsplit(r.path).path == path]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    serves: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _send(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _answer(self, body: bool) -> None:
        server = self.serves
        server.log.append(
            Request(
                self.command, self.path, {name.title(): value for name, value in self.headers.items()}, time.monotonic()
            )
        )
        parts = urlsplit(self.path)
        if server.dynamic is not None:
            made = server.dynamic(
                parts.path, parse_qs(parts.query), {name.title(): value for name, value in self.headers.items()}
            )
            if made is not None:
                status, value, headers = made
                text = value if isinstance(value, bytes) else json.dumps(value).encode()
                self._send(status, {"Content-Type": "application/json", **headers}, text)
                return
        served = server.files.get(unquote(parts.path))
        if served is None:
            self._send(404, {})
            return
        if served.redirect:
            self._send(302, {"Location": served.redirect})
            return
        if not body and served.head != 200:
            self._send(served.head, {})
            return
        try:
            self._serve(served, body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _serve(self, served: Served, body: bool) -> None:
        act = served.acts.pop(0) if body and served.acts else None
        if isinstance(act, int):
            self._send(act, {})
            return
        if isinstance(act, tuple):
            self._send(429, {"Retry-After": str(act[1])})
            return
        content, status, start = served.content, 200, 0
        headers = {"Last-Modified": CHANGED, **served.headers}
        if served.tag:
            headers["ETag"] = served.tag
        asked = self.headers.get("Range", "")
        unchanged = self.headers.get("If-Range", served.tag) in (served.tag, CHANGED)
        if served.ranges and asked.startswith("bytes=") and (unchanged or not served.if_range):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start = int(first)
            if start >= len(content):
                self._send(416, {"Content-Range": f"bytes */{len(content)}"})
                return
            stop = min(int(last) + 1, len(content)) if last else len(content)
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
            content, status = content[start:stop], 206
        length = len(content) + {"more": 1000, "less": -1000}.get(act, 0)
        if served.state_length:
            headers["Content-Length"] = str(length)
        else:
            headers["Connection"] = "close"
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if not body:
            return
        if act == "stall":
            self.serves.stalled.wait(20)
            self.close_connection = True
            return
        if act in ("truncate", "stall_halfway"):
            content = content[: len(content) // 2]
        for at in range(0, len(content), served.chunk):
            self.wfile.write(content[at : at + served.chunk])
            self.wfile.flush()
            if served.chunk_delay_s:
                time.sleep(served.chunk_delay_s)
        if act == "stall_halfway":
            self.serves.stalled.wait(20)
        if act is not None or not served.state_length:
            self.close_connection = True


@contextmanager
def serving() -> Iterator[Server]:
    """A server for the duration."""
    server = Server()

    class Handler(_Handler):
        serves = server

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, *_: object) -> None:
            """A client that went away is no news."""

    http = Quiet(("127.0.0.1", 0), Handler)
    server.address = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stalled.set()
        http.shutdown()
        http.server_close()
        thread.join()


def git_blob_sha1(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


class Hub:
    """A small hub: data sets with commits. Files of `lfs` size and more are LFS files and lie on another server."""

    def __init__(self, server: Server, storage: Server, lfs: int = 4096, page: int = 1000) -> None:
        self.server, self.storage, self.lfs, self.page = server, storage, lfs, page
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.branches: dict[str, dict[str, str]] = {}
        self.token = ""
        self.gated: set[str] = set()
        server.dynamic = self._answer

    def push(self, name: str, files: dict[str, bytes], branch: str = "main") -> str:
        """A new commit on a branch; its id."""
        digest = hashlib.sha1(repr((name, sorted(files.items()), len(self.commits.get(name, {})))).encode()).hexdigest()
        self.commits.setdefault(name, {})[digest] = files
        self.branches.setdefault(name, {})[branch] = digest
        for file, content in files.items():
            resolve = f"/datasets/{name}/resolve/{digest}/{file}"
            if len(content) >= self.lfs:
                place = f"/lfs/{hashlib.sha256(content).hexdigest()}"
                self.storage.files.setdefault(place, Served(content))
                signed = f"{self.storage.address}{place}?X-Amz-Signature=presigned-secret&Expires=99"
                self.server.files[resolve] = Served(b"", redirect=signed)
            else:
                self.server.files[resolve] = Served(content)
        return digest

    def blob(self, name: str, file: str, branch: str = "main") -> Served:
        """What is served for a file, to make it misbehave."""
        commit = self.branches[name][branch]
        content = self.commits[name][commit][file]
        if len(content) >= self.lfs:
            return self.storage.files[f"/lfs/{hashlib.sha256(content).hexdigest()}"]
        return self.server.files[f"/datasets/{name}/resolve/{commit}/{file}"]

    def _answer(
        self, path: str, query: dict[str, list[str]], headers: dict[str, str]
    ) -> tuple[int, Any, dict[str, str]] | None:
        if path == "/":
            return 200, {}, {}
        if path.startswith("/datasets/") and self.token and headers.get("Authorization") != f"Bearer {self.token}":
            return 401, {"error": "Unauthorized"}, {}
        if not path.startswith("/api/datasets/"):
            return None
        rest = path.removeprefix("/api/datasets/").split("/")
        name, what = "/".join(rest[:2]), rest[2:]
        if name not in self.commits or (self.token and headers.get("Authorization") != f"Bearer {self.token}"):
            return 401, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"}
        if name in self.gated:
            return 403, {"error": "gated"}, {"X-Error-Code": "GatedRepo"}
        revision = unquote(what[1]) if len(what) > 1 else "main"
        commit = self.branches[name].get(revision, revision)
        if commit not in self.commits[name]:
            return 404, {"error": "no revision"}, {"X-Error-Code": "RevisionNotFound"}
        if not what or what[0] == "revision":
            return 200, {"id": name, "sha": commit, "private": False, "siblings": []}, {}
        start = int(query.get("cursor", ["0"])[0])
        entries = self._tree(self.commits[name][commit])
        more = {}
        if start + self.page < len(entries):
            following = f"{self.server.address}{quote(path)}?recursive=True&cursor={start + self.page}"
            more = {"Link": f'<{following}>; rel="next"'}
        return 200, entries[start : start + self.page], more

    def _tree(self, files: dict[str, bytes]) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = []
        folders = {"/".join(name.split("/")[:i]) for name in files for i in range(1, name.count("/") + 1)}
        entries += [{"type": "directory", "oid": "0" * 40, "size": 0, "path": folder} for folder in sorted(folders)]
        for name, content in sorted(files.items()):
            entry: dict[str, Any] = {"type": "file", "size": len(content), "path": name, "oid": git_blob_sha1(content)}
            if len(content) >= self.lfs:
                sha256 = hashlib.sha256(content).hexdigest()
                entry["oid"] = git_blob_sha1(b"a pointer")
                entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 130}
            entries.append(entry)
        return entries


def http_date(seconds_from_now: float) -> str:
    return email.utils.formatdate(time.time() + seconds_from_now, usegmt=True)
