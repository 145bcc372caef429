"""The reward stage's objective: what it computes and guards against, that it resumes, and that its credit is what helps."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gasdet.builtin import losses, metrics
from gasdet.builtin.losses.score import Counts
from gasdet.errors import UsageError
from gasdet.training import reward
from gasdet.training.distributed import Processes
from gasdet.training.engine import run_stage
from gasdet.training.interfaces import Batch, ModelOutput
from gasdet.training.judge import Judge
from gasdet.training.recipe import Recipe
from gasdet.training.reward_objective import RewardObjective, RewardSettings
from gasdet.training.sampling import make_sampler
from gasdet.types import Locator, MediaType, Modality, Sample

KIND = pytest.mark.parametrize("estimator", ["soft", "difference", "reinforce"])


def make_batch(count: int = 300, seed: int = 0, share: float = 0.5) -> tuple[Tensor, Batch]:
    """Logits float64 [B, 2] that say something about the labels, and the batch."""
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.arange(count) < share * count).long()
    logits = torch.randn(count, 2, generator=generator, dtype=torch.float64)
    logits[:, 1] += 2 * labels - 1
    return logits, Batch(torch.zeros(count, 1), labels, torch.ones(count), torch.arange(count))


def objective(
    reference: Any = None, *, seed: int = 0, scale: float = 1.0, bias: float = 0.0, **settings: Any
) -> RewardObjective:
    recipe = Recipe(builder="none:none", head=("head",), kind="reward", reward=settings, seed=seed)
    return RewardObjective(
        recipe, reference or (lambda batch: torch.zeros(len(batch.labels), 2)), scale=scale, bias=bias
    )


def gradient(
    target: RewardObjective, logits: Tensor, batch: Batch, progress: float = 0.0
) -> tuple[Tensor, dict[str, float]]:
    x = logits.clone().requires_grad_()
    loss, log = target(ModelOutput(x), batch, progress)
    return torch.autograd.grad(loss, x)[0], log


@KIND
def test_the_value_is_minus_the_logarithm_of_the_score(estimator: str) -> None:
    logits, batch = make_batch()
    value, log = objective(estimator=estimator, kl=0.0, tau=[0.5, 0.5])(ModelOutput(logits), batch, 0.0)
    expected = losses.combined_score(logits, batch.labels, tau=0.5)
    assert value.item() == pytest.approx(expected.item())
    assert log["brier"] + log["decision"] == pytest.approx(expected.item())


def test_every_term_has_its_weight_and_formula() -> None:
    logits, batch = make_batch()
    shifted = logits + torch.tensor([0.0, 0.7], dtype=torch.float64)
    scale, bias = 1.7, -0.3
    target = objective(
        lambda b: shifted, scale=scale, bias=bias, kl=0.2, brier=0.5, decision=2.0, cross_entropy=0.3, tau=[1.0, 1.0]
    )
    value, log = target(ModelOutput(logits), batch, 0.0)
    margin = scale * (logits[:, 1] - logits[:, 0]) + bias
    reference = scale * (shifted[:, 1] - shifted[:, 0]) + bias
    two = torch.stack([torch.zeros_like(margin), margin], dim=1)
    soft = 0.6 * torch.log((2 - losses.soft_mcc(two, batch.labels)) / 2)
    calibration = 0.9 * torch.log(1 - 4 * losses.brier(two, batch.labels))
    p, p0 = torch.sigmoid(margin), torch.sigmoid(reference)
    kl = (p0 * (p0 / p).log() + (1 - p0) * ((1 - p0) / (1 - p)).log()).mean()
    ce = losses.cross_entropy(two, batch.labels)
    assert value.item() == pytest.approx((-2 * soft - 0.5 * calibration + 0.2 * kl + 0.3 * ce).item())
    assert log["kl"] == pytest.approx(kl.item())
    assert log["cross_entropy"] == pytest.approx(ce.item())
    assert log["max_abs_z"] == pytest.approx(margin.abs().max().item())


@KIND
def test_no_kl_and_no_pull_at_the_reference(estimator: str) -> None:
    logits, batch = make_batch()
    _, log = gradient(objective(lambda b: logits, estimator=estimator, scale=1.3, bias=0.4), logits, batch)
    assert log["kl"] == 0
    assert log["grad_kl"] < 1e-15
    assert log["grad_decision"] > 0
    only, _ = gradient(objective(lambda b: logits, decision=0.0, brier=0.0, kl=0.1), logits, batch)
    assert only.abs().max() < 1e-15


def test_the_kl_term_pulls_back_to_the_reference() -> None:
    logits, batch = make_batch()
    reference = logits.clone()
    x = (logits + torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))).requires_grad_()
    target = objective(lambda b: reference, decision=0.0, brier=0.0, kl=1.0)
    optimiser = torch.optim.Adam([x], lr=0.1)
    before = target(ModelOutput(x), batch, 0.0)[1]["kl"]
    for _ in range(80):
        optimiser.zero_grad()
        target(ModelOutput(x), batch, 0.0)[0].backward()
        optimiser.step()
    assert target(ModelOutput(x), batch, 0.0)[1]["kl"] < 0.01 * before


def test_all_estimators_point_the_same_way() -> None:
    logits, batch = make_batch(512)
    soft, log = gradient(objective(brier=0.0, kl=0.0), logits, batch)
    difference, _ = gradient(objective(estimator="difference", brier=0.0, kl=0.0, draws=64), logits, batch)
    reinforce, _ = gradient(objective(estimator="reinforce", brier=0.0, kl=0.0, draws=4000), logits, batch)
    assert (difference - soft).norm() < 0.02 * soft.norm()
    assert torch.nn.functional.cosine_similarity(reinforce.flatten(), soft.flatten(), dim=0) > 0.9
    # the log has the length with respect to z; the two logits get it with either sign
    assert log["grad_decision"] * math.sqrt(2) == pytest.approx(soft.norm().item())


def test_tau_falls_geometrically() -> None:
    settings = RewardSettings(tau=(1.0, 0.25))
    assert [settings.tau_at(p) for p in (0.0, 0.5, 1.0, 2.0)] == pytest.approx([1.0, 0.5, 0.25, 0.25])
    logits, batch = make_batch()
    assert gradient(objective(), logits, batch, 0.5)[1]["tau"] == pytest.approx(0.5)


@pytest.mark.parametrize("label", [0, 1])
@KIND
def test_a_batch_of_one_class_is_skipped(estimator: str, label: int) -> None:
    logits, batch = make_batch(share=float(label))
    slope, log = gradient(objective(estimator=estimator), logits, batch)
    assert not slope.any()
    assert log["skipped"] == 1
    mixed_logits, mixed = make_batch()
    without = Batch(mixed.inputs, mixed.labels, (mixed.labels == label).float(), mixed.rows)
    assert not gradient(objective(estimator=estimator), mixed_logits, without)[0].any()


def test_small_batches_are_judged_as_part_of_the_stream() -> None:
    """Against a computation of its own: soft counts with decay 0.9, the current batch's added, and the term brought to size."""
    target = objective(brier=0.0, kl=0.0, tau=[1.0, 1.0])
    earlier = torch.zeros(4, dtype=torch.float64)
    for seed in range(5):
        logits, batch = make_batch(32, seed=seed)
        slope, log = gradient(target, logits, batch)
        x = logits.clone().requires_grad_()
        p, y = torch.sigmoid(x[:, 1] - x[:, 0]), batch.labels.double()
        own = torch.stack([(p * y).sum(), (p * (1 - y)).sum(), ((1 - p) * y).sum(), ((1 - p) * (1 - y)).sum()])
        whole = 0.9 * earlier + own
        tp, fp, fn, tn = whole
        mcc = (tp * tn - fp * fn) / torch.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
        value = -0.6 * torch.log((1 + mcc) / 2)
        assert log["decision"] == pytest.approx(value.item(), abs=1e-6)
        expected = torch.autograd.grad(value * whole.sum().detach() / 32, x)[0]
        torch.testing.assert_close(slope, expected, rtol=1e-5, atol=1e-9)
        earlier = whole.detach()
    large = objective(brier=0.0, kl=0.0)
    for seed in range(2):
        logits, batch = make_batch(256, seed=seed)
        slope, _ = gradient(large, logits, batch)
        fresh, _ = gradient(objective(brier=0.0, kl=0.0), logits, batch)
        assert torch.equal(slope, fresh), "batches of 256 stand for themselves"


