"""What runs in a decode process: read one sample's bytes, decode, answer; until the other side hangs up.

Started by :mod:`gasdet.evaluation.processes` as ``python -m gasdet.evaluation.worker``, with one
socket and an environment that keeps every library single-threaded. It never imports torch.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from gasdet.data import read_source
from gasdet.errors import GasdetError, MediaError
from gasdet.evaluation import wire
from gasdet.evaluation.decode_cache import CachedDecoding, DecodeCache
from gasdet.evaluation.decoding import decode_content, region_of
from gasdet.evaluation.text import error_line, one_line
from gasdet.media import Decoded, MediaLimits
from gasdet.types import Locator, Modality, Preprocessing, Reason

DecodeFunction = Callable[[Locator, Preprocessing, MediaLimits], Decoded]

ORPHAN_GRACE_S = 10.0
"""How long after its deadline a process ends itself, should nobody be left to end it."""

_BACKENDS: dict[Modality, tuple[str, ...]] = {
    Modality.IMAGE: ("PIL.Image", "cv2", "simplejpeg"),
    Modality.VIDEO: ("cv2", "av", "decord"),
    Modality.AUDIO: ("soundfile", "soxr", "av"),
}
_FIELDS = tuple(f.name for f in fields(Decoded) if f.name != "array")


def decode_sample(locator: Locator, preprocessing: Preprocessing, limits: MediaLimits) -> Decoded:
    """Read and decode one sample.

    Raises:
        MediaError: It cannot be read or decoded, with the reason.
        GasdetError: What finds the preprocessing's region cannot be had.
    """
    return decode_content(read_source(locator), preprocessing, limits)


def answer(
    function: DecodeFunction, locator: Locator, preprocessing: Preprocessing, limits: MediaLimits
) -> tuple[dict[str, Any], Any]:
    """Decode one sample: a reply for the wire and the array (None where there is none). Never raises.

    The reply holds ``reason`` and ``message`` (None and "" where decoding succeeded), ``decode_ms``, what became of it in
    the decode cache as ``cached``, and under ``decoded`` every field of :class:`gasdet.media.Decoded` but the array.
    """
    start = time.perf_counter()
    reason: Reason | None = None
    message, described, array = "", None, None
    try:
        decoded = function(locator, preprocessing, limits)
        described = {name: getattr(decoded, name) for name in _FIELDS}
        array = decoded.array
    except MediaError as error:
        reason, message = error.reason, one_line(str(error))
    except MemoryError as error:
        reason, message = Reason.DECODER_OUT_OF_MEMORY, error_line(error)
    except (Exception, SystemExit) as error:
        reason, message = Reason.DECODE_FAILED, error_line(error)
    elapsed = (time.perf_counter() - start) * 1000
    cached = function.use if isinstance(function, CachedDecoding) else ""
    reply = {"reason": reason, "message": message, "decode_ms": elapsed, "decoded": described, "cached": cached}
    return reply, array


def prepare(modality: Modality, region: str = "") -> None:
    """Import a modality's decoders, and what finds a region, now: a slow first import is not held against the first file.

    Raises:
        Exception: What finds the region cannot be had here, so that no file can be decoded.
    """
    for name in _BACKENDS[modality]:
        try:
            importlib.import_module(name)
        except Exception:  # an absent or broken decoder is for gasdet.media to judge, per file
            continue
    region_of(region)


def serve(channel: socket.socket, function: DecodeFunction, timeout: float) -> None:
    """Answer requests until the other side hangs up.

    A request is ``{"prepare": (Modality, region)}`` or ``{"tasks": [(index, locator), ...], "preprocessing", "limits",
    "cache_key"}``.
    """
    while True:
        try:
            request, _ = wire.receive(channel)
        except (EOFError, OSError):
            return
        try:
            if "prepare" in request:
                lacks = ""
                try:
                    prepare(*request["prepare"])
                except Exception as error:
                    lacks = str(error) if isinstance(error, GasdetError) else f"{error_line(error)}."
                wire.send(channel, {"ready": request["prepare"], "lacks": lacks})
                continue
            if isinstance(function, CachedDecoding):
                function.key = request["cache_key"]
                function.before_storing = functools.partial(_tell_storing, channel)
            for index, locator in request["tasks"]:
                _forget_noise()
                # The kernel ends this process should it hang in native code when nobody is left to kill it.
                signal.setitimer(signal.ITIMER_REAL, timeout + ORPHAN_GRACE_S)
                reply, array = answer(function, locator, request["preprocessing"], request["limits"])
                signal.setitimer(signal.ITIMER_REAL, 0)
                wire.send(channel, {"index": index, **reply}, array)
                del array
        except OSError:
            return


def _tell_storing(channel: socket.socket) -> None:
    """The file is decoded; what comes now is not held against it."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    wire.send(channel, {"storing": True})


def _forget_noise() -> None:
    """Empty the file behind stderr, so that what it holds after a crash belongs to the file that crashed."""
    with contextlib.suppress(OSError):
        os.ftruncate(2, 0)


def main(arguments: list[str]) -> None:
    """Serve. Arguments: the socket's descriptor, the decode function's import path, the deadline in seconds, and the folder
    of all processes' temporary files, which is removed here where the parent did not live to do it. Of a decode cache, which
    then takes the function's place, its folder and its bound as well.
    """  # noqa: D205
    parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent decides
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    descriptor, path, timeout, scratch, *cache = arguments
    module, _, attribute = path.partition(":")
    function: DecodeFunction = getattr(importlib.import_module(module), attribute)
    if cache:
        function = CachedDecoding(DecodeCache(Path(cache[0]), int(cache[1])))
    with socket.socket(fileno=int(descriptor)) as channel:
        serve(channel, function, float(timeout))
    if os.getppid() != parent:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
