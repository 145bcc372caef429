"""What all kinds of data have in common on their way to samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from gasdet.data.dates import canonical_date
from gasdet.data.labels import canonical_split
from gasdet.data.listing import Problem, archive_problem, counted, is_archive
from gasdet.errors import DataError
from gasdet.types import NO_ANNOTATIONS, Locator, MediaType, Modality, Reason, Sample, sample_id


@dataclass(frozen=True, slots=True)
class Stated:
    """What the user says of a whole source, in a catalogue or on the command line; it goes before what the data say.

    Attributes:
        name: Of the data set; a table's dataset column is not looked at then.
        media_type: Of every sample. Labels in the data are not looked at then.
        modality: Of every sample: files whose name or content says another one are left out.
        generator: Of every sample.
        split: Of every sample where the data name no splits; else the one to take.
        released: Release date of every sample whose row states none, ``YYYY[-MM[-DD]]``.
        group: Name of the column with the group; ``folder`` for a tree whose folders hold what belongs together.
        include_paths: Take only members whose path contains one of these (or matches it, where it has ``*`` or ``?``).
        exclude_paths: Leave these out, in the same sense.
        archive_include_paths: Of these, too, one must occur: where the first choose among archives, these choose in them.
        archive_exclude_paths: Leave these out, too.
        data_columns: The columns with the media (or with their paths, in a manifest).
        filter_column: Take only rows of a table in which this column...
        filter_values: ...has one of these values; see ``RowFilter``.
        data_root: Folder that a manifest's relative paths start from, where it is not the manifest's own.
        labels_required: Whether data without labels are an error.
        annotations: Columns of a table whose cells the samples keep, in any case.
    """

    name: str = ""
    media_type: MediaType | None = None
    modality: Modality | None = None
    generator: str = ""
    split: str = ""
    released: str = ""
    group: str = ""
    include_paths: tuple[str, ...] = ()
    exclude_paths: tuple[str, ...] = ()
    archive_include_paths: tuple[str, ...] = ()
    archive_exclude_paths: tuple[str, ...] = ()
    data_columns: tuple[str, ...] = ()
    filter_column: str = ""
    filter_values: tuple[str, ...] = ()
    data_root: str = ""
    labels_required: bool = False
    annotations: tuple[str, ...] = ()

    def accepts(self, member: str) -> bool:
        """Whether the four lists of paths let a member through."""
        for asked in (self.include_paths, self.archive_include_paths):
            if asked and not any(_matches(member, pattern) for pattern in asked):
                return False
        return not any(_matches(member, pattern) for pattern in (*self.exclude_paths, *self.archive_exclude_paths))

    def fits(self, modality: Modality | None) -> bool:
        """Whether a file of that modality belongs here. A clip's sound is a recording, so audio accepts clips."""
        if self.modality is None or modality is None or modality is self.modality:
            return True
        return self.modality is Modality.AUDIO and modality is Modality.VIDEO


def _matches(member: str, pattern: str) -> bool:
    return fnmatchcase(member, pattern) if any(c in pattern for c in "*?") else pattern in member


@dataclass(slots=True)
class Part:
    """The samples of one source, in their order, and lines for the user.

    Attributes:
        name: Name of the data set.
        samples: May be empty.
        notes: Without the data set's name.
        unlabelled: Where the data have no labels, what they lack, in words; empty otherwise.
    """

    name: str
    samples: list[Sample] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unlabelled: str = ""


def make_sample(
    dataset: str,
    member: str,
    locator: Locator,
    modality: Modality | None,
    media_type: MediaType | None,
    *,
    generator: str = "",
    group: str = "",
    split: str = "",
    weight: float = 1.0,
    pair: str = "",
    released: str = "",
    skip: Problem | None = None,
    annotations: Mapping[str, str] = NO_ANNOTATIONS,
) -> Sample:
    """A sample with its id; without a group it is a group of its own."""
    identity = sample_id(dataset, member)
    return Sample(
        sample_id=identity,
        dataset=dataset,
        member=member,
        locator=locator,
        modality=modality,
        media_type=media_type,
        generator=generator,
        group=group or identity,
        split=canonical_split(split),
        weight=weight,
        pair=pair,
        released=canonical_date(released),
        skip=skip[0] if skip else None,
        skip_message=skip[1] if skip else "",
        annotations=annotations or NO_ANNOTATIONS,
    )


def unknown_modality(member: str, head: bytes | None = None) -> Problem:
    """The skip of a file that is no known kind of media; an archive's says so.

    Args:
        member: Its path in the data.
        head: Its first bytes, where they are known.
    """
    if is_archive(member.rpartition("/")[2], head):
        return archive_problem(member)
    return Reason.UNKNOWN_MODALITY, f"neither the name nor the first bytes of {member} say image, video or audio"


def left_out_notes(stated: Stated, not_asked: int, other_modality: int, noun: str) -> list[str]:
    """The lines about members that ``include_paths``, ``exclude_paths`` or ``modality`` left out."""
    notes = []
    if not_asked:
        notes.append(f"{counted(not_asked, noun)} left out by include_paths and exclude_paths")
    if other_modality:
        notes.append(
            f"{counted(other_modality, noun)} of another modality left out of a data set stated as {stated.modality}"
        )
    return notes


def keep_split(part: Part, split: str) -> Counter[str]:
    """Take one split of a part.

    Returns:
        How many samples of which other splits are gone.

    Raises:
        DataError: The part has samples, and none of that split.
    """
    wanted = canonical_split(split)
    others = Counter(sample.split for sample in part.samples if sample.split != wanted)
    part.samples = [sample for sample in part.samples if sample.split == wanted]
    if others and not part.samples:
        has = sorted(set(others) - {""})
        told = f"it has {', '.join(has)}" if has else "its data name no splits"
        raise DataError(f"{part.name} has no split {split!r}: {told}.")
    return others


def merge_repeated(samples: Iterable[Sample], notes: list[str]) -> list[Sample]:
    """Keep each member once, as its first row has it. One that a table lists with different labels becomes a skipped sample."""
    kept: dict[str, Sample] = {}
    repeated = otherwise = 0
    contradicted: Counter[str] = Counter()
    for sample in samples:
        first = kept.setdefault(sample.sample_id, sample)
        if first is sample:
            continue
        repeated += 1
        otherwise += first.annotations != sample.annotations
        if first.media_type is not sample.media_type or first.skip is not sample.skip:
            contradicted[sample.sample_id] += 1
    for identity in contradicted:
        first = kept[identity]
        message = f"{first.member} is listed more than once, with different labels"
        skip = (Reason.LABEL_UNREADABLE, message)
        kept[identity] = make_sample(first.dataset, first.member, first.locator, first.modality, None, skip=skip)
    if repeated:
        notes.append(f"{counted(repeated, 'row')} left out that list a file again")
    if otherwise:
        notes.append(f"{otherwise:,} of these with other annotations than the file's first row, which counts")
    return list(kept.values())
