"""Fill a decode cache ahead of an evaluation or a training, without any model."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gasdet.api.choosing import Bases, Weights, base_texts, check_bases_used, check_names_differ, weights_of_each
from gasdet.api.demo import make_demo_data
from gasdet.api.equalising import check_equalise, equalised_preprocessing
from gasdet.api.faces import check_faces, of_faces
from gasdet.bundle import resolve_weights, weights_state
from gasdet.bundle.config import CONFIG_NAME, read_config
from gasdet.bundle.delta import read_delta
from gasdet.bundle.load import bundle_folder
from gasdet.cache.store import Store
from gasdet.cachedir import cache_dir
from gasdet.data import Dataset, load_data
from gasdet.errors import DataError, UsageError
from gasdet.evaluation.decode_cache import CacheCounts, DecodeCache, holding
from gasdet.evaluation.options import RunOptions
from gasdet.evaluation.pipeline import DecodePool
from gasdet.evaluation.plan import skipped
from gasdet.progress import ProgressSink, Silent
from gasdet.registry import Registered, load_registry
from gasdet.types import DetectorSpec, Modality, Preprocessing, Sample, WeightsSpec


def default_decode_cache() -> Path:
    """The folder that is filled where none is named: ``decode-cache`` in gasdet's cache folder."""
    return cache_dir() / "decode-cache"


@dataclass(frozen=True, slots=True)
class Filled:
    """What one preprocessing put into the cache.

    Attributes:
        detectors: Names of the detectors that take it.
        weights: Of each of these detectors, the name of the weights that it was made for, in the same order; empty for a
            bundle, which brings its own, and for those in ``assumed``.
        assumed: Detectors for which no weights were chosen and that have no release, so that their own preprocessing was
            taken; with the names of their weights that take another.
        preprocessing: It, with every default written out.
        samples: How many samples it was for.
        counts: What became of those that could be decoded.
        errors: How many could not, by reason.
    """

    detectors: tuple[str, ...]
    weights: tuple[str, ...]
    assumed: Mapping[str, tuple[str, ...]]
    preprocessing: Mapping[str, Any]
    samples: int
    counts: CacheCounts
    errors: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Preprocessed:
    """A cache that was filled.

    Attributes:
        folder: Where it is, for ``--decode-cache``.
        total_bytes: What all of it takes on the disk, with what was there before.
        skipped: Samples of which it is not known what they are.
        filled: One entry for each preprocessing.
    """

    folder: Path
    total_bytes: int
    skipped: int
    filled: tuple[Filled, ...]

    @property
    def complete(self) -> bool:
        """Whether everything that can be decoded is in the cache."""
        return not any(part.counts.not_kept for part in self.filled)


