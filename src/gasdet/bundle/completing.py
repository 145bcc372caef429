"""Delta files made, and completed from their base to the very file that they were made from."""

from __future__ import annotations

import os
import pkgutil
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from gasdet.bundle.delta import Base, Delta, read_delta
from gasdet.bundle.detector import Detector, json_ready
from gasdet.bundle.fidelity import has_foreign_names
from gasdet.bundle.safefile import read_header, sha256_of
from gasdet.errors import GasdetError, PluginError, WeightsError, first_line
from gasdet.types import DetectorSpec

_SHOWN = 5


class DeltaError(WeightsError):
    """A delta file cannot be made of these weights, or cannot be completed from this base."""


@dataclass(frozen=True, slots=True)
class Written:
    """A delta file that was written, and completed once to see that it can be.

    Attributes:
        path: The file.
        sha256: Of it.
        size: In bytes.
        tensors: How many it has.
        of_tensors: How many the detector has.
        parameters: Numbers in its tensors.
        base: What it is a change of.
        complete_sha256: Of the completed file.
        complete_size: In bytes.
        same_file: Whether the completed file is byte for byte the one that the delta was made from.
    """

    path: Path
    sha256: str
    size: int
    tensors: int
    of_tensors: int
    parameters: int
    base: Base
    complete_sha256: str
    complete_size: int
    same_file: bool


def write_delta(
    detector: Detector, spec: DetectorSpec, base: Base, base_file: Path, out: Path, *, dtype: str = "float32"
) -> Written:
    """Write what a detector has over its base, and complete it once to see that nothing is missing.

    A tensor is left to the base only if two builds of it, which draw the tensors of a new head anew, have its very bits.

    Args:
        detector: In float32 on the CPU.
        spec: Of the installed detector.
        base: What the detector was trained from; ``model`` is what its builder is called with.
        base_file: The file of the base, with that sha256.
        out: The delta file.
        dtype: What the completed detector is to be moved to.

    Raises:
        DeltaError: Nothing of the base is left in the detector, it has tensors that it did not have before its training, the
            file exists, or what was written does not complete.
        WeightsError: The base does not fit.
        PluginError: The detector's recipe has no builder that takes the base.
    """
    if out.exists():
        raise DeltaError(f"{out} exists; give another file, or remove it first.")
    whole = detector.weights.path
    # a path on this machine says nothing elsewhere, and is nobody's business
    source = base.source if ":" in base.source else Path(base.source).name
    base = replace(base, model=json_ready(base.model), source=source)
    tensors = _tensors_of(detector, whole)
    from_base = _unchanged(spec, base, base_file, detector.model_kwargs, tensors)
    if not from_base:
        raise DeltaError(
            f"no tensor of {whole} is that of {base.source}, so that there is no delta; keep the whole file."
        )
    own = {name: tensor for name, tensor in tensors.items() if name not in from_base}
    metadata = _single(read_header(whole).metadata)
    with _scratch(out.parent, out.name) as folder:
        _save(tensors, folder / "complete", metadata)
        complete_sha256, complete_size = sha256_of(folder / "complete"), (folder / "complete").stat().st_size
        (folder / "complete").unlink()
        delta = Delta(
            detector=detector.name,
            base=base,
            model=json_ready(detector.model_kwargs),
            preprocessing=detector.preprocessing.to_mapping(),
            from_base=tuple(sorted(from_base)),
            complete_sha256=complete_sha256,
            complete_metadata=metadata,
            dtype=dtype,
            input_dtype=detector.input_dtype,
            licence=detector.weights.licence,
        )
        _save(own, folder / "delta", delta.to_metadata())
        if read_delta(folder / "delta") != delta:
            raise DeltaError(f"the arguments of load_model of {detector.name} cannot be written down in a delta file.")
        complete(spec, folder / "delta", delta, base_file, folder / "again")
        _put(folder / "delta", out)
    return Written(
        path=out,
        sha256=sha256_of(out),
        size=out.stat().st_size,
        tensors=len(own),
        of_tensors=len(tensors),
        parameters=sum(tensor.numel() for tensor in own.values()),
        base=base,
        complete_sha256=complete_sha256,
        complete_size=complete_size,
        same_file=complete_sha256 == detector.weights.sha256,
    )


def complete(spec: DetectorSpec, path: Path, delta: Delta, base_file: Path, target: Path) -> None:
    """Put base and delta together to the file that the delta was made from, byte for byte.

    Every tensor of the model is from exactly one of the two.

    Args:
        spec: Of the installed detector.
        path: The delta file.
        delta: What it says.
        base_file: The file of its base, with the sha256 that it states.
        target: The completed file, which is put in place whole.

    Raises:
        DeltaError: A tensor is missing, unexpected or in both, the result has another sha256, or it cannot be written.
        WeightsError: The base does not fit.
        PluginError: The detector's recipe has no builder that takes the base.
    """
    own = read_header(path).tensors
    state = _base_state(spec, delta.base, base_file, delta.model, seed=2)
    both = sorted(set(own) & set(delta.from_base))
    named = {*own, *delta.from_base}
    shared = {state[name].data_ptr() for name in named if name in state}
    missing = [name for name in state if name not in named and state[name].data_ptr() not in shared]
    missing += [name for name in delta.from_base if name not in state]
    problems = [
        f"{len(names)} {what} ({', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''})"
        for what, names in (
            ("tensors are in neither", missing),
            ("tensors are unknown to the model", [name for name in own if name not in state]),
            ("tensors should be the base's and are in the delta too", both),
        )
        if names
    ]
    if problems:
        raise DeltaError(
            f"{path} and its base do not make a {spec.name}: {'; '.join(problems)}; fetch the delta again."
        )
    try:
        tensors = {**{name: state[name] for name in delta.from_base}, **load_file(str(path))}
    except (SafetensorError, OSError) as error:
        raise DeltaError(f"{path} cannot be read: {first_line(error)}.") from None
    with _scratch(target.parent, target.name) as folder:
        _save({n: t.contiguous() for n, t in tensors.items()}, folder / "complete", dict(delta.complete_metadata))
        found = sha256_of(folder / "complete")
        if found != delta.complete_sha256:
            raise DeltaError(
                f"{path} does not complete to the weights that it was made from (sha256 {found[:16]}… instead of "
                f"{delta.complete_sha256[:16]}…): it is damaged, or this version of {spec.name} reads its base otherwise; "
                "fetch it again, or take the whole file."
            )
        with _writing(target.parent):
            os.replace(folder / "complete", target)


