"""Which weights a detector gets: what the user chose, else its default release, else an answer that says what to choose.

Torch-free, so that ``gasdet list`` can say which weights are at hand. Weights are never replaced by others in silence.
"""

from __future__ import annotations

import atexit
import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gasdet.bundle.beside import config_beside, config_of, file_in, unused_beside_delta
from gasdet.bundle.delta import Delta, read_delta
from gasdet.bundle.hub import HUB_SCHEME, HubFile, fetch_hub
from gasdet.bundle.safefile import is_safetensors, read_header, sha256_mismatch, sha256_of
from gasdet.cachedir import cache_dir
from gasdet.errors import FetchError, UsageError, WeightsError
from gasdet.types import DetectorSpec, WeightsSpec

if TYPE_CHECKING:
    from gasdet.bundle.config import BundleConfig

__all__ = [
    "ResolvedWeights",
    "WeightsChoiceError",
    "WeightsState",
    "is_safetensors",
    "read_header",
    "resolve_weights",
    "sha256_of",
    "weights_folder",
    "weights_state",
]

PACKAGE_SCHEME = "package:"


class WeightsChoiceError(WeightsError, UsageError):
    """The user has to choose weights, or chose some that do not exist; the message lists what can be chosen."""


ResolvedKind = Literal["release", "demo", "file"]


@dataclass(frozen=True)
class ResolvedWeights:
    """A weights file at hand, checked to be safetensors and to have the stated SHA-256.

    Attributes:
        path: The file; of a delta, the completed file in gasdet's cache.
        sha256: Of that file.
        name: Name of the release, "demo", or the name of the user's file.
        kind: ``release`` and ``demo`` are the detector's own; ``file`` is the user's.
        licence: Of the weights; empty where unknown.
        model: Keyword arguments of load_model that this file needs, over the detector's own.
        preprocessing: Preprocessing keys that this file needs, over the detector's own.
        message: One line to show the user, or "".
        source: Where it came from, as written: ``package:...``, ``hf-hub:...``, ``https://...`` or a path.
        dtype: What the module is to be moved to, as the file's model_config.yaml states it.
        input_dtype: What ``forward`` is to be handed, as the file's model_config.yaml states it.
        delta: What the delta file says that this was completed from; None where it was none.
        given: That delta file.
    """

    path: Path
    sha256: str
    name: str
    kind: ResolvedKind
    licence: str = ""
    model: Mapping[str, Any] = field(default_factory=dict)
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""
    source: str = ""
    dtype: str = "float32"
    input_dtype: str = "float32"
    delta: Delta | None = None
    given: Path | None = None

    @property
    def home(self) -> Path:
        """The file beside which calibrator and training record lie: the delta file, where there is one."""
        return self.given or self.path


@dataclass(frozen=True, slots=True)
class WeightsState:
    """What `gasdet list` and `gasdet info` say of one named set of weights.

    Attributes:
        name: What ``--weights`` takes.
        kind: ``release`` or ``demo``.
        licence: Of the weights.
        available: Whether the file is at hand without a network.
        where: The file's path if it is, else the address or hub id it would be fetched from.
        sha256: As stated by the plugin.
        size_bytes: As stated by the plugin; 0 where unknown.
        default: Whether this set is used when the user chooses none.
    """

    name: str
    kind: str
    licence: str
    available: bool
    where: str
    sha256: str = ""
    size_bytes: int = 0
    default: bool = False


def weights_folder(spec: DetectorSpec, weights: WeightsSpec) -> Path:
    """Where a user can put a file of these weights so that it is found before any download."""
    return cache_dir() / "weights" / spec.name / weights.name


