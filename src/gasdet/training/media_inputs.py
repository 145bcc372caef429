"""Pixels and waveforms as a training's input: from a decoded store, or decoded anew in every epoch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gasdet.data.names import printable
from gasdet.errors import DataError
from gasdet.evaluation.decode_cache import CacheCounts, DecodeCache
from gasdet.evaluation.pipeline import DecodePool, DecodeResult
from gasdet.training.decoded_store import DecodedSet, stacked
from gasdet.training.feature_inputs import aligned, sample_weights
from gasdet.training.interfaces import Batch
from gasdet.training.targets import Targets
from gasdet.types import Sample

Array = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]

Augment = Callable[[Array, str, int], Array]
"""``augment(array, sample_id, epoch)``: the array changed, in memory of its own; the same for the same arguments."""


class MediaInputs:
    """Training inputs that are pixels uint8 ``[3, H, W]`` or ``[T, 3, H, W]``, or waveforms float32 ``[N]``.

    Batches are made ahead in threads. What is in a batch depends on its rows, the epoch and ``augment`` alone: not on the
    number of threads, on the other batches, or on whether the arrays come from a store.

    Args:
        decoded: Samples, with their store or without one.
        augment: Applied to every sample where ``batches`` is told to; None for none.
        targets: Makes every batch's targets, from the arrays before augmentation; None for none.
        threads: That make batches.
        ahead: Batches that are made before they are asked for.
        workers: Decode processes, where there is no store.
        decode_timeout: Seconds for one file, where there is no store.
        decode_cache: Where decoded samples are kept between runs, where there is no store.
        cache_counts: Where it is counted what that cache does.
    """

    from_features = False

    def __init__(
        self,
        decoded: DecodedSet,
        *,
        augment: Augment | None = None,
        targets: Targets | None = None,
        threads: int = 1,
        ahead: int = 4,
        workers: int = 2,
        decode_timeout: float = 30.0,
        decode_cache: DecodeCache | None = None,
        cache_counts: CacheCounts | None = None,
    ) -> None:
        if threads < 1 or ahead < 1 or workers < 1:
            raise ValueError("threads, ahead and workers must be at least 1")
        self.samples: Sequence[Sample] = decoded.samples
        self._decoded = decoded
        self._augment = augment
        self._targets = targets
        self._threads = threads
        self._ahead = ahead
        self._workers = workers
        self._decode_timeout = decode_timeout
        self._decode_cache = decode_cache
        self._cache_counts = cache_counts
        self._names = [sample.sample_id for sample in decoded.samples]
        self._labels = torch.from_numpy(decoded.labels)
        self._weights = sample_weights(decoded.samples)

    def batches(self, batches: Sequence[Sequence[int]], *, epoch: int, augment: bool) -> Iterator[Batch]:
        """One batch for each list of rows, in their order, prepared ahead. Leaving the iterator early is safe.

        Raises:
            DataError: The arrays of a batch differ in shape, a sample could be decoded before and cannot now, or it has no
                usable target.
            PluginError: The function that makes targets does not return what it must.
        """
        change = self._augment if augment else None
        waiting: deque[Future[Batch]] = deque()
        with (
            closing(self._sources(batches)) as sources,
            ThreadPoolExecutor(self._threads, thread_name_prefix="gasdet-batches") as executor,
        ):
            try:
                for rows, arrays in sources:
                    waiting.append(executor.submit(self._batch, rows, arrays, change, epoch))
                    if len(waiting) > self._ahead:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:  # nobody will take them
                    future.cancel()

    def _sources(self, batches: Sequence[Sequence[int]]) -> Generator[tuple[Rows, list[Array] | None], None, None]:
        """Each batch's rows, with their arrays where these are not in a store."""
        numbers = [np.asarray(rows, np.int64) for rows in batches]
        if self._decoded.store is not None:
            for rows in numbers:
                yield rows, None
            return
        # A pool of its own, since a validation may begin in the middle of a training's epoch.
        with DecodePool(
            workers=self._workers, timeout=self._decode_timeout, cache=self._decode_cache, counts=self._cache_counts
        ) as pool:
            samples = [self.samples[row] for rows in numbers for row in rows.tolist()]
            with closing(pool.run(samples, self._decoded.preprocessing)) as results:
                for rows in numbers:
                    yield rows, [_array(samples[result.index], result) for result in islice(results, len(rows))]

    def _batch(self, rows: Rows, arrays: list[Array] | None, change: Augment | None, epoch: int) -> Batch:
        store, targets = self._decoded.store, None
        if store is not None and change is None and self._targets is None:
            inputs = store.gather(self._decoded.rows[rows])
        else:
            if store is not None:
                arrays = [store.array(place) for place in self._decoded.rows[rows].tolist()]
            assert arrays is not None, "without a store the arrays come from the decode processes"
            if self._targets is not None:
                targets = self._targets.batch(arrays, [self.samples[row] for row in rows.tolist()])
            if change is not None:
                names = self._names
                arrays = [change(array, names[row], epoch) for array, row in zip(arrays, rows.tolist(), strict=True)]
            inputs = stacked(arrays)
        numbers = torch.from_numpy(rows)
        columns = (self._labels[numbers], self._weights[numbers], numbers)
        return Batch(
            aligned(torch.from_numpy(inputs)), *columns, targets=targets if targets is None else aligned(targets)
        )


def _array(sample: Sample, result: DecodeResult) -> Array:
    if result.decoded is None:
        raise DataError(
            f"{printable(sample.member)} could be decoded before and cannot be decoded any more ({result.message}); once it "
            "can be, the same command goes on from the last checkpoint."
        )
    return result.decoded.array
