"""What a training leaves: a bundle, whose weights file holds backbone and head."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from gasdet.atomic_files import write_atomically
from gasdet.errors import DataError, PluginError, RunError
from gasdet.parquet_files import read_parquet
from gasdet.registry import load_target
from gasdet.types import DetectorSpec

if TYPE_CHECKING:
    import torch

WEIGHTS_NAME = "model.safetensors"
SAMPLES_NAME = "samples.parquet"
TRAIN_NAME = "train.json"
TRAIN, VALIDATION = "train", "validation"
_FILES = (
    WEIGHTS_NAME,
    "model.py",
    "model_config.yaml",
    "calibrator.json",
    "metrics.jsonl",
    SAMPLES_NAME,
    "usable.parquet",
)
_FOLDERS = ("checkpoint", "tensorboard")


class SampleRow(NamedTuple):
    """A row of samples.parquet.

    Attributes:
        sample_id: Of the sample.
        content: SHA-256 of the decoded content, where known.
        part: ``train`` or ``validation``.
        earlier: Whether it is from a training that the start weights come from.
    """

    sample_id: str
    content: str | None
    part: str
    earlier: bool = False


def weights_file(module: torch.nn.Module, described: Mapping[str, Any]) -> bytes:
    """A safetensors file with every tensor of the module, and what it is in its header, as ``gasdet`` (JSON).

    The same tensors and description give the same bytes: there is one entry in the header only, because safetensors writes
    several in an order that changes from one process to the next.
    """
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    return save(tensors, {"gasdet": json.dumps(described, sort_keys=True)})


def write_code_and_config(out: Path, spec: DetectorSpec, described: Mapping[str, Any]) -> None:
    """Write ``model.py``, which is the detector's own, and ``model_config.yaml``: a bundle but for its weights.

    Args:
        out: The bundle's folder.
        spec: The detector.
        described: Has ``preprocessing`` (every key) and ``model`` (arguments of ``load_model``).

    Raises:
        PluginError: The detector's module has no source file.
    """
    try:
        code = inspect.getsourcefile(load_target(spec.target))
    except TypeError:
        code = None
    if code is None:
        raise PluginError(f"the source of {spec.target} cannot be found, which a bundle must contain.")
    source = Path(code).read_bytes()
    write_atomically(out / "model.py", lambda file: file.write(source))
    config = {
        "name": spec.name,
        "modality": spec.modality.value,
        "preprocessing": dict(described["preprocessing"]),
        "model": {"weights_file": WEIGHTS_NAME, **described["model"]},
    }
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    write_atomically(out / "model_config.yaml", lambda file: file.write(text.encode()))


def check_loads(file: Path, spec: DetectorSpec, model: Mapping[str, Any], module: torch.nn.Module, origin: str) -> None:
    """See that the plugin itself loads the weights, strictly, and gets the tensors that were trained.

    Raises:
        GasdetError: ``load_model`` refuses the file.
        PluginError: It gives other tensors.
    """
    import torch

    from gasdet.bundle import ResolvedWeights, load_detector

    weights = ResolvedWeights(path=file, sha256="", name=file.name, kind="file", model=model)
    loaded = load_detector(spec, weights, origin=origin).module.state_dict()
    own = module.state_dict()
    wrong = [n for n, tensor in own.items() if n not in loaded or not torch.equal(loaded[n].cpu(), tensor.cpu())]
    if wrong or len(loaded) != len(own):
        names = ", ".join(wrong[:5]) or f"{len(loaded)} tensors instead of {len(own)}"
        raise PluginError(f"load_model of {spec.name} does not give back the trained weights: {names}.")


def write_samples(path: Path, rows: Iterable[SampleRow]) -> None:
    """Write which samples were trained on and chosen by, those that were trained on last."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    ordered = sorted(rows, key=lambda row: row.part == TRAIN)
    kinds = {"sample_id": pa.string(), "content": pa.string(), "part": pa.string(), "earlier": pa.bool_()}
    columns = {name: pa.array([getattr(row, name) for row in ordered], kind) for name, kind in kinds.items()}
    write_atomically(path, lambda file: pq.write_table(pa.table(columns), file))


def read_samples(path: Path) -> list[SampleRow]:
    """What ``write_samples`` wrote; a file of a version without the column ``earlier`` has none from before.

    Raises:
        DataError: It cannot be read.
    """
    import pyarrow as pa

    try:
        table = read_parquet(path, ["sample_id", "content", "part"]).to_pydict()
        rows = zip(table["sample_id"], table["content"], table["part"], strict=True)
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise DataError(f"{path}: which samples were trained on cannot be read ({error}); train again.") from error
    return [SampleRow(*row) for row in rows]


def make_folder(out: Path) -> None:
    """Make the folder, or see that what is there is a training's.

    Raises:
        RunError: It cannot be made, or holds files of the names that a training writes, and none wrote them.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{out}: the training's folder cannot be made: {error.strerror}.") from error
    if _is_training(out):
        return
    taken = [name for name in (TRAIN_NAME, *_FILES, *_FOLDERS) if (out / name).exists()]
    if taken:
        raise RunError(
            f"{out} already holds {', '.join(taken)}, and no record of a training that wrote that; choose another folder, or "
            "move it away."
        )


def check_outside(out: Path, files: Mapping[str, Path | None]) -> None:
    """Refuse to start over in a folder that holds what the training is to start from.

    Args:
        out: Of the training.
        files: By the option that names them.

    Raises:
        RunError: One lies in the folder.
    """
    for option, path in files.items():
        if path is not None and path.resolve().is_relative_to(out.resolve()):
            raise RunError(
                f"{option}: {path} lies in {out}, which --restart would clear; choose another folder for the result."
            )


def clear(out: Path) -> None:
    """Remove what a training leaves in its folder, and nothing else; the record last, so that it can be done again."""
    if not _is_training(out):
        return
    for name in _FILES:
        (out / name).unlink(missing_ok=True)
    for name in _FOLDERS:
        shutil.rmtree(out / name, ignore_errors=True)
    (out / TRAIN_NAME).unlink(missing_ok=True)


def _is_training(out: Path) -> bool:
    """Whether there is a training's record, which also is there before anything else."""
    from gasdet.evaluation.finished import read_json

    record = read_json(out / TRAIN_NAME) or {}
    return "configuration" in record and record.get("state") in ("unfinished", "complete")
