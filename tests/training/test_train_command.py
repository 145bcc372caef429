"""``gasdet train`` as a user types it, in processes of its own: killed, interrupted, and under torchrun."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gasdet.types import Sample

COMMAND = [sys.executable, "-m", "gasdet", "train", "--plugin", "toy", "--device", "cpu", "--workers", "1"]


@pytest.fixture
def words(toy_site: Path, tiny_samples: Callable[..., list[Sample]], tmp_path: Path) -> list[str]:
    """The command line but for ``--out``; the data are 40 pictures in a table."""
    samples = tiny_samples(splits=True)
    table = tmp_path / "train.csv"
    rows = [f"{s.locator.path},{s.label},{s.group},{s.split}" for s in samples]
    table.write_text("path,label,group,split\n" + "\n".join(rows) + "\n")
    return [*COMMAND, "--data", str(table)]


@pytest.fixture
def environment(toy_site: Path, tmp_path: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GASDET_")}
    return {**kept, "PYTHONPATH": str(toy_site), "GASDET_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}


def run(words: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)


def started(words: list[str], environment: dict[str, str], log: Path, lines: int) -> subprocess.Popen[str]:
    """A training that has written so many lines of its log."""
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 120
    while not (log.exists() and log.read_bytes().count(b"\n") >= lines):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)
    return process


@pytest.mark.slow
def test_killed_and_started_again_ends_with_the_same_bytes(
    words: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    """Killed twice with SIGKILL somewhere in an epoch, then left alone."""
    settings = [
        "epochs=60",
        "evaluate_every=60",
        "optimiser=adamw",
        "ema=0.9",
        "schedule=cosine",
        "cache_features=false",
    ]
    settings = [word for setting in settings for word in ("--set", setting)]
    whole = [*words, *settings, "--out", str(tmp_path / "whole")]
    done = run(whole, environment)
    assert done.returncode == 0, done.stderr
    broken = [*words, *settings, "--out", str(tmp_path / "out")]
    for lines in (2, 5):
        process = started(broken, environment, tmp_path / "out" / "metrics.jsonl", lines)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert not (tmp_path / "out" / "model.safetensors").exists()
    done = run(broken, environment)
    assert done.returncode == 0, done.stderr
    assert "going on with the training" in done.stderr
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert len(json.loads((tmp_path / "out" / "train.json").read_text())["sessions"]) == 3


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(
    words: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = [*words, "--set", "epochs=100", "--set", "evaluate_every=100", "--out", str(out)]
    process = started(words, environment, out / "metrics.jsonl", 1)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()
    assert process.returncode == 130
    assert "the same command goes on from here" in told
    assert "Traceback" not in told
    held = (out / "metrics.jsonl").read_bytes().count(b"\n")
    done = run(words, environment)
    assert done.returncode == 0, done.stderr
    assert f"Weights: {out / 'model.safetensors'}" in done.stdout
    assert (out / "metrics.jsonl").read_bytes().count(b"\n") > held
    assert "going on with the training" in done.stderr


@pytest.mark.slow
def test_two_processes_under_torchrun_train_what_one_does(
    words: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    one = run([*words, "--out", str(tmp_path / "one")], environment)
    assert one.returncode == 0, one.stderr
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    two = run([*torchrun, *words[2:], "--out", str(tmp_path / "two")], environment)
    assert two.returncode == 0, two.stderr
    assert two.stdout == one.stdout.replace(str(tmp_path / "one"), str(tmp_path / "two"))
    assert "2 processes" in two.stderr
    first, second = (load_file(str(tmp_path / name / "model.safetensors")) for name in ("one", "two"))
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=1e-5, atol=1e-6)
    assert json.loads((tmp_path / "two" / "train.json").read_text())["sessions"][0]["processes"] == 2


def test_info_shows_the_recipe(environment: dict[str, str]) -> None:
    told = run([sys.executable, "-m", "gasdet", "info", "toy"], environment).stdout
    assert "gasdet train --plugin toy" in told
    facts = {line[2:20].strip(): line[20:] for line in told.splitlines() if line.startswith("  ")}
    assert (facts["epochs"], facts["batch_size"], facts["losses"]) == ("3", "4", "cross_entropy: 1.0")
    assert (facts["needs_backbone"], facts["trainable"]) == ("false", "head")
    document = json.loads(run([sys.executable, "-m", "gasdet", "info", "toy", "--json"], environment).stdout)
    assert document["training"]["learning_rate"] == 1e-3
