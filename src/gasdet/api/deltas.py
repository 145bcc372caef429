"""An installed detector's weights as a delta file: what they have over the published base that they were trained from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gasdet.bundle import ResolvedWeights, load_detector, resolve_weights
from gasdet.bundle.completing import DeltaError, Written, is_whole, write_delta
from gasdet.bundle.delta import Base, base_on_record
from gasdet.errors import WeightsError
from gasdet.progress import ProgressSink, Silent
from gasdet.registry import load_registry
from gasdet.training.building import recipe_of
from gasdet.types import DetectorSpec


def export_delta(
    plugin: str,
    out: str | Path,
    *,
    weights: str | None = None,
    base: str | Path | None = None,
    offline: bool = False,
    progress: ProgressSink | None = None,
) -> Written:
    """Write what trained weights have over their base as a delta file, and complete it once to see that it can be.

    Args:
        plugin: The detector's name.
        out: The delta file; it must not exist.
        weights: As for ``export``.
        base: What the weights were trained from: a path, ``hf-hub:owner/name[@revision]/FILE``, or the name of weights of the
            detector. None takes what the train.json beside the weights says.
        offline: Fetch nothing.
        progress: Told of notes.

    Raises:
        DeltaError: Nothing says what the base is, it is not at hand or another file, nothing of it is left in the weights, or
            the file exists.
        UsageError: There is no such detector, it has no recipe, or no weights are chosen and there is no default.
        WeightsError: Weights or base cannot be had, or do not fit.
    """
    sink, out = progress or Silent(), Path(out)
    entry = load_registry().detector(plugin)
    spec = entry.spec
    if out.exists():  # before anything large is read
        raise DeltaError(f"{out} exists; give another file, or remove it first.")
    given = () if base is None else (str(base),)
    whole = resolve_weights(spec, weights, demo_data=False, offline=offline, notify=sink.note)
    stated = whole.delta.base if whole.delta else base_on_record(whole.home, whole.sha256)
    if not given and stated is None:
        raise DeltaError(_no_base(spec, whole))
    choice = given[0] if given else stated.source if stated else ""
    try:
        found = resolve_weights(spec, choice, demo_data=False, offline=offline, notify=sink.note)
    except WeightsError as error:
        if given:
            raise
        raise DeltaError(
            f"the base of {whole.home} is not at hand ({str(error).rstrip('.')}); name it with --base."
        ) from None
    if stated is None or (given and found.sha256 != stated.sha256):
        stated = _described(spec, whole, found, choice)
    elif found.sha256 != stated.sha256:
        raise DeltaError(
            f"{choice} has the sha256 {found.sha256[:16]}…, and {whole.home} was trained from a file with "
            f"{stated.sha256[:16]}…; name that file with --base."
        )
    detector = load_detector(spec, replace(whole, dtype="float32"), origin=entry.plugin.origin)
    return write_delta(detector, spec, stated, found.path, out, dtype=whole.dtype)


def _no_base(spec: DetectorSpec, whole: ResolvedWeights) -> str:
    if not recipe_of(spec).needs_backbone and not spec.backbones:
        return (
            f"{spec.name} is trained without a backbone, so that its weights are a change of nothing; keep the whole file, or "
            "name other weights of it with --base."
        )
    return f"nothing beside {whole.home} says what it was trained from; name that file with --base."


def _described(spec: DetectorSpec, whole: ResolvedWeights, found: ResolvedWeights, source: str) -> Base:
    """A base that the user names and no record does."""
    if is_whole(spec, found.path, whole.path):
        return Base("weights", source, found.sha256)
    own = {name: value for name, value in whole.model.items() if name != "num_classes"}
    return Base("backbone", source, found.sha256, {**recipe_of(spec).model, **own})
