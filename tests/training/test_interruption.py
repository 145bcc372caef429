"""Ctrl-C that is held back until a training is at a whole number of steps."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from gasdet.training.interruption import Interruption


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def handled(interruption: Interruption, work: Callable[[], None]) -> None:
    with interruption.handled():
        work()


def test_it_is_held_back_until_the_training_waits() -> None:
    interruption, reached = Interruption(), []

    def work() -> None:
        press()
        reached.append("after")
        with interruption.waiting():
            reached.append("waiting")

    with pytest.raises(KeyboardInterrupt):
        handled(interruption, work)
    assert reached == ["after"]
    assert interruption.clean


def test_one_in_the_last_moments_is_not_swallowed() -> None:
    """Nothing is waited for any more, as while a stage writes its last checkpoint."""
    interruption, reached = Interruption(), []
    usual = signal.getsignal(signal.SIGINT)

    def work() -> None:
        press()
        reached.append("written")

    with pytest.raises(KeyboardInterrupt):
        handled(interruption, work)
    assert reached == ["written"]
    assert not interruption.clean, "what was done is written"
    assert signal.getsignal(signal.SIGINT) is usual


def test_a_second_one_is_obeyed_at_once() -> None:
    interruption, reached = Interruption(), []

    def work() -> None:
        press()
        press()
        reached.append("after")

    with pytest.raises(KeyboardInterrupt):
        handled(interruption, work)
    assert reached == []
    assert not interruption.clean


def test_another_error_is_not_replaced() -> None:
    def work() -> None:
        press()
        raise ValueError("own")

    with pytest.raises(ValueError, match="own"):
        handled(Interruption(), work)
