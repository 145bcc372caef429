"""The log of a training: metrics.jsonl, TensorBoard events, and what the user is told."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gasdet.atomic_files import write_atomically
from gasdet.progress import ProgressSink

METRICS_NAME = "metrics.jsonl"
TENSORBOARD_NAME = "tensorboard"
_TELL_SECONDS = 0.2
_NOTE_SECONDS = 5.0


class TrainingLog:
    """Appends a line for each validation, and writes the same numbers as TensorBoard scalars.

    The first stage's events lie in ``tensorboard``, the others' in ``tensorboard/stage-N``, which TensorBoard shows as runs.
    """

    def __init__(self, folder: Path, stage: int, *, after_step: int) -> None:
        """Open the log, and cut off what a resumed stage will log again.

        Args:
            folder: Of the training.
            stage: From 0.
            after_step: Lines of this stage with a later step are removed; -1 removes all of them. Those of later stages,
                which are there where this stage is begun anew, stay behind its own.
        """
        from tensorboardX import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / METRICS_NAME
        self._later = _cut(self._path, stage, after_step)
        events = folder / TENSORBOARD_NAME
        events = events / f"stage-{stage}" if stage else events
        self._writer = SummaryWriter(str(events), purge_step=after_step + 1)

    def write(self, line: Mapping[str, Any]) -> None:
        """Append a line; its step is TensorBoard's."""
        text = json.dumps(line, allow_nan=False) + "\n"
        if self._later:
            before = self._path.read_text(encoding="utf-8").removesuffix(self._later)
            _replace(self._path, before + text + self._later)
        else:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(text)
        for name, value in line.items():
            if name not in ("stage", "step") and value is not None:
                self._writer.add_scalar(name, value, line["step"])
        self._writer.flush()

    def close(self) -> None:
        """Finish the event file."""
        self._writer.close()


def _cut(path: Path, stage: int, after_step: int) -> str:
    """Remove a stage's lines after a step. Returns the lines of later stages, with which the file then ends."""
    if not path.exists():
        return ""
    early, later = "", ""
    content = path.read_text(encoding="utf-8")
    for text in content.splitlines(keepends=True):
        try:
            line = json.loads(text)
            place = int(line["stage"]), int(line["step"])
        except (ValueError, KeyError, TypeError):
            continue  # the torn last line of a killed process
        if not text.endswith("\n"):
            continue
        if place <= (stage, after_step):
            early += text
        elif place[0] > stage:
            later += text
    if early + later != content:
        _replace(path, early + later)
    return later


def _replace(path: Path, content: str) -> None:
    encoded = content.encode("utf-8")
    write_atomically(path, lambda file: file.write(encoded))


class Reporter:
    """Tells a progress display of steps, a few times a second, and of a validation now and then."""

    def __init__(self, progress: ProgressSink) -> None:
        self._progress = progress
        self._steps = 0
        self._told_at = self._noted_at = -math.inf

    def start(self, label: str, total: int, done: int) -> None:
        """A stage begins, with some of its steps done before."""
        self._progress.start(label, total)
        if done:
            self._progress.note(f"going on from step {done} of {total}")
            self._progress.advance(done, 0)

    def step(self) -> None:
        """One more step is done."""
        self._steps += 1
        if time.monotonic() - self._told_at > _TELL_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Tell of all steps that were done."""
        if self._steps:
            self._progress.advance(self._steps, 0)
        self._steps, self._told_at = 0, time.monotonic()

    def validation(self, line: Mapping[str, Any], key: str, *, better: bool, last: bool) -> None:
        """Note a validation's main figures, unless one was noted just before and this is not the last."""
        if not last and time.monotonic() - self._noted_at < _NOTE_SECONDS:
            return
        self._noted_at = time.monotonic()
        shown = {name: line.get(name) for name in ("train_loss", "val_loss", key)}
        figures = ", ".join(f"{name} {value:.4f}" for name, value in shown.items() if value is not None)
        kept = ", the best so far" if better else ""
        self._progress.note(f"epoch {line['epoch']}, step {line['step']}: {figures}{kept}")

    def finish(self) -> None:
        """The stage is over, or was left."""
        self.flush()
        self._progress.finish()
