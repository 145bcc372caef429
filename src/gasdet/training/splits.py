"""Which samples are trained on, and which choose the weights. What shares an origin is never in both."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import Enum
from fnmatch import fnmatchcase
from typing import Literal

from gasdet.data import Dataset
from gasdet.data.dates import days_of
from gasdet.data.listing import counted
from gasdet.data.names import printable
from gasdet.errors import DataError, UsageError
from gasdet.ties import tied
from gasdet.types import LABEL_REAL, Locator, Sample

SplitBy = Literal["stated", "group", "generator", "dataset", "released"]

_TRAIN = frozenset({"", "train", "training"})
_VALIDATION = frozenset({"val", "valid", "validation", "dev"})


@dataclass(frozen=True, slots=True)
class Split:
    """A dataset's samples by what training does with them, each in the dataset's order.

    Attributes:
        train: Labelled samples that the weights and the standardisation are fitted on.
        validation: Labelled samples that choose the weights to keep. No group and no pair is in both.
        left_out: How many samples take no part, by reason in words.
        how: How the validation samples were found, in words.
        name: The validation part in short, for a record: ``val``, ``generator sdxl``.
        notes: Lines for the user.
    """

    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    left_out: dict[str, int]
    how: str
    name: str
    notes: tuple[str, ...] = ()


class _Verdict(Enum):
    """Where a sample belongs by itself."""

    TRAINING = "training"
    VALIDATION = "validation"
    EITHER = "either"


_Ruling = _Verdict | str
"""A verdict, or why the sample can be in neither part, in words."""


def split_samples(
    dataset: Dataset,
    val_fraction: float,
    seed: int,
    *,
    val: Dataset | None = None,
    by: SplitBy = "stated",
    hold_out: Sequence[str] = (),
    released_after: date | None = None,
) -> Split:
    """Divide a dataset into what is trained on and what chooses the weights; docs/splits.md has the rules at length.

    Samples of one group or one pair have one origin, and an origin is never in both parts. Whole origins are held out in
    the order of a hash of seed and name, which is the same on every machine, until each class has its share. Samples that
    are added later do not change that order, but where in it the share is reached: origins near that place may change sides.
    The data's own test samples are in neither part.

    Args:
        dataset: Samples; those without a label, those to be skipped, and test samples are left out.
        val_fraction: Share to hold out: of each class (stated, where the data state no validation split; group), or of the
            real samples (generator, released).
        seed: Of the choice of origins.
        val: Validation data of their own; ``by`` must be "stated" then, and ``val_fraction`` has no effect.
        by: ``stated`` takes the data's validation split, or groups where they state none; ``group`` holds out groups
            whatever the data state; ``generator`` the synthetic samples of the generators ``hold_out``; ``dataset`` the data
            sets ``hold_out``; ``released`` the synthetic samples of generators released on or after ``released_after``.
        hold_out: Names, or patterns with ``*`` and ``?``, in any case.
        released_after: The first day of what is held out.

    Raises:
        UsageError: The options do not go together.
        DataError: An origin is in both parts of a split that the data state, a name or date is unknown (the message says
            which there are), or a class is missing in a part.
    """
    _check_options(val, by, hold_out, released_after)
    left_out: Counter[str] = Counter()
    others: list[Sample] = []
    pool = [s for s in _usable(dataset.samples, left_out) if _for_training(s, left_out, others)]
    if val is not None:
        split = _with_validation_data(dataset, pool, val, left_out)
    elif by == "stated" and any(_states_validation(s) for s in pool):
        split = _stated(dataset, pool, left_out)
    elif by in ("stated", "group"):
        split = _by_group(pool, val_fraction, seed, left_out)
    else:
        if by == "released":
            assert released_after is not None
            rule, name = _release_rule(pool, released_after), f"released from {released_after}"
        else:
            rule, name = _name_rule(pool, by, hold_out), f"{by} {', '.join(hold_out)}"
        split = _by_rule(pool, rule, name, val_fraction, seed, left_out)
    _check_classes(dataset, split)
    return _with_note_on_test(split, others)


def origins(samples: Sequence[Sample]) -> list[str]:
    """The name of each sample's origin: equal for samples that one group, one pair, or a chain of them ties together."""
    return tied([sample.group for sample in samples], [sample.pair for sample in samples])


