"""The moving average of weights."""

from __future__ import annotations

import pytest
import torch

from gasdet.training.ema import Ema


def test_average_is_the_hand_calculation() -> None:
    weight = torch.tensor([1.0, 2.0])
    ema = Ema({"w": weight}, decay=0.15)
    weight.copy_(torch.tensor([3.0, 6.0]))
    ema.update(0)  # d = min(0.15, 1/10)
    torch.testing.assert_close(ema.averages["w"], torch.tensor([0.1 * 1 + 0.9 * 3, 0.1 * 2 + 0.9 * 6]))
    weight.copy_(torch.tensor([0.0, 0.0]))
    ema.update(1)  # d = min(0.15, 2/11)
    torch.testing.assert_close(ema.averages["w"], torch.tensor([0.15 * 2.8, 0.15 * 5.6]))


def test_counters_are_copied() -> None:
    counter = torch.tensor(3)
    ema = Ema({"n": counter}, decay=0.9)
    counter.add_(4)
    ema.update(0)
    assert ema.averages["n"].item() == 7


def test_weights_come_back_to_the_bit_even_after_an_error() -> None:
    weight = torch.randn(100)
    before = weight.clone()
    ema = Ema({"w": weight}, decay=0.9)
    weight.add_(1e-3)
    now = weight.clone()
    seen = []

    def interrupted() -> None:
        with ema.in_place():
            seen.append(weight.clone())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert torch.equal(seen[0], before)
    assert torch.equal(weight, now)


def test_load_goes_on_from_stored_averages() -> None:
    ema = Ema({"w": torch.zeros(2)}, decay=0.9)
    ema.load({"w": torch.tensor([1.0, 2.0])})
    assert ema.averages["w"].tolist() == [1.0, 2.0]


def test_decay_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="0 to below 1"):
        Ema({}, decay=1.0)
