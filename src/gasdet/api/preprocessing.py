"""Fill a decode cache ahead of an evaluation or a training, without any model."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gasdet.api.choosing import Bases, Weights, base_texts
from gasdet.api.demo import make_demo_data
from gasdet.api.equalising import check_equalise, equalised_preprocessing
from gasdet.api.faces import check_faces, of_faces
from gasdet.bundle import resolve_weights
from gasdet.bundle.config import CONFIG_NAME, read_config
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
from gasdet.registry import load_registry
from gasdet.types import DetectorSpec, Modality, Preprocessing, Sample


def default_decode_cache() -> Path:
    """The folder that is filled where none is named: ``decode-cache`` in gasdet's cache folder."""
    return cache_dir() / "decode-cache"


@dataclass(frozen=True, slots=True)
class Filled:
    """What one preprocessing put into the cache.

    Attributes:
        detectors: Names of the detectors that take it.
        preprocessing: It, with every default written out.
        samples: How many samples it was for.
        counts: What became of those that could be decoded.
        errors: How many could not, by reason.
    """

    detectors: tuple[str, ...]
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
    modalities = {_modality(choice) for choice in choices}
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
        wanted: dict[Preprocessing, list[str]] = {}
        for choice in choices:
            name, found = _preprocessing(choice, weights, base, dataset=dataset, offline=offline, sink=sink)
            found = of_faces(found) if faces else found
            found = found if equalise is None else equalised_preprocessing(found, equalise)
            wanted.setdefault(found, []).append(name)
        known = [sample for sample in dataset.samples if skipped(sample) is None]
        filled = tuple(
            _filled(tuple(names), found, known, cache, options, dataset, sink) for found, names in wanted.items()
        )
    return Preprocessed(
        folder=cache.folder,
        total_bytes=Store(cache.folder, cache.max_bytes).total_bytes(),
        skipped=len(dataset.samples) - len(known),
        filled=filled,
    )


def _filled(
    names: tuple[str, ...],
    preprocessing: Preprocessing,
    samples: Sequence[Sample],
    cache: DecodeCache,
    options: RunOptions,
    dataset: Dataset,
    sink: ProgressSink,
) -> Filled:
    todo = [sample for sample in samples if sample.modality is preprocessing.modality]
    if not todo:
        raise DataError(f"{', '.join(names)} takes {preprocessing.modality}, and {dataset.description} has none.")
    errors: Counter[str] = Counter()
    sink.start(f"decoding for {', '.join(names)}", len(todo))
    try:
        with DecodePool(
            workers=options.worker_count, timeout=options.decode_timeout, limits=options.limits, cache=cache
        ) as pool:
            with closing(pool.run(todo, preprocessing)) as results:
                for result in results:
                    if result.reason is not None:
                        errors[result.reason.value] += 1
                    sink.advance(1, int(result.reason is not None))
            counts = pool.cache_counts
    finally:
        sink.finish()
    sink.note(counts.line(cache))
    return Filled(names, preprocessing.to_mapping(), len(todo), counts, dict(sorted(errors.items())))


def _modality(choice: str | Path) -> Modality:
    return _config(choice)[1].modality if isinstance(choice, Path) else load_registry().detector(choice).spec.modality


def _config(bundle: Path) -> tuple[str, Preprocessing]:
    """A bundle's name and preprocessing; none of its code is looked at."""
    folder = bundle_folder(bundle)
    config = read_config(folder / CONFIG_NAME, default_name=bundle.resolve().stem)
    return config.name, config.preprocessing


def _preprocessing(
    choice: str | Path, weights: Weights, bases: Bases, *, dataset: Dataset, offline: bool, sink: ProgressSink
) -> tuple[str, Preprocessing]:
    """A detector's name, and what it would be given with its weights, of which only those of the user's own must be at hand."""
    if isinstance(choice, Path):
        return _config(choice)
    entry = load_registry().detector(choice)
    spec = entry.spec
    given = {"": weights} if isinstance(weights, str) else dict(weights or {})
    wanted = given.get(entry.qualified, given.get(spec.name, given.get("")))
    named = spec.weights_named(wanted) if wanted is not None else _default(spec, dataset.is_demo)
    if named is not None:
        own: Mapping[str, Any] = named.preprocessing
    elif wanted is not None:
        resolved = resolve_weights(
            spec, wanted, demo_data=dataset.is_demo, offline=offline, bases=base_texts(bases), notify=sink.note
        )
        if resolved.message:
            sink.note(resolved.message)
        own = resolved.preprocessing
    else:
        own = {}
        sink.note(
            f"{spec.name} has no released weights: this is the detector's own preprocessing, and weights may bring "
            "another; name them with --weights."
        )
    keys = {**spec.preprocessing, **own}
    return spec.name, Preprocessing.from_mapping(spec.modality, keys, where=f"preprocessing of {spec.name}")


def _default(spec: DetectorSpec, demo_data: bool) -> Any:
    """The weights that an evaluation on these data would take first."""
    kinds = ("release", "demo") if demo_data else ("release",)
    return next((w for kind in kinds for w in spec.weights if w.kind == kind), None)


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
                "preprocessing": dict(part.preprocessing),
                "samples": part.samples,
                **dataclasses.asdict(part.counts),
                "errors": dict(part.errors),
            }
            for part in done.filled
        ],
    }
