"""Fixtures of this plugin's tests. They never hold published weights; what is random says so in its name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gasdet_gend.model import GenD


@pytest.fixture(scope="session")
def shared_media() -> Path:
    """Real files that lie beside the project, or a skip with the reason."""
    folder = Path(
        os.environ.get("GASDET_TEST_MEDIA") or Path(__file__).resolve().parents[3].parent.joinpath("shared", "media")
    )
    if not folder.is_dir():
        pytest.skip(f"real media are absent: no folder {folder} (set GASDET_TEST_MEDIA to one that has them)")
    return folder


SMALL = {"embed_dim": 64, "depth": 2, "patch_size": 8, "img_size": 32, "temporal_dim": 64, "temporal_layers": 2}
"""A detector that is built in milliseconds; its encoder starts from random numbers."""


@pytest.fixture
def random_detector() -> Callable[..., GenD]:
    """Makes small detectors with RANDOM encoders, in eval mode."""

    def make(encoder: str = "clip", **changes: Any) -> GenD:
        torch.manual_seed(0)
        return GenD(encoder, **{**SMALL, **changes}, scratch=True).eval()

    return make


@pytest.fixture(scope="session")
def moving_clip() -> Callable[..., torch.Tensor]:
    """Makes uint8 ``[batch, frames, 3, side, side]``: noise that drifts, no two frames alike."""

    def make(frames: int, batch: int = 1, seed: int = 0, side: int = 32) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        shape = (batch, 3, side + frames, side + frames)
        field = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        return torch.stack([field[:, :, t : t + side, t : t + side] for t in range(frames)], dim=1)

    return make
