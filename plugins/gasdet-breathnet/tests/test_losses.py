"""The losses against loops over pairs and frames in numpy, torch's own, hand calculations, and finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn

from gasdet_breathnet import losses

Loss = Callable[..., torch.Tensor]
Reference = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
"""Unit embeddings [B, D], labels [B], weights [B] to the loss."""

CENTERS = np.array([[0.3, 0.1, -0.2], [0.0, 0.9, 0.4]])


def mean(values: list[tuple[float, float]]) -> float:
    return sum(v * w for v, w in values) / sum(w for _, w in values)


def contrastive(u: np.ndarray, y: np.ndarray, w: np.ndarray) -> float:
    def one(i: int, j: int) -> float:
        d = float(np.linalg.norm(u[i] - u[j]))
        return d**2 if y[i] == y[j] else max(0.0, 1.3 - d) ** 2

    return mean([(one(i, j), w[i] * w[j]) for i, j in combinations(range(len(y)), 2)])


def anchored(u: np.ndarray, y: np.ndarray, w: np.ndarray) -> float:
    terms = []
    for i in np.flatnonzero(y == 0):
        below = sum(w[a] * math.exp(u[i] @ u[a] / 0.2) for a in range(len(y)) if a != i)
        others = [(-math.log(math.exp(u[i] @ u[p] / 0.2) / below), w[p]) for p in np.flatnonzero(y == 0) if p != i]
        terms.append((mean(others), w[i]))
    return mean(terms)


def cohesion(u: np.ndarray, y: np.ndarray, w: np.ndarray) -> float:
    pairs = [(i, j) for i, j in combinations(range(len(y)), 2) if y[i] == y[j]]
    return mean([(1 - float(u[i] @ u[j]), w[i] * w[j]) for i, j in pairs])


def to_center(u: np.ndarray, y: np.ndarray, w: np.ndarray) -> float:
    return mean([(0.5 * float(((u[i] - CENTERS[y[i]]) ** 2).sum()), w[i]) for i in range(len(y))])


def center(embeddings: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    return losses.center(embeddings, labels, torch.from_numpy(CENTERS), weights)


CASES: dict[str, tuple[Loss, Reference]] = {
    "contrastive": (partial(losses.contrastive, margin=1.3), contrastive),
    "positive_supcon": (partial(losses.positive_supcon, temperature=0.2), anchored),
    "positive_supcon, no negatives": (partial(losses.positive_supcon, negatives=False), cohesion),
    "center": (center, to_center),
}
EACH = pytest.mark.parametrize("name", list(CASES))


def batch(count: int = 9, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embeddings = 3 * torch.randn(count, 3, generator=generator, dtype=torch.float64)
    labels = torch.arange(count) % 2
    return embeddings, labels, torch.rand(count, generator=generator, dtype=torch.float64) + 0.1


@EACH
@pytest.mark.parametrize("weighted", [False, True])
def test_equal_to_a_loop_over_pairs(name: str, weighted: bool) -> None:
    loss, reference = CASES[name]
    for seed in range(3):
        e, y, w = batch(seed=seed)
        u = (e / e.norm(dim=1, keepdim=True)).numpy()
        expected = reference(u, y.numpy(), w.numpy() if weighted else np.ones(len(y)))
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


def test_by_hand() -> None:
    east, north = [2.0, 0.0], [0.0, 5.0]
    e, y = torch.tensor([east, north, east]), torch.tensor([0, 0, 1])
    # one pair of one label at distance sqrt(2), two of two labels at 0 and sqrt(2): 2, 1 and 0
    assert losses.contrastive(e, y).item() == pytest.approx(1.0)
    # anchor 0: positive 0, synthetic 1; anchor 1: positive 0, synthetic 0
    first, second = -math.log(1 / (1 + math.exp(10))), -math.log(1 / 2)
    assert losses.positive_supcon(e, y).item() == pytest.approx((first + second) / 2, rel=1e-6)
    assert losses.positive_supcon(e, y, negatives=False).item() == pytest.approx(1.0)
    centers = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert losses.center(e, y, centers).item() == pytest.approx((0 + 1.0 + 0.5) / 3)
    assert losses.center(e, y, centers, one_class=True).item() == pytest.approx(0.5)


def test_what_a_batch_of_one_class_gets() -> None:
    e, _, _ = batch(4)
    synthetic, real = torch.ones(4).long(), torch.zeros(4).long()
    assert losses.positive_supcon(e, synthetic).item() == 0
    assert losses.positive_supcon(e[:1], real[:1]).item() == 0
    assert losses.center(e, synthetic, torch.ones(2, 3), one_class=True).item() == 0
    assert losses.positive_supcon(e[:2], torch.tensor([0, 1]), negatives=False).item() == 0


def test_synthetic_samples_are_pushed_away_and_never_pulled_together() -> None:
    """Two real ones to the east, two synthetic ones 30 degrees to either side: their ways part."""
    angles = torch.tensor([0.0, 0.0, math.pi / 6, -math.pi / 6], dtype=torch.float64).requires_grad_()
    losses.positive_supcon(torch.stack([angles.cos(), angles.sin()], 1), torch.tensor([0, 0, 1, 1])).backward()
    assert angles.grad is not None
    assert angles.grad[2] < 0 < angles.grad[3]


def test_center_module_trains_its_centres() -> None:
    e, y, w = batch(16)
    module = losses.Center(3)
    module.double()
    # at the origin every unit vector is 1/2 away and nothing pulls it
    x = e.clone().requires_grad_()
    value = module(x, y, w)
    value.backward()
    assert value.item() == pytest.approx(0.5)
    assert x.grad.abs().max() < 1e-12  # type: ignore[union-attr]
    assert dict(module.named_parameters()).keys() == {"centers"}
    assert module.learning_rate_factor == 10.0
    optimiser = torch.optim.SGD(module.parameters(), lr=0.5)
    for _ in range(200):
        optimiser.zero_grad()
        module(e, y, w).backward()
        optimiser.step()
    u = e / e.norm(dim=1, keepdim=True)
    for label in (0, 1):
        chosen = y == label
        expected = (u[chosen] * w[chosen, None]).sum(0) / w[chosen].sum()
        torch.testing.assert_close(module.centers[label].detach(), expected, atol=1e-4, rtol=0)
    assert torch.autograd.gradcheck(lambda c: losses.center(e, y, c, w), (module.centers.detach().requires_grad_(),))


# --- Breath -----------------------------------------------------------------------------------------------------------


def breathing(seed: int = 0, batch: int = 4, frames: int = 7) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, frames, generator=generator, dtype=torch.float64)
    targets = torch.randint(-1, 2, (batch, frames), generator=generator).double()
    return {"breath_logits": logits, "breath_targets": targets}, torch.rand(batch, generator=generator).double() + 0.1


@pytest.mark.parametrize("positive_weight", [None, 3.0])
def test_breath_is_torchs_binary_cross_entropy_over_the_known_frames(positive_weight: float | None) -> None:
    outputs, w = breathing()
    logits, targets = outputs["breath_logits"], outputs["breath_targets"]
    known = targets >= 0
    each = w[:, None].expand_as(targets)[known]
    odds = each[targets[known] == 0].sum() / each[targets[known] == 1].sum()
    factor = odds if positive_weight is None else torch.tensor(positive_weight)
    per_frame = nn.functional.binary_cross_entropy_with_logits(
        logits[known], targets[known], weight=each, pos_weight=factor, reduction="sum"
    )
    expected = per_frame / (each * torch.where(targets[known] == 1, factor, 1.0)).sum()
    found = losses.breath(outputs, torch.zeros(4), w, positive_weight=positive_weight)
    torch.testing.assert_close(found, expected)


def test_breath_by_hand_in_both_kinds_of_frames() -> None:
    """One frame with breath and three without: by default the one weighs as much as the three."""
    outputs = {
        "breath_logits": torch.tensor([[2.0, -1.0, -1.0, -1.0, 9.0]]),
        "breath_targets": torch.tensor([[1.0, 0.0, 0.0, 0.0, -1.0]]),
    }
    with_breath, without = math.log(1 + math.exp(-2)), math.log(1 + math.exp(-1))
    assert losses.breath(outputs, torch.zeros(1)).item() == pytest.approx((with_breath + without) / 2)
    plain = losses.breath(outputs, torch.zeros(1), positive_weight=1.0).item()
    assert plain == pytest.approx((with_breath + 3 * without) / 4)


def test_breath_of_unknown_frames_and_absent_samples_is_nothing() -> None:
    outputs, _ = breathing()
    logits = outputs["breath_logits"].requires_grad_()
    unknown = losses.breath({**outputs, "breath_targets": torch.full((4, 7), -1.0)}, torch.zeros(4))
    unknown.backward()
    assert unknown.item() == 0
    assert not logits.grad.any()  # type: ignore[union-attr]
    weights = torch.tensor([0.0, 1.0, 2.0, 0.0]).double()
    kept = {name: tensor[1:3] for name, tensor in outputs.items()}
    assert losses.breath(outputs, torch.zeros(4), weights).item() == pytest.approx(
        losses.breath(kept, torch.zeros(2), weights[1:3]).item()
    )


@pytest.mark.parametrize("target", [0.0, 1.0])
def test_breath_of_one_kind_of_frames_alone_is_their_mean(target: float) -> None:
    outputs, _ = breathing()
    targets = torch.full((4, 7), target).double()
    expected = nn.functional.binary_cross_entropy_with_logits(outputs["breath_logits"], targets)
    found = losses.breath({**outputs, "breath_targets": targets}, torch.zeros(4))
    torch.testing.assert_close(found, expected)


# --- Cross-entropy with class weights ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("real", "synthetic"), [(0.9, 0.1), (1.0, 1.0), (0.0, 2.0)])
def test_weighted_cross_entropy_is_torchs(real: float, synthetic: float) -> None:
    logits = torch.randn(12, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.arange(12) % 3 // 2
    expected = nn.functional.cross_entropy(logits, y, weight=torch.tensor([real, synthetic], dtype=torch.float64))
    torch.testing.assert_close(losses.weighted_cross_entropy(logits, y, real=real, synthetic=synthetic), expected)


def test_weighted_cross_entropy_folds_a_third_class_and_takes_weights() -> None:
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y, w = torch.tensor([0, 1, 0, 1, 1, 0]), torch.tensor([1.0, 0.0, 2.0, 3.0, 0.5, 1.0]).double()
    p = logits.softmax(-1)
    of_label = torch.where(y == 1, p[:, 1:].sum(-1), p[:, 0])
    each = w * torch.where(y == 1, 0.1, 0.9)
    expected = (-of_label.log() * each).sum() / each.sum()
    torch.testing.assert_close(losses.weighted_cross_entropy(logits, y, w), expected)
    assert losses.weighted_cross_entropy(logits, y, torch.zeros(6).double()).item() == 0


def test_what_does_not_fit_is_refused() -> None:
    e, y, _ = batch(4)
    outputs, _ = breathing()
    for refused in (
        lambda: losses.contrastive(e[0], y),
        lambda: losses.contrastive(e, y[:3]),
        lambda: losses.contrastive(e, y, torch.ones(3)),
        lambda: losses.contrastive(e, y, margin=0.0),
        lambda: losses.positive_supcon(e, y, temperature=0.0),
        lambda: losses.center(e, y, torch.zeros(2, 4)),
        lambda: losses.Center(0),
        lambda: losses.breath(outputs, y, positive_weight=0.0),
        lambda: losses.breath(outputs, y[:3]),
        lambda: losses.breath({**outputs, "breath_targets": outputs["breath_targets"][:, 1:]}, y),
        lambda: losses.weighted_cross_entropy(torch.zeros(4, 4), y),
        lambda: losses.weighted_cross_entropy(torch.zeros(4, 2), y[:3]),
        lambda: losses.weighted_cross_entropy(torch.zeros(4, 2), y, real=0.0, synthetic=0.0),
        lambda: losses.weighted_cross_entropy(torch.zeros(4, 2), y, real=-1.0),
    ):
        with pytest.raises(ValueError, match=r"takes|must be"):
            refused()
