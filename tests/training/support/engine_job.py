"""A small training as a process of its own, or several that train together, which can be killed: ``python engine_job.py``.

It reads jobs, a line of JSON each: ``folder``; ``processes``; ``path``, a folder for the import path; and ``options``. These
have ``recipe`` (fields of a Recipe over the ones here), ``inputs`` and ``stage`` options, and ``kill_after``: the process kills
itself with SIGKILL when so many training batches were asked for. Every process of a job is forked from this one, which has
imported torch already, has the environment that a launcher would give it, and is killed where another one of its job fails. The
answer is a line of JSON: what the first of them to end badly returned, or 0, and what all of them wrote to stderr.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from gasdet.training.engine import StageResult, run_stage
from gasdet.training.interfaces import Batch
from gasdet.training.recipe import Recipe
from gasdet.training.supervised import SupervisedObjective
from gasdet.types import Locator, MediaType, Modality, Sample


class Net(nn.Module):
    """Everything whose state a resumed training may lose: BatchNorm, dropout, a LayerNorm, a convolution."""

    def __init__(self, *, batchnorm: bool = True, dropout: float = 0.3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.bn = nn.BatchNorm2d(6) if batchnorm else nn.Identity()
        self.fc = nn.Linear(6, 12)
        self.norm = nn.LayerNorm(12)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(12, 2)

    def forward_with_embeddings(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.relu(self.bn(self.conv(x.float() / 255)))
        z = self.drop(self.norm(torch.relu(self.fc(x.mean((2, 3))))))
        return self.head(z), z

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_with_embeddings(x)[0]


class TellingNet(Net):
    """It tells something of each picture, is told its target less and less, and has an output that no loss reads."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.teller, self.idle = nn.Linear(12, 2), nn.Linear(12, 1)
        self.late = nn.Linear(2, 2)
        self.progress = 0.0

    def set_progress(self, progress: float) -> None:
        assert self.training
        self.progress = progress

    def forward_with_outputs(self, x: torch.Tensor, targets: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        logits, z = self.forward_with_embeddings(x)
        told = self.teller(z)
        heard = told if targets is None else (1 - self.progress) * targets + self.progress * told
        if targets is None or self.progress >= 0.5:  # parameters that the first steps do not use
            heard = self.late(heard)
        found = {"logits": logits + heard, "embeddings": z, "told": told, "idle": self.idle(z).log()}
        return found if targets is None else {**found, "wanted": targets}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_with_outputs(x)["logits"]


class VectorNet(nn.Module):
    """A head on vectors."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 2))

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        return self.head(features)


def make_sample(number: int, label: int, dataset: str = "toy", weight: float = 1.0) -> Sample:
    return Sample(
        sample_id=f"{number:032x}",
        dataset=dataset,
        member=f"{number}.png",
        locator=Locator("file", f"{number}.png"),
        modality=Modality.IMAGE,
        media_type=(MediaType.REAL, MediaType.SYNTHETIC)[label],
        group=str(number),
        weight=weight,
    )


class ArrayInputs:
    """Training inputs in memory, noisy anew in each epoch where augmentation is asked for."""

    def __init__(
        self,
        inputs: torch.Tensor,
        labels: Sequence[int],
        *,
        from_features: bool = False,
        datasets: Sequence[str] | None = None,
        weights: Sequence[float] | None = None,
        kill_after: int = 0,
        stop_after: int = 0,
        targets: torch.Tensor | None = None,
    ) -> None:
        self.from_features, self.targets = from_features, targets
        self.inputs, self.labels = inputs, torch.tensor(labels)
        self.weights = torch.tensor(weights if weights is not None else [1.0] * len(labels))
        self.samples = [
            make_sample(i, label, datasets[i] if datasets else "toy", float(self.weights[i]))
            for i, label in enumerate(labels)
        ]
        self.kill_after, self.stop_after, self.given = kill_after, stop_after, 0
        self.asked: list[list[int]] = []

    def batches(self, batches: Sequence[Sequence[int]], *, epoch: int, augment: bool) -> Iterator[Batch]:
        for rows in batches:
            self.given += 1
            self.asked.append(list(rows))
            if self.kill_after and self.given > self.kill_after:
                os.kill(os.getpid(), signal.SIGKILL)
            if self.stop_after and self.given > self.stop_after:
                raise KeyboardInterrupt
            chosen = torch.tensor(list(rows))
            inputs = self.inputs[chosen]
            if augment:
                noise = [np.random.default_rng([epoch, row]).normal(size=inputs.shape[1:]) for row in rows]
                inputs = inputs + torch.from_numpy(np.stack(noise)).float()
            targets = None if self.targets is None else self.targets[chosen]
            yield Batch(inputs, self.labels[chosen], self.weights[chosen], chosen, targets)


class Shuffle:
    """A sampler whose order depends on what it was told of the validation, as a worst-dataset sampler's does."""

    def __init__(self, count: int, seed: int = 0) -> None:
        self.count, self.seed, self.told = count, seed, 0.0

    def epoch_rows(self, epoch: int) -> np.ndarray:
        told = int(self.told * 1e6)
        return np.random.default_rng([self.seed, epoch, told]).permutation(self.count).astype(np.int64)

    def update(self, validation_losses: Mapping[str, float]) -> None:
        self.told = 0.5 * self.told + sum(validation_losses.values())

    def state(self) -> dict[str, Any]:
        return {"told": self.told}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.told = state["told"]


def pictures(count: int, seed: int) -> tuple[torch.Tensor, list[int]]:
    """uint8 pictures; the synthetic ones are a little smoother and bluer."""
    generator = torch.Generator().manual_seed(seed)
    labels = [i % 2 for i in range(count)]
    x = torch.randn(count, 3, 8, 8, generator=generator) * 40 + 128
    x[1::2, 2] += 18
    return x.clamp(0, 255).to(torch.uint8), labels


RECIPE: dict[str, Any] = {
    "builder": "engine_job:Net",
    "head": ("head",),
    "trainable": "all",
    "optimiser": "adamw",
    "learning_rate": 0.01,
    "weight_decay": 0.01,
    "schedule": "cosine",
    "warmup": 0.1,
    "ema": 0.9,
    "clip_norm": 1.0,
    "batch_size": 8,
    "epochs": 4,
    "augmentation": ({"name": "noise"},),
    "seed": 5,
}


def train(folder: Path, job: Mapping[str, Any]) -> tuple[StageResult, nn.Module]:
    """Run the training that a job describes."""
    recipe = Recipe(**{**RECIPE, **job.get("recipe", {})})
    torch.manual_seed(1)
    telling = bool(recipe.targets)
    module = (TellingNet if telling else Net)(**job.get("net", {}))
    x, y = pictures(job.get("samples", 51), 0)
    train_inputs = ArrayInputs(
        x,
        y,
        kill_after=job.get("kill_after", 0),
        stop_after=job.get("stop_after", 0),
        weights=job.get("weights"),
        targets=x.float().mean((2, 3))[:, :2] / 255 if telling else None,
    )
    vx, vy = pictures(24, 1)
    validation = ArrayInputs(vx, vy, datasets=["a" if i < 12 else "b" for i in range(24)])
    result = run_stage(
        module,
        recipe,
        train=train_inputs,
        validation=validation,
        sampler=Shuffle(len(y)),
        objective=SupervisedObjective(recipe, embedding_dim=12),
        folder=folder,
        device="cpu",
        identity={"data": "toy"},
        save_every=job.get("save_every", 0.0),
    )
    return result, module


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def assert_same(one: nn.Module, other: nn.Module) -> None:
    """Bit-equal weights and buffers."""
    ours, theirs = one.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def stage_of(
    module: nn.Module, recipe: Mapping[str, Any], folder: Path, *, count: int = 40, objective: Any = None, **others: Any
) -> Any:
    """``run_stage`` with little pictures."""
    full = Recipe(**{**RECIPE, "augmentation": (), **recipe})
    x, y = pictures(count, 0)
    vx, vy = pictures(20, 1)
    given = {
        "train": ArrayInputs(x, y),
        "validation": ArrayInputs(vx, vy),
        "sampler": Shuffle(count),
        "objective": objective or SupervisedObjective(full, embedding_dim=12),
        "device": "cpu",
        "identity": {},
        **others,
    }
    return run_stage(module, full, folder=folder, **given)


LATER = ("accelerate", "scipy.stats", "sklearn.metrics", "tensorboardX", "torch._dynamo")
"""What a training imports when it gets there; here it is imported once for all processes."""


def _fork(job: Mapping[str, Any], rank: int, port: int, noise: int) -> int:
    """One process of a job; its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.dup2(noise, 2)
        if job["processes"] > 1:
            several = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": job["processes"], "RANK": rank}
            several |= {"LOCAL_WORLD_SIZE": job["processes"], "LOCAL_RANK": rank}
            os.environ.update({name: str(value) for name, value in several.items()})
        sys.path.insert(0, job["path"])
        out = Path(job["folder"])
        found, trained = train(out, job["options"])
        if rank == 0:
            save_file(trained.state_dict(), out / "final.safetensors")
            (out / "result.json").write_text(json.dumps([found.best, found.epochs, found.steps, found.stopped]))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _answer(job: Mapping[str, Any]) -> dict[str, Any]:
    """Run a job to its end."""
    with socket.socket() as free, tempfile.TemporaryFile() as noise:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        running = {_fork(job, rank, port, noise.fileno()) for rank in range(job["processes"])}
        first = 0
        while running:
            pid, status = os.wait()
            running.discard(pid)
            first = first or os.waitstatus_to_exitcode(status)
            for other in running if first else ():
                os.kill(other, signal.SIGKILL)
        noise.seek(0)
        return {"returncode": first, "stderr": noise.read().decode()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in LATER:
        importlib.import_module(name)
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_answer(json.loads(line))) + "\n")
        sys.stdout.flush()
