"""From what the user names to the samples that are planned."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from gasdet.data.building import Part, Stated
from gasdet.data.catalogue import is_catalogue, load_catalogue
from gasdet.data.catalogue_parts import CatalogueParts, parts_of_catalogue
from gasdet.data.choosing import Choice, member_of
from gasdet.data.dataset import Dataset, fingerprint
from gasdet.data.names import printable
from gasdet.data.sampling import MODE_CAPS, Mode, select, select_limit, select_total
from gasdet.data.sources import part_of
from gasdet.errors import DataError, UsageError, about_lines
from gasdet.progress import ProgressSink
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
    categories: Sequence[str] = (),
    modality: Modality | str | None = None,
    total: int | None = None,
    offline: bool = False,
    progress: ProgressSink | None = None,
) -> Dataset:
    """Find the samples of one or several sources and choose among them.

    Nothing is decoded, and of Parquet files only the small columns are read. What a catalogue has elsewhere is fetched first.
    docs/data.md describes every accepted layout, docs/catalogues.md catalogues.

    Args:
        source: ``"demo"`` (a folder of that name is ``"./demo"``); the path of a folder, zip, tar, CSV, TSV, Parquet file
            or YAML catalogue; ``"starter"``, the catalogue that is shipped; ``"real:PATH"``, ``"synthetic:PATH"`` or
            ``"semisynthetic:PATH"`` for data of one label whose own labels are not to be looked at; or several of these.
        split: Take this split only. None takes the test split of ``demo``, and everything of other data.
        datasets: Take only data sets whose name matches one of these patterns (``*``, ``?``, in any case).
        mode: ``debug`` takes at most 20 samples of each data set, ``small`` 200, ``full`` all; a catalogue may state totals
            instead.
        limit: At most so many samples in all, spread evenly over (data set, label), of which ``mode`` and totals may leave
            fewer.
        seed: Decides which samples mode, limit and a catalogue's ``sampling`` choose.
        modalities: Leave samples of another known modality out.
        annotations: Columns of manifests and tables whose cells the samples keep as ``Sample.annotations``.
        categories: Take only a catalogue's data sets whose category matches one of these patterns.
        modality: Take this modality only; a catalogue's data sets of another are not even fetched.
        total: At most so many samples in all, shared out among the data sets as the catalogues' shares and floors say;
            counts instead of the catalogues' own totals.
        offline: Fetch nothing; what is not at hand is an error.
        progress: Told of downloads.

    Raises:
        DataError: A source cannot be read, or nothing is left of the data.
        FetchError: A catalogue's data cannot be fetched.
        ConfigError: A catalogue has unknown keys or unusable values.
        UsageError: ``limit``, ``total``, ``mode`` or ``modality`` is none, or ``categories`` are asked of what is no
            catalogue.
    """
    given = [source] if isinstance(source, str | Path) else list(source)
    choice = Choice(
        split=split,
        patterns=tuple(datasets),
        categories=tuple(categories),
        modality=member_of(Modality, modality, "--modality"),
        modalities=modalities,
        annotations=tuple(annotations),
    )
    _check_use(given, choice, mode, limit, total)
    loading = _Loading(choice, mode, total, seed, offline, progress)
    parts = [part for one in given for part in loading.parts_of(one)]
    several = len(parts) > 1
    samples = [sample for part in parts for sample in (_own_groups(part) if several else part.samples)]
    for part in parts:
        if part.samples and all(sample.media_type is None for sample in part.samples):
            part.notes.append(f"no labels ({part.unlabelled}): samples are scored and take no part in the metrics")
    notes = loading.notes + [f"{part.name}: {note}" if several else note for part in parts for note in part.notes]
    samples = choice.choose(samples, notes)
    description = _description(given, split)
    if not samples:
        raise DataError(f"nothing is left of {description} ({'; '.join(notes) or 'it holds no files'}).")
    _check_unique(samples, loading.lines)
    samples = loading.sampled(samples, limit)
    if not samples:
        raise DataError(
            f"nothing is left of {description}: its totals and mode leave no sample of those that a limit of {limit} takes; "
            "give a larger one."
        )
    is_demo = given == [DEMO]
    taken = {sample.dataset for sample in samples}
    sources = tuple(told for told in loading.sources if told["name"] in taken)
    return Dataset(tuple(samples), fingerprint(samples), description, is_demo, tuple(notes), sources)


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
    choice = Choice(modalities=modalities)

    def load(path: str | Path, split: str) -> Dataset:
        part = part_of(Path(path), stated, form="csv", split_of_rows=split)
        notes = list(part.notes)
        samples = choice.choose(part.samples, notes)
        if not samples:
            raise DataError(f"nothing is left of {printable(str(path))} ({'; '.join(notes) or 'it lists no files'}).")
        if part.unlabelled:
            raise DataError(f"{part.unlabelled}; training needs one.")
        _check_unique(samples)
        samples = samples if limit is None else select(samples, limit, seed)
        return Dataset(tuple(samples), fingerprint(samples), printable(str(path)), False, tuple(notes))

    return load(train, "train"), None if val is None else load(val, "val")


def _check_use(given: Sequence[str | Path], choice: Choice, mode: str, limit: int | None, total: int | None) -> None:
    """Refuse what cannot be meant."""
    for option, number in (("--limit", limit), ("--total", total)):
        if number is not None and number < 1:
            raise UsageError(f"{option} must be at least 1, not {number}.")
    if mode not in MODE_CAPS:
        raise UsageError(f"--mode must be one of {', '.join(MODE_CAPS)}, not {mode!r}.")
    if not given:
        raise DataError("no data were given; name a folder, a manifest or demo.")
    if len({str(one) for one in given}) < len(given):
        raise DataError("the same data were given twice; name each source once.")
    for one in given:
        if choice.categories and not is_catalogue(one):
            raise UsageError(f"--category is for catalogues, and {printable(str(one))} is none.")


@dataclass(slots=True)
class _Loading:
    """One call's work on its sources, and what is learnt on the way."""

    choice: Choice
    mode: Mode
    total: int | None
    seed: int
    offline: bool
    progress: ProgressSink | None
    notes: list[str] = field(default_factory=list)
    sources: list[Mapping[str, str]] = field(default_factory=list)
    shares: dict[str, Fraction] = field(default_factory=dict)
    floors: dict[str, int] = field(default_factory=dict)
    first: dict[str, frozenset[str]] = field(default_factory=dict)
    lines: dict[str, tuple[int, ...]] = field(default_factory=dict)
    beyond: list[Sample] = field(default_factory=list)
    shared_out: set[str] = field(default_factory=set)

    def parts_of(self, source: str | Path) -> list[Part]:
        """The data sets of one source, split filter applied."""
        choice = self.choice
        if source == DEMO:
            return [_demo_part(choice)]
        if isinstance(source, str) and (match := _STATED_LABEL.match(source)) and not Path(source).exists():
            stated = Stated(media_type=MediaType(match.group(1)), annotations=choice.annotations)
            return [choice.one_split(part_of(Path(match.group(2)), stated))]
        if is_catalogue(source):
            return self._catalogue(source)
        return [choice.one_split(part_of(Path(source).expanduser(), Stated(annotations=choice.annotations)))]

    def _catalogue(self, source: str | Path) -> list[Part]:
        found: CatalogueParts = parts_of_catalogue(
            load_catalogue(source),
            self.choice,
            mode=self.mode,
            total=self.total,
            seed=self.seed,
            offline=self.offline,
            progress=self.progress,
        )
        self.notes += found.notes
        self.sources += found.sources
        self.shares |= found.shares
        self.floors |= found.floors
        self.first |= found.first
        self.lines |= found.lines
        self.beyond += found.beyond
        if found.has_own_total:
            self.shared_out |= set(found.shares)
        return found.parts

    def sampled(self, samples: list[Sample], limit: int | None) -> list[Sample]:
        """Those that the total, the mode's cap and the limit leave, where there are such."""
        kept = self._capped(samples)
        if limit is None:
            return kept
        if self.total is not None:  # a limit asks nothing of data sets to which the total gave nothing
            shared = select_total(samples, self.total, self.seed, self.shares, self.floors, first=self.first)
            return select_limit(kept, shared, limit, self.seed, self.first)
        everything = [*samples, *self.choice.choose(self.beyond, [])] if self.beyond else samples
        return select_limit(kept, everything, limit, self.seed, self.first)

    def _capped(self, samples: list[Sample]) -> list[Sample]:
        """Those that the total and the mode's cap leave. What a catalogue shared out for this mode has no cap."""
        cap = MODE_CAPS[self.mode]
        if cap is None and self.total is None:
            return samples
        names = {sample.dataset for sample in samples} - self.shared_out
        caps = {} if cap is None else dict.fromkeys(names, cap)
        total = len(samples) if self.total is None else self.total
        return select_total(samples, total, self.seed, self.shares, self.floors, caps, self.first)


def _demo_part(choice: Choice) -> Part:
    from gasdet.data.demo import ensure_demo

    stated = Stated(name=DEMO, annotations=choice.annotations)
    part = part_of(ensure_demo() / "manifest.csv", stated, form="csv")
    return replace(choice, split=choice.split or "test").one_split(part)


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


def _check_unique(samples: Sequence[Sample], lines: Mapping[str, Sequence[int]] | None = None) -> None:
    """Records are told apart by sample id. ``lines`` are those of a catalogue's entries, by data set."""
    seen: dict[str, Sample] = {}
    for sample in samples:
        first = seen.setdefault(sample.sample_id, sample)
        if first is not sample:
            with about_lines("twice", *(lines or {}).get(sample.dataset, ())):
                raise DataError(
                    f"{printable(first.locator.path)} and {printable(sample.locator.path)} both give {sample.member} of the "
                    f"data set {sample.dataset}; put them into a catalogue with a name for each."
                )


def _description(given: Sequence[str | Path], split: str | None) -> str:
    shown = ", ".join(printable(str(one)) for one in given)
    chosen = split or ("test" if list(given) == [DEMO] else "")
    return f"{shown} ({chosen} split)" if chosen else shown
