"""What tells one training from another: its samples row by row, the plugin's code, and the libraries it computes with."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from gasdet.evaluation.code import packages_sha256
from gasdet.evaluation.environment import versions
from gasdet.registry import load_registry
from gasdet.types import DetectorSpec, Sample

if TYPE_CHECKING:
    from gasdet.training.recipe import Recipe

_LIBRARIES = ("timm", "peft", "transformers", "accelerate", "safetensors")
"""What models are built and trained with, beside those that every score depends on."""


def ids_sha256(samples: Iterable[Sample]) -> str:
    """SHA-256 over the samples' ids, in any order."""
    return hashlib.sha256("\n".join(sorted(sample.sample_id for sample in samples)).encode()).hexdigest()


def rows_sha256(samples: Iterable[Sample], digests: Mapping[str, str] | None = None) -> str:
    """SHA-256 over what a training takes from its samples, in their order.

    Args:
        samples: Of a part.
        digests: Of the decoded content by sample id, once it is known.
    """
    digest = hashlib.sha256()
    for s in samples:
        row: list[Any] = [
            s.sample_id,
            s.label,
            s.weight,
            s.pair,
            s.dataset,
            s.group,
            (digests or {}).get(s.sample_id, ""),
        ]
        if s.annotations:
            row.append(dict(sorted(s.annotations.items())))
        digest.update(json.dumps(row).encode() + b"\n")
    return digest.hexdigest()


def training_versions() -> dict[str, str]:
    """Versions that the result of a training can depend on: those of scores, and of the model libraries that are installed."""
    found = versions()
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def plugin_sha256(spec: DetectorSpec, *targets: str) -> str:
    """SHA-256 over all Python files of the packages that the detector's model and some other components are in.

    gasdet itself is left out: its version is among ``training_versions``.

    Args:
        spec: Of the detector.
        targets: Import paths, such as the recipe's builder or those of ``training_code``.
    """
    return packages_sha256((spec.target, *targets))


def training_code(recipe: Recipe) -> tuple[str, ...]:
    """Import paths of what a training computes with besides the model: builder, targets, losses and selecting metrics.

    Raises:
        UsageError: No plugin registers a loss or metric of that name.
        PluginError: Several do.
    """
    found = {recipe.builder}
    for stage in map(recipe.stage, range(recipe.stage_count)):
        found.add(load_registry().component("metric", stage.selection).spec.target)
        if stage.kind == "supervised":
            found |= {load_registry().component("loss", name).spec.target for name in stage.losses}
        if stage.uses_targets:
            found.add(stage.targets)
    return tuple(sorted(found))
