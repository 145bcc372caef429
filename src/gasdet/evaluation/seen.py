"""Which samples a detector has seen already: trained on, or used to choose its epoch or settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gasdet.errors import DataError
from gasdet.evaluation.finished import read_json
from gasdet.parquet_files import read_parquet

TRAINING_RECORD, TRAINING_SAMPLES = "train.json", "samples.parquet"
_TRAINED = frozenset({"train", "training"})
_SELECTED = frozenset({"val", "valid", "validation", "dev"})


@dataclass(frozen=True, slots=True)
class Seen:
    """What the folder of some weights says of their training.

    Attributes:
        path: The record; None where there is none, so that nothing is known.
        parts: Sample id to the part that it was in: "train", "validation".
        contents: Digest of the decoded content to that part, where known.
        fingerprints: Of the data that training and validation samples came from.
        preprocessing: What the digests' arrays were decoded with.
        complete: Whether ``parts`` is known, and holds what the weights that the training started from had seen too.
    """

    path: Path | None = None
    parts: Mapping[str, str] = field(default_factory=dict)
    contents: Mapping[str, str] = field(default_factory=dict)
    fingerprints: frozenset[str] = frozenset()
    preprocessing: Mapping[str, object] = field(default_factory=dict)
    complete: bool = False

    def unknown(self) -> str:
        """What is not known, as the end of a note; empty where everything is."""
        if self.complete:
            return ""
        if self.parts:
            return "nothing here says what these weights were trained on before their last training"
        return "nothing here says what these weights were trained on"


def seen_by(weights: Path, sha256: str) -> Seen:
    """What is known of the samples that a weights file was trained and selected on.

    Args:
        weights: The file; its folder may hold the train.json and samples.parquet of a training.
        sha256: Of the file; a record of other weights says nothing.

    Raises:
        DataError: The record belongs to these weights, and its samples cannot be read.
    """
    path = weights.parent / TRAINING_RECORD
    record = read_json(path)
    if record is None or record.get("weights", {}).get("sha256") != sha256:
        return Seen()
    data = record.get("data", {})
    prints = {record.get("data_fingerprint"), data.get("fingerprint"), data.get("validation_fingerprint")}
    parts, contents = _samples(weights.parent / TRAINING_SAMPLES)
    fingerprints = frozenset(str(p) for p in prints if p)
    complete = bool(parts) and data.get("ancestry") != "unknown"
    return Seen(path, parts, contents, fingerprints, dict(record.get("preprocessing", {})), complete)


def _samples(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    import pyarrow as pa

    if not path.is_file():
        return {}, {}
    try:
        table = read_parquet(path, ["sample_id", "content", "part"])
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise DataError(f"{path}: which samples were trained on cannot be read ({error}); train again.") from error
    ids, contents, parts = (table[name].to_pylist() for name in ("sample_id", "content", "part"))
    return (
        dict(zip(ids, parts, strict=True)),
        {content: part for content, part in zip(contents, parts, strict=True) if content},
    )


def why_unfit(
    seen: Seen,
    sample_ids: Sequence[str],
    splits: Sequence[str],
    *,
    fingerprint: str = "",
    contents: Sequence[str | None] = (),
    demo: bool = False,
) -> str | None:
    """Why nothing may be fitted, or reported, on these samples, in words; None where nothing is known against it.

    Args:
        seen: By the detector's weights.
        sample_ids: Of the samples.
        splits: Of the samples, as the data state them.
        fingerprint: Of the data; decides, with the splits, where no record names the samples.
        contents: Digests of the samples' decoded content, where known.
        demo: Demo weights on demo data, whose train and val splits they were made from.
    """
    known = Counter(seen.parts[i] for i in sample_ids if i in seen.parts)
    copies = Counter(seen.contents[c] for c in contents if c is not None and c in seen.contents)
    for found, words in ((known, ""), (copies, "exact copies of ")):
        if found:
            told = " and ".join(f"{count:,} in its {part} part" for part, count in sorted(found.items()))
            return f"{found.total():,} of {len(sample_ids):,} samples are {words}samples of this detector's training ({told})"
    if not seen.parts and fingerprint and fingerprint in seen.fingerprints:
        return "this detector was trained on these very data"
    stated = Counter(split.lower() for split in splits)
    trained = sum(count for split, count in stated.items() if split in _TRAINED)
    if trained and not seen.parts:
        return f"{trained:,} of {len(sample_ids):,} samples belong to a training split"
    selected = sum(count for split, count in stated.items() if split in _SELECTED)
    if demo and selected:
        return f"{selected:,} of {len(sample_ids):,} samples belong to the demo data's val split, which chose the demo weights"
    return None
