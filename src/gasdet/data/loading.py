"""From what the user names to the samples that are planned."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from gasdet.data.building import Part, Stated, keep_split, make_sample
from gasdet.data.catalogue import expected_format, read_catalogue, require_local
from gasdet.data.dataset import Dataset, fingerprint
from gasdet.data.listing import counted
from gasdet.data.names import printable
from gasdet.data.sampling import MODE_CAPS, Mode, select, select_per_dataset
from gasdet.data.sources import part_of
from gasdet.errors import DataError, UsageError
from gasdet.types import MediaType, Modality, Sample

DEMO = "demo"
_STATED_LABEL = re.compile(rf"^({'|'.join(MediaType)}):(.+)$", re.DOTALL)


def load_data(
    source: str | Path | Sequence[str | Path],
    *,
    split: str | None = None,
    datasets: Sequence[str] = (),
    mode: Mode = "full",
    limit: int | None = None,
    seed: int = 0,
    modalities: Collection[Modality] | None = None,
    annotations: Sequence[str] = (),
) -> Dataset:
    """Find the samples of one or several sources and choose among them.

    Nothing is decoded, and of Parquet files only the small columns are read. docs/data.md describes every accepted layout.

    Args:
        source: ``"demo"`` (a folder of that name is ``"./demo"``); the path of a folder, zip, tar, CSV, TSV, Parquet file
            or YAML catalogue; ``"real:PATH"``, ``"synthetic:PATH"`` or ``"semisynthetic:PATH"`` for data of one label
            whose own labels are not to be looked at; or several of these.
        split: Take this split only. None takes the test split of ``demo``, and everything of other data.
        datasets: Take only data sets whose name matches one of these patterns (``*``, ``?``, in any case).
        mode: ``debug`` takes at most 20 samples of each data set, ``small`` 200, ``full`` all.
        limit: At most so many samples in all, spread evenly over (data set, label).
        seed: Decides which samples mode, limit and a catalogue's ``sampling`` choose.
        modalities: Leave samples of another known modality out.
        annotations: Columns of manifests and tables whose cells the samples keep as ``Sample.annotations``.

    Raises:
        DataError: A source cannot be read, or nothing is left of the data.
        ConfigError: A catalogue has unknown keys or unusable values.
        UsageError: ``limit`` or ``mode`` is none.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be at least 1, not {limit}.")
    if mode not in MODE_CAPS:
        raise UsageError(f"--mode must be one of {', '.join(MODE_CAPS)}, not {mode!r}.")
    given = [source] if isinstance(source, str | Path) else list(source)
    if not given:
        raise DataError("no data were given; name a folder, a manifest or demo.")
    if len({str(one) for one in given}) < len(given):
        raise DataError("the same data were given twice; name each source once.")
    chooser = _Chooser(split, tuple(datasets), modalities, tuple(annotations))
    parts = [part for one in given for part in _parts(one, chooser, seed)]
    several = len(parts) > 1
    samples = [sample for part in parts for sample in (_own_groups(part) if several else part.samples)]
    for part in parts:
        if part.samples and all(sample.media_type is None for sample in part.samples):
            part.notes.append(f"no labels ({part.unlabelled}): samples are scored and take no part in the metrics")
    notes = [f"{part.name}: {note}" if several else note for part in parts for note in part.notes]
    samples = chooser.choose(samples, notes)
    description = _description(given, split)
    if not samples:
        raise DataError(f"nothing is left of {description} ({'; '.join(notes) or 'it holds no files'}).")
    _check_unique(samples)
    cap = MODE_CAPS[mode]
    if cap is not None:
        samples = select_per_dataset(samples, cap, seed)
    if limit is not None:
        samples = select(samples, limit, seed)
    is_demo = given == [DEMO]
    return Dataset(tuple(samples), fingerprint(samples), description, is_demo, tuple(notes))