def weights_state(spec: DetectorSpec) -> list[WeightsState]:
    """The detector's named weights and whether each is at hand. No network, no torch, no file is read.

    A plugin's mistake in a source (an unknown scheme, a missing package) shows as not available, not as an exception.
    """
    default = _default_release(spec)
    states = []
    for weights in spec.weights:
        try:
            path = _at_hand(spec, weights)
        except WeightsError:
            path = None
        states.append(
            WeightsState(
                name=weights.name,
                kind=weights.kind,
                licence=weights.licence,
                available=path is not None,
                where=str(path or weights.source),
                sha256=weights.sha256,
                size_bytes=weights.size_bytes,
                default=weights is default,
            )
        )
    return states


def resolve_weights(
    spec: DetectorSpec,
    choice: str | None,
    *,
    demo_data: bool,
    offline: bool = False,
    download: bool = True,
    bases: Sequence[str] = (),
    notify: Callable[[str], None] | None = None,
    completing: frozenset[str] = frozenset(),
) -> ResolvedWeights:
    """Find, fetch if need be, and check the weights file for a detector; a delta file is completed.

    Args:
        spec: The detector.
        choice: The name of one of its sets of weights ("demo", "v1", ...), a path (a safetensors file, or a folder that
            holds one), ``hf-hub:owner/name[@revision]/FILE``, or None for the default. A name wins over a path of the
            same spelling; write ``./demo`` for the path.
        demo_data: Whether the data are the project's own demo data, on which demo weights are a fitting default.
        offline: No network access.
        download: Whether files that are not at hand may be fetched.
        bases: For a delta file: files of which one is its base, written as ``choice`` is.
        notify: Called with one line before a download begins.
        completing: SHA-256 of the delta files that this is looked for as a base of.

    Raises:
        DeltaError: It is a delta whose base is not at hand or is another file, or that does not complete.
        WeightsChoiceError: Nothing was chosen and there is no default for such data, or the choice names nothing that exists.
        WeightsError: The file cannot be had (what to fetch, and where to put it), is no safetensors, or has another SHA-256.
    """
    may_fetch = download and not (offline or _hub_is_offline())
    found = _found(spec, choice, demo_data, may_fetch, notify)
    delta = read_delta(found.path)
    if delta is None:
        return found
    from gasdet.bundle.delta_base import completed  # here, because a whole file needs no torch

    return completed(spec, found, delta, bases, may_fetch, notify, completing)


def _found(
    spec: DetectorSpec, choice: str | None, demo_data: bool, may_fetch: bool, notify: Callable[[str], None] | None
) -> ResolvedWeights:
    """The file as it was chosen."""
    if choice is None:
        return _default(spec, demo_data, may_fetch, notify)
    if (named := spec.weights_named(choice)) is not None:
        return _named(spec, named, may_fetch, notify)
    if choice.startswith(HUB_SCHEME):
        return _from_hub(spec, choice, may_fetch, notify)
    if "://" in choice:
        raise WeightsChoiceError(
            f"--weights takes no address ({choice}), as nothing states what the file must hash to; download it and give "
            "its path."
        )
    path = Path(choice).expanduser()
    if path.exists():
        return _from_path(spec, path)
    names = [w.name for w in spec.weights]
    match = difflib.get_close_matches(choice, names, n=1)
    nearest = f" (did you mean {match[0]!r}?)" if match else ""
    raise WeightsChoiceError(
        f"{spec.name} has no weights named {choice!r}{nearest}, and no such file exists; {_choices(spec)}."
    )


def _hub_is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _default_release(spec: DetectorSpec) -> WeightsSpec | None:
    return next((w for w in spec.weights if w.kind == "release"), None)


def _choices(spec: DetectorSpec) -> str:
    """The sentence part that lists what --weights takes for this detector."""
    named = [f"{w.name} ({w.kind}, {w.licence or 'licence unknown'})" for w in spec.weights]
    parts = [f"its named weights are {', '.join(named)}"] if named else ["it has no named weights"]
    parts.append(f"--weights also takes the path of a safetensors file or {HUB_SCHEME}owner/name[@revision]/FILE")
    return "; ".join(parts)


