"""metrics.jsonl and TensorBoard events, over interruptions."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from gasdet.training.log import Reporter, TrainingLog


def line(stage: int, step: int, **values: float | None) -> dict[str, float | int | None]:
    return {"stage": stage, "epoch": 1, "step": step, "val_loss": step / 10, **values}


def written(folder: Path) -> list[tuple[int, int]]:
    return [
        (found["stage"], found["step"])
        for found in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    ]


def scalars(folder: Path) -> list[tuple[str, int, float]]:
    """Every scalar in a folder's own event files, read by the format: length, checksum, protocol buffer, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(folder.glob("events.out.tfevents*")):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            event = Event.FromString(content[at + 12 : at + 12 + length])
            found += [(v.tag, event.step, v.simple_value) for v in event.summary.value]
            at += 16 + length
    return found


def test_lines_after_the_checkpoint_are_cut_off(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path, 0, after_step=-1)
    for step in (3, 6, 9):
        log.write(line(0, step))
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": 0, "st')  # torn by a kill
    TrainingLog(tmp_path, 0, after_step=6).close()
    assert written(tmp_path) == [(0, 3), (0, 6)]


def test_stage_that_begins_leaves_the_ones_before(tmp_path: Path) -> None:
    for stage in (0, 1):
        log = TrainingLog(tmp_path, stage, after_step=-1)
        log.write(line(stage, 4))
        log.close()
    TrainingLog(tmp_path, 1, after_step=-1).close()
    assert written(tmp_path) == [(0, 4)]


def test_stage_that_is_begun_anew_leaves_the_ones_after(tmp_path: Path) -> None:
    """As where checkpoint/stage-0 was removed, and that of the finished stage 1 was not."""
    for stage in (0, 1):
        log = TrainingLog(tmp_path, stage, after_step=-1)
        for step in (3, 6):
            log.write(line(stage, step))
        log.close()
    log = TrainingLog(tmp_path, 0, after_step=-1)
    assert written(tmp_path) == [(1, 3), (1, 6)]
    for step in (2, 4):
        log.write(line(0, step))
    log.close()
    assert written(tmp_path) == [(0, 2), (0, 4), (1, 3), (1, 6)]


def test_events_hold_the_same_numbers(tmp_path: Path) -> None:
    for stage in (0, 2):
        log = TrainingLog(tmp_path, stage, after_step=-1)
        log.write(line(stage, 5, val_auroc=None, train_loss=0.25))
        log.close()
    for folder in (tmp_path / "tensorboard", tmp_path / "tensorboard" / "stage-2"):
        assert scalars(folder) == [("epoch", 5, 1.0), ("val_loss", 5, 0.5), ("train_loss", 5, 0.25)]


class Heard:
    def __init__(self) -> None:
        self.done, self.notes, self.open = 0, [], False

    def start(self, label: str, total: int) -> None:
        self.open = True

    def advance(self, done: int, errors: int) -> None:
        assert self.open
        self.done += done

    def finish(self) -> None:
        self.open = False

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_every_step_is_told_in_the_end() -> None:
    heard = Heard()
    reporter = Reporter(heard)
    reporter.start("training", 500, 100)
    for _ in range(400):
        reporter.step()
    reporter.finish()
    assert heard.done == 500
    assert not heard.open
    assert heard.notes == ["going on from step 100 of 500"]


def test_last_validation_is_always_noted() -> None:
    heard = Heard()
    reporter = Reporter(heard)
    for step in range(5):
        reporter.validation(line(0, step), "val_loss", better=step == 4, last=step == 4)
    assert heard.notes == ["epoch 1, step 0: val_loss 0.0000", "epoch 1, step 4: val_loss 0.4000, the best so far"]
