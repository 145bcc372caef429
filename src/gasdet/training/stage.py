"""The loop of one stage of a training: epochs, steps, validations and checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gasdet.errors import RunError
from gasdet.progress import ProgressSink, Silent
from gasdet.training.batching import make_batches, share_of
from gasdet.training.checkpoint import (
    Checkpoints,
    Saved,
    capture_rng,
    own_random_numbers,
    pack_optimiser,
    pack_rng,
    restore_rng,
    unpack_optimiser,
    unpack_rng,
)
from gasdet.training.dependence import nothing_to_learn, settle_outputs, tell_progress, uses_all
from gasdet.training.distributed import Processes
from gasdet.training.ema import Ema
from gasdet.training.interfaces import Batch, ModelOutput, Objective, Sampler, TrainingInputs
from gasdet.training.interruption import Interruption
from gasdet.training.judge import Judge, Line
from gasdet.training.log import Reporter, TrainingLog
from gasdet.training.optimisation import ParameterGroup, learning_rate_factor, make_optimiser, objective_groups
from gasdet.training.recipe import Recipe
from gasdet.training.trainable import (
    ModelCaller,
    check_adapters,
    load_tensors,
    set_training_mode,
    trained_tensors,
)

_QUIET_SECONDS = 1.0
"""A validation that follows the last checkpoint so soon writes none: a kill costs less than the writing would."""


@dataclass(slots=True)
class Position:
    """Where a stage is: everything about it that is no tensor. Stored as JSON."""

    epoch: int = 1
    """The pass that is under way."""
    batch: int = 0
    """How many of its batches are done."""
    step: int = 0
    validated: int = -1
    """Step of the last validation."""
    due: bool = False
    """Whether this step is to be validated."""
    since_better: int = 0
    best: Line | None = None
    sums: dict[str, float] = field(default_factory=dict)
    """Of the training losses since the last validation, each times its batch's weight; ``""`` has the weights."""
    epoch_sampler: dict[str, Any] = field(default_factory=dict)
    """The sampler's state when this pass began."""
    stopped: str = ""