def _default(
    spec: DetectorSpec, demo_data: bool, may_fetch: bool, notify: Callable[[str], None] | None
) -> ResolvedWeights:
    release = _default_release(spec)
    why = f"{spec.name} has no released weights"
    if release is not None:
        try:
            return _named(spec, release, may_fetch, notify)
        except FetchError as error:
            if not demo_data:
                raise
            why = f"the released weights {release.name!r} of {spec.name} are not at hand ({_stem(error)})"
    demo = next((w for w in spec.weights if w.kind == "demo"), None)
    if demo_data and demo is not None:
        message = f"{why}: using its demo weights, trained on the demo data, whose scores say nothing about real media."
        return _named(spec, demo, may_fetch, notify, message)
    not_here = ", and its demo weights say nothing about such data" if demo is not None else ""
    raise WeightsChoiceError(f"{why}{not_here}; choose with --weights: {_choices(spec)}.")


def _stem(error: FetchError) -> str:
    return str(error).split(";")[0].rstrip(".")


def _named(
    spec: DetectorSpec,
    weights: WeightsSpec,
    may_fetch: bool,
    notify: Callable[[str], None] | None,
    message: str = "",
) -> ResolvedWeights:
    path = _at_hand(spec, weights) or _fetch(spec, weights, may_fetch, notify)
    read_header(path)
    found = sha256_of(path)
    if weights.sha256 and found != weights.sha256.lower():
        remedy = "reinstall the plugin" if weights.source.startswith(PACKAGE_SCHEME) else "delete it and fetch it again"
        raise sha256_mismatch(path, weights.sha256, found, remedy)
    return ResolvedWeights(
        path=path,
        sha256=found,
        name=weights.name,
        kind=weights.kind,
        licence=weights.licence,
        model=dict(weights.model),
        preprocessing=dict(weights.preprocessing),
        message=message,
        source=weights.source,
    )


_open_resources = ExitStack()
atexit.register(_open_resources.close)


def _package_file(spec: DetectorSpec, source: str) -> Path:
    """The file of a ``package:FILE`` source: beside the detector's model.py."""
    file = source.removeprefix(PACKAGE_SCHEME)
    package = spec.target.rpartition(".")[0]
    try:
        resource = resources.files(package).joinpath(file)
        if not resource.is_file():
            raise WeightsError(f"The package {package} does not hold the weights file {file!r}; reinstall the plugin.")
        # For an installed folder this is the file itself; for a zipped package, a copy that lives until exit.
        return _open_resources.enter_context(resources.as_file(resource))
    except WeightsError:
        raise
    except Exception as error:  # the package's own __init__ may raise anything
        raise WeightsError(
            f"The weights {source!r} of {spec.name} cannot be found: the package {package!r} does not load ({error})."
        ) from None


def _at_hand(spec: DetectorSpec, weights: WeightsSpec) -> Path | None:
    """The file of a named set of weights if no network is needed for it, else None.

    Raises:
        WeightsError: The plugin states no usable source.
    """
    source = weights.source
    if source.startswith(PACKAGE_SCHEME):
        return _package_file(spec, source)
    kept = _kept(spec, weights)
    if kept.is_file():
        return kept
    return HubFile.parse(source).at_hand() if source.startswith(HUB_SCHEME) else None


def _kept(spec: DetectorSpec, weights: WeightsSpec) -> Path:
    if weights.source.startswith(HUB_SCHEME):
        return weights_folder(spec, weights) / Path(HubFile.parse(weights.source).file).name
    file = weights.source.split("?")[0].split("#")[0].rpartition("/")[2]
    if "://" not in weights.source or file in ("", ".", ".."):
        raise WeightsError(
            f"The source {weights.source!r} of the weights {weights.name!r} of {spec.name} is none of {PACKAGE_SCHEME}FILE, "
            f"{HUB_SCHEME}owner/name[@revision]/FILE and an https address of a file; tell the plugin's author."
        )
    return weights_folder(spec, weights) / file


