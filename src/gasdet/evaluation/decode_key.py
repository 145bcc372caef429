"""Everything but a sample's content that its decoded array depends on: preprocessing, bounds, code, libraries, the machine."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import platform
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from gasdet.evaluation.code import modules_sha256, packages_sha256, reached_from
from gasdet.evaluation.regions import region_identity, region_target
from gasdet.media import MediaLimits, decoder_versions
from gasdet.types import Preprocessing
from gasdet.version import __version__

_ENTRANCE = "gasdet.evaluation.decoding"
_REGIONS = "gasdet.evaluation.regions"
"""What finds a region is a plugin's; the plugins' registry is asked for it, and decides no array."""

_PICTURES = ("jpg", "libjpeg_turbo", "jpg_2000", "webp", "avif", "libtiff")
"""Pillow's codecs. Not zlib, which has no say in pixels: once decord is loaded, Pillow may tell the version of decord's."""

_TOLD: Mapping[str, Callable[[Any], Any]] = {
    "av": lambda module: module.library_versions,
    "cv2": lambda module: [module.__version__, module.getBuildInformation()],
    "decord": lambda module: module.__version__,
    "PIL": lambda _: _codecs_of_pillow(),
    "simplejpeg": lambda module: module.__version__,
    "soundfile": lambda module: module.__libsndfile_version__,
    "soxr": lambda module: module.__libsoxr_version__,
}


def cache_key(preprocessing: Preprocessing, limits: MediaLimits) -> str:
    """64 hex digits of everything but the content that a decoded sample depends on.

    Raises:
        GasdetError: What finds the preprocessing's region cannot be had.
    """
    key = {
        "preprocessing": {"modality": preprocessing.modality.value, **preprocessing.to_mapping()},
        "limits": dataclasses.asdict(limits),  # a file that is over one of them has no array
        "decoding": decoding_identity(preprocessing),
    }
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


def decoding_identity(preprocessing: Preprocessing) -> dict[str, Any]:
    """What decodes, in types that JSON has: code, libraries with what they are built with, and of a region its plugin's code.

    Raises:
        GasdetError: What finds the preprocessing's region cannot be had.
    """
    found: dict[str, Any] = {
        "gasdet": __version__,
        "code_sha256": _code_sha256(),
        "versions": decoder_versions(),
        "libraries_sha256": _libraries_sha256(),
        "machine": platform.machine(),
    }
    if preprocessing.region:
        found |= region_identity(preprocessing)
        found["region_code_sha256"] = packages_sha256([region_target(preprocessing)])
    return found


@cache
def _code_sha256() -> str:
    return modules_sha256(reached_from(_ENTRANCE, stop=(_REGIONS,)))


@cache
def _libraries_sha256() -> str:
    """Of what the decoding libraries say themselves; their packages' versions do not tell which FFmpeg or libjpeg they have."""
    said = {}
    for name, told in _TOLD.items():
        try:
            said[name] = told(importlib.import_module(name))
        except (ImportError, OSError, RuntimeError):  # decord is not to be had everywhere
            continue
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _codecs_of_pillow() -> dict[str, str | None]:
    from PIL import features

    return {name: features.version(name) for name in _PICTURES}
