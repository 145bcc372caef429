"""Side outputs of a detector, made for people: what a model may say beside its logits, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gasdet.errors import OutputError

HEATMAP = "heatmap"
"""The reserved name of P(synthetic) by place, ``[B, h, w]`` of images (``[B, T, h, w]`` of clips), 0 to 1, row 0 at the top."""

WINDOWS = "windows"
"""A name that a model cannot take: detect says there how a recording was cut."""

MAX_VALUES = 1_000_000
"""Values of one side output that are kept of one sample."""


class Details(dict[str, NDArray[Any]]):
    """Side outputs by name, each ``[B, ...]`` in numpy's types; NaN and infinity are left in them.

    Attributes:
        notes: One sentence part for each side output that was left out because it is wrong.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], notes: tuple[str, ...] = ()) -> None:
        super().__init__(arrays)
        self.notes = notes


def split_output(output: Any, who: str) -> tuple[Any, Mapping[Any, Any]]:
    """What ``forward_with_details`` returned, as logits and side outputs.

    Raises:
        OutputError: It is no pair of them.
    """
    if isinstance(output, tuple) and len(output) == 2 and isinstance(output[1], Mapping):
        return output[0], output[1]
    said = f"a tuple of {len(output)}" if isinstance(output, tuple) else f"a {type(output).__name__}"
    raise OutputError(f"{who}'s forward_with_details should return (logits, details by name), but it returned {said}.")


def details_of(given: Mapping[Any, Any], *, batch: int) -> Details:
    """Side outputs as arrays; one that is wrong is left out with a note, since it should cost no score.

    Args:
        given: Name to tensor ``[batch, ...]`` of numbers.
        batch: How many samples the model was given.
    """
    arrays: dict[str, NDArray[Any]] = {}
    notes = []
    for name, value in given.items():
        wrong = _wrong(name, value, batch)
        if not wrong:
            array = _array(value)
            wrong = _wrong_heatmap(array) if name == HEATMAP else ""
        if wrong:
            notes.append(f"the model's detail {name!r} is left out: {wrong}")
        else:
            arrays[name] = array
    return Details(arrays, tuple(notes))


def _wrong(name: Any, value: Any, batch: int) -> str:
    """What is wrong with a side output, "" for nothing."""
    if not isinstance(name, str) or not name:
        return "its name is no text"
    if name == WINDOWS:
        return "the name is taken"
    if not isinstance(value, torch.Tensor):
        return f"it is a {type(value).__name__}, not a tensor"
    if value.is_complex() or value.layout is not torch.strided:
        return "it holds no plain real numbers"
    shape = list(value.shape)
    if not shape or shape[0] != batch:
        return f"its shape is {shape}, and its first dimension should be the batch's {batch}"
    if value.numel() > MAX_VALUES * batch:
        return f"it has {value.numel() // batch:,} values a sample, over the bound of {MAX_VALUES:,}"
    return ""


def _array(value: torch.Tensor) -> NDArray[Any]:
    value = value.detach().to("cpu")
    if value.is_floating_point() and value.dtype is not torch.float64:
        value = value.float()  # numpy has no bfloat16
    if value.dtype is torch.bool:
        value = value.to(torch.uint8)
    return np.array(value.numpy(), copy=True)


def _wrong_heatmap(array: NDArray[Any]) -> str:
    if array.ndim not in (3, 4) or 0 in array.shape:
        return (
            f"a heat map has the shape [B, height, width], or [B, T, height, width] of a clip, not {list(array.shape)}"
        )
    finite = array[np.isfinite(array)]
    if finite.size and not 0.0 <= finite.min() <= finite.max() <= 1.0:
        return f"a heat map holds probabilities, 0 to 1, not {finite.min():.3g} to {finite.max():.3g}"
    return ""