def _check_options(val: Dataset | None, by: SplitBy, hold_out: Sequence[str], released_after: date | None) -> None:
    if val is not None and by != "stated":
        raise UsageError(
            f"--val gives the validation data, so they cannot be split off by {by}; leave one of them out."
        )
    if hold_out and by not in ("generator", "dataset"):
        raise UsageError("--hold-out names generators or datasets; add --split-by generator or --split-by dataset.")
    if (released_after is not None) != (by == "released"):
        raise UsageError("--released-after DATE and --split-by released go together.")


def _usable(samples: Iterable[Sample], left_out: Counter[str], what: str = "") -> Iterator[Sample]:
    for sample in samples:
        if sample.skip is not None:
            left_out[f"{what}skipped: {sample.skip.value}"] += 1
        elif sample.label is None:
            left_out[f"{what}no label"] += 1
        else:
            yield sample


def _for_training(sample: Sample, left_out: Counter[str], others: list[Sample]) -> bool:
    """Whether a sample's split lets it take part at all; one of the test split or the like goes to the others."""
    if sample.split.lower() in _TRAIN or _states_validation(sample):
        return True
    left_out[f"belongs to split {sample.split!r}"] += 1
    others.append(sample)
    return False


def _states_validation(sample: Sample) -> bool:
    return sample.split.lower() in _VALIDATION


def _stated(dataset: Dataset, pool: Sequence[Sample], left_out: Counter[str]) -> Split:
    """The split that the data state."""
    of = origins(pool)
    sides = {
        side: {o for o, s in zip(of, pool, strict=True) if _states_validation(s) is side} for side in (False, True)
    }
    if shared := sides[False] & sides[True]:
        raise DataError(
            f"{dataset.description}: {len(shared)} groups, e.g. {min(shared)!r}, are in both the training and the "
            "validation split; put each group (with what pairs tie to it) into one of them."
        )
    train = tuple(s for s in pool if not _states_validation(s))
    validation = tuple(s for s in pool if _states_validation(s))
    return Split(train, validation, dict(left_out), "the data's own validation split", "val")


def _with_validation_data(dataset: Dataset, pool: Sequence[Sample], val: Dataset, left_out: Counter[str]) -> Split:
    """Validation data that the user gives apart from the training data."""
    given = list(_usable(val.samples, left_out, "validation data: "))
    validation = [s for s in given if _states_validation(s)]
    if validation:
        left_out["validation data: not in their validation split"] += len(given) - len(validation)
    elif len(names := {s.split for s in given}) > 1:
        shown = ", ".join(sorted(name or "none" for name in names))
        raise DataError(
            f"the validation data {val.description} have the splits {shown} and none called val; give data of one split."
        )
    else:
        validation = given
    places, named_so = {_place(s) for s in validation}, {s.sample_id: s for s in validation}
    train = []
    for sample in pool:
        if _states_validation(sample):
            left_out[f"belongs to split {sample.split!r}"] += 1
        elif _place(sample) in places:
            left_out["is in the validation data too"] += 1
        elif other := named_so.get(sample.sample_id):
            raise DataError(
                f"{printable(sample.locator.path)}, to be trained on, and {printable(other.locator.path)}, of the validation "
                f"data, are other files and both are {printable(sample.member)} of a data set {printable(sample.dataset)}; "
                "give one of the two folders another name, or put them into catalogues with a name for each."
            )
        else:
            train.append(sample)
    for noun, named in (("groups", _bare_group), ("pairs", _bare_pair)):
        if shared := ({named(s) for s in train} & {named(s) for s in validation}) - {""}:
            raise DataError(
                f"{len(shared)} {noun}, e.g. {min(shared)!r}, are in both {dataset.description} and the validation data "
                f"{val.description}; take them out of one, or, where they only have the same name, give both as --data "
                "with --split-by dataset."
            )
    how = f"{val.description}, given as validation data"
    return Split(tuple(train), tuple(validation), dict(+left_out), how, val.description)


