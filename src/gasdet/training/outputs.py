"""What a training leaves: a bundle, whose weights file holds backbone and head."""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from gasdet.errors import PluginError
from gasdet.evaluation.files import write_atomically
from gasdet.registry import load_target
from gasdet.types import DetectorSpec, Sample

if TYPE_CHECKING:
    import torch

WEIGHTS_NAME = "model.safetensors"
SAMPLES_NAME = "samples.parquet"


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


def code_sha256(spec: DetectorSpec, builder: str) -> str:
    """SHA-256 over the source of the detector's model.py and of the module with its builder: what else decides a training."""
    digest = hashlib.sha256()
    for target in (spec.target, builder.partition(":")[0]):
        code = inspect.getsourcefile(load_target(target))
        digest.update(Path(code).read_bytes() if code else target.encode())
    return digest.hexdigest()


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


def write_samples(path: Path, parts: Mapping[str, Sequence[Sample]], digests: Mapping[str, str]) -> None:
    """Write which samples were trained on and chosen by: columns sample_id, content (a digest, or null), part.

    Args:
        path: The Parquet file.
        parts: Samples by the part's name.
        digests: SHA-256 of the decoded content by sample id, where known.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [(s.sample_id, digests.get(s.sample_id), part) for part, samples in parts.items() for s in samples]
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    table = pa.table(
        {
            name: pa.array(values, pa.string())
            for name, values in zip(("sample_id", "content", "part"), columns, strict=True)
        }
    )
    write_atomically(path, lambda file: pq.write_table(table, file))


def clear(out: Path) -> None:
    """Remove what a training leaves in its folder, and nothing else."""
    for name in (WEIGHTS_NAME, "model.py", "model_config.yaml", "train.json", "metrics.jsonl", SAMPLES_NAME):
        (out / name).unlink(missing_ok=True)
    for name in ("checkpoint", "tensorboard"):
        shutil.rmtree(out / name, ignore_errors=True)