class Stage:
    """A stage under way."""

    def __init__(
        self,
        module: nn.Module,
        groups: list[ParameterGroup],
        recipe: Recipe,
        train: TrainingInputs,
        validation: TrainingInputs,
        sampler: Sampler,
        objective: Objective,
        processes: Processes,
        checkpoints: Checkpoints,
    ) -> None:
        self.module, self.recipe, self.train, self.sampler = module, recipe, train, sampler
        self.objective, self.processes, self.checkpoints = objective, processes, checkpoints
        self.judge = Judge(recipe, validation, objective, processes)
        self.channels_last = recipe.channels_last and not train.from_features
        if self.channels_last:
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if hasattr(objective, "to"):
            objective.to(processes.device)
        self.judged = ModelCaller(module, from_features=train.from_features)
        self.caller = ModelCaller(
            module,
            from_features=train.from_features,
            with_embeddings=objective.needs_embeddings,
            with_outputs=objective.needs_outputs,
        )
        self.model = processes.wrap(self.caller, lambda: self._uses_all(validation))
        self.own_parameters = list(objective.parameters())
        self.parameters = [*(p for group in groups for p in group["params"]), *self.own_parameters]
        self.optimiser = make_optimiser([*groups, *objective_groups(objective, recipe)], recipe)
        self.tensors = trained_tensors(module, recipe)
        self.statistics = [t for name, t in module.named_buffers() if name in self.tensors and t.dtype == torch.float32]
        self.ema = Ema(self.tensors, recipe.ema) if recipe.ema else None
        self.position = Position(epoch_sampler=sampler.state(), due=recipe.kind == "reward")
        self.per_epoch = len(make_batches(sampler.epoch_rows(1).tolist(), recipe.batch_size))
        whole = recipe.epochs * self.per_epoch
        self.total = min(whole, recipe.steps) if recipe.steps else whole
        self.unchecked_adapters = recipe.trainable == "lora"
        self.interruption = Interruption()
        self.saved_at = time.monotonic()

    def _uses_all(self, validation: TrainingInputs) -> bool:
        """Whether every step gives every trained parameter a gradient, for the wrapping for several processes."""
        device = self.processes.device
        if self.objective.needs_outputs:
            return settle_outputs(self.caller, self.objective, self.recipe, self.train, device)
        return uses_all(self.caller, validation, device)

    def run(self, folder: Path, stage: int, saved: Saved | None, save_every: float, progress: ProgressSink) -> Position:
        """Train until the end, from the beginning or from a checkpoint."""
        self.number, self.save_every = stage, save_every
        if saved is not None:
            self._restore(saved, progress)
        main = self.processes.is_main
        self.log = TrainingLog(folder, stage, after_step=self.position.validated) if main else None
        self.reporter = Reporter(progress if main else Silent())
        if main and self.processes.count > 1:
            progress.note(f"{self.processes.count} processes train together")
        self.reporter.start(f"training, stage {stage}" if stage else "training", self.total, self.position.step)
        try:
            with self.interruption.handled():
                self._train()
        except KeyboardInterrupt:
            # other processes may be elsewhere, and a collective write would wait for them for ever
            if self.interruption.clean and self.processes.count == 1:
                self._save()
            raise
        finally:
            self.reporter.finish()
            if self.log is not None:
                self.log.close()
        return self.position

    def _train(self) -> None:
        set_training_mode(self.module, self.recipe)
        if self.position.due:
            self._validate()
        while not self.position.stopped:
            self._epoch()

    def _epoch(self) -> None:
        """One pass, or what is left of it."""
        position = self.position
        now = self.sampler.state()
        self.sampler.load_state(position.epoch_sampler)
        rows = self.sampler.epoch_rows(position.epoch).tolist()
        self.sampler.load_state(now)
        batches = make_batches(rows, self.recipe.batch_size)
        count, accumulate = self.processes.count, self.recipe.accumulate
        least = 2 if self.recipe.batch_size >= 2 * count * accumulate else 1
        place = self.processes.rank, count, accumulate, least
        shares = [share_of(batch, *place) for batch in batches[position.batch :]]
        loaded = self.train.batches(
            [part for share in shares for part, _ in share],
            epoch=position.epoch,
            augment=bool(self.recipe.augmentation),
        )
        for share in shares:
            with self.interruption.waiting():
                parts = [(next(loaded), counts) for _, counts in share]
            save_now = self._step(parts)
            self._advance(len(batches))
            if position.due:
                self._validate()
            elif save_now:
                self._save()
            if position.stopped:
                return

    def _step(self, parts: list[tuple[Batch, bool]]) -> bool:
        """One step of the optimiser. Returns whether a checkpoint is due, in every process alike."""
        processes, position = self.processes, self.position
        factor = learning_rate_factor(self.recipe, position.step, self.total, self.per_epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = group["initial_lr"] * factor
        weights = [batch.weights.sum().item() if counts else 0.0 for batch, counts in parts]
        progress = min(1.0, position.step / self.total)
        tell_progress(self.module, progress)
        late = processes.is_main and time.monotonic() - self.saved_at >= self.save_every
        total, save_now = processes.sum([sum(weights), float(late)])
        for number, ((batch, _), weight) in enumerate(zip(parts, weights, strict=True), start=1):
            # DDP divides by the number of processes
            share = weight * processes.count / total if total else 0.0
            with processes.unsynchronised(self.model, last=number == len(parts)):
                self._backward(batch, weight, share, progress)
        if self.unchecked_adapters:
            check_adapters(self.module)
            self.unchecked_adapters = False
        processes.average_gradients(self.own_parameters)
        processes.step(self.optimiser, self.parameters, self.recipe.clip_norm)
        self.optimiser.zero_grad(set_to_none=True)
        processes.average(self.statistics)
        if self.ema is not None:
            self.ema.update(position.step)
        return bool(save_now)

    def _backward(self, batch: Batch, weight: float, share: float, progress: float) -> None:
        """Forward and backward pass of a part of a batch, whose loss counts for ``share`` of the whole."""
        batch = batch if self.processes.device.type == "cpu" else batch.to(self.processes.device)
        if self.channels_last and batch.inputs.ndim == 4:
            # for the objective too, whose reference is to round as the model does
            batch = replace(batch, inputs=batch.inputs.contiguous(memory_format=torch.channels_last))
        with self.processes.autocast():
            found = self.model(batch.inputs, batch.targets)
        output = ModelOutput.of(found)
        if not weight:
            # nothing of it counts, and a mean over no weight is no number; other processes wait for the gradients
            read = self.caller.kept or ("logits", "embeddings")
            given = [each.sum() for name, each in output.outputs.items() if name in read and each.requires_grad]
            if not given:
                raise nothing_to_learn(self.recipe)
            self.processes.backward(torch.stack(given).sum() * 0)
            return
        loss, logged = self.objective(output, batch, progress)
        if not loss.requires_grad:
            raise nothing_to_learn(self.recipe)
        value = loss.item()
        if not math.isfinite(value):
            raise RunError(
                f"the training loss is {value} at step {self.position.step + 1} of stage {self.number}; lower learning_rate, "
                "or set clip_norm."
            )
        self.processes.backward(loss if share == 1 else loss * share)
        sums = self.position.sums
        for name, found in (("", 1.0), ("loss", value), *logged.items()):
            sums[name] = sums.get(name, 0.0) + found * weight

    def _advance(self, batches: int) -> None:
        """Move the position past a step; ``batches`` are in this epoch."""
        position = self.position
        position.step += 1
        position.batch += 1
        ended = position.batch == batches
        if ended:
            position.epoch, position.batch = position.epoch + 1, 0
            position.epoch_sampler = self.sampler.state()
        last = self._is_last()
        every = self.recipe.evaluate_every
        position.due = last or (ended if not every else position.step % every == 0)
        self.reporter.step()

    def _is_last(self) -> bool:
        return self.position.epoch > self.recipe.epochs or 0 < self.recipe.steps <= self.position.step

    def _validate(self) -> None:
        """Judge the weights, keep them if they are the best, and decide whether that was the end."""
        position = self.position
        line: Line = {
            "stage": self.number,
            "epoch": position.epoch if position.batch else position.epoch - 1,
            "step": position.step,
            "lr": self.optimiser.param_groups[0]["lr"],
            **self._training_losses(),
        }
        self.module.eval()
        with own_random_numbers(self.processes.device), self.ema.in_place() if self.ema else nullcontext():
            with self.interruption.waiting():
                line.update(self.judge(self.judged, f"step {position.step} of stage {self.number}"))
            better = self.judge.better(line, position.best)
            if better and self.processes.is_main:
                self.checkpoints.write_best(position.step, self.tensors)
        set_training_mode(self.module, self.recipe)
        self.sampler.update(self.judge.dataset_losses)
        if position.batch == 0:
            position.epoch_sampler = self.sampler.state()  # the next epoch begins with what it has learned
        position.best = line if better else position.best
        position.since_better = 0 if better else position.since_better + 1
        position.sums, position.due, position.validated = {}, False, position.step
        if self.recipe.patience and position.since_better >= self.recipe.patience:
            position.stopped = "early"
        if self._is_last():
            position.stopped = "finished"
        if self.log is not None:
            self.log.write(line)
        self.reporter.validation(line, self.judge.key, better=better, last=bool(position.stopped))
        self._save_after_validation(better)

    def _save_after_validation(self, better: bool) -> None:
        quiet = time.monotonic() - self.saved_at < min(_QUIET_SECONDS, self.save_every)
        if self.processes.sum([float(self.processes.is_main and not quiet)])[0] or self.position.stopped:
            self._save()

    def _training_losses(self) -> Line:
        """Means since the last validation, over the samples of all processes as they were seen."""
        sums = self._summed()
        weight = sums.get("", 0.0)
        line: Line = {"train_loss": sums["loss"] / weight if weight else None}
        line.update({f"train_{name}": sums[name] / weight for name in sums if name not in ("", "loss")})
        return line

    def _summed(self) -> dict[str, float]:
        sums = self.position.sums
        names = sorted({name for names in self.processes.gather(sorted(sums)) for name in names})
        return dict(zip(names, self.processes.sum([sums.get(name, 0.0) for name in names]), strict=True))

    def _save(self) -> None:
        """Write the checkpoint. Every process must call it."""
        position = asdict(self.position)
        position["sums"] = self._summed()
        states = self.processes.gather(capture_rng(self.processes.device))
        if self.processes.is_main:
            rng, rng_values = pack_rng(states)
            finished = bool(self.position.stopped)  # then only the best weights, in their own file, are needed
            tensors = {} if finished else self._state_tensors(rng)
            values = {
                "position": position,
                "sampler": self.sampler.state(),
                "rng": rng_values,
                "scaler": self.processes.scaler_state(),
                "threads": torch.get_num_threads(),
            }
            best = self.position.best
            self.checkpoints.write(tensors, values, best_step=None if best is None else int(best["step"] or 0))
        self.saved_at = time.monotonic()

    def _state_tensors(self, rng: Mapping[str, Tensor]) -> dict[str, Tensor]:
        parts: dict[str, Mapping[str, Tensor]] = {
            "model": self.tensors,
            "ema": {} if self.ema is None else self.ema.averages,
            "optimiser": pack_optimiser(self.optimiser),
            "objective": self.objective.state_dict(),
            "rng": rng,
        }
        return {f"{part}/{name}": tensor for part, found in parts.items() for name, tensor in found.items()}

    def _restore(self, saved: Saved, progress: ProgressSink) -> None:
        values = saved.values
        self.position = Position(**values["position"])
        if not self.processes.is_main:
            self.position.sums = {}  # the first process has everybody's
        load_tensors(self.tensors, saved.under("model"))
        if self.ema is not None:
            self.ema.load(saved.under("ema"))
        unpack_optimiser(self.optimiser, saved.under("optimiser"))
        self.objective.load_state_dict(saved.under("objective"))
        self.sampler.load_state(values["sampler"])
        self.processes.load_scaler_state(values["scaler"])
        restore_rng(unpack_rng(saved.under("rng"), values["rng"], self.processes.rank), self.processes.device)
        if values["threads"] != torch.get_num_threads() and self.processes.is_main:
            progress.note(
                f"the checkpoint was computed with {values['threads']} threads and goes on with {torch.get_num_threads()}: "
                "the last bits of the result may differ"
            )
