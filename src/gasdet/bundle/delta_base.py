"""From a delta file that a user chose to the completed weights in gasdet's cache; the base is found on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from gasdet.bundle.completing import DeltaError, complete
from gasdet.bundle.delta import Delta, base_on_record
from gasdet.bundle.hub import HUB_SCHEME
from gasdet.bundle.safefile import sha256_of
from gasdet.bundle.weights import ResolvedWeights, resolve_weights
from gasdet.cachedir import cache_dir
from gasdet.errors import FetchError, WeightsError
from gasdet.types import DetectorSpec

Notify = Callable[[str], None] | None


def completed(
    spec: DetectorSpec, found: ResolvedWeights, delta: Delta, bases: Sequence[str], may_fetch: bool, notify: Notify
) -> ResolvedWeights:
    """The completed weights of a delta file: those in the cache, else made from its base and kept there.

    The cache names them by the delta file's SHA-256; what lies there counts only if it has the SHA-256 that the delta states.

    Args:
        spec: Of the installed detector.
        found: The delta file as it was chosen.
        delta: What it says.
        bases: What the user says that the base is; one of them has to be it. Empty looks where the delta says.
        may_fetch: Whether a base on the hub may be fetched.
        notify: Called with one line before a download.

    Raises:
        DeltaError: It is of another detector, its base is not at hand or is another file, or it does not complete.
        WeightsError: A base cannot be read, or does not fit.
    """
    if delta.detector != spec.name:
        raise DeltaError(f"{found.path} is a delta of {delta.detector}, not of {spec.name}.")
    target = cache_dir() / "weights" / spec.name / "completed" / f"{found.sha256}.safetensors"
    base = _chosen(spec, found.path, delta, bases, may_fetch, notify)
    if not (target.is_file() and sha256_of(target) == delta.complete_sha256):
        base = base or _where_it_says(spec, found.path, delta, may_fetch, notify)
        complete(spec, found.path, delta, base, target)
    own = found.kind != "file"  # what a plugin says of its own file goes over what the file says
    return replace(
        found,
        path=target,
        sha256=delta.complete_sha256,
        licence=found.licence if own else delta.licence,
        model={**delta.model, **(found.model if own else {})},
        preprocessing={**delta.preprocessing, **(found.preprocessing if own else {})},
        message=found.message if own else "",
        dtype=delta.dtype,
        input_dtype=delta.input_dtype,
        delta=delta,
        given=found.path,
    )


def _chosen(
    spec: DetectorSpec, path: Path, delta: Delta, bases: Sequence[str], may_fetch: bool, notify: Notify
) -> Path | None:
    """The file among those that the user names; None where none is named."""
    others = []
    for text in bases:
        found = resolve_weights(spec, text, demo_data=False, download=may_fetch, notify=notify)
        if found.sha256 == delta.base.sha256:
            return found.path
        others.append(f"{text} has {found.sha256[:16]}…")
    if others:
        raise DeltaError(
            f"{path} is a delta over {delta.base.source} with the sha256 {delta.base.sha256[:16]}…, and {', '.join(others)}; "
            "give that very file with --base."
        )
    return None


def _where_it_says(spec: DetectorSpec, path: Path, delta: Delta, may_fetch: bool, notify: Notify) -> Path:
    """The base where the delta or the record of its training says that it is, or among the detector's own weights."""
    source, wanted = delta.base.source, delta.base.sha256
    choices = [w.name for w in spec.weights if w.sha256.lower() == wanted]
    if source.startswith(HUB_SCHEME):
        choices.append(source)
    recorded = base_on_record(path, delta.complete_sha256)
    for place in (path.parent / Path(source).name, Path(recorded.source) if recorded else None):
        if place is not None and place.is_file() and place != path:
            choices.append(str(place))
    why = "is not at hand"
    for choice in choices:
        try:
            found = resolve_weights(spec, choice, demo_data=False, download=may_fetch, notify=notify)
        except FetchError as error:
            raise DeltaError(
                f"the base of {path} is not at hand: {str(error).rstrip('.')}, or name it with --base."
            ) from None
        except WeightsError:
            continue  # a file of that name which is none of this detector's
        if found.sha256 == wanted:
            return found.path
        why = f"is not {choice}, which has the sha256 {found.sha256[:16]}…"
    raise DeltaError(
        f"{path} is a delta over {source} with the sha256 {wanted[:16]}…, which {why}; name that file with --base."
    )
