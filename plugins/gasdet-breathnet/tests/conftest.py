"""Fixtures of this plugin's tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gasdet import Modality, Sample
from gasdet.types import Locator, MediaType
from gasdet_breathnet.model import BreathNet

TINY: dict[str, Any] = {
    "embed_dim": 16,
    "num_layers": 2,
    "num_heads": 2,
    "ffn_dim": 24,
    "conv_dim": 8,
    "pos_kernel": 8,
    "pos_groups": 4,
    "channels": (4, 6),
    "bands": 3,
    "fused_dim": 12,
    "embedding_dim": 10,
}
"""A network that runs in milliseconds, with RANDOM weights."""


@pytest.fixture(scope="session")
def shared_media() -> Path:
    """Real files that lie beside the project, or a skip with the reason."""
    folder = Path(
        os.environ.get("GASDET_TEST_MEDIA") or Path(__file__).resolve().parents[3].parent.joinpath("shared", "media")
    )
    if not folder.is_dir():
        pytest.skip(f"real media are absent: no folder {folder} (set GASDET_TEST_MEDIA to one that has them)")
    return folder


@pytest.fixture(scope="session")
def sizes() -> dict[str, Any]:
    """The arguments of a network that runs in milliseconds."""
    return dict(TINY)


@pytest.fixture
def tiny() -> Callable[..., BreathNet]:
    """Makes tiny networks whose every part has an effect: nothing is left at its initial zero."""

    def make(seed: int = 0, **other: Any) -> BreathNet:
        torch.manual_seed(seed)
        model = BreathNet(**{**TINY, **other})
        for parameter in (model.breath.w2.weight, model.breath.w2.bias, model.layer_weights):
            torch.nn.init.normal_(parameter, std=0.3)
        return model.eval()

    return make


@pytest.fixture
def speech() -> Callable[..., torch.Tensor]:
    """Something with harmonics, noise and gaps: float32 ``[B, N]`` within -1 to 1."""

    def make(samples: int = 16_000, batch: int = 2, seed: int = 0) -> torch.Tensor:
        rng = np.random.default_rng(seed)
        time = np.arange(samples) / 16_000
        rows = []
        for _ in range(batch):
            pitch = rng.uniform(90, 220)
            voice = sum(np.sin(2 * np.pi * pitch * k * time + rng.uniform(0, 6)) / k for k in range(1, 12))
            gate = (np.sin(2 * np.pi * rng.uniform(1, 3) * time + rng.uniform(0, 6)) > 0).astype(float)
            rows.append(0.1 * np.asarray(voice) * gate + 0.01 * rng.normal(size=samples))
        return torch.from_numpy(np.stack(rows)).float()

    return make


@pytest.fixture
def sample() -> Callable[..., Sample]:
    """Makes samples with annotations."""

    def make(member: str = "a.wav", path: str = "/data/a.wav", **annotations: str) -> Sample:
        return Sample(
            sample_id="0" * 32,
            dataset="d",
            member=member,
            locator=Locator("file", path),
            modality=Modality.AUDIO,
            media_type=MediaType.REAL,
            annotations=annotations,
        )

    return make
