"""Soft-MCC and the combined-score surrogate against the metrics, hand calculations, and finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from gasdet.builtin import losses, metrics

Loss = Callable[..., torch.Tensor]
BOTH: list[Loss] = [losses.soft_mcc, losses.combined_score]


def batch(count: int = 40, seed: int = 0, classes: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (count,), generator=generator)
    logits = torch.randn(count, classes, generator=generator, dtype=torch.float64)
    logits[:, 1] += 4 * labels - 2
    return logits, labels, torch.rand(count, generator=generator, dtype=torch.float64) + 0.2


def test_by_hand() -> None:
    # three synthetic and one real, p = .9, .6, .3 and .2: tp 1.8, fn 1.2, fp .2, tn .8
    p, labels = np.array([0.9, 0.6, 0.3, 0.2]), torch.tensor([1, 1, 1, 0])
    logits = torch.tensor(np.stack([np.zeros(4), np.log(p / (1 - p))], 1))
    mcc = (1.8 * 0.8 - 0.2 * 1.2) / math.sqrt(2.0 * 3.0 * 1.0 * 2.0)
    assert losses.soft_mcc(logits, labels).item() == pytest.approx(1 - mcc, abs=1e-6)
    brier = (0.01 + 0.16 + 0.49 + 0.04) / 4
    expected = -0.6 * math.log((1 + mcc) / 2) - 0.9 * math.log(1 - 4 * brier)
    assert losses.combined_score(logits, labels).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_at_a_low_tau_they_are_the_metrics(classes: int) -> None:
    for seed in range(3):
        logits, labels, weights = batch(seed=seed, classes=classes)
        p, y, w = 1 - logits.softmax(1)[:, 0].numpy(), labels.numpy(), weights.numpy()
        soft = losses.soft_mcc(logits, labels, weights, tau=1e-5).item()
        assert 1 - soft == pytest.approx(metrics.mcc(y, p, w), abs=1e-6)
        surrogate = losses.combined_score(logits, labels, weights, tau=1e-5).item()
        assert math.exp(-surrogate) == pytest.approx(metrics.combined_score(y, p, w), abs=1e-6)


@pytest.mark.parametrize("loss", BOTH)
def test_gradients_agree_with_finite_differences(loss: Loss) -> None:
    logits, labels, weights = batch(12)
    assert torch.autograd.gradcheck(lambda z: loss(z, labels, weights, tau=0.5), (logits.requires_grad_(),))


@pytest.mark.parametrize("loss", BOTH)
@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e4])
def test_the_weights_scale_has_no_effect(loss: Loss, scale: float) -> None:
    logits, labels, weights = batch(12)
    given = logits.requires_grad_()
    one, other = loss(given, labels, weights), loss(given, labels, weights * scale)
    assert other.item() == pytest.approx(one.item(), rel=1e-9)
    gradients = [torch.autograd.grad(value, given)[0] for value in (one, other)]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("share", [1e-3, 1e-6])
def test_a_class_of_little_weight_counts_in_full(share: float) -> None:
    """Nothing that keeps the root finite shows: as the metric has it."""
    logits, labels, _ = batch(40)
    logits, weights = logits.float(), torch.where(labels.bool(), share, 1.0)
    p = 1 - logits.softmax(1)[:, 0].numpy()
    soft = losses.soft_mcc(logits, labels, weights, tau=1e-4)
    assert soft.dtype is torch.float32
    assert 1 - soft.item() == pytest.approx(metrics.mcc(labels.numpy(), p, weights.double().numpy()), rel=1e-4)


@pytest.mark.parametrize("sign", [-1, 1])
def test_decisions_that_are_all_alike_have_an_mcc_of_0(sign: int) -> None:
    """In float32, where the counts of the other decision are what rounding leaves."""
    labels = torch.arange(33) % 2
    z = torch.linspace(12, 20, 33) * sign
    logits = torch.stack([torch.zeros(33), z], 1).requires_grad_()
    loss = losses.soft_mcc(logits, labels, torch.rand(33, generator=torch.Generator().manual_seed(0)))
    loss.backward()
    assert loss.item() == pytest.approx(1, abs=2e-3)
    assert bool(logits.grad.isfinite().all())


@pytest.mark.parametrize("loss", BOTH)
def test_weights_are_repetition(loss: Loss) -> None:
    logits, labels, _ = batch(6)
    weights = torch.tensor([3, 0, 1, 2, 1, 1])
    again = torch.repeat_interleave(torch.arange(6), weights)
    assert loss(logits, labels, weights).item() == pytest.approx(loss(logits[again], labels[again]).item(), rel=1e-12)


@pytest.mark.parametrize("label", [0, 1])
def test_a_batch_of_one_class(label: int) -> None:
    logits, _, _ = batch(8)
    labels = torch.full((8,), label)
    x = logits.clone().requires_grad_()
    value = losses.soft_mcc(x, labels)
    value.backward()
    assert value.item() == 1
    assert not x.grad.any()  # type: ignore[union-attr]
    brier = losses.brier(logits, labels).item()
    expected = -0.6 * math.log(0.5) - 0.9 * math.log(max(1 - 4 * brier, 1e-3))
    assert losses.combined_score(logits, labels).item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", BOTH)
def test_everything_wrong_and_everything_sure_stay_finite(loss: Loss) -> None:
    for sign in (-1, 1):
        logits = (torch.tensor([[-90.0, 90.0], [90.0, -90.0]]) * sign).requires_grad_()
        value = loss(logits, torch.tensor([1, 0]), tau=0.01)
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(logits.grad).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("loss", BOTH)
def test_half_precision_is_computed_in_float32(loss: Loss) -> None:
    logits, labels, _ = batch(64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(logits.bfloat16(), labels)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(logits.bfloat16().double(), labels).item(), rel=1e-5)


@pytest.mark.parametrize("loss", BOTH)
def test_what_does_not_fit_is_refused(loss: Loss) -> None:
    logits, labels, _ = batch(4)
    for refused in (
        lambda: loss(logits, labels, tau=0.0),
        lambda: loss(logits, labels[:3]),
        lambda: loss(logits[0], labels),
    ):
        with pytest.raises(ValueError, match=r"takes|must be"):
            refused()
