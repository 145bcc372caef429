"""What a stage of a training needs to go on exactly: tensors in safetensors, everything else as JSON in the same file."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from gasdet.atomic_files import remove_pending, write_atomically
from gasdet.errors import RunError

STATE_NAME = "state.safetensors"
_VALUES = "gasdet.training"
"""Key of the JSON text in the file's metadata."""

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Saved:
    """What a checkpoint holds.

    Attributes:
        tensors: By name, on the CPU.
        values: Everything that JSON has a type for.
    """

    tensors: dict[str, Tensor]
    values: dict[str, Any]

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with ``prefix/``, without it."""
        start = f"{prefix}/"
        return {name.removeprefix(start): tensor for name, tensor in self.tensors.items() if name.startswith(start)}


class Checkpoints:
    """The checkpoint of one stage: ``state.safetensors``, and ``best-STEP.safetensors`` with the weights to keep.

    Each file is complete or absent, whenever the process is killed, and the state names the best weights that belong to it.
    No pickle is read or written.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        """A stage's checkpoint.

        Args:
            folder: Of this stage alone; made at the first write.
            identity: Everything that decides the result, in types that JSON has.
        """
        self.folder = folder
        self._identity: dict[str, Any] = json.loads(json.dumps(identity, default=str))

    def read(self) -> Saved | None:
        """What the last ``write`` wrote, or None where nothing was.

        Raises:
            RunError: The file is damaged, or was written under another identity; the message says what differs.
        """
        path = self.folder / STATE_NAME
        if not path.exists():
            return None
        saved = _read(path)
        difference = _difference(saved.values["identity"], self._identity)
        if difference:
            raise RunError(
                f"{self.folder} holds a training that was begun otherwise ({difference}); repeat its settings to go on, or "
                "choose another folder."
            )
        return saved

    def write(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any], *, best_step: int | None) -> None:
        """Replace the checkpoint, and remove best weights that it does not name.

        Raises:
            RunError: It cannot be written; the one before is untouched.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(json.dumps(self._identity, sort_keys=True).encode()).hexdigest()
        whole = {**values, "schema_version": SCHEMA_VERSION, "identity": self._identity, "identity_sha256": digest}
        _write(self.folder / STATE_NAME, tensors, whole)
        for path in self.folder.glob("best-*.safetensors"):
            if path != self._best_path(best_step):
                path.unlink(missing_ok=True)
        remove_pending(self.folder)

    def write_best(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Store weights that are the best so far; the next ``write`` must name their step."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(self._best_path(step), tensors, {"step": step})

    def read_best(self, step: int) -> dict[str, Tensor]:
        """The weights that ``write_best`` stored."""
        return _read(self._best_path(step)).tensors

    def _best_path(self, step: int | None) -> Path:
        return self.folder / f"best-{step}.safetensors"


def pack_optimiser(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's state as tensors named ``PARAMETER/KEY``, parameters by their number over all groups."""
    state = optimiser.state_dict()["state"]
    return {
        f"{number}/{key}": value if isinstance(value, Tensor) else torch.tensor(value)
        for number, values in state.items()
        for key, value in values.items()
        if value is not None
    }


def unpack_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimiser the state that ``pack_optimiser`` took, in its parameters' memory layout."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        number, _, key = name.partition("/")
        like = parameters[int(number)]
        # fused kernels walk over parameter and state as they lie in memory, e.g. channels last
        value = torch.empty_like(like).copy_(tensor) if tensor.shape == like.shape and tensor.ndim else tensor
        state.setdefault(int(number), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def capture_rng(device: torch.device) -> dict[str, Any]:
    """The states of torch's, NumPy's and Python's global random numbers in this process."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    assert name == "MT19937", "NumPy's global generator is a Mersenne Twister"
    version, words, gauss_next = random.getstate()
    found: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": torch.from_numpy(np.asarray(keys, dtype=np.int64)),
        "python": torch.tensor(words, dtype=torch.int64),
        "values": [position, has_gauss, gauss, version, gauss_next],
    }
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def restore_rng(state: Mapping[str, Any], device: torch.device) -> None:
    """Go on from what ``capture_rng`` took."""
    position, has_gauss, gauss, version, gauss_next = state["values"]
    torch.set_rng_state(state["torch"])
    np.random.set_state(("MT19937", state["numpy"].numpy().astype(np.uint32), position, has_gauss, gauss))
    random.setstate((version, tuple(state["python"].tolist()), gauss_next))
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


@contextmanager
def own_random_numbers(device: torch.device) -> Iterator[None]:
    """What happens inside leaves the process's random numbers as they were."""
    before = capture_rng(device)
    try:
        yield
    finally:
        restore_rng(before, device)


def pack_rng(states: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Tensor], list[Any]]:
    """The states of all processes as tensors and JSON."""
    tensors = {f"{rank}/{k}": v for rank, state in enumerate(states) for k, v in state.items() if k != "values"}
    return tensors, [state["values"] for state in states]


def unpack_rng(tensors: Mapping[str, Tensor], values: Sequence[Any], rank: int) -> dict[str, Any]:
    """One process's state of what ``pack_rng`` packed."""
    start = f"{rank}/"
    own = {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
    return {**own, "values": values[rank]}


def _write(path: Path, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = save(plain, metadata={_VALUES: json.dumps(values, allow_nan=False)})
    write_atomically(path, lambda file: file.write(content))


def _read(path: Path) -> Saved:
    try:
        with safe_open(str(path), framework="pt") as file:
            values = json.loads(file.metadata()[_VALUES])
            # copies: the tensors would otherwise keep the file mapped, which the next write replaces
            return Saved({name: file.get_tensor(name).clone() for name in file.keys()}, values)  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{path}: the checkpoint cannot be read ({error}); remove {path.parent} to begin this stage again."
        ) from error


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """In words, where two identities differ; empty where they do not."""
    before, now = _flat(old), _flat(new)
    names = [name for name in {**before, **now} if before.get(name, "nothing") != now.get(name, "nothing")]
    said = [
        f"{name} was {_short(before.get(name, 'nothing'))} and is {_short(now.get(name, 'nothing'))}" for name in names
    ]
    return "; ".join(said[:3]) + (f"; and {len(said) - 3} more" if len(said) > 3 else "")


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {name: value}
    return {k: v for key, inner in value.items() for k, v in _flat(inner, f"{name}.{key}" if name else key).items()}


def _short(value: Any) -> str:
    text = value if value == "nothing" else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
