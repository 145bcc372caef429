"""The encoders that PyAV brings."""

from __future__ import annotations

import platform

from gasdet.errors import UsageError
from gasdet.media.clip import pyav

REPEATABLE_X264 = {"x264-params": "asm=SSE2"} if platform.machine().lower() in ("x86_64", "amd64") else {}
"""Encoder options. x264 with AVX-512 (as in PyAV 18) reads memory that it never wrote, in its macroblock tree, and codes
the same clip in several ways. SSE2, which every such processor has, gives the bits of its plain C code, at about a tenth
more time.
"""


def require_encoder(name: str) -> None:
    """Make sure of an encoder before it is used; nothing takes its place.

    Raises:
        UsageError: This PyAV was built without it.
    """
    if name not in pyav().codecs_available:
        raise UsageError(
            f"this PyAV was built without the encoder {name}: leave out the perturbation that needs it, or install PyAV's "
            "published wheel, which has it."
        )
