"""What reward tuning is worth on CIFAKE, against every control that could explain its gain.

    python benchmarks/reward_study.py --data DIR [--out runs/reward-study] [--seeds 0 1 2] [--base-steps N] [--steps N]

DIR holds train.parquet and test.parquet of CIFAKE. For each seed a small gasdet-npr network is trained with cross-entropy, and
another with focal cross-entropy + Brier. Platt's line, fitted on a part of its own, is folded into the last layer of each.
From there all weights are trained on for the same number of steps: with the reward (soft counts, difference rewards,
REINFORCE) and with the controls (cross-entropy, Brier, soft-MCC, KL alone, difference rewards given to the wrong samples);
the second network with its own loss. All of these have the same data, order of samples, augmentation, batches, optimiser,
learning rate, moving average and selection, and may keep the weights that they started from.

Every arm is judged on the test images as it is, after Platt's line, and with the threshold that is best for the combined
score; line and threshold are found on the calibration part. The train split is cut by a hash of the decoded pixels (so that
equal images stay together): 5 % for the folded line, 10 % selection, 10 % calibration, the rest training; of the test split the
images that are also in the train split are left out. No part is used for two things.

Re-run, it goes on where it stopped; seeds can be run by several calls and put together by one with all of them. The tables
go to standard output and to OUT/table.md.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reward_tables import Floats, Labels, Scores, tables
from torch import Tensor

from gasdet import Recipe
from gasdet.builtin.calibrators import Platt
from gasdet.builtin.losses.score import Counts
from gasdet.data import load_data
from gasdet.evaluation.pipeline import DecodePool
from gasdet.training.augmentation import Augmenter
from gasdet.training.decoded_store import DecodedSet, decode_to_store
from gasdet.training.duplicates import find_duplicates
from gasdet.training.engine import run_stage
from gasdet.training.interfaces import Batch, Objective
from gasdet.training.media_inputs import MediaInputs
from gasdet.training.reward_objective import RewardObjective
from gasdet.training.sampling import make_sampler
from gasdet.training.supervised import SupervisedObjective
from gasdet.types import Modality, Preprocessing
from gasdet_npr.training import build

NETWORK = {"stem_pool": False, "blocks": [2, 2], "width": 16, "input": "both"}
# crops keep the 2 x 2 grid that the residual is made on
FLIP_AND_CROP = ({"name": "hflip", "p": 0.5}, {"name": "random_crop", "padding": 2, "align": 2})
BASE = Recipe(
    builder="gasdet_npr.training:build",
    head=("fc1.",),
    needs_backbone=False,
    model=NETWORK,
    trainable="all",
    cache_features=False,
    optimiser="adamw",
    weight_decay=0.05,
    learning_rate=4e-3,
    schedule="cosine",
    warmup=0.1,
    clip_norm=1.0,
    batch_size=256,
    epochs=10_000,
    evaluate_every=500,
    precision="bfloat16",
    channels_last=True,
    augmentation=FLIP_AND_CROP,
)
CONTINUED = dataclasses.replace(
    BASE,
    kind="reward",
    learning_rate=4e-4,
    schedule="constant",
    warmup=0.0,
    batch_size=512,
    evaluate_every=50,
    ema=0.98,
    sampling="class_balanced",
)
"""What all arms share. ``kind`` makes the engine consider the weights that a stage starts from as well, and keeps BatchNorm at
its running statistics, so that the reference and what is tuned start equal."""


class PermutedCredit(RewardObjective):
    """The negative control: every sample gets the difference reward of another one of its batch."""

    def credit(self, actions: Tensor, labels: Tensor, weights: Tensor, carried: Counts | None) -> Tensor:
        """See the base class."""
        own = super().credit(actions, labels, weights, carried)
        return own[torch.randperm(len(own), generator=self._generator).to(own.device)]


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to spend the last steps."""

    name: str
    base: str = "cross_entropy"
    losses: Mapping[str, float] | None = None
    reward: Mapping[str, Any] | None = None
    objective: type[RewardObjective] = RewardObjective


