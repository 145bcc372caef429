"""The judgement of weights on a validation part, against scikit-learn."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import nn

sys.path.insert(0, str(Path(__file__).parent / "support"))

import engine_job as job

from gasdet.errors import UsageError
from gasdet.training.distributed import Processes
from gasdet.training.judge import Judge
from gasdet.training.recipe import Recipe
from gasdet.training.supervised import SupervisedObjective
from gasdet.training.trainable import ModelCaller


class Pass(nn.Module):
    """The inputs are the logits."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def judged(
    count: int = 60, classes: int = 2, **fields: Any
) -> tuple[Judge, dict[str, Any], torch.Tensor, job.ArrayInputs]:
    x = torch.randn(count, classes, generator=torch.Generator().manual_seed(3))
    labels = [int(i % 3 == 0) for i in range(count)]
    inputs = job.ArrayInputs(
        x,
        labels,
        datasets=["a" if i < 20 else "b" for i in range(count)],
        weights=[1.0 + i % 2 for i in range(count)],
    )
    recipe = Recipe(builder="a:b", head=("head",), batch_size=7, **fields)
    judge = Judge(recipe, inputs, SupervisedObjective(recipe, 4), Processes("cpu", "float32"))
    line = judge(ModelCaller(Pass(), from_features=False), "step 7 of stage 0")
    return judge, line, x, inputs


@pytest.mark.usefixtures("with_toy_losses")
@pytest.mark.parametrize("classes", [2, 3])
def test_figures_are_sklearns(classes: int) -> None:
    _, line, x, inputs = judged(classes=classes, losses={"brier": 2.0, "cross_entropy": 1.0, "scatter": 1.0})
    p, y, w = x.double().softmax(-1)[:, 1:].sum(-1).numpy(), inputs.labels.numpy(), inputs.weights.numpy()
    assert line["val_auroc"] == pytest.approx(metrics.roc_auc_score(y, p, sample_weight=w))
    assert line["val_accuracy"] == pytest.approx(metrics.accuracy_score(y, p > 0.5, sample_weight=w))
    brier = metrics.brier_score_loss(y, p, sample_weight=w)
    assert line["val_brier"] == pytest.approx(brier)
    loss = metrics.log_loss(y, p, sample_weight=w) + 2 * brier
    assert line["val_loss"] == pytest.approx(loss, rel=1e-5), "the losses on logits; scatter is one on embeddings"
    for name, part in (("a", np.s_[:20]), ("b", np.s_[20:])):
        expected = metrics.log_loss(y[part], p[part], sample_weight=w[part])
        assert line[f"val_cross_entropy/{name}"] == pytest.approx(expected, rel=1e-5)


def test_samples_go_through_in_batches_and_in_order() -> None:
    _, _, _, inputs = judged()
    assert [row for rows in inputs.asked for row in rows] == list(range(60))
    assert max(len(rows) for rows in inputs.asked) == 7


def test_better_follows_the_metric_and_then_the_loss() -> None:
    judge, _, _, _ = judged(selection="auroc")

    def line(value: float | None, loss: float | None) -> dict[str, Any]:
        return {"val_auroc": value, "val_loss": loss}

    assert judge.better(line(0.1, 9.0), None)
    assert judge.better(line(0.6, 9.0), line(0.5, 0.0))
    assert not judge.better(line(0.5, 0.0), line(0.5, 0.0))
    assert judge.better(line(0.5, 0.1), line(0.5, 0.2))
    assert not judge.better(line(None, 0.1), line(0.0, 0.2))
    lower, _, _, _ = judged(selection="brier")
    assert lower.better({"val_brier": 0.1, "val_loss": 1.0}, {"val_brier": 0.2, "val_loss": 0.0})


def test_unknown_selection_is_refused() -> None:
    with pytest.raises(UsageError, match="no metric is called 'score'"):
        judged(selection="score")
