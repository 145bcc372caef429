"""Losses as a plugin would bring them: one on embeddings, one with a state of its own, one on a model's outputs.

``site(folder)`` makes a folder for PYTHONPATH in which they are an installed plugin.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

_PLUGIN = """
from gasdet import ComponentSpec, hookimpl

@hookimpl
def register_losses(register):
    register(ComponentSpec("scatter", "toy_losses:scatter", "squared length of embeddings", options={"factor": 1.0}))
    register(ComponentSpec("anchor", "toy_losses:Anchor", "squared distance to a learnable point of the class"))
    register(ComponentSpec("told", "toy_losses:told", "squared error of what the model tells", options={"key": "told"}))
"""


def scatter(
    embeddings: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None, *, factor: float = 1.0
) -> torch.Tensor:
    """factor x mean |e|^2."""
    if factor < 0:
        raise ValueError(f"factor must be at least 0, not {factor}.")
    squares = embeddings.square().sum(1)
    return factor * (squares.mean() if weights is None else (squares * weights).sum() / weights.sum())


class Anchor(nn.Module):
    """mean |e - a_y|^2 with points that are trained, at a learning rate of their own."""

    def __init__(self, embedding_dim: int, *, learning_rate_factor: float = 10.0) -> None:
        super().__init__()
        self.learning_rate_factor = learning_rate_factor
        self.points = nn.Parameter(torch.zeros(2, embedding_dim))

    def forward(
        self, embeddings: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        squares = (embeddings - self.points[labels]).square().sum(1)
        return squares.mean() if weights is None else (squares * weights).sum() / weights.sum()


def told(
    outputs: Mapping[str, torch.Tensor],
    labels: torch.Tensor,
    weights: torch.Tensor | None = None,
    *,
    key: str = "told",
) -> torch.Tensor:
    """mean (told - wanted)^2, where the model hands its targets on as ``wanted``."""
    squares = (outputs[key] - outputs["wanted"]).square().flatten(1).mean(1)
    return squares.mean() if weights is None else (squares * weights).sum() / weights.sum()


def site(folder: Path) -> Path:
    """Install this module and a plugin that registers the losses into a folder."""
    info = folder / "gasdet_toylosses-1.0.dist-info"
    info.mkdir(parents=True)
    shutil.copy(__file__, folder / os.path.basename(__file__))
    (folder / "toy_losses_plugin.py").write_text(_PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gasdet-toylosses\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[gasdet]\ntoylosses = toy_losses_plugin\n")
    return folder
