"""Calibrators inside a weights file: applied on the margin, in their own precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from gasdet_gend.model import GenD, load_model

Clips = Callable[..., torch.Tensor]
Detectors = Callable[..., GenD]


def written(folder: Path, tensors: dict[str, torch.Tensor]) -> Path:
    save_file({key: t.detach().clone().contiguous() for key, t in tensors.items()}, str(folder / "w.safetensors"))
    return folder / "w.safetensors"


def margins(model: nn.Module, x: torch.Tensor) -> np.ndarray:
    logits = model(x).detach().double().numpy()
    return np.asarray(logits[:, 1] - logits[:, 0])


@pytest.mark.parametrize(
    ("name", "values", "by_hand"),
    [
        ("affine", [1.5, -0.25], lambda z: 1.5 * z - 0.25),
        (
            "beta",
            [0.7, 1.3, 0.2],
            lambda z: -0.7 * np.log1p(np.exp(-z)) + 1.3 * np.log1p(np.exp(z)) + 0.2,
        ),
        ("knots", [[-0.3, 0.1, 0.4], [-2.0, 0.5, 3.0]], lambda z: np.interp(z, [-0.3, 0.1, 0.4], [-2.0, 0.5, 3.0])),
    ],
)
def test_calibrators(
    name: str, values: list[Any], by_hand: Any, tmp_path: Path, random_detector: Detectors, moving_clip: Clips
) -> None:
    raw, clip = random_detector(), moving_clip(8, batch=3)
    tensors = {**raw.state_dict(), f"calibration.{name}": torch.tensor(values, dtype=torch.float64)}
    path = written(tmp_path, tensors)
    model = load_model(str(path))
    assert set(model.state_dict()) == set(load_file(str(path)))
    np.testing.assert_allclose(margins(model, clip), by_hand(margins(raw, clip)), rtol=1e-4, atol=1e-5)
    assert torch.equal(model.forward_with_details(clip)[0], model(clip))
    assert model.to(torch.bfloat16).calibration.get_buffer(name).dtype == torch.float64
    with pytest.raises(ValueError, match="calibration"):
        load_model(str(written(tmp_path, {**tensors, "calibration.spline": torch.zeros(2)})))