def is_whole(spec: DetectorSpec, file: Path, weights: Path) -> bool:
    """Whether a base is a whole detector, as weights of it are, and not a backbone: by the names of its tensors."""
    names = set(read_header(file).tensors)
    return names == set(read_header(weights).tensors) or has_foreign_names(pkgutil.resolve_name(spec.target), names)


def _base_state(
    spec: DetectorSpec, base: Base, file: Path, model: Mapping[str, Any], *, seed: int
) -> dict[str, Tensor]:
    """Every tensor of the detector as it is before a training from the base; those of a new head depend on the seed."""
    build = _builder_of(spec, base)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            module = build(str(file), **model) if base.kind == "weights" else build(file, **base.model)
            state: dict[str, Tensor] = module.float().state_dict()
        except GasdetError:
            raise
        except Exception as error:  # a plugin's code, on a file that may be anybody's
            why = f"{type(error).__name__}: {first_line(error)}" if str(error).strip() else first_line(error)
            raise WeightsError(f"{spec.name} cannot be built from its base {file}: {why}.") from error
    return state


def _builder_of(spec: DetectorSpec, base: Base) -> Callable[..., Any]:
    """What reads a base of that kind: the recipe's builder, or load_model."""
    if base.kind == "backbone" and not spec.recipe:
        raise PluginError(f"{spec.name} has no recipe, whose builder would read the base of a delta.")
    try:
        if base.kind == "weights":
            found = pkgutil.resolve_name(f"{spec.target}:load_model")
        else:
            found = pkgutil.resolve_name(pkgutil.resolve_name(spec.recipe).builder)
    except Exception as error:  # the plugin's modules may raise anything
        raise PluginError(f"the builder of {spec.name} cannot be had: {first_line(error)}.") from error
    return found  # type: ignore[no-any-return]


def _unchanged(
    spec: DetectorSpec, base: Base, file: Path, model: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> set[str]:
    """Names of the tensors that the base gives, whatever a new head is drawn with."""
    names = set(tensors)
    for seed in (0, 1):
        state = _base_state(spec, base, file, model, seed=seed)
        if unknown := sorted(set(tensors) - set(state)):
            raise DeltaError(
                f"{', '.join(unknown[:_SHOWN])} of the weights is nothing that {spec.name} has before a training, such as the "
                "calibrator of an exported bundle; make the delta of the weights that the training wrote."
            )
        names = {name for name in names if name in state and _same_bits(state[name], tensors[name])}
    return names


def _same_bits(one: Tensor, other: Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(*(t.detach().contiguous().reshape(-1).view(torch.uint8) for t in (one, other)))


def _tensors_of(detector: Detector, file: Path) -> dict[str, Tensor]:
    """The detector's tensors under its own names; of tied ones, those that its file has."""
    state = detector.module.state_dict()
    stored = read_header(file).tensors
    names = list(stored) if set(stored) <= set(state) else list(state)
    return {name: state[name].detach().contiguous().clone() for name in names}


def _single(metadata: Mapping[str, str]) -> dict[str, str]:
    """Header entries that are always written in the same order: one, or none."""
    return dict(metadata) if len(metadata) < 2 else {k: v for k, v in metadata.items() if k == "gasdet"}


@contextmanager
def _scratch(folder: Path, name: str) -> Iterator[Path]:
    """A folder for files that are put beside it when they are whole."""
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        made = tempfile.TemporaryDirectory(dir=folder, prefix=f".{name[:40]}.", ignore_cleanup_errors=True)
    with made as scratch:
        yield Path(scratch)


def _save(tensors: Mapping[str, Tensor], file: Path, metadata: dict[str, str]) -> None:
    """Write a file into a scratch folder."""
    with _writing(file.parent.parent):
        save_file(dict(tensors), file, metadata)


def _put(file: Path, out: Path) -> None:
    """Give a finished file its name; unlike a rename, this never replaces a file that appeared meanwhile."""
    try:
        os.link(file, out)
        return
    except FileExistsError:
        raise DeltaError(f"{out} exists; give another file, or remove it first.") from None
    except OSError:  # exFAT and some network file systems have no hard links
        pass
    try:
        made = open(out, "xb")  # noqa: SIM115
    except FileExistsError:
        raise DeltaError(f"{out} exists; give another file, or remove it first.") from None
    except OSError as error:
        raise DeltaError(f"{out} cannot be written: {error.strerror or error}; give another file.") from error
    try:
        with _writing(out.parent), made, open(file, "rb") as source:
            shutil.copyfileobj(source, made)
    except BaseException:
        out.unlink(missing_ok=True)
        raise


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Say that a folder cannot be written, of what is done in it here."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        why = error.strerror or error if isinstance(error, OSError) else first_line(error)
        raise DeltaError(f"{folder} cannot be written: {why}; give another folder, or make room.") from error
