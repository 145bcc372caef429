"""The reward and its gradients against enumeration of all decisions, finite differences, and the metrics."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch

from gasdet.builtin import metrics
from gasdet.builtin.losses.score import Counts, counts, mcc_of
from gasdet.training import reward


def batch(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Margins, labels and weights; the margins say something about the labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(count, generator=generator) < 0.45).long()
    labels[:2] = torch.tensor([0, 1])
    z = torch.randn(count, generator=generator, dtype=torch.float64) + 1.5 * labels - 0.6
    return z, labels, torch.rand(count, generator=generator, dtype=torch.float64) + 0.3


def plain_reward(decisions: tuple[int, ...], labels: np.ndarray, weights: np.ndarray) -> float:
    """R by the metric, which scikit-learn computes."""
    mcc = metrics.mcc(labels, np.asarray(decisions, dtype=float), weights)
    return 0.6 * math.log(max((1 + mcc) / 2, 1e-3))


def all_actions(count: int) -> torch.Tensor:
    return torch.tensor(list(product((0.0, 1.0), repeat=count)), dtype=torch.float64)


def expected_reward(z: torch.Tensor, tau: float, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """E[R] as the sum over all 2^n decisions."""
    actions = all_actions(len(z))
    log_policy = torch.nn.functional.logsigmoid(z / tau * (2 * actions - 1)).sum(dim=1)
    return (log_policy.exp() * reward.reward_of(counts(actions, labels, weights))).sum()


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


def test_the_reward_is_that_of_the_metric_for_every_decision() -> None:
    _, labels, weights = batch(7)
    actions = all_actions(7)
    ours = reward.reward_of(counts(actions, labels, weights))
    for row, value in zip(actions, ours, strict=True):
        expected = plain_reward(tuple(row.int().tolist()), labels.numpy(), weights.numpy())
        assert value.item() == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_mcc_brier_and_score_are_the_metrics(share: float, weighted: bool) -> None:
    """With empty classes and with weights of 0 as well."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        y = (rng.random(50) < share).astype(int)
        p = np.clip(0.35 * y + rng.random(50) * 0.65, 0, 1)
        w = rng.integers(0, 3, 50) * rng.random(50) + 1e-3 if weighted else np.ones(50)
        labels, scores, weights = torch.from_numpy(y), torch.from_numpy(p), torch.from_numpy(w)
        decisions = (scores > 0.5).double()
        assert mcc_of(counts(decisions, labels, weights)).item() == pytest.approx(metrics.mcc(y, p, w), abs=1e-6)
        z = torch.log(scores) - torch.log1p(-scores)
        calibration = reward.brier_reward(z, labels, weights).item()
        assert calibration == pytest.approx(0.9 * math.log(max(1 - 4 * metrics.brier(y, p, w), 1e-3)), abs=1e-9)
        score = metrics.combined_score(y, p, w)
        if metrics.brier(y, p, w) < 0.2499:
            ours = reward.combined_score_of(decisions, scores, labels, weights).item()
            assert ours == pytest.approx(score, abs=1e-6)


