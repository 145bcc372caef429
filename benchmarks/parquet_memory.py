"""Memory of a run over a Parquet file, sampled while it runs: it must not grow with what the file holds.

    python benchmarks/parquet_memory.py [--rows 100000] [--side 64] [--row-group 1000] [--workers 2] [--keep DIR]

Writes a Parquet file of so many JPEGs (bytes, label) in the hub's layout, evaluates a model of no cost on all of them in a
fresh process, and samples the resident memory of that process and of its decode processes twice a second, beside how far
the records have come. Printed are the figures at each tenth of the run, the straight line through them, and how much the
samples' own descriptions (known before the first is decoded) take.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
DISTINCT = 500
"""Different pictures; the file repeats them, and holds each row's bytes all the same (no dictionary)."""


def write_parquet(path: Path, rows: int, side: int, group: int) -> None:
    """JPEGs of noise as ``image: {bytes, path}`` and ``label`` (0, 1), the hub's layout."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    rng = np.random.default_rng(0)
    contents = []
    for _ in range(DISTINCT):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(file, "JPEG", quality=90)
        contents.append(file.getvalue())
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    classes = {"_type": "ClassLabel", "names": ["real", "synthetic"]}
    features = {"info": {"features": {"image": {"_type": "Image"}, "label": classes}}}
    schema = pa.schema([("image", image), ("label", pa.int64())], metadata={"huggingface": json.dumps(features)})
    with pq.ParquetWriter(path, schema, use_dictionary=False, compression="NONE") as writer:
        for start in range(0, rows, group):
            stop = min(start + group, rows)
            images = [{"bytes": contents[i % DISTINCT], "path": f"{i:06d}.jpg"} for i in range(start, stop)]
            labels = [i % 2 for i in range(start, stop)]
            writer.write_table(pa.table({"image": images, "label": labels}, schema=schema), row_group_size=group)


def evaluate(table: Path, folder: Path, workers: int) -> dict[str, Any]:
    """Evaluate in this process, and sample its own and its decode processes' memory meanwhile."""
    import bundles
    import psutil

    from gasdet.bundle import load_bundle
    from gasdet.data import load_data
    from gasdet.evaluation.run import RunOptions, evaluate_run

    this = psutil.Process()
    detector = load_bundle(bundles.write_bundle(folder / "bundles", "negligible", "image"), trust_code=True).to("cpu")
    detector.logits(np.zeros((1, 3, 224, 224), np.uint8))
    before = this.memory_info().rss
    dataset = load_data(table)
    described = this.memory_info().rss - before
    progress = _Count()
    samples: list[tuple[int, int, int]] = []
    finished = threading.Event()

    def watch() -> None:
        while not finished.wait(0.5):
            try:
                children = [child.memory_info().rss for child in this.children(recursive=True)]
            except psutil.Error:
                continue
            samples.append((progress.done, this.memory_info().rss, max(children, default=0)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    begun = time.perf_counter()
    run = evaluate_run([detector], dataset, folder / "run", RunOptions(workers=workers, resamples=0), progress)
    elapsed = time.perf_counter() - begun
    finished.set()
    watcher.join()
    outcomes = run.records()["status"].to_pylist()
    assert outcomes == ["ok"] * len(dataset.samples)
    return {"samples": samples, "described": described, "seconds": elapsed, "rows": len(outcomes)}


class _Count:
    """A progress sink that knows how many samples are done."""

    def __init__(self) -> None:
        self.done = 0

    def start(self, label: str, total: int, unit: str = "samples") -> None:
        """A stage begins."""

    def advance(self, done: int, errors: int) -> None:
        """More samples are done."""
        self.done += done

    def finish(self) -> None:
        """A stage is over."""

    def note(self, line: str) -> None:
        """Something to tell the user."""


def report(measured: dict[str, Any], size: int) -> None:
    """Print memory at each tenth of the run and its growth."""
    rows, mib = measured["rows"], 2**20
    running = [s for s in measured["samples"] if 0 < s[0] < rows]
    print(f"{rows:,} rows, {size / mib:,.0f} MiB of Parquet, {measured['seconds']:.0f} s")
    print(
        f"descriptions of the samples: {measured['described'] / mib:.0f} MiB ({measured['described'] / rows:.0f} bytes each)"
    )
    print("   done   main process   largest decode process   (MiB)")
    for tenth in range(1, 11):
        near = min(running, key=lambda s: abs(s[0] - tenth * rows / 10))
        print(f"{near[0]:7,} {near[1] / mib:14.0f} {near[2] / mib:24.0f}")
    settled = [s for s in running if s[0] > rows / 10]
    for name, column in (("main process", 1), ("largest decode process", 2)):
        slope = np.polyfit([s[0] for s in settled], [s[column] for s in settled], 1)[0]
        print(f"{name}: {slope:+.0f} bytes a row after the first tenth")


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        given = sys.argv[2:5]
        print(json.dumps(evaluate(Path(given[0]), Path(given[1]), int(given[2]))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--side", type=int, default=64, help="of the pictures, in pixels")
    parser.add_argument("--row-group", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="folder to keep the Parquet file in, for another call")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        table = (arguments.keep or folder) / f"{arguments.rows}-{arguments.side}-{arguments.row_group}.parquet"
        if not table.exists():
            write_parquet(table, arguments.rows, arguments.side, arguments.row_group)
        command = [sys.executable, __file__, "--one", str(table), str(folder), str(arguments.workers)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            sys.exit(f"the run failed with exit code {done.returncode}")
        report(json.loads(done.stdout.splitlines()[-1]), table.stat().st_size)


if __name__ == "__main__":
    main()
