"""Decoded samples kept between runs, under a hash of everything that they depend on.

The name of an entry is the SHA-256 of the sample's content and of the run's key (``evaluation.decode_key``): preprocessing,
bounds, the decoders, and the code of gasdet that decodes. So a file that is renamed, moved or packed elsewhere is found again,
and one that is changed, or decoded by other software, is not. An entry is an array as ``.npy.zst``, which zstd and NumPy open,
after a frame with the rest of what decoding tells, which zstd skips (RFC 8878, 3.1.2).

Errors are not kept: most are quick to find again, and those that are not (a deadline, a lack of memory) may be the machine's.
Why it is made so: docs/decisions/0013-decode-cache.md.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from gasdet.cache.store import Job, Store
from gasdet.data import read_source
from gasdet.evaluation.content import content_sha256, file_sha256
from gasdet.evaluation.decoding import decode_content
from gasdet.media import Decoded, MediaLimits
from gasdet.media.frames import Source
from gasdet.types import Locator, Preprocessing

DEFAULT_MAX_BYTES = 50 * 2**30
"""What a decode cache may take where the user says nothing."""

_LEVEL = 1
"""zstd's: a higher one makes decoded pixels hardly smaller, and takes several times as long."""

_REMEMBER_FROM = 2**20
"""Of a file that is no smaller, the hash is kept too: a long clip takes longer to read than 16 frames of it to decode."""

_SETTLED_S = 2.0
"""A file that was changed more recently could change again without its times showing it: its hash is not kept."""

_FRAME = struct.Struct("<II")
_SKIPPABLE = 0x184D2A5E


@dataclass(frozen=True, slots=True)
class DecodeCache:
    """A decode cache as a run is told of it; nothing is opened or made yet.

    Attributes:
        folder: Where it is; made when it is first used.
        max_bytes: What its entries may take together.
    """

    folder: Path
    max_bytes: int = DEFAULT_MAX_BYTES

    def begin_job(self) -> Job:
        """Make the folder, and keep in it what is used until the job is closed.

        Raises:
            RunError: The folder cannot be used.
        """
        return Store(self.folder, self.max_bytes).begin_job()


@contextmanager
def holding(cache: DecodeCache | None) -> Iterator[None]:
    """Keep in a cache what is used meanwhile, by however many pools one after the other: none drives out what another stored.

    Raises:
        RunError: The folder cannot be used.
    """
    if cache is None:
        yield
    else:
        with closing(cache.begin_job()):
            yield


HIT, STORED, NO_ROOM, CHANGED, FAILED = "hit", "stored", "no_room", "changed", "failed"
"""What becomes of a sample that is decoded through a cache."""


@dataclass(slots=True)
class CacheCounts:
    """What a decode cache did for the samples of one pool or of several.

    Attributes:
        samples: How many were asked for, with those that cannot be decoded.
        hits: Taken from the cache.
        stored: Decoded, and kept.
        no_room: Decoded, and not kept: no room that is not in use, or the disk refused.
        changed: Decoded, and not kept: the file changed meanwhile.
        failed: Decoded, and not kept: the entry could not be made, for lack of memory say.
    """

    samples: int = 0
    hits: int = 0
    stored: int = 0
    no_room: int = 0
    changed: int = 0
    failed: int = 0

    def count(self, use: str) -> None:
        """Count a sample by ``DecodeResult.cached``."""
        self.samples += 1
        if use:
            name = "hits" if use == HIT else use
            setattr(self, name, getattr(self, name) + 1)

    @property
    def not_kept(self) -> int:
        """How many were decoded and not kept."""
        return self.no_room + self.changed + self.failed

    def line(self, cache: DecodeCache) -> str:
        """What a user should know when the work is done."""
        parts = [f"decode cache: {self.hits:,} of {self.samples:,} samples taken from it, {self.stored:,} stored"]
        if self.no_room:
            parts.append(
                f"{self.no_room:,} not kept, for {cache.folder} (at most {cache.max_bytes:,} bytes) is full of what is in use, "
                "or its disk is full: give it more with --decode-cache-size, or another disk"
            )
        if self.changed:
            parts.append(f"{self.changed:,} not kept, for their files changed while they were read")
        if self.failed:
            parts.append(f"{self.failed:,} not kept, for their entries could not be made")
        return "; ".join(parts)