@KIND
def test_it_goes_on_exactly_from_its_state(estimator: str) -> None:
    first = objective(estimator=estimator, seed=3)
    for seed in range(3):
        gradient(first, *make_batch(40, seed=seed))
    state = {name: value.clone() for name, value in first.state_dict().items()}
    second = objective(estimator=estimator, seed=99)
    second.load_state_dict(state)
    for seed in range(3, 6):
        one, other = gradient(first, *make_batch(40, seed=seed)), gradient(second, *make_batch(40, seed=seed))
        assert torch.equal(one[0], other[0])
        assert one[1] == other[1]


def test_it_is_judged_without_gradients_too() -> None:
    logits, batch = make_batch()
    with torch.no_grad():
        value, log = objective()(ModelOutput(logits.float()), batch, 1.0)
    assert torch.isfinite(value)
    assert value.dtype == torch.float32
    assert not [name for name in log if name.startswith("grad_")]
    assert list(objective().parameters()) == []


class Vectors:
    """Validation inputs whose features are the logits."""

    from_features = True

    def __init__(self, logits: Tensor, labels: Tensor) -> None:
        self.logits, self.labels = logits, labels
        locator = Locator("file", "none")
        types = (MediaType.REAL, MediaType.SYNTHETIC)
        self.samples = [
            Sample(str(i), "d", str(i), locator, Modality.IMAGE, types[label])
            for i, label in enumerate(labels.tolist())
        ]

    def batches(self, batches: Sequence[Sequence[int]], *, epoch: int, augment: bool) -> Iterator[Batch]:
        for rows in batches:
            at = torch.tensor(rows)
            yield Batch(self.logits[at], self.labels[at], torch.ones(len(at)), at)


