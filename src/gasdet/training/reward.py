"""The reward of a batch's decisions and its gradients: a policy gradient with per-sample counterfactual credit.

The policy decides each sample on its own: a_i = 1 (synthetic) with probability pi_i = sigmoid(z_i / tau). The reward of all
decisions together is what they add to the logarithm of the combined score, R(a) = 0.6 log max((1 + MCC(a, y)) / 2, 1e-3). It
is a one-step bandit with one action a sample: there is no sequence and no discount.

Three estimators of the gradient of E[R] with respect to z, in the order of their noise:

* ``soft_reward``: R of the expected counts. No sampling, biased by O(1/n).
* ``difference_rewards``: D_i = R(a with a_i = 1) - R(a with a_i = 0). Since E[R] is linear in each pi_i with slope E[D_i], the
  gradient of sum_i D_i pi_i with D_i held fixed is unbiased; a_i itself is summed out, and no baseline is needed. One count
  changes by w_i, so that all n cost O(n) a draw.
* ``reinforce_surrogate``: the score function with the mean reward of the other draws as baseline. Unbiased; every sample is
  credited with the reward of the whole batch, so that its noise grows with the batch.

The Brier term of the score is differentiable as it is and needs none of this: ``brier_reward``. Everything is computed in
float64: rewards of neighbouring decisions differ by 1/n.

Sources: difference rewards, Wolpert and Tumer 2001; the leave-one-out baseline, Ahmadian et al. 2024, arXiv 2402.14740; task
rewards for vision models, Pinto et al. 2023, arXiv 2302.08242.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gasdet.builtin.losses.inputs import weighted_mean
from gasdet.builtin.losses.score import Counts, counts, log_calibration, log_decision, mcc_of


def reward_of(table: Counts) -> Tensor:
    """R ``[...]`` of confusion counts, -4.15 to 0: 0.6 log max((1 + MCC) / 2, 1e-3)."""
    return log_decision(mcc_of(table))


def combined_score_of(decisions: Tensor, scores: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """The combined score of decisions and probabilities as the reward has it: exp(R + 0.9 log max(1 - 4 Brier, 1e-3)).

    Equal to the metric ``combined_score`` wherever both logarithms are above their floors.

    Args:
        decisions: ``[B]``, 0 or 1.
        scores: float64 ``[B]``, P(synthetic).
        labels: ``[B]``, 0 or 1.
        weights: float64 ``[B]``.
    """
    brier = weighted_mean((scores - labels.to(scores.dtype)) ** 2, weights)
    return torch.exp(reward_of(counts(decisions, labels, weights)) + log_calibration(brier))


def added(one: Counts, other: Counts | None) -> Counts:
    """The sum of two tables; the other may be absent."""
    return one if other is None else Counts(*(a + b for a, b in zip(one, other, strict=True)))


def sample_actions(policy: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """float64 ``[K, B]`` of 0 and 1: decisions drawn from the policy.

    Args:
        policy: ``[B]``, probability of deciding for synthetic.
        draws: K.
        generator: On the CPU, where the numbers are drawn whatever the policy's device, so that the draws do not depend on it.
    """
    numbers = torch.rand((draws, *policy.shape), generator=generator, dtype=torch.float64)
    return (numbers.to(policy.device) < policy.detach()).double()


@torch.no_grad()
def difference_rewards(actions: Tensor, labels: Tensor, weights: Tensor, carried: Counts | None = None) -> Tensor:
    """D_i, float64 ``[B]``: mean over the draws of R(a with a_i = 1) - R(a with a_i = 0). O(K B).

    Args:
        actions: ``[K, B]`` of 0 and 1.
        labels: ``[B]``, 0 or 1.
        weights: ``[B]``.
        carried: Counts of earlier batches that are added to each draw's.
    """
    a, y, w = actions.double(), labels.double(), weights.double()
    drawn = Counts(*(part[:, None] for part in added(counts(a, labels, w), carried)))
    up, down = w * (1.0 - a), w * a  # what a_i = 1, and a_i = 0, moves from one decision to the other
    return (reward_of(_moved(drawn, up, y)) - reward_of(_moved(drawn, -down, y))).mean(dim=0)


def _moved(table: Counts, amount: Tensor, labels: Tensor) -> Counts:
    """The tables with an amount of each sample's weight moved from the decision real to the decision synthetic."""
    synthetic, real = amount * labels, amount * (1.0 - labels)
    return Counts(table.tp + synthetic, table.fp + real, table.fn - synthetic, table.tn - real)


def difference_surrogate(policy: Tensor, credit: Tensor) -> Tensor:
    """Scalar sum_i D_i pi_i with D_i held fixed: its gradient is that of the expected reward, its value means nothing."""
    return (credit.detach() * policy).sum()


def reinforce_surrogate(
    margins: Tensor, tau: float, actions: Tensor, labels: Tensor, weights: Tensor, carried: Counts | None = None
) -> Tensor:
    """Scalar mean_k (R_k - mean of the other draws' R) sum_i log pi(a_ki): REINFORCE with a leave-one-out baseline.

    Its gradient is an unbiased estimate of that of the expected reward; its value means nothing.

    Args:
        margins: ``[B]``, z.
        tau: Temperature of the policy.
        actions: ``[K, B]`` of 0 and 1, K at least 2.
        labels: ``[B]``, 0 or 1.
        weights: ``[B]``.
        carried: Counts of earlier batches that are added to each draw's.

    Raises:
        ValueError: Fewer than two draws, of which none has another for its baseline.
    """
    if len(actions) < 2:
        raise ValueError(f"reinforce takes at least 2 draws for its baseline, not {len(actions)}.")
    with torch.no_grad():
        rewards = reward_of(added(counts(actions, labels, weights.double()), carried))
        advantages = (rewards - rewards.mean()) * len(rewards) / (len(rewards) - 1)
    log_policy = F.logsigmoid(margins / tau * (2.0 * actions - 1.0)).sum(dim=1)
    return (advantages * log_policy).mean()


def soft_reward(policy: Tensor, labels: Tensor, weights: Tensor, carried: Counts | None = None) -> Tensor:
    """Scalar R of the expected counts: tp = sum w y pi and so on."""
    return reward_of(added(counts(policy, labels, weights.to(policy.dtype)), carried))


def brier_reward(margins: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Scalar 0.9 log max(1 - 4 B, 1e-3), B = mean (sigmoid(z) - y)^2: what probabilities add to the score's logarithm.

    Its gradient with respect to z_i is -7.2 w_i (p_i - y_i) p_i (1 - p_i) / ((1 - 4 B) sum w) where 1 - 4 B > 1e-3, else 0.
    """
    return log_calibration(weighted_mean((torch.sigmoid(margins) - labels.to(margins.dtype)) ** 2, weights))


def bernoulli_kl(reference: Tensor, margins: Tensor, weights: Tensor) -> Tensor:
    """Scalar mean KL(Bernoulli(sigmoid(z0)) || Bernoulli(sigmoid(z))), nats, 0 or more; exactly 0 where z equals z0.

    Args:
        reference: ``[B]``, z0, without gradient.
        margins: ``[B]``, z.
        weights: ``[B]``.
    """
    p0 = torch.sigmoid(reference)
    synthetic = p0 * (F.logsigmoid(reference) - F.logsigmoid(margins))
    real = torch.sigmoid(-reference) * (F.logsigmoid(-reference) - F.logsigmoid(-margins))
    return weighted_mean(synthetic + real, weights)
