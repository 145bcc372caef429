"""One stage of a training: against a plain loop of torch's own, interrupted in every way, and on several processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

SUPPORT = Path(__file__).parent / "support"
sys.path.insert(0, str(SUPPORT))

import engine_job as job  # noqa: E402

from gasdet.errors import RunError, UsageError  # noqa: E402
from gasdet.training.interfaces import Batch, ModelOutput  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As the processes that are killed have."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


Jobs = Callable[..., SimpleNamespace]


@pytest.fixture(scope="module")
def jobs() -> Iterator[Jobs]:
    """Runs a training in a process of its own, or in several that train together: see support/engine_job.py.

    ``jobs(folder, options, processes=2, path=site)``; the answer has ``returncode`` and ``stderr``.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SUPPORT / "engine_job.py")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        channel = server.stdin, server.stdout

        def run(folder: Path, options: Mapping[str, Any], processes: int = 1, path: Path = SUPPORT) -> SimpleNamespace:
            folder.mkdir(exist_ok=True)
            job = {"folder": str(folder), "options": options, "processes": processes, "path": str(path)}
            print(json.dumps(job), file=channel[0], flush=True)
            return SimpleNamespace(**json.loads(channel[1].readline()))

        yield run
        server.kill()  # it has nothing left to do, and torch takes its time to leave


class Deaf(job.Shuffle):
    """Its order does not depend on the last bits of a loss."""

    def update(self, validation_losses: Mapping[str, float]) -> None:
        pass


