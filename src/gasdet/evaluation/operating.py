"""Operating points: thresholds for a stated share of false alarms, and what they attain."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from gasdet.builtin.tally import FloatArray, IntArray
from gasdet.errors import DataError, UsageError

_Z = 1.959963984540054
"""97.5th percentile of the normal distribution."""


def operating_point(
    fpr: float,
    labels: IntArray,
    scores: FloatArray,
    groups: npt.NDArray[Any],
    test: tuple[IntArray, FloatArray, npt.NDArray[Any]] | None = None,
) -> dict[str, Any]:
    """The threshold above which at most a share ``fpr`` of real samples is to be expected.

    With n real samples the threshold is the k-th largest of their scores, k = floor((n + 1) * fpr): a real sample that is
    drawn like them is above it with a probability of at most k / (n + 1), whatever the distribution (split conformal
    prediction). That is at most ``fpr`` however small n is; the plain quantile's is not. Samples count alike, whatever their
    weights.

    Args:
        fpr: Between 0 and 1.
        labels: [N], 0 or 1, of the calibration split.
        scores: [N], calibrated P(synthetic).
        groups: [N]; samples of one group are no independent evidence.
        test: Labels, scores and groups of other samples, on which what is attained is reported too.

    Returns:
        ``fpr``, ``threshold`` (synthetic is what lies above it), and for ``calibration`` and ``test`` the attained ``fpr`` and
        ``tpr``, each with ``low`` and ``high`` (see ``wilson``), and the numbers behind them.

    Raises:
        UsageError: ``fpr`` is not between 0 and 1.
        DataError: There are too few independent real samples; the message has the number needed.
    """
    if not 0.0 < fpr < 1.0:
        raise UsageError(f"A false positive rate is between 0 and 1, not {fpr:g}.")
    real = labels == 0
    independent = np.unique(groups[real]).size
    needed = math.ceil(1.0 / fpr - 1e-9) - 1
    possible = math.ceil(1e4 / (independent + 1)) / 1e4
    if independent < needed:
        raise DataError(
            f"A threshold for a false positive rate of {fpr:g} needs at least {needed:,} independent real samples in the part "
            f"that it is found on, and there are {independent:,}; give more data, or ask for {possible:g} or more."
        )
    descending = np.sort(scores[real])[::-1]
    threshold = float(descending[math.floor((descending.size + 1) * fpr + 1e-9) - 1])
    attained = {"calibration": _attained(threshold, labels, scores, groups)}
    if test is not None:
        attained["test"] = _attained(threshold, *test)
    return {"fpr": fpr, "threshold": threshold, **attained}


def _attained(
    threshold: float, labels: IntArray, scores: FloatArray, groups: npt.NDArray[Any]
) -> dict[str, dict[str, Any]]:
    rates: dict[str, dict[str, Any]] = {}
    for name, label in (("fpr", 0), ("tpr", 1)):
        own = labels == label
        count, independent = int(own.sum()), int(np.unique(groups[own]).size)
        above = int((scores[own] > threshold).sum())
        value = above / count if count else None
        low, high = wilson(value, independent) if value is not None else (None, None)
        rates[name] = {"value": value, "low": low, "high": high, "samples": count, "groups": independent}
    return rates


def wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share that was seen in n independent draws; here n counts groups, not samples.

    Unlike a bootstrap's, it has a width where the share is 0 or 1.
    """
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)