class CachedDecoding:
    """Decoding through a cache, in a decode process.

    Args:
        cache: Where. A job of it is held by whoever started this process.

    Attributes:
        use: Of the last sample that was decoded: ``hit``, ``stored``, ``no_room``, ``changed``, ``failed``, or empty after an
            error.
        key: What ``cache_key`` gave for the samples to come.
        before_storing: Called when a sample is decoded and is to be kept, which may take a while where room must be made.
    """

    def __init__(self, cache: DecodeCache) -> None:
        self._store = Store(cache.folder, cache.max_bytes)
        self.use = ""
        self.key = ""
        self.before_storing: Callable[[], object] = lambda: None
        self._hashes: dict[str, str] = {}

    def __call__(self, locator: Locator, preprocessing: Preprocessing, limits: MediaLimits) -> Decoded:
        """As ``worker.decode_sample``.

        Raises:
            MediaError: It cannot be read or decoded, with the reason.
        """
        self.use = ""
        self._hashes.clear()
        source = read_source(locator)
        before = _states(source)
        name = self._name(source)
        if name is not None:
            kept = self._store.get(name)
            decoded = None if kept is None else unpacked(kept)
            if decoded is not None:
                self.use = HIT
                return decoded
        decoded = decode_content(source, preprocessing, limits)
        self.before_storing()
        unchanged = name is not None and _states(source) == before
        self.use = self._keep(str(name), decoded) if unchanged else CHANGED
        return decoded

    def _keep(self, name: str, decoded: Decoded) -> str:
        try:
            entry = packed(decoded)
            if entry is None:
                return FAILED
            for place, found in self._hashes.items():
                self._store.put(place, found.encode("ascii"))
            return STORED if self._store.put(name, entry) else NO_ROOM
        except Exception:  # too little memory to compress it, say: the sample itself is decoded
            return FAILED

    def _name(self, source: Source) -> str | None:
        """The entry of a sample; None where its content cannot be read."""
        try:
            content = content_sha256(source, self._file_sha256)
        except OSError:
            return None  # decoding will say why
        return hashlib.sha256(f"{self.key}\0{content}".encode()).hexdigest() + ".npy.zst"

    def _file_sha256(self, path: Path) -> str:
        status = os.stat(path)
        if status.st_size < _REMEMBER_FROM:
            return file_sha256(path)
        name = hashlib.sha256(repr((platform.node(), str(path), _state(status))).encode()).hexdigest() + ".sha256"
        known = self._store.get(name)
        if known is not None:
            return known.decode("ascii")
        found = file_sha256(path)
        unchanged = _state(os.stat(path)) == _state(status)
        if unchanged and time.time() - max(status.st_mtime, status.st_ctime) > _SETTLED_S:
            self._hashes[name] = found
        return found


def packed(decoded: Decoded) -> bytes | None:
    """A decoded sample as an entry; None where it holds what JSON cannot say."""
    import zstandard

    described = {f.name: getattr(decoded, f.name) for f in fields(Decoded) if f.name != "array"}
    try:
        text = json.dumps(described).encode()
    except (TypeError, ValueError):
        return None
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(decoded.array), version=(1, 0), allow_pickle=False)
    compressed = zstandard.ZstdCompressor(level=_LEVEL).compress(buffer.getbuffer())
    return b"".join((_FRAME.pack(_SKIPPABLE, len(text)), text, compressed))


def unpacked(entry: bytes) -> Decoded | None:
    """The decoded sample of an entry, its array read-only; None where it is none (the store has checked its bytes)."""
    import zstandard

    try:
        magic, length = _FRAME.unpack_from(entry)
        if magic != _SKIPPABLE:
            return None
        described = json.loads(entry[_FRAME.size : _FRAME.size + length])
        data = zstandard.ZstdDecompressor().decompress(memoryview(entry)[_FRAME.size + length :])
        file = io.BytesIO(data)
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        array = np.frombuffer(data, dtype, offset=file.tell()).reshape(shape)
        return Decoded(array=array, **{**described, "notes": tuple(described["notes"])})
    except (struct.error, ValueError, KeyError, TypeError, zstandard.ZstdError):
        return None


def _states(source: Source) -> list[tuple[int, ...]] | None:
    """What shows that the files of a source change while they are read; None where one is gone."""
    if isinstance(source, bytes):
        return []
    try:
        files = [source] if isinstance(source, Path) else [f for f in source.frames if isinstance(f, Path)]
        return [_state(os.stat(file)) for file in files]
    except OSError:
        return None


def _state(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