def _place(sample: Sample) -> Locator:
    """Where its bytes are; the size is known of some ways to name a file only."""
    return replace(sample.locator, size=-1)


def _bare_group(sample: Sample) -> str:
    """The group as its table has it: where several sources were put together, it bears the data set's name."""
    return sample.group.removeprefix(f"{sample.dataset}:")


def _bare_pair(sample: Sample) -> str:
    return sample.pair.removeprefix(f"{sample.dataset}:")


def _by_group(pool: Sequence[Sample], fraction: float, seed: int, left_out: Counter[str]) -> Split:
    """Hold out origins until each class has its share."""
    of = origins(pool)
    members: dict[str, list[int]] = defaultdict(list)
    for origin, sample in zip(of, pool, strict=True):
        assert sample.label is not None, "unlabelled samples were left out before"
        members[origin].append(sample.label)
    wanted = {label: max(1, round(fraction * sum(s.label == label for s in pool))) for label in (0, 1)}
    held_out: set[str] = set()
    for origin in _by_hash(members, seed):
        if any(wanted[label] > 0 for label in members[origin]):
            held_out.add(origin)
            for label in members[origin]:
                wanted[label] -= 1
    train = tuple(s for s, o in zip(pool, of, strict=True) if o not in held_out)
    validation = tuple(s for s, o in zip(pool, of, strict=True) if o in held_out)
    how = f"{len(held_out)} groups held out by hash, {fraction:g} of each class"
    return Split(train, validation, dict(left_out), how, f"{fraction:g} by group, seed {seed}")


def _by_hash(names: Iterable[str], seed: int) -> list[str]:
    """Names in an order that is random and the same everywhere, and in which another name more changes nothing else."""
    return sorted(names, key=lambda n: hashlib.sha256(f"{seed}\x00{n}".encode("utf-8", "surrogateescape")).digest())


def _name_rule(pool: Sequence[Sample], by: SplitBy, hold_out: Sequence[str]) -> Callable[[Sample], _Ruling]:
    """Held out is what has one of the names: as generator (real samples can go anywhere), or as data set."""

    def name_of(sample: Sample) -> str:
        return sample.generator if by == "generator" else sample.dataset

    named = {name_of(s) for s in pool if by == "dataset" or s.label != LABEL_REAL} - {""}
    shown = ", ".join(sorted(named)[:20]) + (f" and {len(named) - 20} more" if len(named) > 20 else "") or "none"
    if not hold_out:
        raise UsageError(f"--split-by {by} needs --hold-out with the name of a {by}; there are {shown}.")
    held_out: set[str] = set()
    for pattern in hold_out:
        matching = {name for name in named if fnmatchcase(name.casefold(), pattern.casefold())}
        if not matching:
            what = "synthetic samples of a generator" if by == "generator" else "samples of a data set"
            raise DataError(f"--hold-out {pattern}: no {what} called that; there are {shown}.")
        held_out |= matching

    def rule(sample: Sample) -> _Ruling:
        if by == "generator" and sample.label == LABEL_REAL:
            return _Verdict.EITHER
        if not name_of(sample):
            return "synthetic, and its generator is not known"
        return _Verdict.VALIDATION if name_of(sample) in held_out else _Verdict.TRAINING

    return rule


def _release_rule(pool: Sequence[Sample], bound: date) -> Callable[[Sample], _Ruling]:
    """Held out are synthetic samples released on the day or later; real samples can go anywhere."""
    days = {released: days_of(released) for released in {s.released for s in pool if s.label != LABEL_REAL} - {""}}
    for released, period in days.items():
        if period is None:
            member = next(s.member for s in pool if s.released == released)
            raise DataError(f"{member} is released {released!r}, which is no date like 2024, 2024-08 or 2024-08-31.")
    periods = [period for period in days.values() if period is not None]
    if not periods:
        raise DataError(
            "none of the synthetic samples has a release date; give a table a column released, or catalogue entries a key."
        )
    first, last = min(p[0] for p in periods), max(p[1] for p in periods)
    if not any(p[0] >= bound for p in periods) or not any(p[1] < bound for p in periods):
        raise DataError(
            f"--released-after {bound}: training needs generators from before that day and validation from it on, and the "
            f"data's release dates go from {first} to {last}."
        )

    def rule(sample: Sample) -> _Ruling:
        if sample.label == LABEL_REAL:
            return _Verdict.EITHER
        period = days.get(sample.released)
        if period is None:
            return "synthetic, and its release date is not known"
        if period[0] < bound <= period[1]:
            return f"released {sample.released}, which may be before or after {bound}"
        return _Verdict.VALIDATION if period[0] >= bound else _Verdict.TRAINING

    return rule


