"""NPR before its training. Not part of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from gasdet_npr.model import NPR


def build(weights: Path | None = None, /, **model: Any) -> nn.Module:
    """The untrained detector.

    Args:
        weights: None: NPR is trained from scratch.
        model: Keyword arguments of ``NPR``.

    Raises:
        ValueError: A file was given, or an argument is unusable.
    """
    if weights is not None:
        raise ValueError("NPR is trained from scratch and takes no backbone file.")
    return NPR(**model)
