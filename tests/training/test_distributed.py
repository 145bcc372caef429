"""Devices and precision; two processes are in test_engine.py."""

from __future__ import annotations

import pytest
import torch

from gasdet.errors import UsageError
from gasdet.training.distributed import Processes, uses_all_parameters


def test_one_process_is_alone() -> None:
    processes = Processes("cpu", "float32")
    assert (processes.count, processes.rank, processes.is_main, processes.device.type) == (1, 0, True, "cpu")
    module = torch.nn.Linear(2, 2)
    assert processes.wrap(module, lambda: pytest.fail("one process need not ask")) is module
    assert processes.sum([0.1, 2.0]) == [0.1, 2.0]
    assert processes.gather({"a": 1}) == [{"a": 1}]


class Caller(torch.nn.Module):
    """Logits by name; one layer has no part in them."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.used(x)}


def test_unused_parameters_are_searched_for_where_there_are_some() -> None:
    module = Caller()
    x = torch.ones(1, 2)
    assert not uses_all_parameters(module, module(x))
    module.idle.requires_grad_(False)
    assert uses_all_parameters(module, module(x))
    assert all(parameter.grad is None for parameter in module.parameters())


def test_precision_may_change_from_one_stage_to_the_next() -> None:
    module, x = torch.nn.Linear(2, 2), torch.ones(1, 2)
    found = []
    for precision in ("float32", "bfloat16", "float32"):
        with Processes("cpu", precision).autocast():
            found.append(module(x).dtype)
    assert found == [torch.float32, torch.bfloat16, torch.float32]


def test_a_step_clips_the_gradient_to_the_norm() -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    Processes("cpu", "float32").step(torch.optim.SGD([weight], lr=1.0), [weight], clip_norm=1.0)
    torch.testing.assert_close(weight.detach(), torch.tensor([-0.6, -0.8]))


@pytest.mark.parametrize(("device", "message"), [("mars", "There is no device"), ("meta", "is not supported")])
def test_unusable_devices_are_refused(device: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Processes(device, "float32")