def _fetch(spec: DetectorSpec, weights: WeightsSpec, may_fetch: bool, notify: Callable[[str], None] | None) -> Path:
    """Download a named set of weights. `_at_hand` was asked before, so that the source is known to be well-formed."""
    source, kept = weights.source, _kept(spec, weights)
    hub = HubFile.parse(source) if source.startswith(HUB_SCHEME) else None
    page = hub.page if hub else source
    if not weights.sha256:
        raise WeightsError(
            f"The plugin of {spec.name} states no sha256 for its weights {weights.name!r}, without which nothing is "
            f"fetched; download {page} yourself and give its path with --weights."
        )
    put = f"fetch {page} on a machine that can and put it at {kept}"
    if not may_fetch:
        raise FetchError(f"The weights {weights.name!r} of {spec.name} are not on this machine; {put}.")
    if notify is not None:
        size = f" ({weights.size_bytes / 1e6:.0f} MB)" if weights.size_bytes else ""
        notify(f"Fetching the weights {weights.name!r} of {spec.name}{size} from {page}")
    try:
        if hub:
            return fetch_hub(hub)
        from gasdet.bundle.https import fetch_https  # here, because urllib costs `gasdet list` more than all the rest

        return fetch_https(source, kept, weights.sha256, weights.size_bytes)
    except FetchError as error:
        raise FetchError(f"The weights {weights.name!r} of {spec.name} cannot be fetched: {error}; {put}.") from None


def _from_hub(
    spec: DetectorSpec, choice: str, may_fetch: bool, notify: Callable[[str], None] | None
) -> ResolvedWeights:
    """A file of the user's choosing on the hub. Nothing states its hash; what it has is recorded."""
    hub = HubFile.parse(choice)
    kept = cache_dir() / "weights" / spec.name / hub.repository.replace("/", "--")
    kept = kept.joinpath(hub.revision or "main", *hub.file.split("/"))
    path = kept if kept.is_file() else hub.at_hand()
    if path is None:
        put = f"fetch {hub.page} on a machine that can and put it at {kept}"
        if not may_fetch:
            raise FetchError(f"{choice} is not on this machine; {put}.")
        if notify is not None:
            notify(f"Fetching {hub.page}")
        try:
            path = fetch_hub(hub)
        except FetchError as error:
            raise FetchError(f"{choice} cannot be fetched: {error}; {put}.") from None
    return _users_file(spec, path, name=Path(hub.file).name, source=choice)


def _from_path(spec: DetectorSpec, path: Path) -> ResolvedWeights:
    """A safetensors file, or a folder that holds one; a model_config.yaml in the folder says how to use it."""
    if path.is_dir():
        config = config_of(spec, path)
        file, message = file_in(path, config), ""
    else:
        file = path
        config, message = config_beside(spec, path)
    if note := unused_beside_delta(file):
        config, message = None, note
    return _users_file(spec, file, name=file.name, source=str(file), config=config, message=message)


def _users_file(
    spec: DetectorSpec, path: Path, *, name: str, source: str, config: BundleConfig | None = None, message: str = ""
) -> ResolvedWeights:
    read_header(path)
    found = sha256_of(path)
    for weights in spec.weights:
        if weights.sha256 and weights.sha256.lower() == found:
            # A copy of one of the detector's own files: what the plugin says of that file holds for the copy.
            if config is not None:
                message = f"{path} is a copy of the weights {weights.name!r}; the configuration beside it is not used."
            return ResolvedWeights(
                path, found, weights.name, weights.kind, weights.licence, dict(weights.model),
                dict(weights.preprocessing), message, source,
            )  # fmt: skip
    if config is None:
        return ResolvedWeights(path, found, name, "file", message=message, source=source)
    return ResolvedWeights(
        path=path,
        sha256=found,
        name=name,
        kind="file",
        licence=config.licence,
        model=dict(config.model),
        preprocessing=config.preprocessing.to_mapping(),
        message=message,
        source=source,
        dtype=config.dtype,
        input_dtype=config.input_dtype or "float32",
    )
