"""Delta files: of a trained detector only what a published base does not have. Imports no torch.

A delta file is a safetensors file whose header has one entry, ``gasdet_delta`` (JSON); docs/formats.md describes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from gasdet.bundle.safefile import read_header, sha256_of
from gasdet.errors import WeightsError

DELTA_KEY = "gasdet_delta"
FORMAT = 1
TRAINING_RECORD = "train.json"

BaseKind = Literal["backbone", "weights"]


@dataclass(frozen=True, slots=True)
class Base:
    """The file that a delta is a change of.

    Attributes:
        kind: ``backbone`` is read by the builder of the detector's recipe; ``weights`` are a whole detector's, which
            ``load_model`` reads.
        source: Where it came from, as written: ``hf-hub:...``, ``package:...``, ``https://...`` or a path.
        sha256: Of the file (of the completed file, where it is a delta itself).
        model: What the builder is called with besides the file.
    """

    kind: BaseKind
    source: str
    sha256: str
    model: Mapping[str, Any] = field(default_factory=dict)

    def to_mapping(self) -> dict[str, Any]:
        """For train.json and the header of a delta."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """What the header of a delta file says.

    Attributes:
        detector: Name of the detector that it is for.
        base: What it is a change of.
        model: Keyword arguments of ``load_model``.
        preprocessing: Preprocessing keys over the detector's own.
        from_base: Names of the tensors that are the base's; the file has all others.
        complete_sha256: Of the completed file.
        complete_metadata: The header entries of the completed file.
        dtype: What the completed module is to be moved to.
        input_dtype: What ``forward`` is to be handed.
        licence: Of the trained weights; empty where unknown.
    """

    detector: str
    base: Base
    model: Mapping[str, Any]
    preprocessing: Mapping[str, Any]
    from_base: tuple[str, ...]
    complete_sha256: str
    complete_metadata: Mapping[str, str]
    dtype: str = "float32"
    input_dtype: str = "float32"
    licence: str = ""

    def to_metadata(self) -> dict[str, str]:
        """The header's entry: one only, because safetensors writes several in an order that changes."""
        return {DELTA_KEY: json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True)}


def read_delta(path: Path) -> Delta | None:
    """What a delta file says of itself; None where a safetensors file is none.

    Raises:
        WeightsError: The file is no safetensors file, or its description is damaged or of another format.
    """
    text = read_header(path).metadata.get(DELTA_KEY)
    if text is None:
        return None
    try:
        stored = json.loads(text)
        if stored.pop("format") != FORMAT:
            raise WeightsError(
                f"{path} is a delta file of another format than {FORMAT}; make it again with this gasdet."
            )
        base, names = Base(**stored.pop("base")), stored.pop("from_base")
        if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            raise _damaged(path, "from_base must be a list of names")
        found = Delta(base=base, from_base=tuple(names), **stored)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise _damaged(path, "its description cannot be read") from None
    if problem := _problem(found):
        raise _damaged(path, problem)
    return found


def _damaged(path: Path, why: str) -> WeightsError:
    return WeightsError(f"{path} is a damaged delta file: {why}; fetch it again.")


def complete_sha256_of(path: Path) -> str:
    """The SHA-256 by which weights are known: of the file, or of what it is completed to.

    Raises:
        WeightsError: The file cannot be read.
    """
    try:
        delta = read_delta(path)
    except WeightsError:  # it is not what is asked here
        delta = None
    return sha256_of(path) if delta is None else delta.complete_sha256


def base_on_record(weights: Path, sha256: str) -> Base | None:
    """What the train.json beside some weights says that they were trained from; None where it says nothing.

    Args:
        weights: The file.
        sha256: By which it is known; a record of other weights says nothing.
    """
    record = _record_beside(weights)
    if record.get("weights", {}).get("sha256") != sha256:
        return None
    try:
        if record.get("base"):
            return Base(**record["base"])
        stated = record.get("backbone") or {}  # of a gasdet that recorded no base
        model = record.get("recipe", {}).get("model", {})
        return Base("backbone", stated["source"], stated["file_sha256"], model) if stated.get("file_sha256") else None
    except (TypeError, KeyError):
        return None


def _record_beside(weights: Path) -> dict[str, Any]:
    try:
        record = json.loads((weights.parent / TRAINING_RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) and isinstance(record.get("weights"), dict) else {}


def _problem(delta: Delta) -> str:
    """The first of the fields that is not what is used without another look; empty where there is none."""
    from gasdet.bundle.config import DTYPES, INPUT_DTYPES  # here, because whole weights do without YAML

    base, dtypes = delta.base, tuple(dict.fromkeys(DTYPES.values()))
    texts = {
        "detector": delta.detector,
        "complete_sha256": delta.complete_sha256,
        "licence": delta.licence,
        "the base's source": base.source,
        "the base's sha256": base.sha256,
    }
    maps = {
        "model": delta.model,
        "preprocessing": delta.preprocessing,
        "complete_metadata": delta.complete_metadata,
        "the base's model": base.model,
    }
    problems = [f"{name} must be text" for name, value in texts.items() if not isinstance(value, str)]
    problems += [f"{name} must be a mapping" for name, value in maps.items() if not isinstance(value, dict)]
    if not problems and not all(isinstance(value, str) for value in delta.complete_metadata.values()):
        problems.append("complete_metadata must have texts")
    for name, value, known in (
        ("the base's kind", base.kind, ("backbone", "weights")),
        ("dtype", delta.dtype, dtypes),
        ("input_dtype", delta.input_dtype, INPUT_DTYPES),
    ):
        if value not in known:
            problems.append(f"{name} must be one of {', '.join(known)}, not {value!r}")
    return problems[0] if problems else ""
