"""Did the weights arrive? What a module holds after load_model, compared with its safetensors file.

Peers have scored models whose weights had failed to load. Here a file whose tensors are not in the module is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from gasdet.bundle.safefile import Header
from gasdet.errors import WeightsError

_SHOWN = 6
_LENIENT_SAMPLE = 512
_WHOLE = 1 << 20
_SPREAD = 1 << 16
_SMALL = 4 << 20


def has_foreign_names(code: object, names: Iterable[str]) -> bool:
    """Whether a model.py says of a file that its tensors have names of its publisher's, which load_model renames.

    Args:
        code: The imported model.py, with ``is_foreign(names)`` where it knows such files.
        names: Of the file's tensors.
    """
    is_foreign = getattr(code, "is_foreign", None)
    return callable(is_foreign) and bool(is_foreign(frozenset(names)))


def check_complete(module: torch.nn.Module, header: Header, path: Path, *, who: str) -> None:
    """Hold a plugin's model to its file: the same tensors, in the same shapes, with the same values.

    Tensors of the module that share their memory with one that is in the file (tied weights) need not be in it themselves.
    Every tensor's values are compared: all of them up to 2**20, an even sample of at least 2**16 in larger tensors.

    Raises:
        WeightsError: Tensors are missing, unexpected, misshapen or have other values; the message lists them.
    """
    _refuse_meta(module, who, path)
    state = module.state_dict()
    present = {state[name].data_ptr() for name in state if name in header.tensors}
    missing = [
        n for n in state if n not in header.tensors and not (state[n].numel() and state[n].data_ptr() in present)
    ]
    unexpected = [name for name in header.tensors if name not in state]
    misshapen = [
        f"{name} {list(shape)} instead of {list(state[name].shape)}"
        for name, (_, shape) in header.tensors.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    problems = [
        f"{len(names)} {what}: {_listed(names)}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
        if names
    ]
    if not problems:
        changed = _changed(state, header, path)
        problems = [f"the model has other values than the file in {_listed(changed)}"] if changed else []
    if problems:
        raise WeightsError(f"{path} does not fit {who}: {'; '.join(problems)}.")


def check_used(module: torch.nn.Module, header: Header, path: Path, *, who: str) -> list[str]:
    """Hold a foreign bundle's model to its file as far as names go; its load_model may rename and convert tensors.

    Tensors that both name in the same shape are compared. Constant tensors (zeros, ones) that agree are no evidence and do
    not count, as a fresh module has them too.

    Returns:
        Notes for the user, where values or names differ.

    Raises:
        WeightsError: Not one tensor's values are in the module, or more than half of those that both name have other values:
            it would be scored with weights that are not the file's.
    """
    _refuse_meta(module, who, path)
    state = {name: tensor for name, tensor in module.state_dict().items() if isinstance(tensor, torch.Tensor)}
    with safe_open(str(path), framework="pt", device="cpu") as file:
        agreeing, changed = _compared_by_name(file, header, state)
        checked, found = (0, True) if agreeing else _searched(file, header, state)
    if checked and not found:
        raise WeightsError(
            f"load_model of {who} did not load {path}: the values of none of the {checked} tensors looked at are in the model."
        )
    alike = f"{len(changed)} of the {agreeing + len(changed)} tensors that the model and {path.name} both name"
    if len(changed) > agreeing:
        raise WeightsError(
            f"load_model of {who} did not load {path}: {alike} have other values in the model: {_listed(changed)}."
        )
    notes = []
    if changed:
        notes.append(f"{alike} have other values in the model: {_listed(changed)}")
    if not found:
        notes.append(f"nothing in {path.name} tells whether load_model loaded it: its tensors are constant")
    absent = [name for name in state if name not in header.tensors]
    unused = [name for name in header.tensors if name not in state]
    if absent or unused:
        notes.append(
            f"the model has {len(absent)} tensors that {path.name} does not name, and the file {len(unused)} that the model "
            "does not name; load_model is trusted to have converted them"
        )
    return notes


def _refuse_meta(module: torch.nn.Module, who: str, path: Path) -> None:
    tensors = [*module.named_parameters(), *module.named_buffers()]
    empty = [name for name, tensor in tensors if tensor.is_meta]
    if empty:
        raise WeightsError(f"load_model of {who} left tensors without values after loading {path}: {_listed(empty)}.")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def _changed(state: dict[str, torch.Tensor], header: Header, path: Path) -> list[str]:
    with safe_open(str(path), framework="pt", device="cpu") as file:
        return [name for name in sorted(header.tensors) if not _same(file.get_tensor(name), state[name])]


def _compared_by_name(file: Any, header: Header, state: dict[str, torch.Tensor]) -> tuple[int, list[str]]:
    """Of the tensors that file and module name in the same shape: how many agree and tell something, and which differ."""
    agreeing = 0
    changed = []
    for name in sorted(header.tensors):
        if name in state and tuple(state[name].shape) == header.tensors[name][1]:
            stored = file.get_tensor(name)
            if not _same(stored, state[name]):
                changed.append(name)
            elif not _is_constant(stored):
                agreeing += 1
    return agreeing, changed


def _searched(file: Any, header: Header, state: dict[str, torch.Tensor]) -> tuple[int, bool]:
    """How many of the file's tensors were looked for in the module under any name, and whether one was found."""
    checked = 0
    for name in _lenient_sample(header, state):
        stored = file.get_tensor(name)
        if _is_constant(stored):
            continue
        checked += 1
        if any(_same(stored, t) for t in state.values() if t.shape == stored.shape):
            return checked, True
    return checked, False


def _lenient_sample(header: Header, state: dict[str, torch.Tensor]) -> Iterable[str]:
    """Names from the file: those that the module has too first, small tensors before large ones."""

    def cost(name: str) -> tuple[bool, bool, str]:
        elements = torch.Size(header.tensors[name][1]).numel()
        return (elements > _SMALL, name not in state, name)

    return sorted(header.tensors, key=cost)[:_LENIENT_SAMPLE]


def _is_constant(tensor: torch.Tensor) -> bool:
    flat = _comparable(_spread(tensor))
    return flat.numel() < 2 or bool((flat == flat[0]).all())


def _same(stored: torch.Tensor, loaded: torch.Tensor) -> bool:
    """Whether two tensors of one shape have the same values, up to the rounding of one of them to the other's dtype."""
    stored, loaded = _spread(stored), _spread(loaded.detach()).cpu()
    if stored.dtype == loaded.dtype:
        return _equal(stored, loaded)
    return _equal(stored.to(loaded.dtype), loaded) or _equal(stored, loaded.to(stored.dtype))


def _spread(tensor: torch.Tensor) -> torch.Tensor:
    """All values of a tensor, or an even sample of a large one's."""
    flat = tensor.reshape(-1)
    if flat.numel() <= _WHOLE:
        return flat
    # An odd step visits all columns of a matrix whose width is a power of two.
    return flat[:: (flat.numel() // _SPREAD - 1) | 1]


def _comparable(tensor: torch.Tensor) -> torch.Tensor:
    """The same values in a dtype that torch compares, which it does not in 8-bit floating point."""
    return tensor.float() if tensor.is_floating_point() and tensor.itemsize == 1 else tensor


def _equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    a, b = _comparable(a), _comparable(b)
    if torch.equal(a, b):
        return True
    same = a == b
    if a.is_floating_point():
        same |= a.isnan() & b.isnan()
    return bool(same.all())
