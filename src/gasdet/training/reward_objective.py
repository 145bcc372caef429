"""The objective of a reward stage: decisions by policy gradient, probabilities by their exact gradient, near a reference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gasdet.builtin.losses.inputs import margins as margins_of
from gasdet.builtin.losses.inputs import weighted_mean
from gasdet.builtin.losses.score import Counts, counts
from gasdet.errors import UsageError
from gasdet.training import reward
from gasdet.training.interfaces import Batch, ModelOutput
from gasdet.training.recipe import Recipe

SMALL_BATCH = 256
"""Below so many samples a batch's MCC is too noisy, and the counts of earlier batches are added to it."""

DECAY = 0.9
"""What is left of the earlier batches' counts with each step."""


@dataclass(frozen=True, slots=True)
class RewardSettings:
    """What ``Recipe.reward`` says of a reward stage, with the values that it takes where it says nothing.

    Attributes:
        estimator: ``soft``, ``difference`` or ``reinforce``; see :mod:`gasdet.training.reward`.
        tau: Temperature of the decisions at the stage's start and end; in between it falls geometrically.
        draws: Decisions that are drawn for each sample (difference, reinforce).
        decision: Weight of the decisions' reward, 0.6 log((1 + MCC) / 2).
        brier: Weight of the probabilities' reward, 0.9 log(1 - 4 Brier).
        kl: Weight of the mean Kullback-Leibler divergence from the reference.
        cross_entropy: Weight of the cross-entropy, for small data.
    """

    estimator: str = "soft"
    tau: tuple[float, float] = (1.0, 0.25)
    draws: int = 4
    decision: float = 1.0
    brier: float = 1.0
    kl: float = 0.05
    cross_entropy: float = 0.0

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> RewardSettings:
        """Read ``Recipe.reward``; a recipe has checked its keys and values, apart from the draws that one estimator needs.

        Raises:
            UsageError: ``reinforce`` with a single draw, which has no other for its baseline.
        """
        values: dict[str, Any] = {key: tuple(value) if key == "tau" else value for key, value in mapping.items()}
        settings = cls(**values)
        if settings.estimator == "reinforce" and settings.draws < 2:
            raise UsageError(
                "reward.draws must be at least 2 with the estimator reinforce: a draw's baseline is the others."
            )
        return settings

    def tau_at(self, progress: float) -> float:
        """The temperature when a share of the stage, 0 to 1, is done."""
        start, end = self.tau
        return float(start * (end / start) ** min(max(progress, 0.0), 1.0))


