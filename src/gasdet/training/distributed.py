"""One process or several: devices, mixed precision and gradients, through accelerate."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn

from gasdet.errors import UsageError
from gasdet.evaluation.options import resolve_device
from gasdet.training.recipe import Precision

_PATIENCE = timedelta(days=2)
"""How long a process waits for another: the first one decodes, or computes features, while the others wait."""

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_ACCELERATE_PRECISION = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


def check_precision(device: torch.device, precision: Precision) -> None:
    """See that the device computes in a precision.

    Raises:
        UsageError: It does not.
    """
    if precision == "float16" and device.type == "cpu":
        raise UsageError("precision float16 needs a CUDA device; choose bfloat16 or float32 on the CPU.")


class Processes:
    """The processes that train together (one, or those that torchrun started), and this one's place among them.

    ``torchrun --standalone --nproc-per-node N -m gasdet.cli train ...`` starts N. ``accelerate launch --cpu`` starts one only,
    whatever number it is given, and says nothing about it.

    Attributes:
        count: How many processes train together.
        rank: This one's number, from 0.
        device: Where this one computes.
    """

    def __init__(self, device: str, precision: Precision) -> None:
        """Join the other processes.

        Args:
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; under torchrun each process takes its own CUDA device.
            precision: Of the forward pass.

        Raises:
            UsageError: There is no such device, or it cannot compute in that precision.
        """
        chosen = torch.device(resolve_device(device))
        check_precision(chosen, precision)
        several = int(os.environ.get("WORLD_SIZE", "1")) > 1
        if chosen.index is not None and not several:
            torch.cuda.set_device(chosen)
        self._accelerator = _accelerator(chosen.type == "cpu", precision, keep_group=several)
        self._precision = precision
        self._scaler: Any = self._accelerator.scaler
        self.device: torch.device = chosen if not several else self._accelerator.device
        self.count: int = self._accelerator.num_processes
        self.rank: int = self._accelerator.process_index

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files and talks to the user."""
        return self.rank == 0

    def wrap(self, module: nn.Module, uses_all: Callable[[], bool]) -> nn.Module:
        """The module as it is called in training: with several processes, one that averages their gradients.

        Args:
            module: Gives tensors by name.
            uses_all: Whether what the module gives depends on all that is trained, in every step. It is not asked where
                there is one process.
        """
        if self.count == 1:
            return module
        from accelerate.utils import DistributedDataParallelKwargs

        # otherwise torch has to search for unused parameters in every step, and complains where it did so for nothing
        self._accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=not uses_all())
        wrapped: nn.Module = self._accelerator.prepare_model(module)
        return wrapped

    def autocast(self) -> AbstractContextManager[Any]:
        """Mixed precision for a forward pass, where the recipe asks for it."""
        return autocast(self.device, self._precision)

    def backward(self, loss: Tensor) -> None:
        """Add a loss's gradients, scaled where float16 needs it; outside of ``unsynchronised`` they are averaged."""
        self._accelerator.backward(loss)

    def unsynchronised(self, module: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        """A context for a part of a batch: gradients go to the other processes with the last part only."""
        if self.count == 1 or last:
            return nullcontext()
        context: AbstractContextManager[Any] = self._accelerator.no_sync(module)
        return context

    def step(self, optimiser: torch.optim.Optimizer, parameters: Sequence[nn.Parameter], clip_norm: float) -> None:
        """Clip the gradients of ``parameters`` and move them.

        With float16 the gradients carry the loss's scale, which is taken off first; a step with infinite ones is left out.
        """
        if self._scaler is not None:
            self._scaler.unscale_(optimiser)
        if clip_norm:
            nn.utils.clip_grad_norm_(parameters, clip_norm)
        if self._scaler is None:
            optimiser.step()
        else:
            self._scaler.step(optimiser)
            self._scaler.update()

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average the gradients of parameters that are outside of the wrapped module."""
        if self.count == 1:
            return
        for parameter in parameters:
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = self._accelerator.reduce(gradient, reduction="mean")

    @torch.no_grad()
    def average(self, tensors: Sequence[Tensor]) -> None:
        """Average tensors in place, e.g. BatchNorm's running statistics, of which each process saw its share of a batch."""
        if self.count == 1 or not tensors:
            return
        flat: Tensor = self._accelerator.reduce(torch.cat([t.flatten() for t in tensors]), reduction="mean")
        for tensor, mean in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def sum(self, values: Sequence[float]) -> list[float]:
        """Sum numbers over the processes, one by one."""
        if self.count == 1:
            return list(values)
        return list(self.sum_tensor(torch.tensor(values, dtype=torch.float64)).tolist())

    def sum_tensor(self, values: Tensor) -> Tensor:
        """Sum a tensor over the processes. The result is on the CPU."""
        if self.count == 1:
            return values.cpu()
        total: Tensor = self._accelerator.reduce(values.to(self.device))
        return total.cpu()

    def gather(self, value: Any) -> list[Any]:
        """One value of each process, in the order of their ranks."""
        if self.count == 1:
            return [value]
        from accelerate.utils import gather_object

        found: list[Any] = gather_object([value])
        return found

    def barrier(self) -> None:
        """Wait for the other processes."""
        self._accelerator.wait_for_everyone()

    def scaler_state(self) -> dict[str, Any]:
        """What float16's loss scaling has learned; empty without it."""
        return {} if self._scaler is None else dict(self._scaler.state_dict())

    def load_scaler_state(self, state: dict[str, Any]) -> None:
        """Go on from what ``scaler_state`` gave."""
        if self._scaler is not None:
            self._scaler.load_state_dict(state)


def uses_all_parameters(module: nn.Module, outputs: Mapping[str, Tensor]) -> bool:
    """Whether what a module gave depends on all of its parameters that are trained."""
    found = [output.sum() for output in outputs.values() if output.requires_grad]
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return all(each is not None for each in torch.autograd.grad(found, trained, allow_unused=True))


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """Mixed precision for a forward pass on a device; nothing for float32."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=_DTYPES[precision])


def _accelerator(cpu: bool, precision: Precision, *, keep_group: bool) -> Any:
    """A new Accelerator. Its state is one for the process, and a stage may want another precision than the one before."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import InitProcessGroupKwargs

    AcceleratorState._reset_state(reset_partial_state=not keep_group)
    return Accelerator(
        cpu=cpu,
        mixed_precision=_ACCELERATE_PRECISION[precision],
        kwargs_handlers=[
            InitProcessGroupKwargs(timeout=_PATIENCE),
        ],
    )
