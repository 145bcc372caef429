"""CIFAKE from its Parquet file of 20,000 images: bounded memory, and the same records after any number of kills."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

IMAGES = 8_000
"""Of all parts of the file, so that its rows are skipped over too; what a run keeps of a row is in test_allocation.py."""
MODEL = '''"""A linear layer over the mean colour and the spread of brightness."""

import torch
from safetensors.torch import load_file


class Colour(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.classifier = torch.nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.float() / 255
        return self.classifier(torch.cat([x.mean((2, 3)), x.std((1, 2, 3))[:, None]], 1))


def load_model(weights_path: str, num_classes: int = 2) -> torch.nn.Module:
    model = Colour()
    model.load_state_dict(load_file(weights_path))
    return model
'''


@pytest.fixture
def command(tmp_path: Path, shared_cifake: Path) -> list[str]:
    bundle = tmp_path / "colour"
    bundle.mkdir()
    (bundle / "model.py").write_text(MODEL)
    config = "name: colour\nmodality: image\npreprocessing:\n  resize: [32, 32]\nmodel:\n  num_classes: 2\n"
    (bundle / "model_config.yaml").write_text(config)
    weights = {
        "classifier.weight": torch.tensor([[0.5, 0.1, -0.6, 2.0], [-0.5, -0.1, 0.6, -2.0]]),
        "classifier.bias": torch.tensor([-0.4, 0.4]),
    }
    save_file(weights, bundle / "model.safetensors")
    return [
        sys.executable, "-m", "gasdet.cli", "evaluate", "--model", str(bundle), "--trust-code",
        "--data", str(shared_cifake / "test.parquet"), "--batch-size", "64",
        "--limit", str(IMAGES), "--out",
    ]  # fmt: skip


def largest_process(process: subprocess.Popen[bytes], until: int | None, parts: Path) -> int:
    """Wait for the end, or kill it once so many parts are written; the largest resident memory seen, in bytes."""
    largest, root = 0, psutil.Process(process.pid)
    while process.poll() is None:
        try:
            largest = max(largest, *(p.memory_info().rss for p in (root, *root.children(recursive=True))))
        except psutil.Error:
            continue
        if until is not None and len(list(parts.glob("part-*.parquet"))) >= until:
            process.kill()
        time.sleep(0.02)
    return largest


@pytest.mark.slow
def test_killed_three_times_its_records_equal_an_undisturbed_runs(command: list[str], tmp_path: Path) -> None:
    def start(name: str, until: int | None = None) -> int:
        process = subprocess.Popen([*command, name], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        largest = largest_process(process, until, tmp_path / name / "records")
        assert process.wait() == (0 if until is None else -9)
        return largest

    assert start("undisturbed") < 1.5 * 2**30
    moments = sorted(random.sample(range(1, IMAGES // 256 - 7), 3))
    for moment in moments:
        start("disturbed", moment)
        assert not (tmp_path / "disturbed" / "records.parquet").exists()
    start("disturbed")

    one, other = (
        pq.read_table(tmp_path / name / "records.parquet").drop_columns(["decode_ms", "inference_ms"])
        for name in ("undisturbed", "disturbed")
    )
    assert one.num_rows == IMAGES
    assert set(one["status"].to_pylist()) == {"ok"}
    assert sum(one["label"].to_pylist()) == IMAGES // 2
    assert one.equals(other), f"killed when {moments} parts were written"
    shutil.rmtree(tmp_path / "undisturbed")
