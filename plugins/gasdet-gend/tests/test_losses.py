"""The plugin's losses against loops over pairs in numpy, hand calculations, and finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import combinations

import numpy as np
import pytest
import torch

from gasdet_gend import losses

Loss = Callable[..., torch.Tensor]
Reference = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
"""Embeddings [B, D], labels [B], weights [B] to the loss."""


def mean(values: list[tuple[float, float]]) -> float:
    return sum(v * w for v, w in values) / sum(w for _, w in values)


def unit(e: np.ndarray) -> np.ndarray:
    return np.asarray(e / np.linalg.norm(e, axis=1, keepdims=True))


def alignment(e: np.ndarray, y: np.ndarray, w: np.ndarray) -> float:
    u, pairs = unit(e), combinations(range(len(y)), 2)
    return mean([(float(((u[i] - u[j]) ** 2).sum()), w[i] * w[j]) for i, j in pairs if y[i] == y[j]])


def uniformity(e: np.ndarray, y: np.ndarray, w: np.ndarray) -> float:
    u, pairs = unit(e), combinations(range(len(y)), 2)
    return math.log(max(1e-6, mean([(math.exp(-2 * ((u[i] - u[j]) ** 2).sum()), w[i] * w[j]) for i, j in pairs])))


def frame_average(e: np.ndarray, y: np.ndarray, w: np.ndarray) -> float:
    return mean([(-float(e[i, y[i]]), w[i]) for i in range(len(y))])


def of_outputs(e: torch.Tensor, y: torch.Tensor, w: torch.Tensor | None = None) -> torch.Tensor:
    """``frame_average`` as a function of the first two columns, so that all three losses can be tested alike."""
    return losses.frame_average({losses.FRAME_OUTPUT: e[:, :2]}, y, w)


CASES: dict[str, tuple[Loss, Reference]] = {
    "alignment": (losses.alignment, alignment),
    "uniformity": (losses.uniformity, uniformity),
    "frame_average": (of_outputs, frame_average),
}
EACH = pytest.mark.parametrize("name", list(CASES))


def batch(count: int = 9, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embeddings = 3 * torch.randn(count, 3, generator=generator, dtype=torch.float64)
    labels = torch.arange(count) % 2
    return embeddings, labels, torch.rand(count, generator=generator, dtype=torch.float64) + 0.1


@EACH
@pytest.mark.parametrize("weighted", [False, True])
def test_equal_to_a_loop(name: str, weighted: bool) -> None:
    loss, reference = CASES[name]
    for seed in range(3):
        e, y, w = batch(seed=seed)
        expected = reference(e.numpy(), y.numpy(), w.numpy() if weighted else np.ones(len(y)))
        assert loss(e, y, w if weighted else None).item() == pytest.approx(expected, rel=1e-10)


@EACH
def test_gradients_agree_with_finite_differences(name: str) -> None:
    loss, _ = CASES[name]
    e, y, w = batch()
    assert torch.autograd.gradcheck(lambda x: loss(x, y, w), (e.requires_grad_(),))


@EACH
def test_a_weight_of_zero_is_absence(name: str) -> None:
    loss, _ = CASES[name]
    e, y, w = batch()
    w[[1, 4]] = 0
    kept = w > 0
    assert loss(e, y, w).item() == pytest.approx(loss(e[kept], y[kept], w[kept]).item(), rel=1e-10)
    assert loss(e, y, torch.zeros_like(w)).item() == 0


@EACH
def test_half_precision_is_computed_in_float32(name: str) -> None:
    loss, _ = CASES[name]
    e, y, _ = batch(64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(e.bfloat16(), y)
    assert value.dtype in (torch.float32, torch.float64)
    assert value.item() == pytest.approx(loss(e.bfloat16().double(), y).item(), rel=1e-5)


@EACH
@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1], [0], [1], [0, 1]])
def test_every_batch_has_a_value_and_a_gradient(name: str, labels: list[int]) -> None:
    loss, _ = CASES[name]
    for e in (torch.ones(len(labels), 3), torch.zeros(len(labels), 3), torch.eye(3)[: len(labels)]):
        x = e.clone().requires_grad_()
        value = loss(x, torch.tensor(labels))
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(x.grad).all()  # type: ignore[arg-type]


def test_losses_of_the_frames_are_those_of_their_embeddings() -> None:
    e, y, w = batch()
    outputs = {"embeddings": torch.zeros(9, 2), losses.FRAME_EMBEDDINGS: e}
    assert torch.equal(losses.frame_alignment(outputs, y, w), losses.alignment(e, y, w))
    assert torch.equal(losses.frame_uniformity(outputs, y, w, t=1.5), losses.uniformity(e, y, w, t=1.5))


def test_by_hand() -> None:
    east, north = [2.0, 0.0], [0.0, 5.0]
    e, y = torch.tensor([east, north, east]), torch.tensor([0, 0, 1])
    assert losses.alignment(e, y).item() == pytest.approx(2.0)
    assert losses.uniformity(e, y).item() == pytest.approx(math.log((2 * math.exp(-4) + 1) / 3))
    frames = torch.tensor([[0.9, 0.1], [0.4, 0.6]]).log()
    found = losses.frame_average({losses.FRAME_OUTPUT: frames}, torch.tensor([0, 0]))
    assert found.item() == pytest.approx(-(math.log(0.9) + math.log(0.4)) / 2, rel=1e-6)


def test_what_a_batch_of_one_class_gets() -> None:
    e, _, _ = batch(4)
    synthetic, real = torch.ones(4).long(), torch.zeros(4).long()
    assert losses.alignment(e[:2], torch.tensor([0, 1])).item() == 0
    assert losses.uniformity(e[:1], real[:1]).item() == 0
    assert losses.uniformity(e, real).item() == losses.uniformity(e, synthetic).item()


def test_what_does_not_fit_is_refused() -> None:
    e, y, _ = batch(4)
    outputs: Mapping[str, torch.Tensor] = {losses.FRAME_OUTPUT: e[:, :2]}
    for refused in (
        lambda: losses.alignment(e[0], y),
        lambda: losses.alignment(e, y, torch.ones(3)),
        lambda: losses.uniformity(e, y[:3]),
        lambda: losses.uniformity(e, y, t=0.0),
        lambda: losses.frame_average({}, y),
        lambda: losses.frame_alignment({}, y),
        lambda: losses.frame_average({losses.FRAME_OUTPUT: e}, y),
        lambda: losses.frame_average(outputs, y[:3]),
        lambda: losses.frame_average(outputs, y, torch.ones(3)),
    ):
        with pytest.raises(ValueError, match=r"takes|must be"):
            refused()
