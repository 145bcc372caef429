"""How a property is distributed in real and in synthetic samples: what tables and plots show."""

from __future__ import annotations

from typing import Any

import numpy as np

from gasdet.inspection.auditing.table import Column, FloatArray, IntArray

BINS = 30
SHOWN_LEVELS = 10
_LOGARITHMIC = 30.0
"""Positive numbers of which the largest is so many times the smallest are shown on a logarithmic axis."""


def typical(column: Column, labels: IntArray) -> dict[str, dict[str, Any]]:
    """Of ``real`` and ``synthetic`` samples: a number's median and its 5 % and 95 % points, or the most frequent value.

    Returns:
        Of each class ``missing`` (the share without the property) and either ``median``, ``p5``, ``p95`` or ``value`` and
        ``share`` (of the samples that have it); these are None where all are missing.
    """
    return {name: _of_class(column, column.values[labels == label]) for label, name in enumerate(("real", "synthetic"))}


def distribution(column: Column, labels: IntArray) -> dict[str, Any]:
    """Counts in each class: of a number's ranges, or of the most frequent values.

    Returns:
        ``real`` and ``synthetic`` (a count a place), ``missing`` (a count a class, in this order), and either ``edges`` with
        ``logarithmic``, or ``values`` with ``others`` (a count a class).
    """
    values = column.values
    missing = np.isnan(values)
    parts = [values[~missing & (labels == label)] for label in (0, 1)]
    result: dict[str, Any] = {"missing": [int((missing & (labels == label)).sum()) for label in (0, 1)]}
    if column.is_number:
        edges, logarithmic = _edges(values[~missing])
        counts = [np.histogram(part, edges)[0] for part in parts]
        result |= {"edges": edges.tolist(), "logarithmic": logarithmic}
    else:
        each = [np.bincount(part.astype(np.int64), minlength=len(column.levels)) for part in parts]
        shown = np.argsort(-(each[0] + each[1]), kind="stable")[:SHOWN_LEVELS]
        shown = shown[(each[0] + each[1])[shown] > 0]
        counts = [one[shown] for one in each]
        result |= {
            "values": [column.levels[i] for i in shown],
            "others": [int(one.sum() - part.sum()) for one, part in zip(each, counts, strict=True)],
        }
    return result | {"real": counts[0].tolist(), "synthetic": counts[1].tolist()}


def _of_class(column: Column, values: FloatArray) -> dict[str, Any]:
    present = values[~np.isnan(values)]
    result: dict[str, Any] = {"missing": 1.0 - present.size / values.size if values.size else 0.0}
    if column.is_number:
        points = np.percentile(present, [50, 5, 95]).tolist() if present.size else [None] * 3
        return result | dict(zip(("median", "p5", "p95"), points, strict=True))
    if not present.size:
        return result | {"value": None, "share": None}
    counts = np.bincount(present.astype(np.int64), minlength=len(column.levels))
    most = int(counts.argmax())
    return result | {"value": column.levels[most], "share": float(counts[most] / present.size)}


def _edges(values: FloatArray) -> tuple[FloatArray, bool]:
    low, high = float(values.min()), float(values.max())
    if low == high:
        return np.array([low - 0.5, high + 0.5]), False
    if low > 0 and high / low >= _LOGARITHMIC:
        edges = np.geomspace(low, high, BINS + 1)
        edges[0], edges[-1] = low, high
        return edges, True
    return np.linspace(low, high, BINS + 1), False
