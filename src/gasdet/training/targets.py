"""Targets: what a training tells the model and its losses of a sample besides its label, made from the decoded array."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gasdet.data.names import printable
from gasdet.errors import DataError, GasdetError, PluginError, UsageError, first_line
from gasdet.registry import load_target
from gasdet.types import Modality, Preprocessing, Sample

Array = npt.NDArray[Any]


def target_function(path: str) -> Callable[..., Any]:
    """The function that a recipe names.

    Raises:
        PluginError: It cannot be imported.
        UsageError: It is no function.
    """
    function = load_target(path)
    if not callable(function):
        raise UsageError(f"targets of a training recipe names {path}, which is no function.")
    found: Callable[..., Any] = function
    return found


class Targets:
    """Makes the targets of samples with the function that a recipe names.

    Args:
        path: ``Recipe.targets``.
        preprocessing: What the arrays were decoded with.

    Raises:
        PluginError: The function cannot be imported.
        UsageError: It is no function.
    """

    def __init__(self, path: str, preprocessing: Preprocessing) -> None:
        self._path = path
        self._function = target_function(path)
        self._sample_rate = preprocessing.sample_rate if preprocessing.modality is Modality.AUDIO else None

    def batch(self, arrays: Sequence[Array], samples: Sequence[Sample]) -> torch.Tensor:
        """Targets of some samples, ``[B, ...]``; floating-point ones as float32.

        Args:
            arrays: As decoded, of each sample.
            samples: B of them.

        Raises:
            DataError: The function refuses a sample with a ValueError.
            PluginError: It fails otherwise, or returns no array of numbers, or arrays of several shapes.
        """
        found = [self._one(array, sample) for array, sample in zip(arrays, samples, strict=True)]
        shapes = sorted({one.shape for one in found})
        if len(shapes) > 1 and len({array.shape for array in arrays}) == 1:
            raise PluginError(
                f"{self._path} returns targets of the shapes {list(shapes[0])} and {list(shapes[1])} for arrays of one shape."
            )
        if len(shapes) > 1:
            raise DataError(
                f"Targets of the shapes {list(shapes[0])} and {list(shapes[1])} cannot go into one batch; choose a "
                "preprocessing that brings all samples to one size."
            )
        return torch.from_numpy(np.stack(found))

    def _one(self, array: Array, sample: Sample) -> Array:
        try:
            found = self._function(array, sample, self._sample_rate)
        except (GasdetError, MemoryError):
            raise
        except ValueError as error:
            raise DataError(
                f"{printable(sample.member)} has no usable target: {first_line(error)} ({self._path})."
            ) from error
        except Exception as error:  # a plugin's function may raise anything
            raise PluginError(f"{self._path} fails for {printable(sample.member)}: {_why(error, sample)}.") from error
        try:
            found = np.asarray(found)
        except Exception as error:
            raise PluginError(f"{self._path} returns no array of numbers: {first_line(error)}.") from error
        if found.dtype.kind not in "biuf":
            raise PluginError(f"{self._path} returns {found.dtype} targets; they must be numbers.")
        # torch has no unsigned integers but uint8 that all of its operations take
        kinds = {"f": np.float32, "i": np.int64, "u": np.int64, "b": np.bool_}
        return found.astype(kinds[found.dtype.kind])


def _why(error: Exception, sample: Sample) -> str:
    """An error of a function in words; the likely one is a sample of which nobody said what the function looks up."""
    key = error.args[0] if isinstance(error, KeyError) and error.args else None
    if isinstance(key, str) and key not in sample.annotations:
        return f"KeyError, and the sample has no annotation {key!r}; take sample.annotations.get({key!r}), which may be None"
    return f"{type(error).__name__}: {first_line(error)}"