def load_csv_pair(
    train: str | Path,
    val: str | Path | None = None,
    *,
    data_root: str | Path | None = None,
    limit: int | None = None,
    seed: int = 0,
    modalities: Collection[Modality] | None = None,
    annotations: Sequence[str] = (),
) -> tuple[Dataset, Dataset | None]:
    """Load a manifest of what to train on and one of what to validate on.

    Both are one data set, called after the folder that their paths start from: a file in both has the same sample id in
    both, and a group or pair is the same in both. Rows that state no split belong to ``train`` and to ``val``, whatever
    the files are called.

    Args:
        train: A CSV or TSV manifest with labels.
        val: Another, or None.
        data_root: Where relative paths start; None for each manifest's own folder.
        limit: At most so many samples of each, spread evenly over (data set, label).
        seed: Decides which samples ``limit`` chooses.
        modalities: Leave samples of another known modality out.
        annotations: Columns whose cells the samples keep as ``Sample.annotations``.

    Returns:
        The two data sets; None for the second where there is no ``val``.

    Raises:
        DataError: A manifest cannot be read or has no labels, nothing is left of it, or there is no such folder.
        UsageError: ``limit`` is none.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be at least 1, not {limit}.")
    root = Path(train).expanduser().absolute().parent
    if data_root is not None:
        root = Path(data_root).expanduser().absolute()
        if not root.is_dir():
            raise DataError(f"there is no folder {printable(str(root))}, which is to be the data root; check the path.")
    stated = Stated(
        name=printable(root.name) or "data",
        data_root=str(root) if data_root is not None else "",
        annotations=tuple(annotations),
    )
    chooser = _Chooser(None, (), modalities)

    def load(path: str | Path, split: str) -> Dataset:
        part = part_of(Path(path), stated, form="csv", split_of_rows=split)
        notes = list(part.notes)
        samples = chooser.choose(part.samples, notes)
        if not samples:
            raise DataError(f"nothing is left of {printable(str(path))} ({'; '.join(notes) or 'it lists no files'}).")
        if part.unlabelled:
            raise DataError(f"{part.unlabelled}; training needs one.")
        _check_unique(samples)
        samples = samples if limit is None else select(samples, limit, seed)
        return Dataset(tuple(samples), fingerprint(samples), printable(str(path)), False, tuple(notes))

    return load(train, "train"), None if val is None else load(val, "val")


def _parts(source: str | Path, chooser: _Chooser, seed: int) -> list[Part]:
    """The data sets of one source, split filter applied."""
    if source == DEMO:
        return [_demo_part(chooser)]
    if isinstance(source, str) and (match := _STATED_LABEL.match(source)) and not Path(source).exists():
        stated = Stated(media_type=MediaType(match.group(1)), annotations=chooser.annotations)
        return [chooser.one_split(part_of(Path(match.group(2)), stated))]
    path = Path(source).expanduser()
    if path.suffix.lower() in (".yaml", ".yml") and path.is_file():
        return _catalogue_parts(path, chooser, seed)
    return [chooser.one_split(part_of(path, Stated(annotations=chooser.annotations)))]


def _demo_part(chooser: _Chooser) -> Part:
    from gasdet.data.demo import ensure_demo

    stated = Stated(name=DEMO, annotations=chooser.annotations)
    part = part_of(ensure_demo() / "manifest.csv", stated, form="csv")
    return replace(chooser, split=chooser.split or "test").one_split(part)


def _catalogue_parts(path: Path, chooser: _Chooser, seed: int) -> list[Part]:
    entries = read_catalogue(path)
    chosen = [entry for entry in entries if chooser.wants_dataset(entry.name)]
    if not chosen:
        raise _no_such_dataset(chooser.patterns, [entry.name for entry in entries])
    require_local(chosen, path)
    repeated = {name for name, times in Counter(entry.name for entry in chosen).items() if times > 1}
    parts = []
    for entry in chosen:
        stated = replace(entry.stated, annotations=chooser.annotations)
        part = part_of(entry.path, stated, form=expected_format(entry))
        if entry.name in repeated and entry.stated.media_type is not None:
            part.samples = [_below(sample, entry.stated.media_type) for sample in part.samples]
        if entry.max_samples is not None:
            part.samples = select_per_dataset(part.samples, entry.max_samples, seed)
        parts.append(chooser.one_split(part))
    return parts


@dataclass(frozen=True, slots=True)
class _Chooser:
    """What the user takes of the data."""

    split: str | None
    patterns: tuple[str, ...]
    modalities: Collection[Modality] | None
    annotations: tuple[str, ...] = ()

    def wants_dataset(self, name: str) -> bool:
        folded = name.casefold()
        return not self.patterns or any(fnmatchcase(folded, pattern.casefold()) for pattern in self.patterns)

    def one_split(self, part: Part) -> Part:
        """Keep the asked split of a part."""
        if self.split is not None:
            keep_split(part, self.split)
        return part

    def choose(self, samples: list[Sample], notes: list[str]) -> list[Sample]:
        """Keep the asked data sets and modalities; what modalities leave out is noted."""
        if self.patterns and samples:
            names = list(dict.fromkeys(sample.dataset for sample in samples))
            samples = [sample for sample in samples if self.wants_dataset(sample.dataset)]
            if not samples:
                raise _no_such_dataset(self.patterns, names)
        if self.modalities is None:
            return samples
        others = Counter(s.modality for s in samples if s.modality is not None and s.modality not in self.modalities)
        for modality, count in sorted(others.items()):
            notes.append(f"{counted(count, f'{modality} sample')} left out: no chosen detector takes them")
        return [s for s in samples if s.modality is None or s.modality in self.modalities]


def _no_such_dataset(patterns: Sequence[str], names: Sequence[str]) -> DataError:
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    return DataError(f"no data set's name matches {' or '.join(patterns)}; there are {shown}.")


def _own_groups(part: Part) -> list[Sample]:
    """Where several sources are put together, group "1" of one is not group "1" of another; nor is pair "1"."""
    samples = []
    for sample in part.samples:
        own = sample.group == sample.sample_id
        if not own or sample.pair:
            group = sample.group if own else f"{part.name}:{sample.group}"
            pair = f"{part.name}:{sample.pair}" if sample.pair else ""
            sample = replace(sample, group=group, pair=pair)
        samples.append(sample)
    return samples


def _below(sample: Sample, media_type: MediaType) -> Sample:
    """The sample with its label as the first folder: entries of one name may hold files of the same names."""
    skip = (sample.skip, sample.skip_message) if sample.skip is not None else None
    return make_sample(
        sample.dataset,
        f"{media_type}/{sample.member}",
        sample.locator,
        sample.modality,
        sample.media_type,
        generator=sample.generator,
        group=sample.group if sample.group != sample.sample_id else "",
        split=sample.split,
        weight=sample.weight,
        pair=sample.pair,
        released=sample.released,
        skip=skip,
        annotations=sample.annotations,
    )


def _check_unique(samples: Sequence[Sample]) -> None:
    """Records are told apart by sample id."""
    seen: dict[str, Sample] = {}
    for sample in samples:
        first = seen.setdefault(sample.sample_id, sample)
        if first is not sample:
            raise DataError(
                f"{printable(first.locator.path)} and {printable(sample.locator.path)} both give {sample.member} of the "
                f"data set {sample.dataset}; put them into a catalogue with a name for each."
            )


def _description(given: Sequence[str | Path], split: str | None) -> str:
    shown = ", ".join(printable(str(one)) for one in given)
    chosen = split or ("test" if list(given) == [DEMO] else "")
    return f"{shown} ({chosen} split)" if chosen else shown