class RewardObjective:
    """Tunes a trained, calibrated detector for the combined score, near to what it was.

    With z = scale * margin + bias, y the labels and n the batch's size, a batch's loss is
    ``decision * -R(z / tau) + brier * -0.9 log max(1 - 4 B(z), 1e-3) + kl * KL(z0 || z) + cross_entropy * CE(z)``, where R is
    differentiated by the chosen estimator and z0 is the reference's z. With the defaults and without KL its value, whatever
    the estimator, is minus the logarithm of the batch's combined score with soft decisions.

    * A batch of one class is skipped: its loss is 0, with a gradient of 0.
    * In batches of fewer than 256 samples R is that of the batch's counts plus those of the earlier ones (decay 0.9 a step,
      soft, held fixed). A sample then moves R by less in the proportion of the batch to that sum; the term is multiplied by
      the inverse, so that its gradient keeps the size that it has in one large batch.
    * The log has every term's value and the length of its gradient with respect to z (``grad_...``, before the weights), the
      largest |z| (``max_abs_z``; a reward that is gamed drives it up), ``tau``, and ``skipped``.

    Args:
        recipe: Its ``reward`` and ``seed`` are used; the seed decides the draws.
        reference: Gives the frozen reference's logits ``[B, 2]`` or ``[B, 3]`` for a batch. It is not called without a KL term.
        scale: Of the reference's Platt calibrator, above 0. It holds for the reference and the tuned model alike.
        bias: The same calibrator's.

    Raises:
        UsageError: The scale is not above 0, or ``reinforce`` has a single draw.
    """

    needs_embeddings = False
    needs_outputs = False

    def __init__(
        self, recipe: Recipe, reference: Callable[[Batch], Tensor], *, scale: float = 1.0, bias: float = 0.0
    ) -> None:
        if not scale > 0:
            raise UsageError(
                f"the reference's calibrator has the scale {scale}, with which a higher margin would mean real; reward "
                "tuning starts from a detector that is better than chance."
            )
        self.settings = RewardSettings.from_mapping(recipe.reward)
        self._reference = reference
        self._scale, self._bias = scale, bias
        self._generator = torch.Generator().manual_seed(recipe.seed)
        self._carried = torch.zeros(4, dtype=torch.float64)

    def parameters(self) -> Iterable[nn.Parameter]:
        """None: it has nothing of its own to train."""
        return ()

    def __call__(self, output: ModelOutput, batch: Batch, progress: float) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch and its parts; see the class and :class:`gasdet.training.interfaces.Objective`."""
        tau = self.settings.tau_at(progress)
        labels = batch.labels
        if not _both_classes(labels, batch.weights):
            return (output.logits * 0.0).sum(), {"skipped": 1.0, "tau": tau}
        z = self._calibrated(output.logits)
        weights = batch.weights.double()
        terms = {"brier": -reward.brier_reward(z, labels, weights)}
        value = terms["brier"] * self.settings.brier
        if self.settings.decision:
            terms["decision"] = self._decision(z, labels, weights, tau)
            value = value + self.settings.decision * terms["decision"]
        if self.settings.kl:
            with torch.no_grad():
                z0 = self._calibrated(self._reference(batch))
            terms["kl"] = reward.bernoulli_kl(z0, z, weights)
            value = value + self.settings.kl * terms["kl"]
        if self.settings.cross_entropy:
            signed = torch.where(labels.bool(), z, -z)
            terms["cross_entropy"] = weighted_mean(F.softplus(-signed), weights)
            value = value + self.settings.cross_entropy * terms["cross_entropy"]
        log = {name: float(term.detach()) for name, term in terms.items()}
        log |= _gradient_lengths(terms, z)
        log |= {"max_abs_z": float(z.detach().abs().max()), "tau": tau, "skipped": 0.0}
        return value.to(output.logits.dtype), log

    def calibrated_logits(self, logits: Tensor) -> Tensor:
        """Logits ``[N, 2]`` or ``[N, 3]`` as the objective sees them, float64 ``[N, 2]`` (0, z).

        What the stage tunes is the calibrated detector, so that this is what the weights to keep are chosen by.
        """
        z = self._calibrated(logits)
        return torch.stack([torch.zeros_like(z), z], dim=1)

    def state_dict(self) -> dict[str, Tensor]:
        """The state of the draws and the counts of earlier batches."""
        return {"generator": self._generator.get_state(), "carried": self._carried.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what ``state_dict`` gave."""
        self._generator.set_state(state["generator"].cpu().to(torch.uint8))
        self._carried = state["carried"].cpu().double().clone()

    def credit(self, actions: Tensor, labels: Tensor, weights: Tensor, carried: Counts | None) -> Tensor:
        """The credit D_i of each sample; a study of what the credit does replaces it."""
        return reward.difference_rewards(actions, labels, weights, carried)

    def _calibrated(self, logits: Tensor) -> Tensor:
        return self._scale * margins_of(logits).double() + self._bias

    def _decision(self, z: Tensor, labels: Tensor, weights: Tensor, tau: float) -> Tensor:
        """The decisions' term: its gradient by the estimator, its value with soft decisions whatever the estimator."""
        policy = torch.sigmoid(z / tau)
        batch = counts(policy.detach(), labels, weights)
        carried = self._carry(batch) if len(labels) < SMALL_BATCH else None
        if self.settings.estimator == "soft":
            gain = reward.soft_reward(policy, labels, weights, carried)
        else:
            actions = reward.sample_actions(policy, self.settings.draws, self._generator)
            if self.settings.estimator == "difference":
                gain = reward.difference_surrogate(policy, self.credit(actions, labels, weights, carried))
            else:
                gain = reward.reinforce_surrogate(z, tau, actions, labels, weights, carried)
        value = -reward.reward_of(reward.added(batch, carried))
        share = 1.0 if carried is None else float(sum(batch) / (sum(batch) + sum(carried)))
        return value - (gain - gain.detach()) / share

    def _carry(self, batch: Counts) -> Counts | None:
        """What earlier batches left, and keep this one for the next."""
        earlier = DECAY * self._carried
        self._carried = earlier + torch.stack(batch).cpu()
        return Counts(*earlier.to(batch.tp.device)) if earlier.any() else None


def _both_classes(labels: Tensor, weights: Tensor) -> bool:
    present = labels[weights > 0]
    return bool((present == 0).any() and (present == 1).any())


def _gradient_lengths(terms: Mapping[str, Tensor], z: Tensor) -> dict[str, float]:
    """The length of each term's gradient with respect to z; none where nothing is differentiated."""
    if not z.requires_grad:
        return {}
    return {
        f"grad_{name}": float(torch.autograd.grad(term, z, retain_graph=True)[0].norm()) for name, term in terms.items()
    }
