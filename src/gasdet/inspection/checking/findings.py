"""What a check can find, how serious it is, and the report that it makes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gasdet.data.names import printable
from gasdet.errors import UsageError
from gasdet.types import Sample


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of finding.

    Attributes:
        name: What ``--fail-on`` and the CSV call it.
        meaning: In a few words.
        serious: Whether a data set that has it is not fit to be scored or trained on as it is.
    """

    name: str
    meaning: str
    serious: bool


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("missing", "a file that is listed and not there", True),
        Kind("unreadable", "it cannot be decoded", True),
        Kind("truncated", "it ends before its header says", True),
        Kind("damaged", "it can be decoded, but parts of it are damaged", False),
        Kind("mislabelled", "its extension says another format than its content", False),
        Kind("archives_inside", "an archive among the media, which is not looked into", True),
        Kind("skipped", "its label or its kind of media is not known", False),
        Kind("duplicates", "the same content", False),
        Kind("duplicates_across_splits", "the same content in two splits", True),
        Kind("duplicates_across_classes", "the same content as real and as synthetic", True),
        Kind("flat_duplicates", "copies of one colour or of silence, which say nothing", False),
        Kind("near_duplicates", "nearly the same content", False),
        Kind("near_duplicates_across_splits", "nearly the same content in two splits", False),
        Kind("near_duplicates_across_classes", "nearly the same content as real and as synthetic", False),
        Kind("groups_across_splits", "samples of one origin in two splits", True),
        Kind("pairs_across_splits", "a real sample and what was made from it in two splits", True),
    )
}

SERIOUS = tuple(kind.name for kind in KINDS.values() if kind.serious)
"""What makes the command fail unless it is told otherwise."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One sample, or several that belong together, with what is wrong.

    Attributes:
        kind: A key of ``KINDS``.
        samples: At least one; in the data's order.
        message: What was found, one line.
        reason: The reason code, where the sample cannot be decoded or planned.
        distances: Of near duplicates: of each sample, to the nearest other of the set. Bits of 256 (images), share of
            frames that are not shared (clips), bit error rate (recordings); 0 for an exact copy.
    """

    kind: str
    samples: tuple[Sample, ...]
    message: str
    reason: str = ""
    distances: tuple[float, ...] = ()

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that its samples belong to; samples without one do not count."""
        return tuple(sorted({sample.split for sample in self.samples if sample.split}))

    @property
    def classes(self) -> tuple[str, ...]:
        """``real``, ``synthetic``, or both; semisynthetic counts as synthetic."""
        labels = {sample.label for sample in self.samples} - {None}
        return tuple(name for label, name in enumerate(("real", "synthetic")) if label in labels)

    @property
    def pairs(self) -> int:
        """How many pairs of its samples make the finding: those of two splits or classes, where that is the point."""
        kind, count = self.kind, len(self.samples)
        if kind.endswith("_across_splits"):
            return _pairs_apart([sample.split for sample in self.samples if sample.split])
        if kind.endswith("_across_classes"):
            return _pairs_apart([str(sample.label) for sample in self.samples if sample.label is not None])
        return count * (count - 1) // 2


def _pairs_apart(values: Sequence[str]) -> int:
    """Pairs of two different values."""
    counts = Counter(values)
    return (len(values) ** 2 - sum(n * n for n in counts.values())) // 2


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check has found.

    ``samples == decoded + failed + skipped`` always holds.

    Attributes:
        data: What the data are called.
        fingerprint: Of the data, as runs record it.
        samples: How many there are.
        decoded: How many were decoded without an error.
        failed: How many were not.
        skipped: How many could not be tried.
        modalities: Samples of each modality.
        findings: All of them, in the order of ``KINDS`` and of the data.
        fail_on: The kinds that make the check fail.
        near_distance: Bits that two pictures may differ in; None where near duplicates were not looked for.
        not_compared: Samples of each modality that have no hash or fingerprint: flat pictures, short or silent recordings.
        notes: Lines for the user.
    """

    data: str
    fingerprint: str
    samples: int
    decoded: int
    failed: int
    skipped: int
    modalities: dict[str, int]
    findings: tuple[Finding, ...]
    fail_on: tuple[str, ...]
    near_distance: int | None
    not_compared: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.samples == self.decoded + self.failed + self.skipped, "every sample has exactly one outcome"

    @property
    def ok(self) -> bool:
        """Whether nothing was found of the kinds that make the check fail."""
        return not any(finding.kind in self.fail_on for finding in self.findings)

    def of_kind(self, kind: str) -> list[Finding]:
        """The findings of a kind."""
        return [finding for finding in self.findings if finding.kind == kind]

    def to_mapping(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        kinds = {name: self._totals(name) for name in KINDS}
        return {
            "data": self.data,
            "fingerprint": self.fingerprint,
            "samples": self.samples,
            "decoded": self.decoded,
            "failed": self.failed,
            "skipped": self.skipped,
            "modalities": self.modalities,
            "near_distance": self.near_distance,
            "not_compared": self.not_compared,
            "fail_on": list(self.fail_on),
            "ok": self.ok,
            "kinds": kinds,
            "findings": [_finding_mapping(finding) for finding in self.findings],
            "notes": list(self.notes),
        }

    def _totals(self, kind: str) -> dict[str, Any]:
        found = self.of_kind(kind)
        totals: dict[str, Any] = {
            "findings": len(found),
            "samples": len({sample.sample_id for finding in found for sample in finding.samples}),
            "serious": kind in self.fail_on,
        }
        if any(len(finding.samples) > 1 for finding in found):
            if not kind.startswith("near"):  # of a chain, not every pair is near
                totals["pairs"] = sum(finding.pairs for finding in found)
            totals["by_class"] = dict(Counter("+".join(finding.classes) or "-" for finding in found))
            totals["by_split"] = dict(Counter("+".join(finding.splits) or "-" for finding in found))
        return totals


def _finding_mapping(finding: Finding) -> dict[str, Any]:
    mapping: dict[str, Any] = {"kind": finding.kind, "message": finding.message}
    if finding.reason:
        mapping["reason"] = finding.reason
    mapping["samples"] = [sample_mapping(sample) for sample in finding.samples]
    for sample, distance in zip(mapping["samples"], finding.distances, strict=False):
        sample["distance"] = distance
    return mapping


def sample_mapping(sample: Sample) -> dict[str, str]:
    """What tells a sample, as plain text."""
    return {
        "sample_id": sample.sample_id,
        "dataset": printable(sample.dataset),
        "member": printable(sample.member),
        "split": printable(sample.split),
        "media_type": "" if sample.media_type is None else str(sample.media_type),
        "generator": printable(sample.generator),
    }


def checked_kinds(names: Sequence[str] | None) -> tuple[str, ...]:
    """The kinds that ``--fail-on`` means: None for the serious ones, "any" for all, "none" for none.

    Raises:
        UsageError: There is no such kind, or "none" or "any" stands beside others.
    """
    if names is None:
        return SERIOUS
    if len(names) > 1 and {"any", "none"} & set(names):
        raise UsageError("--fail-on any and --fail-on none stand alone.")
    if list(names) == ["any"]:
        return tuple(KINDS)
    if list(names) == ["none"]:
        return ()
    for name in names:
        if name not in KINDS:
            raise UsageError(f"--fail-on {name!r} is no kind of finding; there are {', '.join(KINDS)}, any and none.")
    return tuple(name for name in KINDS if name in names)