def test_stage_is_the_plain_loop_that_it_stands_for(tmp_path: Path) -> None:
    """AdamW with decay on matrices alone, warm-up and cosine, clipping, and a moving average, written out with torch."""
    torch.manual_seed(0)
    module, reference = job.Net(batchnorm=False, dropout=0.0), job.Net(batchnorm=False, dropout=0.0)
    reference.load_state_dict(module.state_dict())
    recipe = {"epochs": 3, "losses": {"cross_entropy": 1.0, "brier": 2.0}}
    result = job.stage_of(module, recipe, tmp_path, sampler=Deaf(40))

    x, y = job.pictures(40, 0)
    labels = torch.tensor(y)
    matrices = [p for p in reference.parameters() if p.ndim > 1]
    others = [p for p in reference.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": matrices}, {"params": others, "weight_decay": 0.0}], 0.01, weight_decay=0.01
    )
    schedule = torch.optim.lr_scheduler.SequentialLR(
        optimiser,
        [
            torch.optim.lr_scheduler.LambdaLR(optimiser, lambda i: (i + 1) / 2),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=13),
        ],
        [2],
    )
    average = {name: p.detach().clone() for name, p in reference.named_parameters()}
    sampler, step = Deaf(40), 0
    losses: list[float] = []
    for epoch in (1, 2, 3):
        for rows in np.split(sampler.epoch_rows(epoch), 5):
            logits = reference(x[rows])
            p = logits.softmax(-1)[:, 1]
            loss = nn.functional.cross_entropy(logits, labels[rows]) + 2 * ((p - labels[rows]) ** 2).mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(reference.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            decay = min(0.9, (1 + step) / (10 + step))
            for name, parameter in reference.named_parameters():
                average[name] = decay * average[name] + (1 - decay) * parameter.detach()
            step += 1
        judged = job.Net(batchnorm=False, dropout=0.0).eval()
        judged.load_state_dict(average)
        vx, vy = job.pictures(20, 1)
        with torch.no_grad():
            losses.append(nn.functional.cross_entropy(judged(vx), torch.tensor(vy)).item())
    found = job.lines(tmp_path)
    assert result.best == found[-1], "the last epoch is the best one here"
    brier = [line["val_brier"] for line in found]
    assert [line["val_loss"] - 2 * b for line, b in zip(found, brier, strict=True)] == pytest.approx(losses, rel=1e-4)
    for name, tensor in module.state_dict().items():
        torch.testing.assert_close(tensor, average[name], rtol=1e-4, atol=1e-5)
    assert (result.epochs, result.steps, result.stopped) == (3, 15, "finished")


def test_stage_leaves_a_plain_module_and_its_log(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = job.Net()
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    result = job.stage_of(module, {"epochs": 2, "channels_last": True}, tmp_path)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all(), "the process's own random numbers are as they were"
    assert not module.training
    assert not any(p.requires_grad for p in module.parameters())
    assert module.conv.weight.is_contiguous()
    found = job.lines(tmp_path)
    assert [line["epoch"] for line in found] == [1, 2]
    assert {"stage", "step", "lr", "train_loss", "val_loss", "val_combined_score", "val_auroc"} <= found[0].keys()
    assert result.best in found
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents*"))
    assert {p.suffix for p in (tmp_path / "checkpoint").rglob("*") if p.is_file()} == {".safetensors"}


@pytest.mark.slow
def test_killed_training_ends_with_the_same_bits(tmp_path: Path, jobs: Jobs) -> None:
    """Killed in the second epoch, between two validations, with AdamW, EMA, dropout, BatchNorm, noise and parts."""
    recipe = {"evaluate_every": 3, "accumulate": 2, "channels_last": True}
    whole, module = job.train(tmp_path / "whole", {"recipe": recipe})
    killed = jobs(tmp_path / "killed", {"recipe": recipe, "kill_after": 21})
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed, again = job.train(tmp_path / "killed", {"recipe": recipe})
    job.assert_same(module, again)
    assert resumed == whole
    assert job.lines(tmp_path / "killed") == job.lines(tmp_path / "whole")


@pytest.mark.usefixtures("with_toy_losses")
@pytest.mark.parametrize("stop_after", [1, 4, 7, 13])
def test_interrupted_training_ends_with_the_same_bits(tmp_path: Path, stop_after: int) -> None:
    options = {"recipe": {"evaluate_every": 3, "epochs": 2, "losses": {"cross_entropy": 1.0, "anchor": 0.1}}}
    _, module = job.train(tmp_path / "whole", options)
    with pytest.raises(KeyboardInterrupt):
        job.train(tmp_path / "stopped", {**options, "stop_after": stop_after, "save_every": 1000})
    _, again = job.train(tmp_path / "stopped", options)
    job.assert_same(module, again)
    assert job.lines(tmp_path / "stopped") == job.lines(tmp_path / "whole")


@pytest.mark.parametrize(("call", "left"), [(8, 5), (10, 3)])
def test_ctrl_c_leaves_a_whole_number_of_steps(tmp_path: Path, call: int, left: int) -> None:
    """The eighth forward pass is in the first validation, after five steps; the tenth is the seventh step's."""
    torch.manual_seed(0)
    start = job.Net().state_dict()
    whole, stopped = job.Net(), job.Net()
    whole.load_state_dict(start)
    stopped.load_state_dict(start)
    job.stage_of(whole, {"epochs": 2}, tmp_path / "whole")
    calls = [0]

    def press(module: nn.Module, inputs: Any) -> None:
        calls[0] += 1
        if calls[0] == call:
            os.kill(os.getpid(), signal.SIGINT)

    handle = stopped.fc.register_forward_pre_hook(press)
    with pytest.raises(KeyboardInterrupt):
        job.stage_of(stopped, {"epochs": 2}, tmp_path / "stopped")
    handle.remove()
    again = job.Net()
    again.load_state_dict(start)
    inputs = job.ArrayInputs(*job.pictures(40, 0))
    job.stage_of(again, {"epochs": 2}, tmp_path / "stopped", train=inputs)
    assert len(inputs.asked) == left
    job.assert_same(whole, again)


def test_finished_stage_is_only_loaded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    start = job.Net().state_dict()
    first, second = job.Net(), job.Net()
    first.load_state_dict(start)
    second.load_state_dict(start)
    result = job.stage_of(first, {"epochs": 1}, tmp_path)
    inputs = job.ArrayInputs(*job.pictures(40, 0))
    assert job.stage_of(second, {"epochs": 1}, tmp_path, train=inputs) == result
    assert inputs.asked == []
    job.assert_same(first, second)
    assert len(job.lines(tmp_path)) == 1


def test_other_training_in_the_folder_is_refused(tmp_path: Path) -> None:
    job.stage_of(job.Net(), {"epochs": 1}, tmp_path, identity={"data": {"fingerprint": "a"}})
    with pytest.raises(RunError, match=r"recipe.learning_rate was 0.01 and is 0.02"):
        job.stage_of(job.Net(), {"epochs": 1, "learning_rate": 0.02}, tmp_path, identity={"data": {"fingerprint": "a"}})
    with pytest.raises(RunError, match=r'data.fingerprint was "a" and is "b"'):
        job.stage_of(job.Net(), {"epochs": 1}, tmp_path, identity={"data": {"fingerprint": "b"}})


def test_stages_follow_each_other(tmp_path: Path) -> None:
    stages = {"epochs": 2, "stages": ({"trainable": "all"}, {"trainable": "head", "epochs": 1, "learning_rate": 0.1})}

    def both(folder: Path, **second: Any) -> nn.Module:
        torch.manual_seed(0)
        module = job.Net()
        job.stage_of(module, stages, folder)
        frozen = module.conv.weight.clone(), module.bn.running_mean.clone()
        job.stage_of(module, stages, folder, stage=1, **second)
        assert torch.equal(module.conv.weight, frozen[0])
        assert torch.equal(module.bn.running_mean, frozen[1]), "a frozen BatchNorm does not drift"
        return module

    whole = both(tmp_path / "whole")
    inputs = job.ArrayInputs(*job.pictures(40, 0), stop_after=3)
    with pytest.raises(KeyboardInterrupt):
        both(tmp_path / "stopped", train=inputs)
    job.assert_same(whole, both(tmp_path / "stopped"))
    assert job.lines(tmp_path / "stopped") == job.lines(tmp_path / "whole")
    assert [line["stage"] for line in job.lines(tmp_path / "whole")] == [0, 0, 1]


@pytest.mark.parametrize("accumulate", [2, 4])
def test_accumulated_parts_are_the_whole_batch(tmp_path: Path, accumulate: int) -> None:
    nets = []
    for parts in (1, accumulate):
        torch.manual_seed(0)
        module = job.Net(batchnorm=False, dropout=0.0)
        x, y = job.pictures(40, 0)
        inputs = job.ArrayInputs(x, y, weights=[1.0 + (i % 3) for i in range(40)])
        recipe = {"epochs": 2, "accumulate": parts, "optimiser": "sgd"}
        job.stage_of(module, recipe, tmp_path / str(parts), train=inputs)
        assert max(len(rows) for rows in inputs.asked) == -(-8 // parts)
        nets.append(module.state_dict())
    for name, tensor in nets[0].items():
        torch.testing.assert_close(tensor, nets[1][name], rtol=1e-5, atol=1e-6)


def test_weights_of_samples_count(tmp_path: Path) -> None:
    """A batch with a sample of weight 0 trains as the batch without it."""
    nets = []
    x, y = job.pictures(8, 0)
    for name, rows in (("weight", list(range(8))), ("absent", list(range(7)))):
        torch.manual_seed(0)
        module = job.Net(batchnorm=False, dropout=0.0)
        weights = [1.0] * 7 + [0.0] * (len(rows) - 7)
        inputs = job.ArrayInputs(x[rows], [y[i] for i in rows], weights=weights)
        recipe = {"epochs": 2, "accumulate": 8, "optimiser": "sgd"}
        job.stage_of(module, recipe, tmp_path / name, train=inputs, sampler=job.Shuffle(len(rows)))
        nets.append(module.state_dict())
    for name, tensor in nets[0].items():
        torch.testing.assert_close(tensor, nets[1][name], rtol=1e-5, atol=1e-6)


def test_patience_steps_and_evaluate_every_end_a_stage(tmp_path: Path) -> None:
    early = job.stage_of(
        job.Net(), {"epochs": 50, "patience": 2, "learning_rate": 1e-12, "ema": 0.0}, tmp_path / "early"
    )
    assert early.stopped == "early"
    # nothing changes but BatchNorm's statistics; the loss still may, so only the rule is checked
    found = job.lines(tmp_path / "early")
    assert found.index(early.best) == len(found) - 3
    short = job.stage_of(job.Net(), {"epochs": 50, "steps": 7, "evaluate_every": 3}, tmp_path / "short")
    assert (short.steps, short.epochs, short.stopped) == (7, 2, "finished")
    assert [line["step"] for line in job.lines(tmp_path / "short")] == [3, 6, 7]


def test_best_weights_are_kept_and_not_the_last(tmp_path: Path) -> None:
    """A learning rate that wrecks the model late: what is kept is what was judged best."""
    torch.manual_seed(0)
    module = job.Net(dropout=0.0)
    schedule = {"schedule": "step", "schedule_options": {"epochs": 6, "gamma": 3000.0}, "warmup": 0.0, "clip_norm": 0.0}
    result = job.stage_of(module, {"epochs": 9, "ema": 0.0, **schedule}, tmp_path)
    assert 1 < result.best["epoch"] <= 6
    x, y = job.pictures(20, 1)
    with torch.no_grad():
        loss = nn.functional.cross_entropy(module(x), torch.tensor(y))
    assert float(loss) == pytest.approx(result.best["val_loss"], rel=1e-5)


class Pull:
    """An objective of its own, which calls everything synthetic; with a value that is trained too."""

    needs_embeddings = False
    needs_outputs = False

    def __init__(self) -> None:
        self.value = nn.Parameter(torch.zeros(2))

    def parameters(self) -> list[nn.Parameter]:
        return [self.value]

    def __call__(self, output: ModelOutput, batch: Batch, progress: float) -> tuple[torch.Tensor, dict[str, float]]:
        margin = output.logits[:, 1] - output.logits[:, 0]
        return (margin - 9).square().mean() + (self.value - 1).square().sum(), {"progress": progress}

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"value": self.value.detach()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        with torch.no_grad():
            self.value.copy_(state["value"])


def test_reward_stage_may_keep_what_it_started_from(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = job.Net()
    job.stage_of(module, {"epochs": 9, "ema": 0.0}, tmp_path)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    objective = Pull()
    reward = {"epochs": 2, "kind": "reward", "ema": 0.0, "learning_rate": 0.1, "warmup": 0.0}
    result = job.stage_of(module, reward, tmp_path, stage=1, objective=objective)
    assert float(objective.value.detach().abs().min()) > 0, "an objective's own parameters are trained"
    assert result.best["step"] == 0
    first, second, _ = [line for line in job.lines(tmp_path) if line["stage"] == 1]
    assert first["train_loss"] is None
    assert 0 < second["train_progress"] < 0.5
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_loss_that_is_no_number_ends_the_training(tmp_path: Path) -> None:
    class Broken(Pull):
        def __call__(self, output: ModelOutput, batch: Batch, progress: float) -> tuple[torch.Tensor, dict[str, float]]:
            return output.logits.sum() * (float("nan") if progress > 0.3 else 1.0), {}

    with pytest.raises(RunError, match="lower learning_rate"):
        job.stage_of(job.Net(), {}, tmp_path, objective=Broken())


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_weights(tmp_path: Path) -> None:
    nets, kinds = {}, set()
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(0)
        module = job.Net(batchnorm=False, dropout=0.0)
        handle = module.fc.register_forward_hook(lambda m, i, o: kinds.add(o.dtype))
        job.stage_of(module, {"precision": precision, "epochs": 2}, tmp_path / precision)
        handle.remove()
        nets[precision] = module.state_dict()
    assert kinds == {torch.float32, torch.bfloat16}
    for name, tensor in nets["bfloat16"].items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, nets["float32"][name], rtol=0.2, atol=0.05)
    assert any(not torch.equal(t, nets["float32"][n]) for n, t in nets["bfloat16"].items())
    with pytest.raises(UsageError, match="float16 needs a CUDA device"):
        job.stage_of(job.Net(), {"precision": "float16"}, tmp_path / "half")


def test_heads_on_vectors_train_through_classify(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = [i % 2 for i in range(400)]
    x = torch.randn(400, 5, generator=generator) + torch.tensor(labels)[:, None]
    inputs = job.ArrayInputs(x, labels, from_features=True)
    recipe = {"trainable": "head", "epochs": 5, "batch_size": 32, "learning_rate": 0.01}
    torch.manual_seed(0)
    result = job.stage_of(job.VectorNet(5), recipe, tmp_path, train=inputs, validation=inputs, sampler=job.Shuffle(400))
    assert result.best["val_accuracy"] > 0.8


TOLD = {"losses": {"cross_entropy": 1.0, "told": 0.5, "anchor": 0.1}, "targets": "engine_job:Net", "epochs": 2}
"""Of a net that is told targets and has outputs; what makes the targets is not asked by inputs in memory."""


@pytest.mark.usefixtures("with_toy_losses")
@pytest.mark.parametrize("stop_after", [6, 17])
def test_interrupted_training_with_outputs_ends_with_the_same_bits(tmp_path: Path, stop_after: int) -> None:
    options = {"recipe": {**TOLD, "evaluate_every": 3, "accumulate": 2}}
    _, module = job.train(tmp_path / "whole", options)
    with pytest.raises(KeyboardInterrupt):
        job.train(tmp_path / "stopped", {**options, "stop_after": stop_after, "save_every": 1000})
    _, again = job.train(tmp_path / "stopped", options)
    job.assert_same(module, again)
    assert job.lines(tmp_path / "stopped") == job.lines(tmp_path / "whole")
    assert module.progress == again.progress == 13 / 14, "of the last of 14 steps"


@pytest.mark.usefixtures("with_toy_losses")
def test_validation_is_the_models_plain_forward(tmp_path: Path) -> None:
    result, module = job.train(tmp_path, {"recipe": {**TOLD, "ema": 0.0, "epochs": 1}})
    x, y = job.pictures(24, 1)
    with torch.no_grad():
        loss = nn.functional.cross_entropy(module(x), torch.tensor(y))
    assert float(loss) == pytest.approx(result.best["val_loss"], rel=1e-5)


NETS: dict[str, dict[str, Any]] = {
    "plain": {"losses": {"cross_entropy": 1.0, "anchor": 0.5}, "optimiser": "sgd"},
    "with outputs": {**TOLD, "optimiser": "adam"},  # torch's fused SGD has no momentum for a parameter that comes late
}


@pytest.mark.slow
@pytest.mark.usefixtures("with_toy_losses")
@pytest.mark.parametrize("net", NETS)
def test_two_processes_train_as_one(tmp_path: Path, net: str, jobs: Jobs, toy_losses_site: Path) -> None:
    """Killed in the second epoch, too: each process has a share of a batch, in two parts."""
    options = {
        "net": {"batchnorm": False, "dropout": 0.0},
        "samples": 41,
        "recipe": {**NETS[net], "epochs": 2, "accumulate": 2},
    }
    _, alone = job.train(tmp_path / "one", options)
    killed = jobs(tmp_path / "two", {**options, "kill_after": 14}, processes=2, path=toy_losses_site)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert job.lines(tmp_path / "two"), "it was killed after the first validation"
    resumed = jobs(tmp_path / "two", options, processes=2, path=toy_losses_site)
    assert resumed.returncode == 0, resumed.stderr
    together = load_file(tmp_path / "two" / "final.safetensors")
    for name, tensor in alone.state_dict().items():
        torch.testing.assert_close(tensor, together[name], rtol=1e-5, atol=1e-6)
    for one, two in zip(job.lines(tmp_path / "one"), job.lines(tmp_path / "two"), strict=True):
        assert one == pytest.approx(two, rel=1e-4, abs=1e-5)
    with pytest.raises(RunError, match="processes was 2 and is 1"):
        job.train(tmp_path / "two", options)
