"""The losses against hand calculations, the metrics, and finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gasdet.builtin import losses, metrics, plugin
from gasdet.types import ComponentSpec

Loss = Callable[..., torch.Tensor]


def smoothed(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    return losses.cross_entropy(logits, labels, weights, label_smoothing=0.1)


def focal_of_half(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    return losses.focal(logits, labels, weights, gamma=0.5, alpha=0.25)


LOSSES: list[Loss] = [losses.cross_entropy, smoothed, losses.focal, focal_of_half, losses.brier, losses.focal_brier]


def logits_of(*p: float) -> torch.Tensor:
    """Two logits with P(synthetic) = p, shifted by something that must not matter."""
    return torch.tensor([[1.5, 1.5 + math.log(q / (1 - q))] for q in p], dtype=torch.float64)


def test_by_hand() -> None:
    logits, labels = logits_of(0.8, 0.3), torch.tensor([1, 1])
    assert losses.cross_entropy(logits, labels).item() == pytest.approx(-(math.log(0.8) + math.log(0.3)) / 2)
    assert losses.brier(logits, labels).item() == pytest.approx((0.04 + 0.49) / 2)
    expected = (-(0.2**2) * math.log(0.8) + 0.5 * 0.04 - 0.7**2 * math.log(0.3) + 0.5 * 0.49) / 2
    assert losses.focal_brier(logits, labels, gamma=2.0, brier_weight=0.5).item() == pytest.approx(expected)
    # Real samples: the probability of the own class is 1 - p.
    assert losses.cross_entropy(logits_of(0.8), torch.tensor([0])).item() == pytest.approx(-math.log(0.2))
    assert losses.brier(logits_of(0.8), torch.tensor([0])).item() == pytest.approx(0.64)


def test_focal_by_hand() -> None:
    logits, labels = logits_of(0.8, 0.3), torch.tensor([1, 0])
    expected = -(0.2**2 * math.log(0.8) + 0.3**2 * math.log(0.7)) / 2
    assert losses.focal(logits, labels, gamma=2.0).item() == pytest.approx(expected)
    expected = -(0.25 * 0.2 * math.log(0.8) + 0.75 * 0.3 * math.log(0.7)) / 2
    assert losses.focal(logits, labels, gamma=1.0, alpha=0.25).item() == pytest.approx(expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_label_smoothing_is_that_of_torch(smoothing: float) -> None:
    torch.manual_seed(2)
    logits, labels = 3 * torch.randn(20, 2).double(), torch.randint(0, 2, (20,))
    theirs = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    assert losses.cross_entropy(logits, labels, label_smoothing=smoothing).item() == pytest.approx(theirs.item())


def test_equal_to_the_metrics_and_to_torch() -> None:
    torch.manual_seed(0)
    logits, labels, weights = torch.randn(50, 2).double(), torch.randint(0, 2, (50,)), torch.rand(50)
    p = logits.softmax(1)[:, 1].numpy()
    y, w = labels.numpy(), weights.double().numpy()
    assert losses.brier(logits, labels, weights).item() == pytest.approx(metrics.brier(y, p, w))
    assert losses.cross_entropy(logits, labels, weights).item() == pytest.approx(metrics.cross_entropy(y, p, w))
    assert losses.cross_entropy(logits, labels).item() == pytest.approx(
        torch.nn.functional.cross_entropy(logits, labels).item()
    )


def test_focal_brier_without_its_extras_is_cross_entropy() -> None:
    logits, labels = logits_of(0.9, 0.2, 0.6), torch.tensor([1, 0, 0])
    plain = losses.focal_brier(logits, labels, gamma=0.0, brier_weight=0.0)
    assert plain.item() == pytest.approx(losses.cross_entropy(logits, labels).item())


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("classes", [2, 3])
def test_gradients_agree_with_finite_differences(loss: Loss, classes: int) -> None:
    torch.manual_seed(1)
    logits = torch.randn(6, classes, dtype=torch.float64, requires_grad=True)
    labels, weights = torch.tensor([0, 1, 1, 0, 1, 0]), torch.rand(6, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: loss(z, labels, weights), (logits,))


@pytest.mark.parametrize("loss", LOSSES)
def test_a_third_class_is_folded_into_synthetic(loss: Loss) -> None:
    three = torch.tensor([[0.3, -0.2, 1.1], [2.0, 0.5, -1.0]], dtype=torch.float64)
    p = 1 - three.softmax(1)[:, 0]
    labels = torch.tensor([1, 0])
    folded = loss(logits_of(*p.tolist()), labels)
    assert loss(three, labels).item() == pytest.approx(folded.item())


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_are_repetition(loss: Loss) -> None:
    logits, labels = logits_of(0.8, 0.3, 0.6), torch.tensor([1, 0, 1])
    again = [0, 0, 0, 2]
    weighted = loss(logits, labels, torch.tensor([3, 0, 1]))
    assert weighted.item() == pytest.approx(loss(logits[again], labels[again]).item())


@pytest.mark.parametrize("loss", LOSSES)
def test_extreme_logits_stay_finite(loss: Loss) -> None:
    logits = torch.tensor([[80.0, -80.0], [-80.0, 80.0]], requires_grad=True)
    value = loss(logits, torch.tensor([1, 1]))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()  # type: ignore[arg-type]


def test_the_docs_describe_every_registered_loss_with_its_options(repository: Path) -> None:
    specs: list[ComponentSpec] = []
    plugin.register_losses(register=specs.append)
    text = (repository / "docs" / "losses.md").read_text(encoding="utf-8")
    for spec in specs:
        row = next(line for line in text.splitlines() if line.startswith(f"| `{spec.name}` |"))
        for option, value in spec.options.items():
            assert f"`{option}`" in row, (spec.name, option)
            shown = str(value).lower() if isinstance(value, bool) else f"{value:g}"
            assert f"= {shown}" in row, (spec.name, option)


@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_is_computed_in_float32(loss: Loss) -> None:
    torch.manual_seed(3)
    logits, labels = torch.randn(64, 2).bfloat16(), torch.randint(0, 2, (64,))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(logits, labels)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(logits.double(), labels).item(), rel=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_batch_without_weight_is_nothing(loss: Loss) -> None:
    logits = logits_of(0.8, 0.3).requires_grad_()
    value = loss(logits, torch.tensor([1, 0]), torch.zeros(2))
    value.backward()
    assert value.item() == 0
    assert not logits.grad.any()  # type: ignore[union-attr]


@pytest.mark.parametrize("loss", LOSSES)
def test_shapes_that_do_not_fit_are_refused(loss: Loss) -> None:
    for logits, labels in [((4, 1), 4), ((4, 4), 4), ((4, 2), 3)]:
        with pytest.raises(ValueError, match="takes logits"):
            loss(torch.zeros(logits), torch.zeros(labels, dtype=torch.long))
    with pytest.raises(ValueError, match="weights"):
        loss(torch.zeros(4, 2), torch.zeros(4), torch.ones(3))


def test_options_out_of_range_are_refused() -> None:
    logits, labels = logits_of(0.5), torch.tensor([1])
    for refused in (
        lambda: losses.focal_brier(logits, labels, gamma=-1.0),
        lambda: losses.focal_brier(logits, labels, brier_weight=-1.0),
        lambda: losses.focal(logits, labels, gamma=-0.1),
        lambda: losses.focal(logits, labels, alpha=1.5),
        lambda: losses.cross_entropy(logits, labels, label_smoothing=-0.1),
    ):
        with pytest.raises(ValueError, match=r"at least 0|from 0 to 1"):
            refused()
