"""What the weights that a training starts from were trained on: it may not choose or calibrate, and it stays on record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from gasdet.errors import DataError
from gasdet.evaluation.finished import read_json
from gasdet.evaluation.seen import TRAINING_SAMPLES, Seen, seen_by
from gasdet.training.outputs import TRAIN, SampleRow, read_samples

if TYPE_CHECKING:
    from gasdet.bundle import ResolvedWeights
    from gasdet.types import Preprocessing, Sample


@dataclass(frozen=True, slots=True)
class Ancestry:
    """What is on record of the trainings that the start weights come from.

    Attributes:
        state: ``known`` where every one of them left its samples, or there is none; else ``unknown``.
        seen: Their samples.
        rows: The same as the rows of their samples.parquet.
    """

    state: Literal["known", "unknown"] = "known"
    seen: Seen = field(default_factory=Seen)
    rows: tuple[SampleRow, ...] = ()

    @classmethod
    def of(cls, weights: ResolvedWeights | None) -> Ancestry:
        """Of the weights that a training starts from; None for a new head.

        Raises:
            DataError: Their record is damaged.
        """
        if weights is None:
            return cls()
        seen = seen_by(weights.home, weights.sha256)
        if seen.path is None or not seen.parts:
            return cls("unknown", seen)
        record = read_json(seen.path) or {}
        silent = "weights_from" in record and "ancestry" not in record.get("data", {})
        rows = read_samples(seen.path.with_name(TRAINING_SAMPLES))
        return cls("known" if seen.complete and not silent else "unknown", seen, tuple(rows))

    def comparable(self, preprocessing: Preprocessing) -> bool:
        """Whether the digests on record are of samples decoded in this way."""
        return dict(self.seen.preprocessing) == preprocessing.to_mapping()

    def trained_on(self, samples: Iterable[Sample], digests: Mapping[str, str] | None = None) -> int:
        """How many of the samples the start weights were trained on, themselves or as exact copies.

        Args:
            samples: Of a validation part.
            digests: Of their decoded content, where they are comparable.
        """
        known = digests or {}
        return sum(
            self.seen.parts.get(s.sample_id) == TRAIN or self.seen.contents.get(known.get(s.sample_id, "")) == TRAIN
            for s in samples
        )

    def check(self, samples: Sequence[Sample], digests: Mapping[str, str] | None = None) -> None:
        """Refuse validation samples that the start weights were trained on.

        Raises:
            DataError: There are some.
        """
        count = self.trained_on(samples, digests)
        if count:
            raise DataError(
                f"{count:,} of the {len(samples):,} validation samples are samples that the start weights were trained on (or "
                f"exact copies of them; {self.seen.path}): they look better there than they are; give other validation data, "
                "take the split of that training (its --seed, --val-fraction and --split-by), or allow it with "
                "--allow-training-data."
            )

    def with_own(self, rows: Iterable[SampleRow], preprocessing: Preprocessing) -> list[SampleRow]:
        """The rows of this training and those before it, one a sample; ``train`` where it was trained on at any time.

        Args:
            rows: Of this training.
            preprocessing: Of their contents; digests of other arrays are left out, since they could not be told apart.
        """
        merged = {row.sample_id: row for row in rows}
        comparable = self.comparable(preprocessing)
        for row in self.rows:
            own = merged.get(row.sample_id)
            if own is None:
                content = row.content if comparable else None
                merged[row.sample_id] = SampleRow(row.sample_id, content, row.part, earlier=True)
            elif row.part == TRAIN:
                merged[row.sample_id] = own._replace(part=TRAIN, earlier=own.part != TRAIN)
        return list(merged.values())
