"""A training from data to a weights file: prepared inputs, one stage after the other, and the record of it."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gasdet.atomic_files import locked, remove_pending, write_atomically, write_json
from gasdet.data import Dataset
from gasdet.evaluation.decode_cache import holding
from gasdet.evaluation.environment import environment
from gasdet.evaluation.finished import read_json
from gasdet.evaluation.processors import share_processors
from gasdet.progress import ProgressSink, Silent
from gasdet.training.data import TrainingData
from gasdet.training.options import TrainOptions
from gasdet.training.outputs import (
    SAMPLES_NAME,
    TRAIN,
    TRAIN_NAME,
    VALIDATION,
    WEIGHTS_NAME,
    SampleRow,
    check_loads,
    check_outside,
    clear,
    make_folder,
    weights_file,
    write_code_and_config,
    write_samples,
)
from gasdet.types import DetectorSpec

if TYPE_CHECKING:
    from gasdet.training.ancestry import Ancestry
    from gasdet.training.building import Chosen, Start
    from gasdet.training.distributed import Processes
    from gasdet.training.engine import StageResult
    from gasdet.training.preparing import Preparation, Prepared
    from gasdet.training.record import Trained
    from gasdet.training.splits import Split
    from gasdet.training.trainable import ParameterCounts


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
        DataError: A class is missing in one of the parts, before or after files that failed; or the start weights were trained
            on validation samples.
        RunError: The folder is in use, or holds another training or files of another origin.
    """
    share_processors()
    options, progress = options or TrainOptions(), progress or Silent()
    data = TrainingData(data) if isinstance(data, Dataset) else data
    if process_rank():
        return _Training(spec, data, out, options, Silent(), origin).run()
    make_folder(out)
    with locked(out):
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
        self._record: dict[str, Any] = {}
        self._rows: dict[str, SampleRow] = {}
        self._processes: Processes = Processes(options.device, "float32")

    def run(self) -> Trained:
        from gasdet.training.ancestry import Ancestry
        from gasdet.training.augmentation import check_fits
        from gasdet.training.building import build, choose, preprocessing_of
        from gasdet.training.identity import plugin_sha256, training_code
        from gasdet.training.objectives import check_stages
        from gasdet.training.preparing import Preparation
        from gasdet.training.record import Trained, check_same, configuration
        from gasdet.training.sampling import check_sampling, make_sampler
        from gasdet.training.splits import split_samples
        from gasdet.training.trainable import parameter_counts

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
        if options.restart:
            used = chosen.weights is not None
            check_outside(self._out, {"--weights" if used else "--backbone": start.file})
        ancestry = Ancestry.of(chosen.weights)
        if not options.allow_training_data:
            ancestry.check(split.validation)
        check_stages(recipe, start.module, spec.modality, self._processes.device)
        counts = [parameter_counts(start.module, recipe.stage(number)) for number in range(recipe.stage_count)]
        for number in range(recipe.stage_count):
            check_sampling(recipe.stage(number), split.train, split.validation)
            make_sampler(recipe.stage(number), split.train)
            stage = dataclasses.replace(recipe, training_preprocessing=recipe.stage(number).training_preprocessing)
            check_input = getattr(start.module, "check_input", None)
            check_fits(recipe.stage(number).augmentation, preprocessing_of(spec, stage, training=True), check_input)
            check_fits((), chosen.preprocessing, check_input)
        device = str(self._processes.device)
        code = plugin_sha256(spec, *training_code(recipe))
        asked = configuration(spec.name, self._origin, chosen, start, data, split, device, code)
        stored = None if options.restart else read_json(self._out / TRAIN_NAME)
        self._processes.barrier()  # before the first process writes its session into that file
        if stored is not None:
            check_same(self._out, stored, asked)
            if stored.get("state") == "complete" and (self._out / WEIGHTS_NAME).exists():
                self._progress.note(f"{self._out} holds this very training, finished.")
                return Trained(self._out / WEIGHTS_NAME, stored)
        if self._processes.is_main:
            if options.restart:
                clear(self._out)  # nothing is left to be checked before decoding
            self._record = self._begin(stored, asked)
        self._tell(split, counts)
        preparation = Preparation(spec, chosen, split, options, self._processes, self._progress, self._out, data.stored)
        with self._resumable(preparation), holding(options.decode_cache):  # one job for all that is decoded
            prepared, results = self._stages(chosen, start, preparation, asked, ancestry)
        if options.decode_cache is not None:
            self._progress.note(preparation.cache_counts.line(options.decode_cache))
        for told, counted in zip(results, counts, strict=True):
            told["parameters"] = dataclasses.asdict(counted)
        if not self._processes.is_main:
            return Trained(self._out / WEIGHTS_NAME, {})
        return self._finish(chosen, start, split, prepared, results, ancestry)

    def _begin(self, stored: Mapping[str, Any] | None, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Describe the training and this session before anything is computed."""
        from gasdet.training.record import SCHEMA_VERSION, session

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

    def _tell(self, split: Split, counts: Sequence[ParameterCounts]) -> None:
        self._progress.note(
            f"training on {len(split.train)} samples, choosing the weights on {len(split.validation)} ({split.how})"
        )
        for number, of_stage in enumerate(counts):
            self._progress.note(f"stage {number} {of_stage}" if len(counts) > 1 else str(of_stage))
        for note in (*self._data.dataset.notes, *(self._data.val.notes if self._data.val else ()), *split.notes):
            self._progress.note(note)
        for reason, count in split.left_out.items():
            self._progress.note(f"left out {count}: {reason}")

    def _stages(
        self,
        chosen: Chosen,
        start: Start,
        preparation: Preparation,
        asked: Mapping[str, Any],
        ancestry: Ancestry,
    ) -> tuple[Prepared, list[dict[str, Any]]]:
        """Run one stage after the other on the module; one that was finished before only loads its weights."""
        from gasdet.training.engine import run_stage
        from gasdet.training.identity import rows_sha256
        from gasdet.training.objectives import objective_for
        from gasdet.training.preparing import standardise
        from gasdet.training.sampling import make_sampler

        module, recipe = start.module, chosen.recipe
        results: list[dict[str, Any]] = []
        for number in range(recipe.stage_count):
            stage = recipe.stage(number)
            if recipe.stage_count > 1:
                self._progress.note(f"stage {number} of 0 to {recipe.stage_count - 1}: {stage.kind}, {stage.trainable}")
            prepared = preparation.stage(stage, module)
            if not self._options.allow_training_data and ancestry.comparable(chosen.preprocessing):
                ancestry.check(prepared.validation.samples, prepared.digests)
            self._note_used(prepared)
            module.to(self._processes.device)
            if number == 0 and not start.trained and hasattr(module, "set_standardisation"):
                standardise(module, prepared.train, self._options.batch_size)
            objective, line = objective_for(
                stage,
                module,
                prepared.validation,
                line=start.line if number == 0 else None,
                device=self._processes.device,
                progress=self._progress,
            )
            samples = {
                "train": rows_sha256(prepared.train.samples, prepared.digests),
                "validation": rows_sha256(prepared.validation.samples, prepared.digests),
            }
            result = run_stage(
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
            results.append(_of_stage(result, line))
        return prepared, results

    def _note_used(self, prepared: Prepared) -> None:
        """Keep which samples any of the stages used; a training sample of one stage stays one."""
        for part, inputs in ((VALIDATION, prepared.validation), (TRAIN, prepared.train)):
            for sample in inputs.samples:
                name = sample.sample_id
                self._rows[name] = SampleRow(name, prepared.digests.get(name), part)

    @contextmanager
    def _resumable(self, preparation: Preparation) -> Iterator[None]:
        """Say how an interrupted training goes on, and record how long its session took and what the decode cache did."""
        try:
            yield
        except KeyboardInterrupt:
            self._progress.finish()
            how = " without --restart" if self._options.restart else ""
            self._progress.note(f"Stopped; the same command{how} goes on from here, with what is in {self._out}.")
            raise
        finally:
            if self._processes.is_main:
                if self._options.decode_cache is not None:
                    self._record["sessions"][-1]["decode_cache"] = dataclasses.asdict(preparation.cache_counts)
                self._record["sessions"][-1]["seconds"] = round(time.monotonic() - self._clock, 2)
                write_json(self._out / TRAIN_NAME, self._record)

    def _finish(
        self,
        chosen: Chosen,
        start: Start,
        split: Split,
        prepared: Prepared,
        results: list[dict[str, Any]],
        ancestry: Ancestry,
    ) -> Trained:
        """Write the outputs; the weights come last but for the record that calls them complete."""
        from gasdet.training.identity import training_versions
        from gasdet.training.record import Trained, data_record

        out, module, stored = self._out, start.module, self._record
        described = {
            "detector": self._spec.name,
            "model": dict(chosen.model),
            "preprocessing": chosen.preprocessing.to_mapping(),
            "data_fingerprint": self._data.dataset.fingerprint,
        }
        content = weights_file(module, described)
        write_code_and_config(out, self._spec, described)
        write_samples(out / SAMPLES_NAME, ancestry.with_own(self._rows.values(), chosen.preprocessing))
        write_atomically(out / WEIGHTS_NAME, lambda file: file.write(content))
        check_loads(out / WEIGHTS_NAME, self._spec, chosen.model, module, self._origin)
        before = sum(session.get("seconds", 0.0) for session in stored["sessions"][:-1])
        seconds = round(time.monotonic() - self._clock, 2)
        sessions = [*stored["sessions"][:-1], {**stored["sessions"][-1], "seconds": seconds}]
        digests = prepared.digests if ancestry.comparable(chosen.preprocessing) else None
        seen_before = ancestry.trained_on(prepared.validation.samples, digests)
        data = data_record(self._data, split, prepared, ancestry, seen_before)
        record = {
            **stored,
            **described,
            "state": "complete",
            "sessions": sessions,
            "started": stored["sessions"][0]["started"],
            "seconds": round(before + seconds, 2),
            "recipe": chosen.recipe.to_mapping(),
            "weights_from" if start.trained else "backbone": dict(start.source),
            "base": start.base.to_mapping() if start.base else None,
            "reference_calibration": list(start.line) if start.line else None,
            "features": dict(prepared.source),
            "data": data,
            "result": _result(data, results),
            "weights": {"file": WEIGHTS_NAME, "sha256": hashlib.sha256(content).hexdigest()},
            "versions": training_versions(),
            "environment": environment(str(self._processes.device)),
        }
        write_json(out / TRAIN_NAME, record)
        shutil.rmtree(out / "checkpoint", ignore_errors=True)
        return Trained(out / WEIGHTS_NAME, record)


def _of_stage(result: StageResult, line: tuple[float, float] | None) -> dict[str, Any]:
    """A stage in the record; ``line`` is how a reward stage calibrates the figures of ``best``."""
    told = {"best": dict(result.best), "epochs": result.epochs, "steps": result.steps, "stopped": result.stopped}
    return told if line is None else {**told, "calibration": {"scale": line[0], "bias": line[1]}}


def _result(data: Mapping[str, Any], stages: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "trained_on": {name: data["train"][name] for name in ("real", "synthetic")},
        "epochs": sum(stage["epochs"] for stage in stages),
        "steps": sum(stage["steps"] for stage in stages),
        "kept_epoch": stages[-1]["best"],
        "stages": stages,
        "note": "The val_ figures chose the weights: they are optimistic. Judge on other data.",
    }
