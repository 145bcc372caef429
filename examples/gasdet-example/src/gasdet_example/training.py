"""The detector before its training. Not part of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from gasdet_example.model import Spectrum


def build(weights: Path | None = None, /, **model: Any) -> nn.Module:
    """The untrained detector.

    Raises:
        ValueError: A file was given.
    """
    if weights is not None:
        raise ValueError("example-spectrum is trained from scratch and takes no backbone file.")
    return Spectrum(**model)