def _by_rule(
    pool: Sequence[Sample],
    rule: Callable[[Sample], _Ruling],
    name: str,
    fraction: float,
    seed: int,
    left_out: Counter[str],
) -> Split:
    """Give every origin a side, and leave out those of its samples that do not belong there."""
    rulings, of = [rule(s) for s in pool], origins(pool)
    members: dict[str, Counter[_Ruling]] = defaultdict(Counter)
    for origin, ruling in zip(of, rulings, strict=True):
        members[origin][ruling] += 1
    held_out = _origins_of_validation(members, fraction, seed)
    train: list[Sample] = []
    validation: list[Sample] = []
    for sample, ruling, origin in zip(pool, rulings, of, strict=True):
        if isinstance(ruling, str):
            left_out[ruling] += 1
        elif origin in held_out and ruling is _Verdict.TRAINING:
            left_out["shares its origin with validation samples"] += 1
        elif origin not in held_out and ruling is _Verdict.VALIDATION:
            left_out["held out, and shares its origin with training samples"] += 1
        else:
            (validation if origin in held_out else train).append(sample)
    how = f"held out: {name}"
    if any(ruling is _Verdict.EITHER for ruling in rulings):
        real = sum(s.label == LABEL_REAL for s in validation)
        how += f"; with {counted(real, 'real sample')}"
    return Split(tuple(train), tuple(validation), dict(left_out), how, name)


def _origins_of_validation(members: Mapping[str, Counter[_Ruling]], fraction: float, seed: int) -> set[str]:
    """The origins on the validation side.

    An origin with held-out samples is on it, unless real samples tie those to samples of the training's generators (a source
    clip with one forgery by each method). Such origins, and those without held-out samples, are taken by hash until the
    share of real samples is reached; the rest is the training's.
    """

    def is_held_out(kinds: Counter[_Ruling]) -> bool:
        return bool(kinds[_Verdict.VALIDATION]) and not (kinds[_Verdict.TRAINING] and kinds[_Verdict.EITHER])

    chosen = {origin for origin, kinds in members.items() if is_held_out(kinds)}
    real = {origin: kinds[_Verdict.EITHER] for origin, kinds in members.items() if kinds[_Verdict.EITHER]}
    wanted = max(1, round(fraction * sum(real.values()))) - sum(real.get(origin, 0) for origin in chosen)
    for origin in _by_hash(set(real) - chosen, seed):
        if wanted <= 0:
            break
        chosen.add(origin)
        wanted -= real[origin]
    return chosen


def _check_classes(dataset: Dataset, split: Split) -> None:
    for name, part in (("training", split.train), ("validation", split.validation)):
        counts = Counter(sample.label for sample in part)
        if not (counts[0] and counts[1]):
            reasons = "; ".join(f"{count} left out: {reason}" for reason, count in split.left_out.items())
            raise DataError(
                f"{dataset.description}: the {name} part has {counts[0]} real and {counts[1]} synthetic samples; training "
                "needs both classes in both parts, and groups (or a split column) that let them be divided"
                + (f" ({reasons})." if reasons else ".")
            )


def _with_note_on_test(split: Split, others: Sequence[Sample]) -> Split:
    """Say it where the data's own test split shares origins with what is trained on or chosen by."""
    used = (*split.train, *split.validation)
    of = origins((*used, *others))
    shared = set(of[: len(used)]) & set(of[len(used) :])
    if not shared:
        return split
    note = (
        f"{counted(len(shared), 'group')}, e.g. {min(shared)!r}, of the training or validation part are also in the data's own "
        f"split {others[0].split!r}: results on that split will look better than they are"
    )
    return Split(split.train, split.validation, split.left_out, split.how, split.name, (note,))
