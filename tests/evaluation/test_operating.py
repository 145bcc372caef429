"""Thresholds for a false positive rate: by hand, over many draws, and against scipy's interval."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from gasdet.errors import DataError, UsageError
from gasdet.evaluation.operating import operating_point, wilson


def test_by_hand() -> None:
    real = np.arange(1, 40) / 100  # 39 real: k = floor(40 * 0.05) = 2, the second largest
    synthetic = np.array([0.2, 0.37, 0.38, 0.9])
    labels = np.array([0] * 39 + [1] * 4)
    scores = np.concatenate([real, synthetic])
    point = operating_point(0.05, labels, scores, np.arange(43))
    assert point["threshold"] == 0.38
    assert point["calibration"]["fpr"]["value"] == pytest.approx(1 / 39)  # 0.39 alone lies above
    assert point["calibration"]["tpr"]["value"] == 1 / 4
    assert (point["calibration"]["fpr"]["samples"], point["calibration"]["tpr"]["samples"]) == (39, 4)
    assert "test" not in point


def test_ties_never_let_more_through() -> None:
    scores = np.array([0.1] * 50 + [0.9] * 49 + [0.95] * 3)
    labels = np.array([0] * 99 + [1] * 3)
    point = operating_point(0.1, labels, scores, np.arange(102))
    assert (point["threshold"], point["calibration"]["fpr"]["value"]) == (0.9, 0.0)
    assert point["calibration"]["tpr"]["value"] == 1.0


@pytest.mark.parametrize(("fpr", "count"), [(0.01, 99), (0.01, 250), (0.05, 19), (0.05, 70), (0.1, 33)])
def test_on_average_new_real_samples_are_accused_no_more_often_than_asked(fpr: float, count: int) -> None:
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(3000):
        scores = rng.random(count)
        point = operating_point(fpr, np.zeros(count, int), scores, np.arange(count))
        rates.append(1 - point["threshold"])  # of uniform scores, exactly the share above
    expected = np.floor((count + 1) * fpr + 1e-9) / (count + 1)
    assert np.mean(rates) == pytest.approx(expected, abs=4 * np.std(rates) / np.sqrt(3000))
    assert expected <= fpr + 1e-12


def test_too_few_real_samples_are_refused_with_the_number_needed() -> None:
    scores = np.linspace(0, 1, 98)
    with pytest.raises(DataError, match=r"0\.01 needs at least 99 .* there are 98; .* ask for 0\.0102"):
        operating_point(0.01, np.zeros(98, int), scores, np.arange(98))
    operating_point(0.0102, np.zeros(98, int), scores, np.arange(98))  # what the message offers works
    with pytest.raises(DataError, match="there are 49"):  # two samples a group are one piece of evidence
        operating_point(0.01, np.zeros(98, int), scores, np.arange(98) // 2)
    with pytest.raises(UsageError, match="between 0 and 1"):
        operating_point(1.0, np.zeros(98, int), scores, np.arange(98))


def test_what_is_attained_elsewhere_is_reported_too() -> None:
    labels, scores = np.array([0] * 19), np.linspace(0, 0.9, 19)
    test = (np.array([0, 0, 1, 1]), np.array([0.95, 0.1, 0.99, 0.5]), np.array([1, 2, 3, 3]))
    point = operating_point(0.05, labels, scores, np.arange(19), test)
    assert point["test"]["fpr"]["value"] == point["test"]["tpr"]["value"] == 0.5
    assert (point["test"]["fpr"]["groups"], point["test"]["tpr"]["groups"]) == (2, 1)
    assert point["calibration"]["tpr"]["value"] is None


@pytest.mark.parametrize(("count", "n"), [(0, 20), (3, 50), (50, 50), (1, 1000)])
def test_the_interval_is_wilsons(count: int, n: int) -> None:
    reference = binomtest(count, n).proportion_ci(0.95, method="wilson")
    assert wilson(count / n, n) == pytest.approx((reference.low, reference.high), abs=1e-9)
