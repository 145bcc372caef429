"""Optimisers, and learning-rate schedules as functions of the step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from gasdet.training.interfaces import Objective
from gasdet.training.recipe import Recipe

ParameterGroup = dict[str, Any]
"""What torch's optimisers take: ``params``, ``lr`` and ``weight_decay``."""


def parameter_groups(
    parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float
) -> list[ParameterGroup]:
    """Groups of one learning rate: tensors of two and more dimensions decay, others (biases, normalisation) do not."""
    found = list(parameters)
    decaying = [p for p in found if p.ndim >= 2 and weight_decay]
    others = [p for p in found if not (p.ndim >= 2 and weight_decay)]
    groups = [
        {"params": decaying, "lr": learning_rate, "weight_decay": weight_decay},
        {"params": others, "lr": learning_rate, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def objective_groups(objective: Objective, recipe: Recipe) -> list[ParameterGroup]:
    """Groups of an objective's own parameters: the head's learning rate times its ``parameter_factors``, no decay."""
    rate = recipe.learning_rate if recipe.head_learning_rate is None else recipe.head_learning_rate
    factors = getattr(objective, "parameter_factors", None)
    pairs = [(list(objective.parameters()), 1.0)] if factors is None else factors()
    return [group for found, factor in pairs for group in parameter_groups(found, rate * factor, 0.0)]


def make_optimiser(groups: Sequence[ParameterGroup], recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser, in torch's fused form: one kernel for a step, which tiny heads need.

    Each group's ``initial_lr`` is what a schedule's factor is applied to. Adam's weight decay is added to the gradient,
    AdamW's is decoupled (Loshchilov and Hutter 2019); SGD has Nesterov momentum ``betas[0]``, or none where that is 0.
    """
    initial = [{**group, "initial_lr": group["lr"]} for group in groups]
    if recipe.optimiser == "sgd":
        momentum = recipe.betas[0]
        return torch.optim.SGD(initial, lr=recipe.learning_rate, momentum=momentum, nesterov=momentum > 0, fused=True)
    kind = torch.optim.AdamW if recipe.optimiser == "adamw" else torch.optim.Adam
    return kind(initial, lr=recipe.learning_rate, betas=recipe.betas, fused=True)


def learning_rate_factor(recipe: Recipe, step: int, total: int, per_epoch: int) -> float:
    """What the learning rates are multiplied with in a step, at most 1.

    In the first ``round(warmup * total)`` = w steps it is (step + 1) / w. Then, with t = step - w, T = total - w and the
    schedule options minimum m (0), epochs E (1) and gamma g (0.1):

    * constant: 1
    * linear: 1 - (1 - m) t / T
    * cosine: m + (1 - m) (1 + cos(pi t / T)) / 2
    * cosine_restarts: the same with t modulo E epochs and T = E epochs (Loshchilov and Hutter 2017)
    * step: g ^ floor(t / E epochs)

    Args:
        recipe: With the schedule, its options and the warm-up.
        step: From 0.
        total: Steps of the stage.
        per_epoch: Steps of an epoch.
    """
    warm = round(recipe.warmup * total)
    if step < warm:
        return (step + 1) / warm
    at, length = step - warm, max(1, total - warm)
    options = recipe.schedule_options
    minimum = float(options.get("minimum", 0.0))
    period = max(1, round(float(options.get("epochs", 1)) * per_epoch))
    if recipe.schedule == "linear":
        return 1 - (1 - minimum) * min(1.0, at / length)
    if recipe.schedule == "cosine":
        return minimum + (1 - minimum) * (1 + math.cos(math.pi * min(1.0, at / length))) / 2
    if recipe.schedule == "cosine_restarts":
        return minimum + (1 - minimum) * (1 + math.cos(math.pi * (at % period) / period)) / 2
    if recipe.schedule == "step":
        return float(float(options.get("gamma", 0.1)) ** (at // period))
    return 1.0
