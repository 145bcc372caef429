"""Inspections without decode processes, whose start takes longer than the few small files of a test."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from typing import Any

from gasdet.evaluation.pipeline import DecodeResult
from gasdet.evaluation.worker import answer
from gasdet.media import Decoded, MediaLimits
from gasdet.types import Preprocessing, Sample


class PoolHere:
    """Stands in for ``DecodePool``: the same answers, made in this process."""

    def __init__(self, *, workers: int, timeout: float, limits: MediaLimits | None, function: str) -> None:
        module, _, name = function.partition(":")
        self._function = getattr(importlib.import_module(module), name)
        self._limits = limits or MediaLimits()

    def __enter__(self) -> PoolHere:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def run(self, samples: Sequence[Sample], preprocessing: Preprocessing) -> Iterator[DecodeResult]:
        for index, sample in enumerate(samples):
            reply, array = answer(self._function, sample.locator, preprocessing, self._limits)
            decoded = None if reply["decoded"] is None else Decoded(array=array, **reply["decoded"])
            yield DecodeResult(index, decoded, reply["reason"], reply["message"], reply["decode_ms"])