ARMS = (
    Arm("cross-entropy", losses={"cross_entropy": 1.0}),
    Arm("focal CE + Brier", base="focal_brier", losses={"focal_brier": 1.0}),
    Arm("reward, soft counts", reward={}),
    Arm("reward, difference", reward={"estimator": "difference"}),
    Arm("reward, REINFORCE", reward={"estimator": "reinforce"}),
    Arm("Brier", losses={"brier": 1.0}),
    Arm("soft-MCC", losses={"soft_mcc": 1.0}),
    Arm("KL alone", reward={"decision": 0.0, "brier": 0.0}),
    Arm("permuted credit", reward={"estimator": "difference"}, objective=PermutedCredit),
)
REFERENCE, TUNED = "cross-entropy", ("reward, soft counts", "reward, difference", "reward, REINFORCE")
NEGATIVE = "permuted credit"


@dataclass(frozen=True, slots=True)
class Parts:
    """The five parts of the data, no image in two of them."""

    train: DecodedSet
    line: DecodedSet
    selection: DecodedSet
    calibration: DecodedSet
    test: DecodedSet

    def counts(self) -> dict[str, int]:
        """Images of each part."""
        return {field.name: len(getattr(self, field.name).samples) for field in dataclasses.fields(self)}

    def judged(self) -> tuple[tuple[str, DecodedSet], ...]:
        """What an arm is scored on, with names."""
        return ("calibration", self.calibration), ("test", self.test)

    def digest(self) -> str:
        """Of the pixels of all parts."""
        parts = ["\n".join(getattr(self, field.name).digests) for field in dataclasses.fields(self)]
        return hashlib.sha256("\n\n".join(parts).encode()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.parquet and test.parquet")
    parser.add_argument("--out", type=Path, default=Path("runs/reward-study"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--base-steps", type=int, default=1200, help="of 256 images")
    parser.add_argument("--steps", type=int, default=150, help="of 512 images, for every arm")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--limit", type=int, help="at most so many images of each split, for a trial")
    options = parser.parse_args()
    started = time.monotonic()
    parts = divide(options.data, options.out / "decoded", options.limit)
    print(parts.counts(), flush=True)
    found = {}
    for seed in options.seeds:
        bases: dict[str, torch.nn.Module] = {}
        for arm in ARMS:
            if arm.base not in bases:
                bases[arm.base] = base(arm.base, parts, seed, options)
            found[arm.name, seed] = scores_of(arm, bases[arm.base], parts, seed, options)
    text = tables(found, reference=REFERENCE, tuned=TUNED, negative=NEGATIVE)
    text += f"\nImages: {json.dumps(parts.counts())}. Steps: {options.base_steps} of 256, then {options.steps} of 512; "
    text += f"seeds {options.seeds}; {(time.monotonic() - started) / 60:.1f} min in this call.\n"
    (options.out / "table.md").write_text(text, encoding="utf-8")
    print(text)


def divide(data: Path, root: Path, limit: int | None) -> Parts:
    """Decode both splits once, and cut the train split by a hash of the pixels."""
    preprocessing = Preprocessing.from_mapping(Modality.IMAGE, {"resize": [32, 32]})
    with DecodePool(workers=2, timeout=30.0) as pool:
        train, test = (
            decode_to_store(
                load_data(data / f"{name}.parquet", limit=limit).samples,
                preprocessing,
                pool=pool,
                root=root,
                label=name,
            )
            for name in ("train", "test")
        )
    share = [int(digest[:8], 16) % 20 for digest in train.digests]
    known = set(find_duplicates(train.digests, test.digests).tolist())

    def cut(wanted: Sequence[int]) -> DecodedSet:
        return train.part(sample for sample, place in zip(train.samples, share, strict=True) if place in wanted)

    fresh = test.part(sample for place, sample in enumerate(test.samples) if place not in known)
    return Parts(cut(range(5, 20)), cut([4]), cut([2, 3]), cut([0, 1]), fresh)


def base(loss: str, parts: Parts, seed: int, options: argparse.Namespace) -> torch.nn.Module:
    """A network trained with one loss from scratch, with Platt's line in its last layer."""
    recipe = dataclasses.replace(BASE, losses={loss: 1.0}, steps=options.base_steps, seed=seed)
    torch.manual_seed(seed)
    module = build(None, **NETWORK)
    train(
        module,
        recipe,
        SupervisedObjective(recipe),
        parts,
        options.out / f"seed-{seed}" / f"base-{loss}",
        options.device,
    )
    margins, labels = margins_of(module, parts.line)
    scale, bias = Platt.fit(np.stack([np.zeros_like(margins), margins], 1), labels).affine()
    last = module.get_submodule("fc1")
    with torch.no_grad():
        last.get_parameter("weight").mul_(scale)
        last.get_parameter("bias").mul_(scale).add_(bias)
    return module


def scores_of(arm: Arm, start: torch.nn.Module, parts: Parts, seed: int, options: argparse.Namespace) -> Scores:
    """Spend an arm's steps, and score calibration and test part."""
    module = copy.deepcopy(start)
    recipe = dataclasses.replace(
        CONTINUED, losses=arm.losses or BASE.losses, reward=arm.reward or {}, steps=options.steps, seed=seed
    )
    objective: Objective
    if arm.losses is not None:
        objective = SupervisedObjective(recipe)
    else:
        frozen = copy.deepcopy(start).to(options.device)

        def reference(batch: Batch) -> Tensor:
            logits: Tensor = frozen(batch.inputs.contiguous(memory_format=torch.channels_last))
            return logits

        objective = arm.objective(recipe, reference)
    folder = options.out / f"seed-{seed}" / "".join(c if c.isalnum() else "-" for c in arm.name)
    kept = train(module, recipe, objective, parts, folder, options.device)
    calibration, test = (judged(module, part, folder / f"{part_name}.npz") for part_name, part in parts.judged())
    return Scores(*calibration, *test, kept=kept)


def judged(module: torch.nn.Module, part: DecodedSet, file: Path) -> tuple[Floats, Labels]:
    """Margins and labels, kept in a file for the next call."""
    weights = weights_digest(module)
    if file.exists():
        with np.load(file) as kept:
            if str(kept["weights"]) == weights and len(kept["margins"]) == len(part.samples):
                return kept["margins"], part.labels
    margins, labels = margins_of(module, part)
    np.savez(file, margins=margins, weights=np.array(weights))
    return margins, labels


def weights_digest(module: torch.nn.Module) -> str:
    """SHA-256 over all tensors of a module."""
    hasher = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        hasher.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return hasher.hexdigest()


def train(
    module: torch.nn.Module, recipe: Recipe, objective: Objective, parts: Parts, folder: Path, device: str
) -> int:
    """One stage with gasdet's engine. Returns the step whose weights were kept."""
    folder.mkdir(parents=True, exist_ok=True)
    start = weights_digest(module)
    augment = Augmenter(recipe.augmentation, Modality.IMAGE, seed=recipe.seed)
    started = time.monotonic()
    result = run_stage(
        module,
        recipe,
        train=MediaInputs(parts.train, augment=augment),
        validation=MediaInputs(parts.selection),
        sampler=make_sampler(recipe, parts.train.samples),
        objective=objective,
        folder=folder,
        device=device,
        identity={"data": parts.digest(), "start": start, "objective": type(objective).__name__},
    )
    kept = {name: result.best[name] for name in ("step", "val_combined_score", "val_brier")}
    print(f"{folder}: {kept}, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return int(result.best["step"] or 0)


@torch.no_grad()
def margins_of(module: torch.nn.Module, part: DecodedSet) -> tuple[Floats, Labels]:
    """float64 ``[N]`` margins in float32 precision of the network, and int64 ``[N]`` labels."""
    inputs = MediaInputs(part)
    rows = range(len(part.samples))
    found = []
    for batch in inputs.batches([rows[at : at + 512] for at in range(0, len(rows), 512)], epoch=1, augment=False):
        logits = module(batch.inputs.contiguous(memory_format=torch.channels_last))
        found.append((logits[:, 1] - logits[:, 0]).double().numpy())
    return np.concatenate(found), part.labels


if __name__ == "__main__":
    main()