def preprocess(
    detectors: str | Path | Sequence[str | Path],
    data: str | Path | Sequence[str | Path] = "demo",
    *,
    weights: Weights = None,
    base: Bases = (),
    cache: DecodeCache | None = None,
    split: str | None = None,
    datasets: Sequence[str] = (),
    categories: Sequence[str] = (),
    modality: str | None = None,
    mode: Literal["debug", "small", "full"] = "full",
    limit: int | None = None,
    total: int | None = None,
    seed: int = 0,
    faces: bool = False,
    equalise: str | None = None,
    offline: bool = False,
    options: RunOptions | None = None,
    progress: ProgressSink | None = None,
) -> Preprocessed:
    """Decode samples into a decode cache, as ``evaluate`` with the same arguments would.

    Args:
        detectors: Names of installed detectors, or paths of bundles, none of whose code runs.
        data: As for ``evaluate``.
        weights: Of the installed detectors, since weights may bring a preprocessing of their own. None takes that of the
            default release, or of the demo weights on demo data; of a detector without a release, its own, which is also that
            of weights that are still to be trained.
        base: Of weights that are delta files: the files that they are changes of.
        cache: None is ``default_decode_cache()`` with the default bound.
        split: As for ``evaluate``, as are ``datasets`` to ``seed``.
        datasets: Patterns of dataset names to keep.
        categories: Patterns of categories of a catalogue's datasets to keep.
        modality: Only this one.
        mode: How much of each dataset.
        limit: At most so many samples.
        total: At most so many samples, by the shares of a catalogue.
        seed: Of the sampling.
        faces: As the detectors get them with ``faces``.
        equalise: As they get them with ``equalise``.
        offline: Fetch nothing.
        options: Decode processes, deadline and bounds.
        progress: Told of stages and notes.

    Raises:
        GasdetError: The data, a detector or the cache cannot be had.
    """
    sink, options = progress or Silent(), options or RunOptions()
    cache = cache or DecodeCache(default_decode_cache())
    choices = [detectors] if isinstance(detectors, str | Path) else list(detectors)
    if not choices:
        raise UsageError("no detector is named whose preprocessing is wanted.")
    if faces:
        check_faces()
    takers = _takers(choices, weights)
    modalities = {taker.modality for taker in takers}
    if equalise is not None:
        check_equalise(equalise, sorted(modalities))
    # One job for all of it: what is made for one detector does not drive out what was made for another. And a folder that
    # cannot be used is told before anything is fetched.
    with holding(cache):
        make_demo_data(data, sink)
        dataset = load_data(
            data,
            split=split,
            datasets=datasets,
            mode=mode,
            limit=limit,
            seed=seed,
            modalities=modalities,
            categories=categories,
            modality=modality,
            total=total,
            offline=offline,
            progress=progress,
        )
        for note in dataset.notes:
            sink.note(note)
        wanted: dict[Preprocessing, list[_Taker]] = {}
        for taker in takers:
            found = taker.chosen(dataset.is_demo, base, offline, sink)
            found = of_faces(found) if faces else found
            found = found if equalise is None else equalised_preprocessing(found, equalise)
            wanted.setdefault(found, []).append(taker)
        check_bases_used(base, any(taker.completed for taker in takers))
        known = [sample for sample in dataset.samples if skipped(sample) is None]
        with DecodePool(
            workers=options.worker_count, timeout=options.decode_timeout, limits=options.limits, cache=cache
        ) as pool:
            filled = tuple(_filled(some, found, known, pool, cache, dataset, sink) for found, some in wanted.items())
    return Preprocessed(
        folder=cache.folder,
        total_bytes=Store(cache.folder, cache.max_bytes).total_bytes(),
        skipped=len(dataset.samples) - len(known),
        filled=filled,
    )


def _filled(
    takers: Sequence[_Taker],
    preprocessing: Preprocessing,
    samples: Sequence[Sample],
    pool: DecodePool,
    cache: DecodeCache,
    dataset: Dataset,
    sink: ProgressSink,
) -> Filled:
    names, of = tuple(taker.name for taker in takers), tuple(taker.weights for taker in takers)
    todo = [sample for sample in samples if sample.modality is preprocessing.modality]
    if not todo:
        raise DataError(f"{', '.join(names)} takes {preprocessing.modality}, and {dataset.description} has none.")
    errors: Counter[str] = Counter()
    counts = pool.cache_counts = CacheCounts()  # those of this preprocessing alone
    sink.start(f"decoding for {', '.join(names)}", len(todo))
    try:
        with closing(pool.run(todo, preprocessing)) as results:
            for result in results:
                if result.reason is not None:
                    errors[result.reason.value] += 1
                sink.advance(1, int(result.reason is not None))
    finally:
        sink.finish()
    sink.note(counts.line(cache))
    assumed = {taker.name: taker.others() for taker in takers if taker.spec is not None and not taker.weights}
    return Filled(names, of, assumed, preprocessing.to_mapping(), len(todo), counts, dict(sorted(errors.items())))


