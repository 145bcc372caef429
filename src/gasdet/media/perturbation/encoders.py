"""The encoders that PyAV brings."""

from __future__ import annotations

from gasdet.errors import UsageError
from gasdet.media.clip import pyav


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
