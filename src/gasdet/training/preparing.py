"""From the samples of both parts to what a stage is trained on: cached features or decoded media, duplicates dropped."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from gasdet.cachedir import cache_dir
from gasdet.errors import DataError, RunError, UsageError
from gasdet.evaluation.decode_cache import CacheCounts
from gasdet.evaluation.pipeline import DecodePool
from gasdet.evaluation.processors import available_cpus
from gasdet.evaluation.text import one_line
from gasdet.progress import ProgressSink
from gasdet.training.augmentation import Augmenter
from gasdet.training.building import Chosen, preprocessing_of
from gasdet.training.data import balanced_rows
from gasdet.training.decoded_store import DecodedSet, Failure, decode_to_store
from gasdet.training.duplicates import drop_duplicates
from gasdet.training.feature_cache import FeatureCache
from gasdet.training.feature_inputs import FeatureInputs
from gasdet.training.features import FeatureSet, extract_features, feature_key
from gasdet.training.identity import plugin_sha256, rows_sha256
from gasdet.training.media_inputs import MediaInputs
from gasdet.training.splits import Split
from gasdet.training.targets import Targets
from gasdet.training.usable import UsableSamples
from gasdet.types import DetectorSpec, Preprocessing, Sample

if TYPE_CHECKING:
    from gasdet.training.distributed import Processes
    from gasdet.training.interfaces import TrainingInputs
    from gasdet.training.options import TrainOptions
    from gasdet.training.recipe import Recipe

T = TypeVar("T")
PARTS = ("training", "validation")


@dataclass(frozen=True, slots=True)
class Prepared:
    """The input of a stage.

    Attributes:
        train: What it is trained on.
        validation: What chooses the weights.
        digests: Content digest of each sample of both parts by sample id, where it is known.
        failures: Samples of the training and of the validation part that could not be used.
        duplicates: How many training samples were dropped because the validation part has their content too.
        balanced_away: How many were left out to make the classes equal.
        source: For the record: where the input came from.
    """

    train: TrainingInputs
    validation: TrainingInputs
    digests: Mapping[str, str]
    failures: tuple[tuple[Failure, ...], tuple[Failure, ...]]
    duplicates: int
    balanced_away: int
    source: Mapping[str, Any]


def uses_features(recipe: Recipe, module: torch.nn.Module) -> bool:
    """Whether a stage trains on cached features: a frozen backbone, whose input is the same in every epoch.

    Targets are made from decoded media, so that a stage with targets trains on these.
    """
    same_input = not recipe.augmentation and not recipe.training_preprocessing and not recipe.uses_targets
    offered = hasattr(module, "features") and hasattr(module, "classify")
    return recipe.trainable == "head" and recipe.cache_features and same_input and offered


class Preparation:
    """Prepares the input of one stage after the other.

    With several processes the first one decodes and computes; the others wait and open what it left.

    Attributes:
        cache_counts: What the decode cache did so far, for all that was decoded.
    """

    def __init__(
        self,
        spec: DetectorSpec,
        chosen: Chosen,
        split: Split,
        options: TrainOptions,
        processes: Processes,
        progress: ProgressSink,
        folder: Path,
        stored: FeatureSet | None = None,
    ) -> None:
        self._spec = spec
        self._chosen = chosen
        self._split = split
        self._options = options
        self._processes = processes
        self._progress = progress
        self._stored = stored
        self._usable = UsableSamples(folder, writes=processes.is_main)
        self.cache_counts = CacheCounts()
        self._told: set[str] = set()
        self._features: tuple[dict[str, Any], list[FeatureSet]] | None = (
            None  # those of the stage before, and their key
        )
        self._media: dict[str, DecodedSet] = {}

    def stage(self, recipe: Recipe, module: torch.nn.Module) -> Prepared:
        """The input of a stage.

        Args:
            recipe: Of the stage.
            module: As the stage before left it; features are computed with it.

        Raises:
            DataError: A class is missing in a part, after samples that failed and duplicates.
            UsageError: Stored features cannot be used for such a stage.
            RunError: A sample that the training used before cannot be used now.
        """
        try:
            prepared = self._prepared(recipe, module)
        except DataError:
            self._usable.forget()
            raise
        self._check_alike(prepared)
        return prepared

    def _prepared(self, recipe: Recipe, module: torch.nn.Module) -> Prepared:
        if self._stored is not None:
            if not (recipe.trainable == "head" and hasattr(module, "classify")):
                raise UsageError(
                    f"--features has vectors of a frozen backbone, and this training changes more than the head "
                    f"(trainable = {recipe.trainable}); train on media with --data."
                )
            if recipe.uses_targets:
                raise UsageError(
                    "--features has vectors, and the targets of this training are made from media; train on media with --data, "
                    "or without targets (--set targets='')."
                )
            return self._from_vectors(recipe, self._stored)
        if uses_features(recipe, module):
            return self._from_features(recipe, module)
        return self._from_media(recipe)

    def _from_vectors(self, recipe: Recipe, stored: FeatureSet) -> Prepared:
        """Vectors that the user brought: nothing is decoded, and equal vectors count as duplicates."""
        rows = {sample.sample_id: row for row, sample in enumerate(stored.samples)}
        parts = [
            dataclasses.replace(stored.part([stored.samples[rows[s.sample_id]] for s in part]), failures=failures)
            for part, failures in zip(
                (self._split.train, self._split.validation), _sides(stored.failures, self._split), strict=True
            )
        ]
        return self._assembled(recipe, parts, (FeatureInputs, FeatureInputs), {"kind": "stored features"})

    def _from_features(self, recipe: Recipe, module: torch.nn.Module) -> Prepared:
        preprocessing, device = self._chosen.preprocessing, str(self._processes.device)
        code = plugin_sha256(self._spec, recipe.builder)
        key = feature_key(module, recipe.head, recipe.model, preprocessing, device.partition(":")[0], code_sha256=code)
        if self._features is None or self._features[0] != key:
            self._features = key, self._extracted(module, key, device)
        parts = self._features[1]
        computed = sum(part.computed for part in parts)
        total = sum(len(part.samples) for part in parts)
        record = {"kind": "features", **key, "computed": computed, "from_cache": total - computed}
        return self._assembled(recipe, parts, (FeatureInputs, FeatureInputs), record)

    def _extracted(self, module: torch.nn.Module, key: Mapping[str, Any], device: str) -> list[FeatureSet]:
        """The features of both parts, of the samples that the training uses."""
        options, preprocessing = self._options, self._chosen.preprocessing
        root = options.cache or cache_dir()
        module.to(device)

        def extract(samples: Sequence[Sample], label: str) -> FeatureSet:
            with self._pool() as pool:
                found = extract_features(
                    module,
                    samples,
                    preprocessing,
                    pool=pool,
                    cache=FeatureCache(root / "features", key),
                    device=device,
                    batch_size=options.batch_size,
                    progress=self._progress,
                    label=label,
                )
            return self._usable.settled(found, preprocessing.fingerprint())

        parts = []
        for name, samples in zip(PARTS, (self._split.train, self._split.validation), strict=True):
            part = self._first_alone(lambda samples=samples, name=name: extract(samples, f"features, {name}"))  # type: ignore[misc]
            parts.append(part)
        module.to("cpu")
        return parts

    def _from_media(self, recipe: Recipe) -> Prepared:
        judged = self._chosen.preprocessing
        trained = preprocessing_of(
            self._spec,
            dataclasses.replace(self._chosen.recipe, training_preprocessing=recipe.training_preprocessing),
            training=True,
        )
        train, validation = self._split.train, self._split.validation
        everything = self._decoded((*train, *validation), judged)
        parts = [everything.part(train), everything.part(validation)]
        digests = {s.sample_id: digest for s, digest in zip(everything.samples, everything.digests, strict=True)}
        if trained != judged:  # the digests stay those of the judged input, in which other data are compared too
            parts[0] = self._decoded(train, trained)
        augment = None
        if recipe.augmentation:
            augment = Augmenter(
                recipe.augmentation, self._spec.modality, seed=recipe.seed, sample_rate=trained.sample_rate
            )
        threads = max(1, min(4, available_cpus() // self._processes.count))

        targets = Targets(recipe.targets, trained) if recipe.uses_targets else None
        for name in recipe.annotations if targets else ():
            having = sum(name in sample.annotations for sample in train)
            if having < len(train):
                self._tell(f"{having} of {len(train)} training samples have the annotation {name}")

        def inputs(part: DecodedSet, *, training: bool) -> MediaInputs:
            return MediaInputs(
                part,
                augment=augment,
                targets=targets if training else None,
                threads=threads,
                workers=self._options.worker_count,
                decode_timeout=self._options.decode_timeout,
                decode_cache=self._options.decode_cache,
                cache_counts=self.cache_counts,
            )

        record = {"kind": "media", "preprocessing": trained.to_mapping(), "stored": parts[0].store is not None}
        inputs_of = (partial(inputs, training=True), partial(inputs, training=False))
        return self._assembled(recipe, parts, inputs_of, record, digests)

    def _pool(self) -> DecodePool:
        options = self._options
        return DecodePool(
            workers=options.worker_count,
            timeout=options.decode_timeout,
            cache=options.decode_cache,
            counts=self.cache_counts,
        )

    def _decoded(self, samples: Sequence[Sample], preprocessing: Preprocessing) -> DecodedSet:
        """Samples decoded, once in a session for each preprocessing, of which the training part has its own or none."""
        name = preprocessing.fingerprint()
        if name not in self._media:
            self._media[name] = self._decoded_now(samples, preprocessing)
        return self._media[name]

    def _decoded_now(self, samples: Sequence[Sample], preprocessing: Preprocessing) -> DecodedSet:
        options, name = self._options, preprocessing.fingerprint()
        root = (options.cache or cache_dir()) / "decoded"

        def decode() -> DecodedSet:
            with self._pool() as pool:
                found = decode_to_store(samples, preprocessing, pool=pool, root=root, progress=self._progress)
            return self._usable.settled(found, name)

        def opened() -> DecodedSet:
            return self._usable.settled(decode_to_store(samples, preprocessing, pool=None, root=root), name)

        return self._first_alone(decode, opened)

    def _first_alone(self, work: Callable[[], T], then: Callable[[], T] | None = None) -> T:
        """Rank 0 works while the others wait; these then do the same, with what it left in the caches."""
        processes = self._processes
        if processes.is_main:
            done = work()
            processes.barrier()
            return done
        processes.barrier()
        return (then or work)()

    def _assembled(
        self,
        recipe: Recipe,
        parts: Sequence[Any],
        inputs_of: tuple[Callable[[Any], TrainingInputs], Callable[[Any], TrainingInputs]],
        source: Mapping[str, Any],
        digests: Mapping[str, str] | None = None,
    ) -> Prepared:
        """Duplicates dropped, failures told, classes checked and balanced.

        ``inputs_of`` make the inputs of the two parts. ``digests`` are those of both parts by sample id, where a part's own may
        be of another preprocessing.
        """
        train, validation = parts
        if digests is None:
            digests = {s.sample_id: d for part in parts for s, d in zip(part.samples, part.digests, strict=True)}
        failures = (train.failures, validation.failures)
        self._tell_failures(failures)
        duplicates = drop_duplicates(*([digests.get(s.sample_id) for s in part.samples] for part in parts))
        if len(duplicates.dropped):
            self._tell(str(duplicates))
            train = _rows_of(train, duplicates.kept.tolist())
        self._check_classes((train, validation), failures, len(duplicates.dropped))
        rows = balanced_rows(train.samples, recipe.seed) if recipe.balance else list(range(len(train.samples)))
        away = len(train.samples) - len(rows)
        if away:
            self._tell(f"left out {away} training samples of the larger class, so that both have {len(rows) // 2}")
            train = _rows_of(train, rows)
        used = {s.sample_id for s in (*train.samples, *validation.samples)}
        known = {name: digest for name, digest in digests.items() if name in used}
        both = inputs_of[0](train), inputs_of[1](validation)
        return Prepared(*both, known, failures, len(duplicates.dropped), away, source)

    def _check_classes(self, parts: Sequence[Any], failures: Sequence[Sequence[Failure]], dropped: int) -> None:
        for name, part, failed in zip(PARTS, parts, failures, strict=True):
            counts = Counter(sample.label for sample in part.samples)
            if not (counts[0] and counts[1]):
                more = f" and {dropped} duplicates" if dropped and name == "training" else ""
                raise DataError(
                    f"the {name} part has {counts[0]} real and {counts[1]} synthetic samples left after {len(failed)} "
                    f"failed{more}; training needs both classes in both parts."
                )

    def _check_alike(self, prepared: Prepared) -> None:
        """Processes that train on different samples would wait for each other for ever."""
        parts = (prepared.train, prepared.validation)
        seen = self._processes.gather([rows_sha256(part.samples, prepared.digests) for part in parts])
        if any(one != seen[0] for one in seen):
            raise RunError("the processes found different samples usable; give the same command again.")

    def _tell_failures(self, failures: Iterable[Sequence[Failure]]) -> None:
        for part in failures:
            for failure in part:
                self._tell(one_line(f"left out {failure.sample.member}: {failure.reason.value}, {failure.message}"))

    def _tell(self, line: str) -> None:
        """Say something once, however many stages it holds for."""
        if line not in self._told:
            self._told.add(line)
            self._progress.note(line)


def standardise(module: torch.nn.Module, inputs: TrainingInputs, batch_size: int) -> None:
    """Set the mean and standard deviation by which the module standardises features: those of the training part.

    A feature that is constant there gets a standard deviation of 1, so that another value later is not blown up.

    Args:
        module: Offers ``set_standardisation`` and, where ``inputs`` are media, ``features``.
        inputs: The training part.
        batch_size: Samples that go through the module together, where they are media.
    """
    rows = range(len(inputs.samples))
    size = len(rows) if inputs.from_features else batch_size
    batches = [list(rows[i : i + size]) for i in range(0, len(rows), size)]
    found: list[npt.NDArray[np.float64]] = []
    device = next(module.parameters()).device
    with torch.no_grad():
        for batch in inputs.batches(batches, epoch=1, augment=False):
            x = batch.inputs if inputs.from_features else module.features(batch.inputs.to(device))  # type: ignore[operator]
            found.append(x.double().cpu().numpy())
    features = torch.from_numpy(np.concatenate(found))
    mean, std = features.mean(0), features.std(0, correction=0)
    module.set_standardisation(mean.float(), torch.where(std > 0, std, 1.0).float())  # type: ignore[operator]


def _sides(failures: Sequence[Failure], split: Split) -> tuple[tuple[Failure, ...], tuple[Failure, ...]]:
    """Failures of samples that were never divided, by the part that they would be in, as far as can be told."""
    groups = {sample.group for sample in split.validation}
    stated = [{sample.split for sample in part} for part in (split.train, split.validation)]
    sides: tuple[list[Failure], list[Failure]] = ([], [])
    for failure in failures:
        sample = failure.sample
        if sample.group not in groups and sample.split in stated[0]:
            sides[0].append(failure)
        elif sample.group in groups or sample.split in stated[1]:
            sides[1].append(failure)
    return tuple(sides[0]), tuple(sides[1])


def _rows_of(part: Any, rows: Sequence[int]) -> Any:
    """Some of the samples of a FeatureSet or DecodedSet, which keeps its failures."""
    return dataclasses.replace(part.part([part.samples[row] for row in rows]), failures=part.failures)