@dataclass(slots=True)
class _Taker:
    """A detector or bundle for which samples are decoded.

    Attributes:
        name: Its name.
        modality: What it takes.
        bundle: The preprocessing of a bundle; None of an installed detector.
        spec: An installed detector.
        asked: What the call says of its weights.
        weights: The name of those that it is made for, once that is known.
        completed: Whether these are a delta file, or may be one.
    """

    name: str
    modality: Modality
    bundle: Preprocessing | None = None
    spec: DetectorSpec | None = None
    asked: str | None = None
    weights: str = ""
    completed: bool = False

    def chosen(self, demo_data: bool, bases: Bases, offline: bool, sink: ProgressSink) -> Preprocessing:
        """What it would be given with its weights, of which only those of the user's own must be at hand."""
        if self.spec is None:
            assert self.bundle is not None
            return self.bundle
        spec, own = self.spec, {}
        named = _default(spec, demo_data, offline) if self.asked is None else spec.weights_named(self.asked)
        if named is not None:
            self.weights, own = named.name, dict(named.preprocessing)
            self.completed = bool(base_texts(bases)) and _may_be_delta(spec, named)
        elif self.asked is not None:
            resolved = resolve_weights(
                spec, self.asked, demo_data=demo_data, offline=offline, bases=base_texts(bases), notify=sink.note
            )
            if resolved.message:
                sink.note(resolved.message)
            self.weights, own = resolved.name, dict(resolved.preprocessing)
            self.completed = resolved.given is not None
        keys = {**spec.preprocessing, **own}
        return Preprocessing.from_mapping(spec.modality, keys, where=f"preprocessing of {spec.name}")

    def others(self) -> tuple[str, ...]:
        """Names of the detector's weights that take another preprocessing than its own."""
        assert self.spec is not None
        own = self.spec.preprocessing
        return tuple(w.name for w in self.spec.weights if {**own, **w.preprocessing} != dict(own))


def _takers(choices: Sequence[str | Path], weights: Weights) -> list[_Taker]:
    """What is chosen, with the same rules for names and weights as an evaluation has; none of a bundle's code is looked at."""
    installed: list[Registered[DetectorSpec]] = [load_registry().detector(c) for c in choices if isinstance(c, str)]
    asked, entries, takers = weights_of_each(weights, installed), iter(installed), []
    for choice in choices:
        if isinstance(choice, Path):
            config = read_config(bundle_folder(choice) / CONFIG_NAME, default_name=choice.resolve().stem)
            takers.append(_Taker(config.name, config.preprocessing.modality, bundle=config.preprocessing))
        else:
            entry = next(entries)
            takers.append(_Taker(entry.spec.name, entry.spec.modality, spec=entry.spec, asked=asked[entry.qualified]))
    check_names_differ([taker.name for taker in takers])
    return takers


def _default(spec: DetectorSpec, demo_data: bool, offline: bool) -> WeightsSpec | None:
    """The weights that an evaluation on these data would take, where none are chosen; nothing is fetched for it."""
    states = weights_state(spec)
    release = next((state for state in states if state.default), None)
    demo = next((state for state in states if state.kind == "demo" and demo_data), None)
    away = release is not None and offline and not release.available
    taken = demo if release is None or (away and demo is not None) else release
    return None if taken is None else spec.weights_named(taken.name)


def _may_be_delta(spec: DetectorSpec, weights: WeightsSpec) -> bool:
    """Whether named weights are a delta file, which is not known of those that are still to be fetched."""
    state = next(state for state in weights_state(spec) if state.name == weights.name)
    return not state.available or read_delta(Path(state.where)) is not None


def summary_of(done: Preprocessed) -> dict[str, Any]:
    """The same for JSON."""
    return {
        "decode_cache": str(done.folder),
        "total_bytes": done.total_bytes,
        "complete": done.complete,
        "skipped": done.skipped,
        "filled": [
            {
                "detectors": list(part.detectors),
                "weights": list(part.weights),
                "assumed": {name: list(others) for name, others in part.assumed.items()},
                "preprocessing": dict(part.preprocessing),
                "samples": part.samples,
                **dataclasses.asdict(part.counts),
                "errors": dict(part.errors),
            }
            for part in done.filled
        ],
    }