class AsItIs(torch.nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": x}


def test_the_weights_to_keep_are_chosen_by_calibrated_probabilities() -> None:
    logits, batch = make_batch()
    scale, bias = 0.4, 1.2
    recipe = Recipe(builder="none:none", head=("head",), kind="reward")
    target = RewardObjective(recipe, lambda b: logits, scale=scale, bias=bias)
    judge = Judge(recipe, Vectors(logits.float(), batch.labels), target, Processes("cpu", "float32"))
    line = judge(AsItIs(), "step 0 of stage 0")
    p = torch.sigmoid(scale * (logits[:, 1] - logits[:, 0]) + bias).numpy()
    assert line["val_combined_score"] == pytest.approx(metrics.combined_score(batch.labels.numpy(), p), abs=1e-6)
    assert line["val_brier"] == pytest.approx(metrics.brier(batch.labels.numpy(), p), abs=1e-6)


class Normalised(torch.nn.Module):
    """Sees its batch's statistics and drops half of what it has, unless it is in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(2)
        self.head = torch.nn.Linear(2, 2)

    def classify(self, x: Tensor) -> Tensor:
        return self.head(torch.dropout(self.norm(x), 0.5, self.training))


def test_a_stage_starts_without_divergence_and_raises_the_score(tmp_path: Path) -> None:
    logits, batch = make_batch(600)
    inputs = Vectors(logits.float() + 3.0, batch.labels)
    module = Normalised()
    with torch.no_grad():
        module.head.weight.copy_(0.4 * torch.eye(2))
        module.head.bias.copy_(torch.tensor([0.5, -0.5]))
    reference = copy.deepcopy(module).eval()
    recipe = Recipe(
        builder="none:none",
        head=("head",),
        kind="reward",
        trainable="all",
        learning_rate=0.05,
        batch_size=300,
        steps=20,
        evaluate_every=1,
        sampling="class_balanced",
        reward={"kl": 0.01},
    )
    run_stage(
        module,
        recipe,
        train=inputs,
        validation=inputs,
        sampler=make_sampler(recipe, inputs.samples),
        objective=RewardObjective(recipe, lambda b: reference.classify(b.inputs)),
        folder=tmp_path,
        device="cpu",
        identity={},
    )
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines[0]["step"] == 0
    assert lines[1]["train_kl"] == 0
    assert lines[2]["train_kl"] > 0
    assert lines[-1]["val_combined_score"] > lines[0]["val_combined_score"] + 0.1
    # BatchNorm's statistics are those of the reference
    assert torch.equal(module.norm.running_mean, reference.norm.running_mean)  # type: ignore[arg-type]


class PermutedCredit(RewardObjective):
    """The negative control: everybody gets somebody else's credit."""

    def credit(self, actions: Tensor, labels: Tensor, weights: Tensor, carried: Counts | None) -> Tensor:
        own = super().credit(actions, labels, weights, carried)
        return own[torch.randperm(len(own), generator=self._generator)]


def tuned_mcc_gain(kind: type[RewardObjective]) -> float:
    """What the soft MCC of a linear model on fresh data gains by tuning it by the decisions' reward alone."""
    generator = torch.Generator().manual_seed(7)
    truth = torch.randn(8, generator=generator, dtype=torch.float64)

    def draw(count: int) -> tuple[Tensor, Tensor]:
        x = torch.randn(count, 8, generator=generator, dtype=torch.float64)
        noise = torch.randn(count, generator=generator, dtype=torch.float64)
        return x, (x @ truth + noise > 0).long()

    start = truth + 1.5 * torch.randn(8, generator=generator, dtype=torch.float64)
    fresh, fresh_labels = draw(4000)

    def quality(weight: Tensor) -> float:
        margin = fresh @ weight
        return 1 - losses.soft_mcc(torch.stack([torch.zeros_like(margin), margin], 1), fresh_labels).item()

    weight = start.clone().requires_grad_()
    recipe = Recipe(
        builder="none:none",
        head=("head",),
        kind="reward",
        reward={"estimator": "difference", "brier": 0.0, "kl": 0.0, "tau": [1.0, 1.0]},
    )
    target = kind(recipe, lambda b: torch.zeros(len(b.labels), 2))
    optimiser = torch.optim.Adam([weight], lr=0.02)
    for _ in range(120):
        x, labels = draw(256)
        margin = x @ weight
        logits = torch.stack([torch.zeros_like(margin), margin], 1)
        rows = torch.arange(256)
        loss, _ = target(ModelOutput(logits), Batch(x, labels, torch.ones(256), rows), 0.0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return quality(weight.detach()) - quality(start)


def test_the_gain_vanishes_when_the_credit_is_permuted() -> None:
    gain, control = tuned_mcc_gain(RewardObjective), tuned_mcc_gain(PermutedCredit)
    assert gain > 0.05
    assert control < 0.2 * gain


def test_unusable_settings_are_refused() -> None:
    for settings, said in (
        ({"estimator": "ppo"}, "estimator"),
        ({"tau": [1.0, 0.0]}, "tau"),
        ({"draws": 0}, "draws"),
        ({"estimator": "reinforce", "draws": 1}, "draws"),
        ({"kl": -0.1}, "kl"),
        ({"brier": float("nan")}, "brier"),
        ({"lamda": 1}, "lamda"),
    ):
        with pytest.raises(UsageError, match=said):
            objective(**settings)
    with pytest.raises(UsageError, match="better than chance"):
        objective(scale=-1.0)


def test_rewards_of_the_module_are_what_the_objective_uses() -> None:
    """The sampled estimator's gradient is that of the pure functions with the same draws."""
    logits, batch = make_batch(300)
    slope, _ = gradient(objective(estimator="difference", brier=0.0, kl=0.0, seed=4), logits, batch)
    x = logits.clone().requires_grad_()
    policy = torch.sigmoid(x[:, 1] - x[:, 0])
    actions = reward.sample_actions(policy, 4, torch.Generator().manual_seed(4))
    credit = reward.difference_rewards(actions, batch.labels, batch.weights)
    expected = torch.autograd.grad(-reward.difference_surrogate(policy, credit), x)[0]
    torch.testing.assert_close(slope, expected)


def test_the_docs_state_every_setting_with_its_default(repository: Path) -> None:
    text = (repository / "docs" / "reward.md").read_text(encoding="utf-8").split("## Settings")[1]
    settings = RewardSettings()
    for name in ("estimator", "tau", "draws", "kl", "cross_entropy"):
        value = getattr(settings, name)
        shown = str(list(value)) if isinstance(value, tuple) else value if isinstance(value, str) else f"{value:g}"
        assert f"| `{name}` | {shown} |" in text, name
    assert f"| `decision`, `brier` | {settings.decision:g}, {settings.brier:g} |" in text
