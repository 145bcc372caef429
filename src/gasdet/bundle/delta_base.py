"""From a delta file that a user chose to the completed weights in gasdet's cache; the base is found on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gasdet.bundle.completing import DeltaError, complete
from gasdet.bundle.delta import Delta, base_on_record
from gasdet.bundle.hub import HUB_SCHEME
from gasdet.bundle.safefile import sha256_of
from gasdet.bundle.weights import ResolvedWeights, resolve_weights
from gasdet.cachedir import cache_dir
from gasdet.errors import ConfigError, FetchError, WeightsError, first_line
from gasdet.types import DetectorSpec, Modality, Preprocessing

Notify = Callable[[str], None] | None


class CircularDeltaError(DeltaError):
    """The base of a delta file is a delta file that needs the first one."""


@dataclass(frozen=True, slots=True)
class _Search:
    """Where the bases of delta files are looked for; ``completing`` are the SHA-256 of the deltas that are in progress."""

    spec: DetectorSpec
    may_fetch: bool
    notify: Notify
    completing: frozenset[str]

    def resolved(self, choice: str) -> ResolvedWeights:
        """A base, itself completed where it is a delta."""
        return resolve_weights(
            self.spec,
            choice,
            demo_data=False,
            download=self.may_fetch,
            notify=self.notify,
            completing=self.completing,
        )


def completed(
    spec: DetectorSpec,
    found: ResolvedWeights,
    delta: Delta,
    bases: Sequence[str],
    may_fetch: bool,
    notify: Notify,
    completing: frozenset[str] = frozenset(),
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
        completing: SHA-256 of the delta files whose bases are being looked for.

    Raises:
        DeltaError: It is of another detector or says what cannot be used, its base is not at hand, is another file or in the
            end itself, or it does not complete.
        WeightsError: A base cannot be read, or does not fit.
    """
    if delta.detector != spec.name:
        raise DeltaError(f"{found.path} is a delta of {delta.detector}, not of {spec.name}.")
    _check_input(spec, found.path, delta)
    if found.sha256 in completing:
        raise CircularDeltaError(
            f"{found.path} is a delta whose base is that very file, or a delta of it; name a whole file with --base."
        )
    search = _Search(spec, may_fetch, notify, completing | {found.sha256})
    target = cache_dir() / "weights" / spec.name / "completed" / f"{found.sha256}.safetensors"
    base = _chosen(search, found.path, delta, bases)
    if not (target.is_file() and sha256_of(target) == delta.complete_sha256):
        base = base or _where_it_says(search, found.path, delta)
        complete(spec, found.path, delta, base, target)
    own = found.kind != "file"  # what a plugin says of its own file goes over what the file says
    return replace(
        found,
        path=target,
        sha256=delta.complete_sha256,
        licence=found.licence if own else delta.licence,
        model={**delta.model, **(found.model if own else {})},
        preprocessing={**delta.preprocessing, **(found.preprocessing if own else {})},
        message=found.message,
        dtype=delta.dtype,
        input_dtype=delta.input_dtype,
        delta=delta,
        given=found.path,
    )


def _check_input(spec: DetectorSpec, path: Path, delta: Delta) -> None:
    """See that the detector's input can be what the delta says, before a base is fetched for it."""
    why = ""
    try:
        Preprocessing.from_mapping(spec.modality, delta.preprocessing)
    except ConfigError as error:
        why = first_line(error)
    if delta.input_dtype == "uint8" and spec.modality is Modality.AUDIO:
        why = "input_dtype uint8 is for pixels"
    if why:
        raise DeltaError(f"{path} is a damaged delta file: {why}; fetch it again.")


def _chosen(search: _Search, path: Path, delta: Delta, bases: Sequence[str]) -> Path | None:
    """The file among those that the user names; None where none is named."""
    others = []
    for text in bases:
        found = search.resolved(text)
        if found.sha256 == delta.base.sha256:
            return found.path
        others.append(f"{text} has {found.sha256[:16]}…")
    if others:
        raise DeltaError(
            f"{path} is a delta over {delta.base.source} with the sha256 {delta.base.sha256[:16]}…, and {', '.join(others)}; "
            "give that very file with --base."
        )
    return None


def _where_it_says(search: _Search, path: Path, delta: Delta) -> Path:
    """The base where the delta or the record of its training says that it is, or among the detector's own weights."""
    source, wanted = delta.base.source, delta.base.sha256
    choices = [w.name for w in search.spec.weights if w.sha256.lower() == wanted]
    if source.startswith(HUB_SCHEME):
        choices.append(source)
    recorded = base_on_record(path, delta.complete_sha256)
    for place in (path.parent / Path(source).name, Path(recorded.source) if recorded else None):
        if place is not None and place.is_file() and place != path:
            choices.append(str(place))
    why, circular = "is not at hand", None
    for choice in choices:
        try:
            found = search.resolved(choice)
        except FetchError as error:
            raise DeltaError(
                f"the base of {path} is not at hand: {str(error).rstrip('.')}, or name it with --base."
            ) from None
        except CircularDeltaError as error:
            circular = error  # another choice may be the base
            continue
        except WeightsError:
            continue  # a file of that name which is none of this detector's
        if found.sha256 == wanted:
            return found.path
        why = f"is not {choice}, which has the sha256 {found.sha256[:16]}…"
    if circular is not None:
        raise circular
    raise DeltaError(
        f"{path} is a delta over {source} with the sha256 {wanted[:16]}…, which {why}; name that file with --base."
    )
