"""The weighted sum of registered losses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from gasdet.errors import UsageError
from gasdet.registry import load_registry
from gasdet.training.interfaces import Batch, ModelOutput
from gasdet.training.recipe import Recipe
from gasdet.training.supervised import LossTerm, SupervisedObjective


def objective(dim: int | None = None, *, offers_outputs: bool = True, **fields: Any) -> SupervisedObjective:
    recipe = Recipe(builder="a:b", head=("head",), **fields)
    return SupervisedObjective(recipe, dim, offers_outputs=offers_outputs)


def batch(count: int = 8) -> tuple[ModelOutput, Batch]:
    generator = torch.Generator().manual_seed(0)
    logits, embeddings = torch.randn(count, 2, generator=generator), torch.randn(count, 3, generator=generator)
    labels = torch.arange(count) % 2
    weights = torch.ones(count)
    return ModelOutput(logits.requires_grad_(), embeddings), Batch(embeddings, labels, weights, labels)


def test_sum_is_weighted_and_its_parts_are_told() -> None:
    output, given = batch()
    total, parts = objective(losses={"cross_entropy": 1.0, "brier": 0.5})(output, given, 0.0)
    cross_entropy = nn.functional.cross_entropy(output.logits, given.labels)
    brier = (output.logits.softmax(-1)[:, 1] - given.labels).square().mean()
    torch.testing.assert_close(total, cross_entropy + 0.5 * brier)
    assert parts == pytest.approx({"cross_entropy": cross_entropy.item(), "brier": brier.item()}, rel=1e-5)
    total.backward()
    assert output.logits.grad is not None


def test_options_reach_the_loss() -> None:
    output, given = batch()
    smooth, _ = objective(losses={"cross_entropy": 1.0}, loss_options={"cross_entropy": {"label_smoothing": 0.2}})(
        output, given, 0.0
    )
    expected = nn.functional.cross_entropy(output.logits, given.labels, label_smoothing=0.2)
    torch.testing.assert_close(smooth, expected)


def test_weights_of_samples_reach_the_loss() -> None:
    output, given = batch()
    weights = torch.tensor([1.0, 2.0] * 4)
    found, _ = objective()(output, Batch(given.inputs, given.labels, weights, given.rows), 0.0)
    each = nn.functional.cross_entropy(output.logits, given.labels, reduction="none")
    torch.testing.assert_close(found, (each * weights).sum() / weights.sum())


@pytest.mark.usefixtures("with_toy_losses")
def test_loss_with_parameters_is_trained_and_stored() -> None:
    torch.manual_seed(0)
    made = objective(
        3, losses={"cross_entropy": 1.0, "anchor": 0.1}, loss_options={"anchor": {"learning_rate_factor": 7.0}}
    )
    assert made.needs_embeddings
    (points,) = made.parameters()
    assert points.shape == (2, 3)
    assert [(len(found), factor) for found, factor in made.parameter_factors()] == [(1, 7.0)]
    with torch.no_grad():
        points.add_(1.5)
    other = objective(3, losses={"cross_entropy": 1.0, "anchor": 0.1})
    other.load_state_dict({name: tensor.clone() for name, tensor in made.state_dict().items()})
    output, given = batch()
    torch.testing.assert_close(made(output, given, 0.0)[0], other(output, given, 0.0)[0])


CORE = [entry.spec.name for entry in load_registry().components("loss") if entry.plugin.name == "builtin"]


@pytest.mark.usefixtures("with_toy_losses")
@pytest.mark.parametrize("name", [*CORE, "scatter", "anchor"])
def test_every_registered_loss_can_be_trained_with(name: str) -> None:
    made = objective(3, losses={name: 1.0})
    output, given = batch()
    total, _ = made(ModelOutput(output.logits, output.embeddings.requires_grad_()), given, 0.5)
    total.backward()
    gradient = (output.embeddings if made.needs_embeddings else output.logits).grad
    assert gradient is not None
    assert bool(gradient.isfinite().all())


@pytest.mark.usefixtures("with_toy_losses")
def test_validation_loss_is_what_logits_decide() -> None:
    output, given = batch()
    made = objective(3, losses={"brier": 2.0, "scatter": 5.0, "told": 1.0})
    found = made.validation_loss(output.logits, given.labels, given.weights)
    brier = (output.logits.softmax(-1)[:, 1] - given.labels).square().mean()
    torch.testing.assert_close(found, 2 * brier)
    for name in ("scatter", "told"):
        alone = objective(3, losses={name: 1.0})
        assert alone.validation_loss(output.logits, given.labels, given.weights) is None


@pytest.mark.usefixtures("with_toy_losses")
def test_loss_on_outputs_gets_what_the_model_gives() -> None:
    output, given = batch()
    outputs = {"logits": output.logits, "told": torch.ones(8, 5).bfloat16(), "wanted": torch.full((8, 5), 3)}
    made = objective(losses={"told": 1.0, "cross_entropy": 1.0})
    assert (made.needs_outputs, made.needs_embeddings) == (True, False)
    _, parts = made(ModelOutput.of(outputs), given, 0.0)
    assert parts["told"] == 4.0
    # sums in bfloat16 would be others
    assert ModelOutput.of(outputs).outputs["told"].dtype == torch.float32
    del outputs["told"]
    with pytest.raises(UsageError, match=r"the loss told takes the output 'told', .* it gives logits, wanted"):
        made(ModelOutput.of(outputs), given, 0.0)
    assert objective(targets="a:b").needs_outputs, "the model is to be told of targets"


def test_validation_loss_is_computed_where_a_losss_own_tensors_are() -> None:
    """A validation's logits are on the CPU, whatever device a loss was moved to."""

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", torch.ones(2))

        def forward(self, logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
            assert {logits.device, labels.device, weights.device} == {self.scale.device}
            return torch.tensor(3.0)

    output, given = batch()
    made, module = objective(losses={"brier": 1.0}), Own()
    made.terms = (*made.terms, LossTerm("own", 2.0, module, "logits", True, module))
    made.to("meta")
    found = made.validation_loss(output.logits, given.labels, given.weights)
    brier = (output.logits.softmax(-1)[:, 1] - given.labels).square().mean()
    torch.testing.assert_close(found, brier + 6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"losses": {"crossentropy": 1.0}}, "did you mean 'cross_entropy'"),
        ({"losses": {"focal": 1.0}, "loss_options": {"focal": {"gama": 1}}}, "its options: gamma"),
        ({"losses": {"focal": 1.0}, "loss_options": {"focal": {"gamma": -1.0}}}, r"loss_options\.focal: "),
        ({"losses": {"brier": 1.0}, "loss_options": {"focal": {"gamma": 1.0}}}, "focal, which losses does not name"),
        ({"losses": {"scatter": 1.0}}, "which this model does not offer"),
        ({"losses": {"anchor": 1.0}}, "which this model does not offer"),
        ({"dim": 3, "losses": {"scatter": 1}, "loss_options": {"scatter": {"factor": -1.0}}}, r"scatter: factor must"),
        ({"losses": {"told": 1.0}, "loss_options": {"told": {"keys": "a"}}}, "its options: key"),
        ({"losses": {"told": 1.0}, "offers_outputs": False}, "the loss told works on .* no forward_with_outputs"),
        ({"targets": "a:b", "offers_outputs": False}, "targets = 'a:b' works on .* no forward_with_outputs"),
    ],
)
@pytest.mark.usefixtures("with_toy_losses")
def test_unusable_losses_are_refused_in_a_sentence(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        objective(**fields)
