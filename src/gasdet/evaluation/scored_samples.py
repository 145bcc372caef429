"""The scored samples that a calibrator is fitted on: taken from a finished run, and known again afterwards."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gasdet.builtin.tally import FloatArray, IntArray
from gasdet.bundle.calibration import CalibratorFile
from gasdet.data.labels import canonical_split
from gasdet.errors import DataError, UsageError
from gasdet.ties import tied
from gasdet.types import Provenance

if TYPE_CHECKING:
    from gasdet.evaluation.finished import Run

ID_DIGITS = 16
"""So much of a sample's id is kept of what a calibrator was fitted on: 64 bits tell apart more samples than there are."""


@dataclass(frozen=True, slots=True)
class ScoredSamples:
    """The labelled samples that one detector has scored in a run, N of them, in the order of the run.

    Attributes:
        detector: Its name.
        weights_sha256: Of its weights.
        description: Of the data.
        fingerprint: Of the data.
        sample_ids: [N].
        groups: [N].
        splits: [N], as the data state them.
        logits: float64 [N, 2], the model's own.
        labels: int64 [N].
        weights: float64 [N].
        preprocessing: Of the detector, every key; empty where unknown.
        holdouts: How many labelled and scored samples of holdouts the run has beside these: nothing is fitted on them.
    """

    detector: str
    weights_sha256: str
    description: str
    fingerprint: str
    sample_ids: npt.NDArray[Any]
    groups: npt.NDArray[Any]
    splits: npt.NDArray[Any]
    logits: FloatArray
    labels: IntArray
    weights: FloatArray
    preprocessing: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    holdouts: int = 0

    @classmethod
    def of_run(
        cls, run: Run, detector: str | None = None, *, split: str | None = None, datasets: Sequence[str] = ()
    ) -> ScoredSamples:
        """The scored and labelled public samples of a finished run.

        Args:
            run: The run.
            detector: Its name; may be left out where the run has one.
            split: Only the samples of this split.
            datasets: Patterns of dataset names to keep.

        Raises:
            UsageError: The run has no such detector, or several and none is named.
            DataError: No labelled sample was scored, or none of that split or those datasets.
            RunError: The records cannot be read.
        """
        known = run.config["configuration"]["detectors"]
        if detector is None and len(known) > 1:
            raise UsageError(f"{run.path}: this run has several detectors; choose one of {', '.join(sorted(known))}.")
        name = detector if detector is not None else next(iter(known))
        if name not in known:
            raise UsageError(f"{run.path}: this run has no detector {name!r}, but {', '.join(sorted(known))}.")
        wanted = (
            "detector",
            "sample_id",
            "group",
            "split",
            "dataset",
            "provenance",
            "status",
            "label",
            "weight",
            "logit_real",
            "logit_synthetic",
        )
        records = run.records()
        columns = {c: records[c].to_pylist() for c in wanted}
        rows = [
            i
            for i, label in enumerate(columns["label"])
            if columns["detector"][i] == name and columns["status"][i] == "ok" and label is not None
        ]
        scored = len(rows)
        rows = [i for i in rows if columns["provenance"][i] != Provenance.HOLDOUT]
        if not rows:
            only = "public " if scored else ""
            raise DataError(
                f"{run.path}: no labelled {only}sample was scored, so there is nothing to calibrate on"
                f"{': holdouts take no part in it' if scored else ''}."
            )
        holdouts = scored - len(rows)
        rows = _chosen(rows, columns, split, datasets, str(run.path))

        def column(key: str, dtype: Any) -> npt.NDArray[Any]:
            return np.array([columns[key][i] for i in rows], dtype=dtype)

        return cls(
            detector=name,
            weights_sha256=known[name]["weights"]["sha256"],
            description=_narrowed(str(run.config["data"]["description"]), split, datasets, public_only=bool(holdouts)),
            fingerprint=str(run.config["configuration"]["data"]["fingerprint"]),
            sample_ids=column("sample_id", np.str_),
            groups=np.array([columns["group"][i] or columns["sample_id"][i] for i in rows], dtype=np.str_),
            splits=column("split", np.str_),
            logits=np.stack([column("logit_real", np.float64), column("logit_synthetic", np.float64)], axis=1),
            labels=column("label", np.int64),
            weights=column("weight", np.float64),
            preprocessing=known[name]["preprocessing"],
            holdouts=holdouts,
        )

    def part(self, rows: npt.NDArray[np.bool_]) -> ScoredSamples:
        """Some of the samples."""
        arrays = ("sample_ids", "groups", "splits", "logits", "labels", "weights")
        return dataclasses.replace(self, **{name: getattr(self, name)[rows] for name in arrays})

    def described(self, *, with_ids: bool = False) -> dict[str, Any]:
        """What a calibrator.json says of them; with the ids that `fitted_among` looks for, where they were fitted on."""
        ids = sorted(name[:ID_DIGITS] for name in self.sample_ids.tolist())
        return {
            "description": self.description,
            "fingerprint": self.fingerprint,
            "split": ", ".join(sorted(set(self.splits.tolist()) - {""})),
            "samples": int(self.labels.size),
            "real": int((self.labels == 0).sum()),
            "synthetic": int((self.labels == 1).sum()),
            "groups": int(np.unique(self.groups).size),
            "sample_ids_sha256": hashlib.sha256("\n".join(sorted(self.sample_ids.tolist())).encode()).hexdigest(),
            **({"sample_ids": " ".join(ids)} if with_ids else {}),
        }


def join_copies(data: ScoredSamples, contents: Sequence[str | None]) -> ScoredSamples:
    """Make groups that share a sample's content one group, so that no copy is reported on of what was fitted on.

    Args:
        data: The samples.
        contents: Digest of each one's decoded content, None where unknown; or nothing.
    """
    if not contents:
        return data
    return dataclasses.replace(data, groups=np.array(tied(data.groups.tolist(), contents), dtype=np.str_))


def fitted_among(calibrator: CalibratorFile, sample_ids: Iterable[str]) -> int | None:
    """How many of the samples a calibrator was fitted on; None where its file does not hold their ids."""
    stored = calibrator.fitted_on.get("sample_ids")
    if not isinstance(stored, str):
        return None
    known = frozenset(stored.split())
    return sum(name[:ID_DIGITS] in known for name in sample_ids)


def _chosen(
    rows: list[int], columns: Mapping[str, list[Any]], split: str | None, datasets: Sequence[str], run: str
) -> list[int]:
    """The rows of a split and of the datasets that patterns name, as the data's loader chooses them."""
    for asked, column, fits in (
        (split, "split", lambda name: name == canonical_split(split or "")),
        (
            " or ".join(datasets),
            "dataset",
            lambda name: any(fnmatchcase(name.casefold(), p.casefold()) for p in datasets),
        ),
    ):
        if not asked:
            continue
        kept = [i for i in rows if fits(columns[column][i])]
        if not kept:
            has = ", ".join(sorted({columns[column][i] for i in rows} - {""})) or "none"
            raise DataError(f"{run}: no labelled sample that was scored is of the {column} {asked!r}; there is {has}.")
        rows = kept
    return rows


def _narrowed(description: str, split: str | None, datasets: Sequence[str], *, public_only: bool) -> str:
    told = ["public samples"] if public_only else []
    told += [f"{split} split"] if split else []
    told += [f"datasets {' or '.join(datasets)}"] if datasets else []
    return f"{description} ({', '.join(told)} of the run)" if told else description
