"""The record of a training: what decides its result, what it was made with, and what came out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gasdet.data.names import printable
from gasdet.errors import RunError
from gasdet.evaluation.configuration import differences
from gasdet.evaluation.environment import environment
from gasdet.evaluation.text import one_line
from gasdet.training.identity import ids_sha256, rows_sha256, training_versions
from gasdet.training.preparing import Prepared
from gasdet.types import Sample

if TYPE_CHECKING:
    from gasdet.training.ancestry import Ancestry
    from gasdet.training.building import Chosen, Start
    from gasdet.training.data import TrainingData
    from gasdet.training.splits import Split

SCHEMA_VERSION = 2
_SHOWN_DIFFERENCES = 6


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training.

    Attributes:
        weights: The file with the trained weights.
        record: What train.json holds.
    """

    weights: Path
    record: Mapping[str, Any]

    def summary(self) -> dict[str, Any]:
        """The most important of the record, for ``gasdet train --json``."""
        return {
            "detector": self.record["detector"],
            "weights": str(self.weights),
            "weights_sha256": self.record["weights"]["sha256"],
            "data": self.record["data"]["description"],
            "result": self.record["result"],
            "seconds": self.record["seconds"],
        }

    def lines(self) -> list[str]:
        """For a person: on what was trained, and how good the kept weights are on the validation part."""
        data, stages = self.record["data"], self.record["result"]["stages"]
        lines = [
            f"Trained on {_counts(data['train'])}, chosen on {_counts(data['validation'])} ({data['validation_from']})"
        ]
        for number, stage in enumerate(stages):
            shown = {
                name: value for name, value in stage["best"].items() if name.startswith("val_") and value is not None
            }
            figures = ", ".join(f"{name.removeprefix('val_')} {value:.4f}" for name, value in shown.items())
            which = f"Stage {number}: " if len(stages) > 1 else ""
            lines.append(f"{which}kept epoch {stage['best']['epoch']} of {stage['epochs']}: {figures}")
            if stage.get("calibration"):
                lines.append(
                    "These are figures of calibrated probabilities, which the weights alone do not give: run gasdet calibrate."
                )
        lines.append("These figures chose the weights: they are optimistic. Judge on other data.")
        return lines


def configuration(
    spec_name: str, origin: str, chosen: Chosen, start: Start, data: TrainingData, split: Split, device: str, code: str
) -> dict[str, Any]:
    """Everything that decides the result of a training: two are one and the same where this is equal."""
    validation = data.val.fingerprint if data.val is not None else ""
    return json.loads(  # type: ignore[no-any-return]
        json.dumps(
            {
                "format": SCHEMA_VERSION,
                "detector": spec_name,
                "origin": origin,
                "model_sha256": code,
                "recipe": chosen.recipe.to_mapping(),
                "preprocessing": chosen.preprocessing.to_mapping(),
                "start": {"file_sha256": start.source["file_sha256"], "trained": start.trained, "line": start.line},
                "data": {
                    "fingerprint": data.dataset.fingerprint,
                    "validation_fingerprint": validation,
                    "train": rows_sha256(split.train),
                    "validation": rows_sha256(split.validation),
                },
                "device": device.partition(":")[0],
                "versions": training_versions(),
            },
            default=str,
        )
    )


def check_same(folder: Path, stored: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Refuse to go on with a training of another configuration.

    Raises:
        RunError: It is another; the message says what differs.
    """
    changed = differences(stored.get("configuration"), dict(asked))
    if changed:
        shown = "; ".join(changed[:_SHOWN_DIFFERENCES])
        more = f"; and {len(changed) - _SHOWN_DIFFERENCES} more" if len(changed) > _SHOWN_DIFFERENCES else ""
        raise RunError(
            f"{folder}: this training was begun with another configuration ({shown}{more}); choose another folder, or start "
            "over with --restart."
        )


def session(options: Mapping[str, Any], device: str, processes: int) -> dict[str, Any]:
    """What one session of a training ran with; recorded, and never compared."""
    return {"started": now(), "processes": processes, "options": dict(options), "environment": environment(device)}


def now() -> str:
    """The time, UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def data_record(
    data: TrainingData, split: Split, prepared: Prepared, ancestry: Ancestry, seen_before: int
) -> dict[str, Any]:
    """What became of every sample: trained on, chosen by, left out, failed, dropped; and what was known of those before."""
    return {
        "description": printable(data.dataset.description),
        "validation_description": printable(data.val.description) if data.val is not None else "",
        "fingerprint": data.dataset.fingerprint,
        "validation_fingerprint": data.val.fingerprint if data.val is not None else "",
        "train_ids_sha256": ids_sha256(prepared.train.samples),
        "validation_ids_sha256": ids_sha256(prepared.validation.samples),
        "train": _part(prepared.train.samples, len(prepared.failures[0])),
        "validation": _part(prepared.validation.samples, len(prepared.failures[1])),
        "validation_from": split.how,
        "split": split.name,
        "ancestry": ancestry.state,
        "validation_trained_on_before": seen_before,
        "left_out": split.left_out,
        "duplicates_dropped": prepared.duplicates,
        "left_out_to_balance": prepared.balanced_away,
        "failed": [
            {
                "sample_id": failure.sample.sample_id,
                "member": printable(failure.sample.member),
                "reason": failure.reason.value,
                "message": one_line(failure.message),
            }
            for part in prepared.failures
            for failure in part
        ],
    }


def _part(samples: Sequence[Sample], failed: int) -> dict[str, int]:
    labels = Counter(sample.label for sample in samples)
    return {"real": labels[0], "synthetic": labels[1], "failed": failed}


def _counts(part: Mapping[str, int]) -> str:
    return f"{part['real']:,} real and {part['synthetic']:,} synthetic samples"
