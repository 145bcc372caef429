"""CIFAKE, the whole way: a detector trained on its train split, calibrated on a held-back tenth, judged on its test split.

    python benchmarks/cifake.py --data DIR [--plugin npr|dinov3] [--out runs/cifake-npr] [--set epochs=12 ...]

What differs from the plugin's recipe is in cifake-PLUGIN.yaml beside this file.

DIR holds train.parquet and test.parquet (struct column ``image`` with ``bytes`` and ``path``, column ``label``) and, where
it is known, the list test_duplicates_of_train.txt. Every step is a gasdet command and is printed. The parts:

- a tenth of the train split, chosen by a hash of the pixels, so that equal images stay together: for the calibrator only;
- of the rest, 5 % held out by ``gasdet train`` to choose the epoch; what is left is trained on;
- the test split, whole, and without the images that are in the train split too (found by their pixels, and compared with the
  list).

The table goes to standard output and to OUT/table.md.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

HERE = Path(__file__).resolve().parent
RECIPES = {path.stem.removeprefix("cifake-"): path for path in HERE.glob("cifake-*.yaml")}
METRICS = ("accuracy", "combined_score", "ece", "mcc", "brier", "auroc")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.parquet and test.parquet")
    parser.add_argument("--plugin", choices=sorted(RECIPES), default="npr")
    parser.add_argument("--out", type=Path, help="runs/cifake-PLUGIN unless given")
    parser.add_argument("--method", default="temperature_bias", help="the calibrator")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    plugin: str = options.plugin
    out: Path = options.out or Path("runs", f"cifake-{plugin}")
    out.mkdir(parents=True, exist_ok=True)
    fit, calibration, duplicates = divide(options.data, out)

    trained, run = out / "trained", out / "test"
    settings = [word for setting in options.settings for word in ("--set", setting)]
    seconds = gasdet(
        "train", "--plugin", plugin, "--data", fit, "--val-fraction", "0.05", "--recipe", RECIPES[plugin], *settings,
        "--out", trained,
    )  # fmt: skip
    gasdet(
        "calibrate", "--plugin", plugin, "--weights", trained, "--data", calibration, "--method", options.method,
        "--run-out", out / "calibration",
    )  # fmt: skip
    gasdet(
        "evaluate", "--plugin", plugin, "--weights", trained, "--data", options.data / "test.parquet", "--out", run,
    )  # fmt: skip
    record = json.loads((trained / "train.json").read_text(encoding="utf-8"))
    told = (
        f"`gasdet train` took {seconds / 60:.1f} min in this call, start and decoding included; "
        f"{record['seconds'] / 60:.1f} min by its record."
    )
    text = table(pq.read_table(run / "records.parquet"), duplicates) + "\n\n" + told
    (out / "table.md").write_text(text + "\n", encoding="utf-8")
    print(text)


def gasdet(*words: str | Path) -> float:
    """Run a gasdet command, printed as one would type it. Returns the seconds it took; ends the benchmark where it fails."""
    command = [str(word) for word in words]
    print("$ gasdet", *command, flush=True)
    started = time.monotonic()
    if subprocess.run([sys.executable, "-m", "gasdet.cli", *command], check=False).returncode:
        sys.exit(f"gasdet {command[0]} failed")
    return time.monotonic() - started


def divide(data: Path, out: Path) -> tuple[Path, Path, set[str]]:
    """Write the train split as two files, fit.parquet and calibration.parquet, and find the test images that it holds.

    Returns:
        The two files, and the paths of test images with the pixels of a train image.
    """
    fit, calibration = out / "fit.parquet", out / "calibration.parquet"
    train = pq.read_table(data / "train.parquet")
    known = pixel_digests(train)
    if not (fit.exists() and calibration.exists()):
        # by the pixels and not by the row: an image that occurs twice is never in both parts
        tenth = pa.array([int(digest[:8], 16) % 10 == 0 for digest in known])
        for path, kept in ((fit, pc.invert(tenth)), (calibration, tenth)):
            pq.write_table(train.filter(kept), path.with_suffix(".pending"))
            path.with_suffix(".pending").replace(path)
    test = pq.read_table(data / "test.parquet")
    paths = pc.struct_field(test["image"], "path").to_pylist()
    seen = set(known)
    found = {path for path, digest in zip(paths, pixel_digests(test), strict=True) if digest in seen}
    print(f"{len(found)} of {len(paths)} test images have the pixels of a train image", flush=True)
    listed = data / "test_duplicates_of_train.txt"
    if listed.exists():
        if found != set(listed.read_text(encoding="utf-8").split("\n")) - {""}:
            sys.exit(f"these are not those of {listed.name}")
        print(f"exactly those of {listed.name}", flush=True)
    return fit, calibration, found


def pixel_digests(table: pa.Table) -> list[str]:
    from gasdet.training.duplicates import digest

    def pixels(content: bytes) -> np.ndarray[Any, Any]:
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(image.convert("RGB"))

    return [digest(pixels(content)) for content in pc.struct_field(table["image"], "bytes").to_pylist()]


def table(records: pa.Table, duplicates: set[str]) -> str:
    """The figures with 95 % intervals: with and without the duplicates, before and after calibration."""
    from gasdet.evaluation.summary import summarise

    members = records["member"].to_pylist()
    fresh = pa.array([member.removeprefix("test.parquet/") not in duplicates for member in members])
    if pc.sum(pc.invert(fresh)).as_py() != len(duplicates):
        sys.exit("the duplicates' paths are not those of the records")
    raw = records.set_column(records.column_names.index("p_synthetic"), "p_synthetic", records["p_raw"])
    decided = pc.cast(pc.greater(raw["p_raw"], 0.5), records.schema.field("prediction").type)
    raw = raw.set_column(raw.column_names.index("prediction"), "prediction", decided)
    lines = ["| test images | calibrated | " + " | ".join(METRICS) + " |", "|---" * (len(METRICS) + 2) + "|"]
    for name, part in (("all", None), ("without duplicates", fresh)):
        for calibrated, rows in (("no", raw), ("yes", records)):
            kept = rows if part is None else rows.filter(part)
            (summary,) = summarise(kept, resamples=1000)["detectors"].values()
            cells = [cell(summary["metrics"][metric]) for metric in METRICS]
            lines.append(f"| {name}: {kept.num_rows:,} | {calibrated} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(value: dict[str, Any]) -> str:
    return f"{value['value']:.4f} ({value['low']:.4f} to {value['high']:.4f})"


if __name__ == "__main__":
    main()
