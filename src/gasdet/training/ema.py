"""An exponential moving average of tensors that a training changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


class Ema:
    """Keeps ``average <- d * average + (1 - d) * value`` for each tensor, with d = min(decay, (1 + n) / (10 + n)).

    n counts the updates before this one: the first averages forget the untrained start fast, as TensorFlow's
    ExponentialMovingAverage does with ``num_updates``. Tensors that are no floating-point numbers (counters) are copied.

    Attributes:
        averages: The averages by name; they start as copies of the tensors.
    """

    def __init__(self, tensors: Mapping[str, Tensor], decay: float) -> None:
        """Start at the tensors' present values.

        Args:
            tensors: The tensors themselves, by name: they are read at every update, so they must stay the same objects.
            decay: 0 to below 1.
        """
        if not 0 <= decay < 1:
            raise ValueError(f"The decay of a moving average is 0 to below 1, not {decay}.")
        self.decay = decay
        self._tensors = {name: tensor.detach() for name, tensor in tensors.items()}
        self.averages = {name: tensor.clone() for name, tensor in self._tensors.items()}
        floating = [name for name, tensor in self._tensors.items() if tensor.is_floating_point()]
        self._others = [name for name, tensor in self._tensors.items() if not tensor.is_floating_point()]
        self._values = [self._tensors[name] for name in floating]
        self._means = [self.averages[name] for name in floating]

    def update(self, updates_before: int) -> None:
        """Take in the present values."""
        decay = min(self.decay, (1 + updates_before) / (10 + updates_before))
        if self._means:
            torch._foreach_lerp_(self._means, self._values, 1 - decay)
        for name in self._others:
            self.averages[name].copy_(self._tensors[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the tensors hold the averages; afterwards their own values again, to the bit."""
        own = {name: tensor.clone() for name, tensor in self._tensors.items()}
        try:
            self._set(self.averages)
            yield
        finally:
            self._set(own)

    def load(self, averages: Mapping[str, Tensor]) -> None:
        """Go on from averages that were stored."""
        for name, average in self.averages.items():
            average.copy_(averages[name])

    def _set(self, values: Mapping[str, Tensor]) -> None:
        for name, tensor in self._tensors.items():
            tensor.copy_(values[name])
