"""``gasdet train`` as a user types it: interrupted, killed, and under torchrun, in as few processes as that takes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file

from gasdet.cli.group import gasdet as cli
from gasdet.evaluation import pipeline
from gasdet.registry import load_registry
from gasdet.types import Sample

VARIABLES = {"GASDET_PLUGINS": "toy", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def site(toy_site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The toy as an installed plugin of this process, too, with a cache of its own and one thread, as the others have."""
    monkeypatch.syspath_prepend(str(toy_site))
    for name, value in {**VARIABLES, "GASDET_CACHE": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    for name in [name for name in sys.modules if name.partition(".")[0] == "gasdet_toy"]:
        monkeypatch.delitem(sys.modules, name)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    load_registry.cache_clear()
    yield toy_site
    load_registry.cache_clear()
    torch.set_num_threads(threads)


@pytest.fixture
def words(site: Path, tiny_samples: Callable[..., list[Sample]], tmp_path: Path) -> list[str]:
    """The command line but for ``--out``; the data are 40 pictures in a table."""
    samples = tiny_samples(splits=True)
    table = tmp_path / "train.csv"
    rows = [f"{s.locator.path},{s.label},{s.group},{s.split}" for s in samples]
    table.write_text("path,label,group,split\n" + "\n".join(rows) + "\n")
    return ["train", "--plugin", "toy", "--device", "cpu", "--workers", "1", "--data", str(table)]


def here(words: list[str]) -> Result:
    """The command in this process."""
    return CliRunner().invoke(cli, words, catch_exceptions=False)


def environment(site: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(site)}


def started(words: list[str], site: Path, log: Path, lines: int) -> subprocess.Popen[str]:
    """The command in a process of its own, which has written so many lines of its log."""
    command = [sys.executable, "-m", "gasdet", *words]
    process = subprocess.Popen(
        command, env=environment(site), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 120
    while not (log.exists() and log.read_bytes().count(b"\n") >= lines):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)
    return process


@pytest.mark.slow
def test_interrupted_and_killed_it_ends_with_the_same_bytes(words: list[str], site: Path, tmp_path: Path) -> None:
    """Left with Ctrl-C, then killed with SIGKILL somewhere in an epoch, then left alone."""
    settings = (
        "epochs=60",
        "evaluate_every=60",
        "optimiser=adamw",
        "ema=0.9",
        "schedule=cosine",
        "cache_features=false",
    )
    words = [*words, *(word for setting in settings for word in ("--set", setting))]
    out = tmp_path / "out"
    broken = [*words, "--out", str(out)]
    process = started(broken, site, out / "metrics.jsonl", 1)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()
    assert process.returncode == 130
    assert "the same command goes on from here" in told
    assert "Traceback" not in told
    held = (out / "metrics.jsonl").read_bytes().count(b"\n")
    process = started(broken, site, out / "metrics.jsonl", held + 2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (out / "model.safetensors").exists()
    done = here(broken)
    assert done.exit_code == 0, done.stderr
    assert f"Weights: {out / 'model.safetensors'}" in done.stdout
    assert "going on with the training" in done.stderr
    assert len(json.loads((out / "train.json").read_text())["sessions"]) == 3
    whole = here([*words, "--out", str(tmp_path / "whole")])
    assert whole.exit_code == 0, whole.stderr
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.slow
def test_two_processes_under_torchrun_train_what_one_does(words: list[str], site: Path, tmp_path: Path) -> None:
    one = here([*words, "--out", str(tmp_path / "one")])
    assert one.exit_code == 0, one.stderr
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "gasdet"]
    command = [*torchrun, *words, "--out", str(tmp_path / "two")]
    two = subprocess.run(command, env=environment(site), capture_output=True, text=True, check=False)
    assert two.returncode == 0, two.stderr
    assert two.stdout == one.stdout.replace(str(tmp_path / "one"), str(tmp_path / "two"))
    assert "2 processes" in two.stderr
    assert "find_unused_parameters" not in two.stderr
    first, second = (load_file(str(tmp_path / name / "model.safetensors")) for name in ("one", "two"))
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=1e-5, atol=1e-6)
    assert json.loads((tmp_path / "two" / "train.json").read_text())["sessions"][0]["processes"] == 2


def test_with_a_decode_cache_the_same_weights_and_nothing_decoded_twice(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert here([*words, "--out", str(tmp_path / "plain")]).exit_code == 0
    used: list[str] = []
    count = pipeline.CacheCounts.count
    jobs: set[int] = set()

    def counted(self: pipeline.CacheCounts, use: str) -> None:
        used.append(use)
        jobs.add(len(list((tmp_path / "dc" / "jobs").iterdir())))
        count(self, use)

    monkeypatch.setattr(pipeline.CacheCounts, "count", counted)
    for number, use in enumerate(("stored", "hit")):
        monkeypatch.setenv("GASDET_CACHE", str(tmp_path / f"fresh-{number}"))
        out = tmp_path / f"cached-{number}"
        result = here([*words, "--out", str(out), "--decode-cache", str(tmp_path / "dc")])
        assert result.exit_code == 0, result.stderr
        assert set(used) == {use}
        line = f"{len(used) if use == 'hit' else 0} of {len(used)} samples taken from it, "
        assert f"decode cache: {line}{len(used) if use == 'stored' else 0} stored" in result.stderr
        (session,) = json.loads((out / "train.json").read_text())["sessions"]
        assert session["decode_cache"]["hits" if use == "hit" else "stored"] == len(used)
        assert (out / "model.safetensors").read_bytes() == (tmp_path / "plain" / "model.safetensors").read_bytes()
        assert jobs == {2}  # the pool's, and one that lasts from the first pool to the last
        used.clear()


def test_a_sampling_that_no_validation_could_change_is_refused_before_anything_is_decoded(
    words: list[str], tmp_path: Path
) -> None:
    done = here([*words, "--set", "sampling=worst_dataset", "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "1 of these (" in done.stderr
    assert not (tmp_path / "cache").exists()


def test_info_shows_the_recipe(site: Path) -> None:
    told = here(["info", "toy"]).stdout
    assert "gasdet train --plugin toy" in told
    facts = {line[2:20].strip(): line[20:] for line in told.splitlines() if line.startswith("  ")}
    assert (facts["epochs"], facts["batch_size"], facts["losses"]) == ("3", "4", "cross_entropy: 1.0")
    assert (facts["needs_backbone"], facts["trainable"]) == ("false", "head")
    document = json.loads(here(["info", "toy", "--json"]).stdout)
    assert document["training"]["learning_rate"] == 1e-3
