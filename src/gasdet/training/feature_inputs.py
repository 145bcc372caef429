"""Feature vectors in memory as a training's input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch

from gasdet.training.features import FeatureSet
from gasdet.training.interfaces import Batch
from gasdet.types import Sample

_CHUNK_BYTES = 16 * 2**20
"""Vectors that are gathered in one go, for several batches; a batch is then a view of them, or a copy (``aligned``)."""

_ALIGNMENT = 64
"""Of torch's own memory on a CPU, in bytes."""


class FeatureInputs:
    """Training inputs that are features float32 ``[N, F]`` of a frozen backbone. They are never augmented.

    Args:
        features: With at least one sample.
    """

    from_features = True

    def __init__(self, features: FeatureSet) -> None:
        self.samples: Sequence[Sample] = features.samples
        # a copy where the array may not be written to: torch has no read-only tensors
        self._features = torch.from_numpy(np.require(features.features, np.float32, ("C", "W")))
        self._labels = torch.from_numpy(features.labels)
        self._weights = sample_weights(features.samples)

    def batches(self, batches: Sequence[Sequence[int]], *, epoch: int, augment: bool) -> Iterator[Batch]:
        """One batch for each list of rows, in their order. Its tensors must not be written to: batches share memory."""
        width = max(1, self._features.shape[1]) * self._features.element_size()
        largest = max((len(rows) for rows in batches), default=1)
        together = max(1, _CHUNK_BYTES // (width * max(1, largest)))
        remaining = iter(batches)
        while chunk := list(islice(remaining, together)):
            sizes = [len(rows) for rows in chunk]
            rows = torch.from_numpy(row_numbers(chunk))
            columns = (self._features[rows], self._labels[rows], self._weights[rows], rows)
            for inputs, labels, weights, numbers in zip(
                *(torch.split(column, sizes) for column in columns), strict=True
            ):
                yield Batch(aligned(inputs), labels, aligned(weights), numbers)


def aligned(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, or a copy where its memory does not begin where torch lets a tensor's begin.

    Matrix products of a few rows round otherwise in other places. A batch that is a view of a chunk begins elsewhere after
    a resume, when the chunk begins with another batch, and what numpy allocates begins anywhere.
    """
    return tensor.clone() if tensor.data_ptr() % _ALIGNMENT else tensor


def row_numbers(batches: Sequence[Sequence[int]]) -> npt.NDArray[np.int64]:
    """All rows of all batches, int64, one after the other."""
    return np.concatenate([np.asarray(rows, np.int64) for rows in batches])


def sample_weights(samples: Sequence[Sample]) -> torch.Tensor:
    """float32 ``[N]``, each sample's weight."""
    return torch.tensor([sample.weight for sample in samples], dtype=torch.float32)
