"""Checkpoints: what is written, what is refused, and that nothing is lost on the way."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gasdet.errors import RunError
from gasdet.training.checkpoint import (
    Checkpoints,
    capture_rng,
    own_random_numbers,
    pack_optimiser,
    pack_rng,
    restore_rng,
    unpack_optimiser,
    unpack_rng,
)

CPU = torch.device("cpu")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c", {"a": 1})
    assert checkpoints.read() is None
    strided = torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last)
    tensors = {"model/w": strided, "model/n": torch.tensor(7), "ema/w": torch.ones(2)}
    checkpoints.write(tensors, {"position": {"step": 3, "loss": 0.1 + 0.2, "none": None}}, best_step=None)
    saved = checkpoints.read()
    assert saved is not None
    assert saved.values["position"] == {"step": 3, "loss": 0.1 + 0.2, "none": None}
    assert torch.equal(saved.under("model")["w"], strided)
    assert saved.under("model")["n"].item() == 7
    assert set(saved.under("ema")) == {"w"}


def test_best_weights_that_the_state_does_not_name_are_removed(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, {})
    checkpoints.write_best(1, {"w": torch.ones(1)})
    checkpoints.write({}, {}, best_step=1)
    checkpoints.write_best(5, {"w": torch.full((1,), 5.0)})
    assert checkpoints.read_best(1)["w"].item() == 1, "until the state names the new ones, the old ones are there"
    checkpoints.write({}, {}, best_step=5)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best-5.safetensors", "state.safetensors"]
    assert checkpoints.read_best(5)["w"].item() == 5


def test_other_identity_is_refused_with_the_difference(tmp_path: Path) -> None:
    Checkpoints(tmp_path, {"recipe": {"epochs": 3, "losses": {"a": 1}}}).write({}, {}, best_step=None)
    with pytest.raises(RunError, match=r"recipe\.epochs was 3 and is 4; recipe\.losses\.b was nothing and is 2"):
        Checkpoints(tmp_path, {"recipe": {"epochs": 4, "losses": {"a": 1, "b": 2}}}).read()


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_damaged_checkpoint_is_an_error_that_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state.safetensors").write_bytes(content)
    with pytest.raises(RunError, match="to begin this stage again"):
        Checkpoints(tmp_path, {}).read()


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD])
def test_optimiser_goes_on_with_the_same_bits(kind: type[torch.optim.Optimizer]) -> None:
    def make() -> tuple[nn.Conv2d, torch.optim.Optimizer]:
        torch.manual_seed(0)
        module = nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last)
        options = {"momentum": 0.9} if kind is torch.optim.SGD else {}
        return module, kind(module.parameters(), lr=0.1, fused=True, **options)

    def step(module: nn.Module, optimiser: torch.optim.Optimizer, seed: int) -> None:
        x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
        optimiser.zero_grad()
        module(x.to(memory_format=torch.channels_last)).square().sum().backward()
        optimiser.step()

    whole, optimiser = make()
    step(whole, optimiser, 1)
    part, other = make()
    part.load_state_dict(whole.state_dict())
    stored = {name: tensor.clone().contiguous() for name, tensor in pack_optimiser(optimiser).items()}
    unpack_optimiser(other, stored)
    for seed in (2, 3):
        step(whole, optimiser, seed)
        step(part, other, seed)
    assert torch.equal(whole.weight, part.weight)
    assert torch.equal(whole.bias, part.bias)


def test_random_numbers_go_on() -> None:
    with own_random_numbers(CPU):
        random.gauss(0, 1)  # leaves a second value for the next call
        np.random.standard_normal()
        tensors, values = pack_rng([capture_rng(CPU)])
        expected = torch.rand(3), np.random.standard_normal(3), [random.gauss(0, 1), random.random()]
        restore_rng(unpack_rng(tensors, values, 0), CPU)
        assert torch.equal(torch.rand(3), expected[0])
        assert (np.random.standard_normal(3) == expected[1]).all()
        assert [random.gauss(0, 1), random.random()] == expected[2]


def test_own_random_numbers_leave_the_others_alone() -> None:
    before = torch.get_rng_state()
    with own_random_numbers(CPU):
        torch.rand(5)
    assert torch.equal(torch.get_rng_state(), before)
