"""A training from data to a weights file: prepared inputs, one stage after the other, and the record of it."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gasdet.data import Dataset
from gasdet.errors import RunError
from gasdet.evaluation.environment import environment, versions
from gasdet.evaluation.files import locked, remove_pending, write_atomically, write_json
from gasdet.evaluation.finished import read_json
from gasdet.evaluation.processors import share_processors
from gasdet.evaluation.progress import ProgressSink, Silent
from gasdet.training.data import TrainingData
from gasdet.training.options import TrainOptions
from gasdet.training.outputs import (
    SAMPLES_NAME,
    WEIGHTS_NAME,
    check_loads,
    clear,
    code_sha256,
    weights_file,
    write_code_and_config,
    write_samples,
)
from gasdet.types import DetectorSpec

if TYPE_CHECKING:
    from gasdet.training.building import Chosen, Start
    from gasdet.training.distributed import Processes
    from gasdet.training.engine import StageResult
    from gasdet.training.preparing import Preparation, Prepared
    from gasdet.training.record import Trained
    from gasdet.training.splits import Split


def process_rank() -> int:
    """The number of this process among those that torchrun started; 0 where it is the only one."""
    return int(os.environ.get("RANK", "0"))


def train_detector(
    spec: DetectorSpec,
    data: Dataset | TrainingData,
    out: Path,
    options: TrainOptions | None = None,
    progress: ProgressSink | None = None,
    *,
    origin: str = "",
) -> Trained:
    """Train a detector by its recipe, or take an interrupted training up again, or answer from a finished one.

    The folder gets ``model.safetensors`` (every tensor, adapters merged), ``model_config.yaml`` and ``model.py`` (so that it
    is a bundle), ``train.json`` (what went in and what came out), ``samples.parquet`` (which samples), ``metrics.jsonl`` (a
    line a validation) and ``tensorboard``; docs/training.md describes them. The same data, settings and machine give the same
    bytes in ``model.safetensors``, however often the training was interrupted.

    Args:
        spec: A detector whose plugin states a recipe.
        data: Labelled samples, see ``load_chosen_data``; test samples in it are left out.
        out: The training's folder; made if need be.
        options: The user's choices.
        progress: Told what happens. With several processes only the first one's is used.
        origin: Distribution and version of the plugin, for the record.

    Raises:
        UsageError: The detector has no recipe, or a setting or option is unusable.
        WeightsError: Backbone or weights cannot be had or do not fit.
        DataError: A class is missing in one of the parts, before or after files that failed.
        RunError: The folder is in use, or holds another training.
    """
    share_processors()
    options, progress = options or TrainOptions(), progress or Silent()
    data = TrainingData(data) if isinstance(data, Dataset) else data
    if process_rank():
        return _Training(spec, data, out, options, Silent(), origin).run()
    _make_folder(out, restart=options.restart)
    with locked(out):
        if options.restart:
            clear(out)
        return _Training(spec, data, out, options, progress, origin).run()


class _Training:
    """One session of a training in its folder."""

    def __init__(
        self,
        spec: DetectorSpec,
        data: TrainingData,
        out: Path,
        options: TrainOptions,
        progress: ProgressSink,
        origin: str,
    ) -> None:
        from gasdet.training.distributed import Processes

        self._spec, self._data, self._out, self._options = spec, data, out, options
        self._progress, self._origin = progress, origin
        self._clock = time.monotonic()
        self._processes: Processes = Processes(options.device, "float32")

    def run(self) -> Trained:
        from gasdet.training.building import build, choose
        from gasdet.training.objectives import check_stages
        from gasdet.training.preparing import Preparation
        from gasdet.training.record import TRAIN_NAME, Trained, check_same, configuration
        from gasdet.training.sampling import check_sampling
        from gasdet.training.splits import split_samples

        options, data, spec = self._options, self._data, self._spec
        chosen = choose(spec, data.dataset, options, self._progress)
        recipe = chosen.recipe
        split = split_samples(
            data.dataset,
            recipe.val_fraction,
            recipe.seed,
            val=data.val,
            by=options.split_by,
            hold_out=options.hold_out,
            released_after=options.released_after,
        )
        start = build(spec, chosen, options, self._progress, origin=self._origin)
        check_stages(recipe, start.module, spec.modality)
        for number in range(recipe.stage_count):
            check_sampling(recipe.stage(number), split.train, split.validation)
        device = str(self._processes.device)
        asked = configuration(
            spec.name, self._origin, chosen, start, data, split, device, code_sha256(spec, recipe.builder)
        )
        stored = read_json(self._out / TRAIN_NAME)
        self._processes.barrier()  # before the first process writes its session into that file
        if stored is not None:
            check_same(self._out, stored, asked)
            if stored.get("state") == "complete" and (self._out / WEIGHTS_NAME).exists():
                self._progress.note(f"{self._out} holds this very training, finished.")
                return Trained(self._out / WEIGHTS_NAME, stored)
        if self._processes.is_main:
            stored = self._begin(stored, asked)
        self._tell(split)
        preparation = Preparation(spec, chosen, split, options, self._processes, self._progress, data.stored)
        with self._resumable():
            prepared, results = self._stages(chosen, start, preparation, asked)
        if not self._processes.is_main:
            return Trained(self._out / WEIGHTS_NAME, {})
        return self._finish(stored or {}, chosen, start, split, prepared, results)

    def _begin(self, stored: Mapping[str, Any] | None, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Describe the training and this session before anything is computed."""
        from gasdet.training.record import SCHEMA_VERSION, TRAIN_NAME, session

        remove_pending(self._out)
        if stored is not None:
            self._progress.note(f"going on with the training in {self._out}")
        of_session = session(self._options.session(), str(self._processes.device), self._processes.count)
        record = {
            "schema_version": SCHEMA_VERSION,
            "state": "unfinished",
            "detector": self._spec.name,
            "origin": self._origin,
            "configuration": dict(asked),
            "sessions": [*(stored or {}).get("sessions", []), of_session],
        }
        write_json(self._out / TRAIN_NAME, record)
        return record

    def _tell(self, split: Split) -> None:
        self._progress.note(
            f"training on {len(split.train)} samples, choosing the weights on {len(split.validation)} ({split.how})"
        )
        for note in (*self._data.dataset.notes, *(self._data.val.notes if self._data.val else ()), *split.notes):
            self._progress.note(note)
        for reason, count in split.left_out.items():
            self._progress.note(f"left out {count}: {reason}")

    def _stages(
        self, chosen: Chosen, start: Start, preparation: Preparation, asked: Mapping[str, Any]
    ) -> tuple[Prepared, list[StageResult]]:
        """Run one stage after the other on the module; one that was finished before only loads its weights."""
        from gasdet.training.engine import run_stage
        from gasdet.training.objectives import objective_for
        from gasdet.training.preparing import ids_sha256, standardise
        from gasdet.training.sampling import make_sampler

        module, recipe = start.module, chosen.recipe
        results: list[StageResult] = []
        for number in range(recipe.stage_count):
            stage = recipe.stage(number)
            if recipe.stage_count > 1:
                self._progress.note(f"stage {number} of 0 to {recipe.stage_count - 1}: {stage.kind}, {stage.trainable}")
            prepared = preparation.stage(stage, module)
            module.to(self._processes.device)
            if number == 0 and not start.trained and hasattr(module, "set_standardisation"):
                standardise(module, prepared.train, self._options.batch_size)
            objective = objective_for(
                stage,
                module,
                prepared.validation,
                line=start.line if number == 0 else None,
                device=self._processes.device,
                progress=self._progress,
            )
            samples = {
                "train": ids_sha256(prepared.train.samples),
                "validation": ids_sha256(prepared.validation.samples),
            }
            results.append(
                run_stage(
                    module,
                    stage,
                    train=prepared.train,
                    validation=prepared.validation,
                    sampler=make_sampler(stage, prepared.train.samples),
                    objective=objective,
                    folder=self._out,
                    stage=number,
                    device=self._options.device,
                    identity={"training": dict(asked), "samples": samples},
                    save_every=self._options.save_every,
                    progress=self._progress,
                )
            )
        return prepared, results

    @contextmanager
    def _resumable(self) -> Iterator[None]:
        """Say how an interrupted training goes on."""
        try:
            yield
        except KeyboardInterrupt:
            self._progress.finish()
            self._progress.note(f"Stopped; the same command goes on from here, with what is in {self._out}.")
            raise

    def _finish(
        self,
        stored: dict[str, Any],
        chosen: Chosen,
        start: Start,
        split: Split,
        prepared: Prepared,
        results: list[StageResult],
    ) -> Trained:
        """Write the outputs; the weights come last but for the record that calls them complete."""
        from gasdet.training.record import TRAIN_NAME, Trained, data_record

        out, module = self._out, start.module
        described = {
            "detector": self._spec.name,
            "model": dict(chosen.model),
            "preprocessing": chosen.preprocessing.to_mapping(),
            "data_fingerprint": self._data.dataset.fingerprint,
        }
        content = weights_file(module, described)
        write_code_and_config(out, self._spec, described)
        write_samples(
            out / SAMPLES_NAME,
            {"train": prepared.train.samples, "validation": prepared.validation.samples},
            prepared.digests,
        )
        write_atomically(out / WEIGHTS_NAME, lambda file: file.write(content))
        check_loads(out / WEIGHTS_NAME, self._spec, chosen.model, module, self._origin)
        before = sum(session.get("seconds", 0.0) for session in stored["sessions"])
        seconds = round(time.monotonic() - self._clock, 2)
        sessions = [*stored["sessions"][:-1], {**stored["sessions"][-1], "seconds": seconds}]
        data = data_record(self._data, split, prepared)
        record = {
            **stored,
            **described,
            "state": "complete",
            "sessions": sessions,
            "started": stored["sessions"][0]["started"],
            "seconds": round(before + seconds, 2),
            "recipe": chosen.recipe.to_mapping(),
            "weights_from" if start.trained else "backbone": dict(start.source),
            "reference_calibration": list(start.line) if start.line else None,
            "features": dict(prepared.source),
            "data": data,
            "result": _result(data, results),
            "weights": {"file": WEIGHTS_NAME, "sha256": hashlib.sha256(content).hexdigest()},
            "versions": versions(),
            "environment": environment(str(self._processes.device)),
        }
        write_json(out / TRAIN_NAME, record)
        shutil.rmtree(out / "checkpoint", ignore_errors=True)
        return Trained(out / WEIGHTS_NAME, record)


def _result(data: Mapping[str, Any], results: list[StageResult]) -> dict[str, Any]:
    stages = [{"best": dict(r.best), "epochs": r.epochs, "steps": r.steps, "stopped": r.stopped} for r in results]
    return {
        "trained_on": {name: data["train"][name] for name in ("real", "synthetic")},
        "epochs": sum(r.epochs for r in results),
        "steps": sum(r.steps for r in results),
        "kept_epoch": stages[-1]["best"],
        "stages": stages,
        "note": "The val_ figures chose the weights: they are optimistic. Judge on other data.",
    }


def _make_folder(out: Path, *, restart: bool) -> None:
    """Make the folder, or see that what is there is a training's.

    Raises:
        RunError: It cannot be made, or holds trained weights of which nothing is recorded.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{out}: the training's folder cannot be made: {error.strerror}.") from error
    if (out / WEIGHTS_NAME).exists() and not (out / "train.json").exists() and not restart:
        raise RunError(
            f"{out} already holds a model and no record of a training; choose another folder, or replace it with --restart."
        )
