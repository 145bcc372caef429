"""One pass over a data set that decodes everything, and what follows from it."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gasdet.data import Dataset
from gasdet.data.listing import counted, is_archive_problem
from gasdet.errors import UsageError
from gasdet.inspection.checking.clips import near_clips
from gasdet.inspection.checking.findings import KINDS, CheckReport, Finding
from gasdet.inspection.checking.formats import contradiction
from gasdet.inspection.checking.hamming import MAX_RADIUS
from gasdet.inspection.checking.near import STEPS, Sets, near_images, near_recordings
from gasdet.inspection.running import Inspection, inspect
from gasdet.media import MediaLimits
from gasdet.progress import ProgressSink, Silent
from gasdet.types import Modality, Provenance, Reason, Sample

PROBE = "gasdet.inspection.checking.probe:probe_sample"
NEAR_DISTANCE = 31
"""Bits of 256 that the hashes of two pictures may differ in, as the authors of PDQ recommend."""

_UNDECODED = b"bytes "
_NEAR_NOUNS = {
    Modality.IMAGE: "images, of one hash",
    Modality.VIDEO: "clips, all frames shared",
    Modality.AUDIO: "recordings, of one fingerprint",
}
_KIND_OF = {
    Reason.FILE_MISSING: "missing",
    Reason.SYMLINK_LOOP: "missing",
    Reason.TRUNCATED: "truncated",
}


@dataclass(slots=True)
class _Seen:
    """What the pass has found out; positions are those of ``samples``.

    Attributes:
        samples: All of them, in the data's order.
        contents: Of each sample, what tells its copies: the digest of its decoded content, or where that is not known, of
            its bytes; None where neither is.
        prints: Of each sample, its hashes or its fingerprint; empty where it has none.
        findings: Of single samples.
        decoded: How many were decoded.
        failed: How many were not.
        skipped: How many were not tried.
        partly: How many clips were not decoded to their end.
        flat: Those with nothing in them.
    """

    samples: Sequence[Sample]
    contents: list[bytes | None] = field(default_factory=list)
    bytes_of: list[bytes] = field(default_factory=list)
    prints: list[bytes] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    decoded: int = 0
    failed: int = 0
    skipped: int = 0
    partly: int = 0
    flat: set[int] = field(default_factory=set)


def check_data(
    dataset: Dataset,
    *,
    near_distance: int | None = NEAR_DISTANCE,
    fail_on: Sequence[str],
    workers: int | None = None,
    timeout: float = 30.0,
    limits: MediaLimits | None = None,
    progress: ProgressSink | None = None,
) -> CheckReport:
    """Decode every sample, and report damage, duplicates and leaks.

    Args:
        dataset: The data; public ones.
        near_distance: Bits that two pictures' hashes may differ in, 0 to 47; None looks for exact copies only.
        fail_on: The kinds of finding that make the report fail.
        workers: Decode processes; None for one a processor.
        timeout: Seconds for one file.
        limits: Bounds on a file's size.
        progress: Told of every sample, and of the search.

    Raises:
        UsageError: The data hold private holdouts, or ``near_distance`` is out of its range.
        RunError: Decode processes cannot be started.
    """
    if near_distance is not None and not 0 <= near_distance <= MAX_RADIUS:
        raise UsageError(f"near_distance must be 0 to {MAX_RADIUS}, not {near_distance}.")
    if any(sample.provenance is Provenance.HOLDOUT for sample in dataset.samples):
        raise UsageError("a check names the files that it finds, and so takes no holdouts; leave them out.")
    sink = progress or Silent()
    seen = _pass(dataset.samples, workers, timeout, limits, sink)
    exact = _exact_sets(seen)
    telling = [places for places in exact if places[0] not in seen.flat]
    found = [*seen.findings, *_with_leaks("duplicates", telling, dataset.samples, lambda ones: _equal_how(seen, ones))]
    found += _flat_findings(seen, exact)
    not_compared: dict[str, int] = {}
    if near_distance is not None:
        near, not_compared = _near_findings(seen, near_distance, sink)
        found += near
    found += _straddling(dataset.samples, "groups_across_splits", "group", _group_of)
    found += _straddling(dataset.samples, "pairs_across_splits", "pair", lambda sample: sample.pair)
    order = list(KINDS)
    found.sort(key=lambda finding: order.index(finding.kind))
    modalities = Counter(str(sample.modality) for sample in dataset.samples if sample.modality is not None)
    return CheckReport(
        data=dataset.description,
        fingerprint=dataset.fingerprint,
        samples=len(dataset.samples),
        decoded=seen.decoded,
        failed=seen.failed,
        skipped=seen.skipped,
        modalities=dict(modalities),
        findings=tuple(found),
        fail_on=tuple(fail_on),
        near_distance=near_distance,
        not_compared=not_compared,
        notes=(*dataset.notes, *_notes(seen)),
    )


def _pass(
    samples: Sequence[Sample], workers: int | None, timeout: float, limits: MediaLimits | None, sink: ProgressSink
) -> _Seen:
    """Decode everything once."""
    seen = _Seen(samples, [None] * len(samples), [b""] * len(samples), [b""] * len(samples))
    places = {sample.sample_id: place for place, sample in enumerate(samples)}
    by_place: dict[int, list[Finding]] = {}
    inspections = inspect(
        samples, function=PROBE, workers=workers, timeout=timeout, limits=limits, progress=sink, label="decoding"
    )
    for inspection in inspections:
        sample, facts = inspection.sample, inspection.facts
        place = places[sample.sample_id]
        by_place[place] = _own_findings(inspection)
        if inspection.skipped:
            seen.skipped += 1
        elif inspection.reason is not None:
            seen.failed += 1
        else:
            seen.decoded += 1
        seen.partly += "partly" in facts
        if "flat" in facts:
            seen.flat.add(place)
        seen.bytes_of[place] = facts.get("bytes", b"")
        seen.contents[place] = _identity(sample, facts)
        seen.prints[place] = facts.get("hashes") or facts.get("sound") or b""
    seen.findings = [finding for place in sorted(by_place) for finding in by_place[place]]
    return seen


def _identity(sample: Sample, facts: Mapping[str, Any]) -> bytes | None:
    """What two samples must have in common to be exact copies."""
    content: bytes = facts.get("content", b"")
    if content:
        return f"{sample.modality} ".encode() + content
    own: bytes = facts.get("bytes", b"")
    return _UNDECODED + own if own else None


def _own_findings(inspection: Inspection) -> list[Finding]:
    """What is wrong with a sample by itself."""
    found, sample, reason = [], inspection.sample, inspection.reason
    if reason is not None:
        kind = _KIND_OF.get(reason, "unreadable")
        if inspection.skipped:
            kind = "archives_inside" if is_archive_problem(inspection.message) else "skipped"
        found.append(Finding(kind, (sample,), inspection.message.rstrip("."), reason.value))
    if "damaged" in inspection.facts:
        frames = counted(inspection.facts["damaged"], "frame")
        found.append(Finding("damaged", (sample,), f"{frames} damaged, and shown all the same"))
    if "damage" in inspection.facts:
        found.append(Finding("damaged", (sample,), inspection.facts["damage"]))
    wrong = contradiction(sample.member, inspection.facts.get("format", ""))
    if wrong:
        found.append(Finding("mislabelled", (sample,), wrong))
    return found


def _exact_sets(seen: _Seen) -> list[list[int]]:
    """Positions of samples with equal content, by first position."""
    sets: dict[bytes, list[int]] = defaultdict(list)
    for place, content in enumerate(seen.contents):
        if content is not None:
            sets[content].append(place)
    return [places for places in sets.values() if len(places) > 1]


def _equal_how(seen: _Seen, places: Sequence[int]) -> str:
    if len({seen.bytes_of[place] for place in places}) == 1 and seen.bytes_of[places[0]]:
        return "equal files"
    if seen.samples[places[0]].modality is Modality.IMAGE:
        return "different files with equal pixels, transparency not compared"
    return "different files with equal content once decoded"


def _flat_findings(seen: _Seen, sets: Iterable[Sequence[int]]) -> list[Finding]:
    """Copies that say nothing of where they come from: any two all-white pictures of a size are equal."""
    return [
        Finding("flat_duplicates", tuple(seen.samples[place] for place in places), _equal_how(seen, places))
        for places in sets
        if places[0] in seen.flat
    ]


def _with_leaks(
    kind: str,
    sets: Iterable[Sequence[int]],
    samples: Sequence[Sample],
    describe: Callable[[Sequence[int]], str],
    distances: Callable[[int], float] | None = None,
) -> list[Finding]:
    """A finding for each set, and another where it lies in two splits, or is real and synthetic at once."""
    found = []
    for places in sets:
        members = tuple(samples[place] for place in places)
        measured = tuple(distances(place) for place in places) if distances else ()
        whole = Finding(kind, members, describe(places), distances=measured)
        found.append(whole)
        for values, suffix in ((whole.splits, "splits"), (whole.classes, "classes")):
            if len(values) > 1:
                message = f"{whole.message}, in {' and '.join(values)}"
                found.append(Finding(f"{kind}_across_{suffix}", members, message, distances=measured))
    return found


def _near_findings(seen: _Seen, radius: int, sink: ProgressSink) -> tuple[list[Finding], dict[str, int]]:
    """Near duplicates of each modality, and how many samples could not be compared."""
    copies: dict[bytes, list[int]] = defaultdict(list)
    not_compared: Counter[str] = Counter()
    for place, content in enumerate(seen.contents):
        if content is None:
            continue
        if seen.prints[place]:
            copies[content].append(place)
        elif not content.startswith(_UNDECODED):
            not_compared[str(seen.samples[place].modality)] += 1
    found: list[Finding] = []
    sink.start("looking for near duplicates", STEPS)
    try:
        for modality in Modality:
            # Exact copies are one here: what they are near to, each of them is.
            kept = [places for places in copies.values() if seen.samples[places[0]].modality is modality]
            sets = _near_sets(modality, [seen.prints[places[0]] for places in kept], radius, sink)
            found += _near_of(sets, kept, seen.samples, modality)
    finally:
        sink.finish()
    return found, dict(not_compared)


def _near_sets(modality: Modality, prints: list[bytes], radius: int, sink: ProgressSink) -> Sets:
    def told() -> None:
        sink.advance(1, 0)

    if modality is Modality.AUDIO:
        return near_recordings(prints)
    return (near_images if modality is Modality.IMAGE else near_clips)(prints, radius, told)


def _near_of(sets: Sets, kept: list[list[int]], samples: Sequence[Sample], modality: Modality) -> list[Finding]:
    groups: list[list[int]] = []
    nearest: dict[int, float] = {}
    for items in sets.together():
        groups.append(sorted(place for item in items for place in kept[item]))
        for item in items:
            copied = len(kept[item]) > 1
            nearest.update((place, 0.0 if copied else round(float(sets.nearest[item]), 4)) for place in kept[item])
    groups.sort()

    def describe(places: Sequence[int]) -> str:
        near = _how_near(modality, max(nearest[place] for place in places))
        return f"{near}; the data say they are of one origin" if _one_origin([samples[p] for p in places]) else near

    return _with_leaks("near_duplicates", groups, samples, describe, nearest.__getitem__)


def _how_near(modality: Modality, distance: float) -> str:
    """In words, the most that a sample of a set differs from the nearest other."""
    if not distance:
        return f"nearly equal {_NEAR_NOUNS[modality]}"
    if modality is Modality.IMAGE:
        return f"nearly equal images, up to {distance:.0f} of 256 bits apart"
    if modality is Modality.VIDEO:
        return f"nearly equal clips, {math.floor(100 * (1 - distance))}% or more of the frames shared"
    return f"nearly equal recordings, up to {distance:.1%} of the fingerprint's bits apart"


def _group_of(sample: Sample) -> str:
    """The group that a sample shares with others; empty where it is its own."""
    return "" if sample.group == sample.sample_id else sample.group


def _one_origin(samples: Sequence[Sample]) -> bool:
    """Whether the data state of samples that they share an origin: one group, or one pair."""
    keys = ({_group_of(sample) for sample in samples}, {sample.pair for sample in samples})
    return any(len(values) == 1 and "" not in values for values in keys)


def _straddling(samples: Sequence[Sample], kind: str, word: str, key_of: Callable[[Sample], str]) -> list[Finding]:
    """Groups, or pairs, whose samples belong to more than one split."""
    members: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.split and (key := key_of(sample)):
            members[sample.dataset, key].append(sample)
    found = []
    for (_, key), ones in members.items():
        finding = Finding(kind, tuple(ones), f"{word} {key}")
        if len(finding.splits) > 1:
            found.append(finding)
    return found


def _notes(seen: _Seen) -> list[str]:
    if not seen.partly:
        return []
    return [
        f"{counted(seen.partly, 'long clip')} decoded in part only: its copies are told by equal files and by frames"
    ]
