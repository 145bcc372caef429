"""BreathFiLM: the identity without breath, its equation, and targets that give way to the prediction. RANDOM weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from gasdet_breathnet.model import BreathFiLM, BreathNet, mixed_condition

Make = Callable[..., BreathNet]
Speech = Callable[..., torch.Tensor]


@pytest.fixture
def film() -> BreathFiLM:
    torch.manual_seed(0)
    module = BreathFiLM(8)
    nn.init.normal_(module.w2.weight)
    nn.init.normal_(module.w2.bias)
    return module


def test_without_breath_it_is_the_identity_whatever_its_weights(film: BreathFiLM) -> None:
    h = torch.randn(3, 5, 8)
    assert torch.equal(film(h, torch.zeros(3, 5)), h)
    c = torch.zeros(3, 5)
    c[1, 2] = 1.0
    changed = (film(h, c) != h).any(-1)
    assert changed.nonzero().tolist() == [[1, 2]]


def test_at_first_it_is_the_identity_with_breath_too() -> None:
    h = torch.randn(3, 5, 8)
    assert torch.equal(BreathFiLM(8)(h, torch.rand(3, 5)), h)


def test_its_equation(film: BreathFiLM) -> None:
    h, c = torch.randn(2, 4, 8), torch.rand(2, 4)
    for i in range(2):
        for t in range(4):
            joined = torch.cat([h[i, t], c[i, t, None]])
            hidden = nn.functional.gelu(film.w1.weight @ joined + film.w1.bias)
            both = film.w2.weight @ hidden + film.w2.bias
            gamma, beta = both[:8], both[8:]
            expected = h[i, t] * (1 + c[i, t] * gamma) + c[i, t] * beta
            torch.testing.assert_close(film(h, c)[i, t], expected, rtol=1e-4, atol=1e-5)


def test_the_condition_is_the_target_with_the_given_probability() -> None:
    torch.manual_seed(0)
    predicted, targets = torch.full((50, 400), 0.25), torch.ones(50, 400)
    for share in (0.0, 0.3, 1.0):
        found = mixed_condition(predicted, targets, share)
        assert set(found.unique().tolist()) <= {0.25, 1.0}
        assert (found == 1.0).float().mean().item() == pytest.approx(share, abs=0.02)
    unknown = torch.full((50, 400), -1.0)
    assert torch.equal(mixed_condition(predicted, unknown, 1.0), predicted)


def test_the_targets_give_way_as_the_training_goes_on(tiny: Make, speech: Speech) -> None:
    """At the beginning the mask decides, whatever is predicted; at the end, and in eval mode, the mask has no effect."""
    model, x = tiny(), speech()
    none, all_of_it = torch.zeros(2, 49), torch.ones(2, 49)

    def difference() -> float:
        a, b = (model.forward_with_outputs(x, targets)["logits"] for targets in (none, all_of_it))
        return float((a - b).detach().abs().max())

    assert difference() == 0  # eval mode
    model.train()
    model.head.standard.eval()  # its running averages move with every batch, whatever the targets are
    assert model.mask_share == 1.0
    assert difference() > 1e-3
    model.set_progress(0.25)
    assert model.mask_share == 0.75
    model.set_progress(1.0)
    assert difference() == 0


def test_at_the_end_training_and_scoring_say_the_same(tiny: Make, speech: Speech) -> None:
    model, x = tiny(), speech()
    expected = model(x)
    model.train().set_progress(1.0)
    model.head.standard.eval()  # its running averages move with every batch
    torch.testing.assert_close(model.forward_with_outputs(x, torch.ones(2, 49))["logits"], expected)


def test_the_classification_reaches_the_predictor(tiny: Make, speech: Speech) -> None:
    model = tiny().train()
    model.set_progress(1.0)
    model(speech())[:, 1].sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.breath.predictor.parameters())
