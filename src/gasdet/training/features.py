"""Samples to feature vectors of a frozen backbone, once each: decoded in killable processes, kept in a cache."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gasdet.data import read_source
from gasdet.errors import GasdetError, MediaError, PluginError
from gasdet.evaluation.content import content_sha256
from gasdet.evaluation.decode_key import decoding_identity
from gasdet.evaluation.pipeline import DecodePool
from gasdet.evaluation.text import one_line
from gasdet.media.digest import digest
from gasdet.progress import ProgressSink, Silent
from gasdet.training.decoded_store import Failure
from gasdet.training.feature_cache import Cached, FeatureCache
from gasdet.training.identity import training_versions
from gasdet.types import Preprocessing, Reason, Sample


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """The features of those samples that have some, all in the samples' order.

    Attributes:
        samples: N samples.
        features: float32 ``[N, F]``; row i belongs to ``samples[i]``.
        failures: The other samples, with the reason.
        computed: How many samples' vectors were computed; the other N - computed came from the cache, or from a file.
        digests: Of each sample, what tells exact duplicates: ``duplicates.digest`` of the decoded array, or of the vector
            where that is all there is.
    """

    samples: tuple[Sample, ...]
    features: npt.NDArray[np.float32]
    failures: tuple[Failure, ...]
    computed: int
    digests: tuple[str, ...] = ()

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """int64 ``[N]``, 0 real and 1 synthetic."""
        return np.array([sample.label for sample in self.samples], dtype=np.int64)

    def part(self, samples: Iterable[Sample]) -> FeatureSet:
        """The features of some of the samples, in their order; those that failed are among its failures."""
        places = {sample.sample_id: place for place, sample in enumerate(self.samples)}
        failed = {failure.sample.sample_id: failure for failure in self.failures}
        wanted = [sample.sample_id for sample in samples]
        kept = [places[name] for name in wanted if name in places]
        return FeatureSet(
            samples=tuple(self.samples[i] for i in kept),
            features=self.features[kept] if kept else self.features[:0],
            failures=tuple(failed[name] for name in wanted if name in failed),
            computed=0,
            digests=tuple(self.digests[i] for i in kept),
        )


def backbone_sha256(tensors: Mapping[str, torch.Tensor], head: tuple[str, ...]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of all tensors that do not belong to the head."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        if not name.startswith(head):
            tensor = tensors[name].detach().cpu().contiguous()
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
            digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def feature_key(
    module: torch.nn.Module,
    head: tuple[str, ...],
    model: Mapping[str, Any],
    preprocessing: Preprocessing,
    device: str,
    *,
    code_sha256: str = "",
) -> dict[str, Any]:
    """Everything beside a file's bytes that its features depend on.

    Args:
        module: The detector.
        head: Name prefixes of the tensors that features do not depend on.
        model: Keyword arguments that the module was built with.
        preprocessing: What comes before the module; it holds the number of frames.
        device: Kind of device that computes the features: its rounding is its own.
        code_sha256: Of the code that computes them, see ``plugin_sha256``; empty takes the file that the module's class is in.
    """
    code = None if code_sha256 else inspect.getsourcefile(type(module))
    own = hashlib.sha256(Path(code).read_bytes()).hexdigest() if code else type(module).__qualname__
    return {
        "backbone_sha256": backbone_sha256(module.state_dict(), head),
        "code_sha256": code_sha256 or own,
        "model": dict(model),
        "preprocessing": {"modality": preprocessing.modality.value, **preprocessing.to_mapping()},
        "device": device,
        "versions": training_versions(),
        "decoding": decoding_identity(preprocessing),
    }


def extract_features(
    module: torch.nn.Module,
    samples: Sequence[Sample],
    preprocessing: Preprocessing,
    *,
    pool: DecodePool,
    cache: FeatureCache,
    device: str = "cpu",
    batch_size: int = 8,
    progress: ProgressSink | None = None,
    label: str = "features",
) -> FeatureSet:
    """The features of samples, from the cache where they are known.

    A sample that cannot be read or decoded, or whose features are not finite, is left out with its reason: nothing is put
    in its place, and no other sample's row moves. Samples of equal content are computed once. Interrupted, what was computed
    stays in the cache; killed, all but what its last seconds gave.

    Args:
        module: Offers ``features(x) -> [B, F]``; on ``device``, in eval mode.
        samples: In any order; duplicates are allowed.
        preprocessing: The module's.
        pool: Running decode processes.
        cache: For this module and preprocessing.
        device: Where the module is.
        batch_size: Samples of equal shape that go through the module together.
        progress: Told of every sample.
        label: What the progress calls this.

    Raises:
        GasdetError: The module cannot compute features of such input at all.
    """
    progress = progress or Silent()
    progress.start(label, len(samples))
    work = _Extraction(module, samples, cache, device, progress)
    try:
        work.look_up()
        work.compute(pool, preprocessing, batch_size)
    finally:
        cache.flush()
        progress.finish()
    return work.result()


class _Extraction:
    """The samples on their way to vectors: each content is looked up, and computed, once."""

    def __init__(
        self,
        module: torch.nn.Module,
        samples: Sequence[Sample],
        cache: FeatureCache,
        device: str,
        progress: ProgressSink,
    ) -> None:
        self._module = module
        self._samples = samples
        self._cache = cache
        self._device = device
        self._progress = progress
        self._found: dict[int, Cached] = {}
        self._failures: dict[int, Failure] = {}
        self._pending: dict[str, list[int]] = {}  # the samples that have this content, which is not in the cache
        self._computed = 0

    def look_up(self) -> None:
        """Find what the cache has, and what is left to compute."""
        for index, sample in enumerate(self._samples):
            try:
                content = _content_sha256(sample)
            except MediaError as error:
                self._fail([index], error.reason, str(error))
                continue
            known = self._cache.get(content)
            if known is None:
                self._pending.setdefault(content, []).append(index)
            else:
                self._found[index] = known
                self._progress.advance(1, 0)

    def compute(self, pool: DecodePool, preprocessing: Preprocessing, batch_size: int) -> None:
        """Decode and compute what is left, samples of equal shape together."""
        contents = list(self._pending)
        batch: list[tuple[str, npt.NDArray[Any]]] = []
        for result in pool.run([self._samples[self._pending[c][0]] for c in contents], preprocessing):
            content = contents[result.index]
            if result.decoded is None:
                assert result.reason is not None, "a decode result has an array or a reason"
                self._fail(self._pending[content], result.reason, result.message)
                continue
            array = result.decoded.array
            if batch and (len(batch) >= batch_size or batch[0][1].shape != array.shape):
                self._compute(batch)
                batch = []
            batch.append((content, array))
        if batch:
            self._compute(batch)

    def _compute(self, batch: list[tuple[str, npt.NDArray[Any]]]) -> None:
        vectors = _forward(self._module, [array for _, array in batch], self._device)
        for (content, array), vector in zip(batch, vectors, strict=True):
            indices = self._pending[content]
            if not np.isfinite(vector).all():
                self._fail(indices, Reason.BAD_OUTPUT, "its features are not finite")
                continue
            cached = Cached(vector, digest(array))
            self._cache.add(content, *cached)
            self._found |= dict.fromkeys(indices, cached)
            self._computed += len(indices)
            self._progress.advance(len(indices), 0)

    def _fail(self, indices: Sequence[int], reason: Reason, message: str) -> None:
        for index in indices:
            self._failures[index] = Failure(self._samples[index], reason, message)
        self._progress.advance(len(indices), len(indices))

    def result(self) -> FeatureSet:
        """Everything, in the samples' order."""
        kept = sorted(self._found)
        return FeatureSet(
            samples=tuple(self._samples[i] for i in kept),
            features=np.stack([self._found[i].vector for i in kept]) if kept else np.zeros((0, 0), np.float32),
            failures=tuple(self._failures[i] for i in sorted(self._failures)),
            computed=self._computed,
            digests=tuple(self._found[i].digest for i in kept),
        )


def _content_sha256(sample: Sample) -> str:
    try:
        return content_sha256(read_source(sample.locator))
    except OSError as error:
        raise MediaError(Reason.FILE_UNREADABLE, f"The file cannot be read: {error.strerror}.") from error


def _forward(module: torch.nn.Module, arrays: list[npt.NDArray[Any]], device: str) -> npt.NDArray[np.float32]:
    x = torch.from_numpy(np.stack(arrays)).to(device)
    try:
        with torch.no_grad():
            features: torch.Tensor = module.features(x)  # type: ignore[operator]
    except torch.OutOfMemoryError:
        raise GasdetError(
            f"{device} has too little memory for {len(arrays)} samples; choose a smaller batch size."
        ) from None
    except (ValueError, RuntimeError) as error:
        raise PluginError(
            f"{type(module).__name__} cannot compute features of input {list(x.shape)}: {one_line(str(error))}"
        ) from error
    if features.dim() != 2 or features.shape[0] != len(arrays):
        raise PluginError(
            f"{type(module).__name__}.features gave shape {list(features.shape)} for {len(arrays)} samples; it must be "
            f"[{len(arrays)}, F]."
        )
    return features.float().cpu().numpy()