@pytest.mark.parametrize("count", [2, 4, 8])
def test_difference_rewards_are_those_of_recounting(count: int) -> None:
    """Every decision vector, every sample: the reward counted anew with that one decision forced to either side."""
    _, labels, weights = batch(count)
    actions = all_actions(count)
    for row in actions[:: max(1, len(actions) // 24)]:
        ours = reward.difference_rewards(row[None], labels, weights)
        for i in range(count):
            forced = [[*row[:i].int().tolist(), a, *row[i + 1 :].int().tolist()] for a in (1, 0)]
            up, down = (plain_reward(tuple(f), labels.numpy(), weights.numpy()) for f in forced)
            assert ours[i].item() == pytest.approx(up - down, abs=4e-5)


@pytest.mark.parametrize("tau", [1.0, 0.25])
def test_difference_rewards_give_the_exact_gradient_of_the_expected_reward(tau: float) -> None:
    """Averaged over all 2^12 decision vectors with their probabilities: no sampling, so nothing may differ."""
    z, labels, weights = batch(12)
    z.requires_grad_()
    exact = torch.autograd.grad(expected_reward(z, tau, labels, weights), z)[0]
    policy = torch.sigmoid(z / tau)
    actions = all_actions(12)
    chances = torch.where(actions > 0, policy, 1 - policy).prod(dim=1).detach()
    each = torch.stack([reward.difference_rewards(a[None], labels, weights) for a in actions])
    surrogate = reward.difference_surrogate(policy, (chances[:, None] * each).sum(dim=0))
    ours = torch.autograd.grad(surrogate, z)[0]
    torch.testing.assert_close(ours, exact, rtol=1e-9, atol=1e-12)


def test_the_expected_rewards_gradient_agrees_with_finite_differences() -> None:
    z, labels, weights = batch(10)
    exact = torch.autograd.functional.jacobian(lambda x: expected_reward(x, 0.5, labels, weights), z)
    for i in range(10):
        step = torch.zeros(10, dtype=torch.float64)
        step[i] = 1e-5
        rise = expected_reward(z + step, 0.5, labels, weights) - expected_reward(z - step, 0.5, labels, weights)
        assert rise.item() / 2e-5 == pytest.approx(exact[i].item(), rel=1e-5, abs=1e-9)


def test_sampled_estimators_are_unbiased_and_the_credit_is_far_less_noisy() -> None:
    z, labels, weights = batch(12)
    z.requires_grad_()
    exact = torch.autograd.grad(expected_reward(z, 1.0, labels, weights), z)[0]
    generator = torch.Generator().manual_seed(0)
    policy = torch.sigmoid(z)
    rows: dict[str, list[torch.Tensor]] = {"difference": [], "reinforce": []}
    for _ in range(1500):
        actions = reward.sample_actions(policy, 4, generator)
        credit = reward.difference_rewards(actions, labels, weights)
        for name, value in (
            ("difference", reward.difference_surrogate(policy, credit)),
            ("reinforce", reward.reinforce_surrogate(z, 1.0, actions, labels, weights)),
        ):
            rows[name].append(torch.autograd.grad(value, z, retain_graph=True)[0])
    noise = {}
    for name, gradients in rows.items():
        g = torch.stack(gradients)
        standard_error = g.std(dim=0) / math.sqrt(len(g))
        assert ((g.mean(dim=0) - exact).abs() < 5 * standard_error).all(), name
        noise[name] = float((g - exact).norm(dim=1).mean() / exact.norm())
    assert noise["difference"] < 0.25 * noise["reinforce"]


@pytest.mark.parametrize("tau", [1.0, 0.25])
def test_soft_and_sampled_gradients_agree_within_one_percent(tau: float) -> None:
    z, labels, _ = batch(1024)
    z.requires_grad_()
    weights = torch.ones(1024, dtype=torch.float64)
    policy = torch.sigmoid(z / tau)
    soft = torch.autograd.grad(reward.soft_reward(policy, labels, weights), z, retain_graph=True)[0]
    generator = torch.Generator().manual_seed(3)
    actions = reward.sample_actions(policy, 512, generator)
    credit = reward.difference_rewards(actions, labels, weights)
    sampled = torch.autograd.grad(reward.difference_surrogate(policy, credit), z)[0]
    assert relative(soft, sampled) < 0.01


def test_the_soft_gradient_agrees_with_finite_differences_and_carried_counts_are_added() -> None:
    z, labels, weights = batch(12)
    carried = Counts(*(torch.tensor(float(v), dtype=torch.float64) for v in (5, 1, 2, 4)))
    assert torch.autograd.gradcheck(
        lambda x: reward.soft_reward(torch.sigmoid(x), labels, weights, carried), (z.requires_grad_(),)
    )
    # the same as a batch that has the earlier samples in it, decided for certain
    policy = torch.tensor([1.0, 1, 0, 0, 0.3], dtype=torch.float64)
    y, w = torch.tensor([1, 0, 1, 0, 1]), torch.tensor([5.0, 1, 2, 4, 1], dtype=torch.float64)
    both = reward.soft_reward(policy[4:], y[4:], w[4:], carried)
    assert both.item() == pytest.approx(reward.soft_reward(policy, y, w).item(), abs=1e-12)
    actions = torch.tensor([[1.0, 1, 0, 0, 0]], dtype=torch.float64)
    alone = reward.difference_rewards(actions[:, 4:], y[4:], w[4:], carried)
    torch.testing.assert_close(alone, reward.difference_rewards(actions, y, w)[4:], rtol=1e-9, atol=1e-12)


def test_the_brier_gradient_is_its_formula() -> None:
    z, labels, weights = batch(30)
    z.requires_grad_()
    ours = torch.autograd.grad(reward.brier_reward(z, labels, weights), z)[0]
    p, y = torch.sigmoid(z.detach()), labels.double()
    brier = (weights * (p - y) ** 2).sum() / weights.sum()
    expected = -7.2 * weights * (p - y) * p * (1 - p) / ((1 - 4 * brier) * weights.sum())
    torch.testing.assert_close(ours, expected)
    worst = torch.tensor([9.0, -9.0], dtype=torch.float64, requires_grad=True)
    floor = reward.brier_reward(worst, torch.tensor([0, 1]), torch.ones(2, dtype=torch.float64))
    assert floor.item() == pytest.approx(0.9 * math.log(1e-3))
    assert not torch.autograd.grad(floor, worst)[0].any()


def test_kl_is_zero_at_the_reference_and_scipys_elsewhere() -> None:
    from scipy.stats import entropy

    z, _, weights = batch(20)
    moved = (z + torch.linspace(-2, 2, 20, dtype=torch.float64)).requires_grad_()
    assert reward.bernoulli_kl(z, z, weights).item() == 0
    p0, p = torch.sigmoid(z).numpy(), torch.sigmoid(moved.detach()).numpy()
    expected = np.average(entropy(np.stack([p0, 1 - p0]), np.stack([p, 1 - p])), weights=weights.numpy())
    assert reward.bernoulli_kl(z, moved, weights).item() == pytest.approx(expected)
    assert torch.autograd.gradcheck(lambda x: reward.bernoulli_kl(z, x, weights), (moved,))
    far = torch.tensor([300.0, -300.0], dtype=torch.float64)
    assert torch.isfinite(reward.bernoulli_kl(far, -far, torch.ones(2, dtype=torch.float64)))


def test_actions_have_the_policys_shares_and_follow_the_generator() -> None:
    policy = torch.tensor([0.0, 0.2, 0.9, 1.0])
    drawn = [reward.sample_actions(policy, 20000, torch.Generator().manual_seed(5)) for _ in range(2)]
    assert torch.equal(*drawn)
    shares = drawn[0].mean(dim=0)
    assert shares[0] == 0
    assert shares[3] == 1
    torch.testing.assert_close(shares, policy.double(), atol=0.015, rtol=0)


def test_the_baseline_needs_two_draws_and_leaves_each_draw_out_of_its_own() -> None:
    z, labels, weights = batch(6)
    z.requires_grad_()
    actions = reward.sample_actions(torch.sigmoid(z), 3, torch.Generator().manual_seed(1))
    rewards = reward.reward_of(counts(actions, labels, weights))
    log_policy = torch.where(actions > 0, torch.sigmoid(z).log(), (1 - torch.sigmoid(z)).log()).sum(dim=1)
    terms = [(rewards[k] - rewards[[j for j in range(3) if j != k]].mean()) * log_policy[k] for k in range(3)]
    ours = reward.reinforce_surrogate(z, 1.0, actions, labels, weights)
    assert ours.item() == pytest.approx((sum(terms) / 3).item())
    with pytest.raises(ValueError, match="at least 2 draws"):
        reward.reinforce_surrogate(z, 1.0, actions[:1], labels, weights)
