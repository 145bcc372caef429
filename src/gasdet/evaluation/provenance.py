"""Public data against holdouts: the gap between a detector's figures on both, and the score in which holdouts have a share.

Definitions are in docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gasdet.builtin.tally import FloatArray
from gasdet.errors import UsageError
from gasdet.evaluation.columns import DetectorRecords, Mask
from gasdet.evaluation.intervals import percentiles, resampled

HEADLINE = "combined_score"
"""The metric that the shared score is made of."""

DEFAULT_SHARE = 0.5
"""The holdouts' share of the shared score."""

Cell = Mapping[str, Any]


def check_share(share: float) -> float:
    """The share itself.

    Raises:
        UsageError: It is not in 0 to 1.
    """
    if not 0.0 <= share <= 1.0:
        raise UsageError(f"the holdouts' share of the score must be in 0 to 1, not {share}.")
    return share


def compared(
    part: DetectorRecords,
    public: Cell,
    holdout: Cell,
    *,
    metrics: Sequence[str],
    resamples: int,
    seed: int,
    share: float,
) -> dict[str, Any]:
    """What a detector's summary says of public data and holdouts.

    Public and holdout samples share no group, so that both are resampled independently of each other.

    Args:
        part: The detector's records.
        public: The breakdown's cell of the public samples.
        holdout: That of the holdouts.
        metrics: Names of the metrics that have a gap.
        resamples: Bootstrap resamples; 0 for no intervals.
        seed: Of the bootstrap.
        share: The holdouts' share of the shared score, 0 to 1.

    Returns:
        ``parts`` (both cells), ``gap`` (metric name to value, low, high and errors_as_wrong: public minus holdout) and
        ``shared`` (share, value, low, high and errors_as_wrong).
    """
    own = np.asarray(part.holdout)
    drawn = [_drawn(part, side, metrics, resamples, seed, stream) for stream, side in enumerate((~own, own))]
    gap = {name: _combined(name, (public, holdout), drawn, (1.0, -1.0)) for name in metrics}
    shared = _combined(HEADLINE, (public, holdout), drawn, (1.0 - share, share))
    return {"parts": [dict(public), dict(holdout)], "gap": gap, "shared": {"share": share, **shared}}


def _drawn(
    part: DetectorRecords, side: Mask, metrics: Sequence[str], resamples: int, seed: int, stream: int
) -> dict[str, FloatArray]:
    """Each metric's values on the resamples of one side; nothing where there are no intervals."""
    rows = side & part.ok & (part.label >= 0)
    if not rows.any():
        return {}
    found = resampled(
        part.label[rows],
        part.score[rows],
        part.group[rows],
        part.weight[rows],
        metrics=metrics,
        resamples=resamples,
        seed=seed,
        stream=stream,
    )
    return found or {}


def _combined(
    name: str, cells: tuple[Cell, Cell], drawn: Sequence[Mapping[str, FloatArray]], factors: tuple[float, float]
) -> dict[str, float | None]:
    """The weighted sum of both sides' values of a metric, with an interval; None where a side that counts has none."""
    counting = [
        (cell["metrics"][name], d, factor) for cell, d, factor in zip(cells, drawn, factors, strict=True) if factor
    ]
    result: dict[str, float | None] = {"value": None, "low": None, "high": None, "errors_as_wrong": None}
    for key in ("value", "errors_as_wrong"):
        if all(entry[key] is not None for entry, _, _ in counting):
            result[key] = float(sum(factor * entry[key] for entry, _, factor in counting))
    if result["value"] is not None and all(name in d for _, d, _ in counting):
        interval = percentiles(np.sum([factor * d[name] for _, d, factor in counting], axis=0))
        if interval is not None:
            result |= {"low": interval.low, "high": interval.high}
    return result
