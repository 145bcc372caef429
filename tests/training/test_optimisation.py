"""Optimisers and schedules, against torch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from gasdet.training.optimisation import learning_rate_factor, make_optimiser, objective_groups, parameter_groups
from gasdet.training.recipe import Recipe

TOTAL, EPOCH = 40, 8


def recipe(**fields: Any) -> Recipe:
    return Recipe(builder="a:b", head=("head",), **fields)


def factors(**fields: Any) -> list[float]:
    return [learning_rate_factor(recipe(**fields), step, TOTAL, EPOCH) for step in range(TOTAL)]


def torchs(kind: Any, **options: Any) -> list[float]:
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = kind(optimiser, **options)
    found = []
    for _ in range(TOTAL):
        found.append(schedule.get_last_lr()[0])
        optimiser.step()
        schedule.step()
    return found


S = torch.optim.lr_scheduler


@pytest.mark.parametrize(
    ("fields", "kind", "options"),
    [
        ({"schedule": "constant"}, S.ConstantLR, {"factor": 1.0}),
        (
            {"schedule": "linear", "schedule_options": {"minimum": 0.1}},
            S.LinearLR,
            {"start_factor": 1.0, "end_factor": 0.1, "total_iters": TOTAL},
        ),
        (
            {"schedule": "cosine", "schedule_options": {"minimum": 0.05}},
            S.CosineAnnealingLR,
            {"T_max": TOTAL, "eta_min": 0.05},
        ),
        (
            {"schedule": "cosine_restarts", "schedule_options": {"epochs": 2, "minimum": 0.01}},
            S.CosineAnnealingWarmRestarts,
            {"T_0": 2 * EPOCH, "eta_min": 0.01},
        ),
        (
            {"schedule": "step", "schedule_options": {"epochs": 2, "gamma": 0.9}},
            S.StepLR,
            {"step_size": 2 * EPOCH, "gamma": 0.9},
        ),
    ],
)
def test_schedules_are_torchs(fields: dict[str, Any], kind: Any, options: dict[str, Any]) -> None:
    assert factors(**fields) == pytest.approx(torchs(kind, **options), abs=1e-9)


def test_warm_up_rises_linearly_and_the_schedule_follows() -> None:
    found = factors(schedule="cosine", warmup=0.1)
    assert found[:4] == [0.25, 0.5, 0.75, 1.0]
    assert found[4:] == pytest.approx(torchs(S.CosineAnnealingLR, T_max=TOTAL - 4)[: TOTAL - 4])


def test_matrices_decay_and_vectors_do_not() -> None:
    matrix, vector = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    optimiser = make_optimiser(parameter_groups([matrix, vector], 0.1, 0.5), recipe(optimiser="adamw"))
    matrix.grad, vector.grad = torch.zeros(2, 2), torch.zeros(2)
    optimiser.step()
    torch.testing.assert_close(matrix.detach(), torch.full((2, 2), 1 - 0.1 * 0.5))
    assert vector.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("fields", "plain"),
    [
        ({"optimiser": "adam", "betas": (0.5, 0.9)}, lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.5, 0.9))),
        ({"optimiser": "adamw"}, lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.2)),
        ({"optimiser": "sgd"}, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True)),
        ({"optimiser": "sgd", "betas": (0.0, 0.9)}, lambda p: torch.optim.SGD(p, lr=0.1)),
    ],
)
def test_optimisers_are_torchs(fields: dict[str, Any], plain: Any) -> None:
    ours, theirs = nn.Parameter(torch.ones(3, 3)), nn.Parameter(torch.ones(3, 3))
    decay = 0.2 if fields["optimiser"] == "adamw" else 0.0
    pairs = [(ours, make_optimiser(parameter_groups([ours], 0.1, decay), recipe(**fields))), (theirs, plain([theirs]))]
    for parameter, optimiser in pairs:
        generator = torch.Generator().manual_seed(0)
        for _ in range(5):
            parameter.grad = torch.randn(3, 3, generator=generator)
            optimiser.step()
    torch.testing.assert_close(ours, theirs)


def test_an_objectives_parameters_have_their_own_rate() -> None:
    class Centers:
        def __init__(self) -> None:
            self.centres = nn.Parameter(torch.zeros(2, 3))

        def parameters(self) -> list[nn.Parameter]:
            return [self.centres]

    plain: Any = Centers()
    assert [
        (g["lr"], g["weight_decay"]) for g in objective_groups(plain, recipe(learning_rate=0.1, weight_decay=1.0))
    ] == [(0.1, 0.0)]
    plain.parameter_factors = lambda: [([plain.centres], 10.0)]
    assert objective_groups(plain, recipe(learning_rate=0.1, head_learning_rate=0.2))[0]["lr"] == pytest.approx(2.0)
