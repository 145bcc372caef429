"""Calibrators against scipy's minimisers, scikit-learn and hand calculations, at their bounds, and what they keep."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_expit, logit
from sklearn.calibration import _sigmoid_calibration
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from gasdet.builtin.calibrators import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    Beta,
    Bias,
    Calibrator,
    Isotonic,
    Platt,
    Temperature,
    TemperatureBias,
    TemperatureSweep,
)
from gasdet.builtin.calibrators.temperature import SWEEP
from gasdet.builtin.metrics import combined_score, cross_entropy
from gasdet.errors import MetricError


def overconfident(n: int = 500, scale: float = 3.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are ``scale`` times too large for how often they are right."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n) * 1.5
    labels = (rng.random(n) < 1 / (1 + np.exp(-z))).astype(int)
    shift = rng.normal(size=n)
    return np.stack([shift, shift + scale * z], axis=1), labels


def nll(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
    p = expit(logits[:, 1] - logits[:, 0])
    return cross_entropy(labels, p, weights)


@pytest.mark.parametrize("weighted", [False, True])
def test_it_finds_the_minimum_that_scipy_finds(weighted: bool) -> None:
    logits, labels = overconfident()
    weights = np.random.default_rng(1).random(labels.size) if weighted else None
    found = minimize_scalar(
        lambda t: nll(logits / t, labels, weights), bounds=(0.1, 20), method="bounded", options={"xatol": 1e-9}
    )
    fitted = Temperature.fit(logits, labels, weights)
    assert fitted.temperature == pytest.approx(found.x, rel=1e-5)
    assert 2.0 < fitted.temperature < 4.5


def test_it_equals_scikit_learns_temperature_scaling() -> None:
    calibration = pytest.importorskip("sklearn.calibration")
    if not hasattr(calibration, "_TemperatureScaling"):
        pytest.skip("this scikit-learn has no temperature scaling")
    logits, labels = overconfident(seed=2)
    reference = calibration._TemperatureScaling().fit(logits, labels)
    assert 1 / Temperature.fit(logits, labels).temperature == pytest.approx(reference.beta_, rel=1e-3)


def test_integer_weights_are_repetition() -> None:
    logits, labels = overconfident(60)
    weights = np.random.default_rng(2).integers(0, 3, 60)
    again = np.repeat(np.arange(60), weights)
    assert Temperature.fit(logits, labels, weights).temperature == pytest.approx(
        Temperature.fit(logits[again], labels[again]).temperature, rel=1e-9
    )


def test_applying_keeps_decisions_and_lowers_the_likelihood_loss() -> None:
    logits, labels = overconfident()
    fitted = Temperature.fit(logits, labels)
    calibrated = fitted.apply(logits)
    assert calibrated == pytest.approx(logits / fitted.temperature)
    assert ((calibrated[:, 1] > calibrated[:, 0]) == (logits[:, 1] > logits[:, 0])).all()
    assert nll(calibrated, labels) < nll(logits, labels) - 0.1
    assert Temperature.fit(calibrated, labels).temperature == pytest.approx(1.0, rel=1e-6)


def test_bounds_where_there_is_no_minimum() -> None:
    right = np.array([[1.0, -1.0], [-1.0, 1.0]])
    assert Temperature.fit(right, [0, 1]).temperature == MIN_TEMPERATURE
    assert Temperature.fit(right, [1, 0]).temperature == MAX_TEMPERATURE


@pytest.mark.parametrize(
    ("logits", "labels", "weights", "words"),
    [
        ([[0.0, 1.0], [1.0, 0.0]], [1, 1], None, "one class"),
        ([[0.0, 1.0], [1.0, 0.0]], [1, 0], [1.0, 0.0], "one class"),
        ([[0.0, np.nan], [1.0, 0.0]], [1, 0], None, "finite logits"),
        ([[0.0, 1.0, 2.0]], [1], None, "finite logits"),
        ([[0.0, 1.0]], [1, 0], None, "do not fit"),
        ([[0.0, 1.0], [1.0, 0.0]], [1, 2], None, "Labels"),
        ([[0.0, 1.0], [1.0, 0.0]], [1, 0], [1.0, -1.0], "Labels"),
    ],
)
def test_what_cannot_be_fitted_is_an_error(logits: list, labels: list, weights: list | None, words: str) -> None:
    with pytest.raises(MetricError, match=words):
        Temperature.fit(logits, labels, weights)


def test_a_temperature_outside_its_bounds_is_refused() -> None:
    with pytest.raises(MetricError, match="temperature"):
        Temperature(0.0)


# The other calibrators: on data whose margins are too large and shifted


ALL = [Temperature, TemperatureSweep, Bias, TemperatureBias, Platt, Beta, Isotonic]
MONOTONE = [c for c in ALL if c.monotone]


def margins_and_labels(n: int = 3000, seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits [N, 2] with P(synthetic | z) = sigmoid(0.4 z - 0.7), labels and uneven weights."""
    rng = np.random.default_rng(seed)
    z = rng.normal(1.0, 4.0, n)
    labels = (rng.random(n) < expit(0.4 * z - 0.7)).astype(int)
    centre = rng.normal(size=n)
    return np.stack([centre - z / 2, centre + z / 2], axis=1), labels, rng.integers(1, 4, n).astype(float)


def margin(logits: np.ndarray) -> np.ndarray:
    return logits[:, 1] - logits[:, 0]


@pytest.mark.parametrize("weighted", [False, True])
def test_a_line_by_likelihood_is_scikit_learns_logistic_regression(weighted: bool) -> None:
    logits, labels, weights = margins_and_labels()
    w = weights if weighted else None
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(margin(logits)[:, None], labels, w)
    fitted = TemperatureBias.fit(logits, labels, w)
    assert fitted.scale == pytest.approx(reference.coef_[0, 0], rel=1e-4)
    assert fitted.bias == pytest.approx(reference.intercept_[0], abs=1e-4)
    assert fitted.affine() == (fitted.scale, fitted.bias)
    assert (fitted.scale, fitted.bias) == (pytest.approx(0.4, abs=0.06), pytest.approx(-0.7, abs=0.15))


def test_platt_is_scikit_learns_sigmoid_calibration() -> None:
    logits, labels, _ = margins_and_labels(200)
    # a prefit classifier whose decision function is the margin: what CalibratedClassifierCV(method="sigmoid") fits
    slope, intercept = _sigmoid_calibration(margin(logits), labels)
    fitted = Platt.fit(logits, labels)
    assert (fitted.scale, fitted.bias) == (pytest.approx(-slope, rel=1e-4), pytest.approx(-intercept, abs=1e-4))
    assert fitted.scale != pytest.approx(TemperatureBias.fit(logits, labels).scale, rel=1e-3)


def test_platt_smooths_its_targets() -> None:
    """Two margins only: then the line goes through the logits of both smoothed targets, by hand."""
    logits = np.array([[0.0, -1.0]] * 8 + [[0.0, 3.0]] * 18)
    labels = np.array([0] * 8 + [1] * 18)
    fitted = Platt.fit(logits, labels)
    low, high = np.log(1 / 9), np.log(19)  # targets 1 / (8 + 2) and (18 + 1) / (18 + 2)
    assert fitted.margin(np.array([-1.0, 3.0])) == pytest.approx([low, high], abs=1e-6)


def test_bias_makes_mean_probability_and_share_agree() -> None:
    logits, labels, weights = margins_and_labels()
    fitted = Bias.fit(logits, labels, weights)
    p = expit(margin(logits) + fitted.bias)
    assert np.average(p, weights=weights) == pytest.approx(np.average(labels, weights=weights), abs=1e-9)
    found = minimize_scalar(
        lambda b: nll(logits + np.array([0.0, b]), labels, weights), bounds=(-10, 10), method="bounded"
    )
    assert fitted.bias == pytest.approx(found.x, abs=1e-4)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_beta_is_the_bounded_minimum_that_scipy_finds(seed: int) -> None:
    logits, labels, weights = margins_and_labels(800, seed)
    z = margin(logits)
    columns = np.stack([log_expit(z), -log_expit(-z), np.ones_like(z)], axis=1)

    def loss(theta: np.ndarray) -> float:
        return float(np.average(np.logaddexp(0, columns @ theta) - labels * (columns @ theta), weights=weights))

    found = minimize(loss, [1, 1, 0], bounds=[(0.01, 100), (0.01, 100), (None, None)], tol=1e-12)
    fitted = Beta.fit(logits, labels, weights)
    assert loss(np.array([fitted.a, fitted.b, fitted.c])) <= found.fun + 1e-9
    assert [fitted.a, fitted.b, fitted.c] == pytest.approx(found.x, abs=2e-3)
    p = expit(z)
    assert fitted.margin(z) == pytest.approx(fitted.a * np.log(p) - fitted.b * np.log1p(-p) + fitted.c, abs=1e-8)


def test_beta_contains_the_identity() -> None:
    z = np.array([-30.0, -1.0, 0.0, 2.0, 30.0])
    assert Beta(1.0, 1.0, 0.0).margin(z) == pytest.approx(z)


@pytest.mark.parametrize("weighted", [False, True])
def test_isotonic_is_scikit_learns_with_clipped_ends(weighted: bool) -> None:
    logits, labels, weights = margins_and_labels(1500)
    logits = np.round(logits * 20) / 20  # ties
    w = weights if weighted else None
    z, end = np.round(margin(logits), 9), 1 / 1502
    reference = IsotonicRegression(y_min=end, y_max=1 - end, out_of_bounds="clip").fit(z, labels, w)
    fitted = Isotonic.fit(logits, labels, w)
    assert expit(fitted.margin(z)) == pytest.approx(reference.predict(z), abs=1e-9)
    assert fitted.margin(np.array([-1e6, 1e6])) == pytest.approx(logit(reference.predict([-1e6, 1e6])), abs=1e-6)
    x, y = fitted.knots()
    assert np.interp(z, x, y) == pytest.approx(fitted.margin(z))
    assert len(x) < 200  # the inside of a step needs no knots


def test_isotonic_pools_by_hand() -> None:
    logits = np.array([[0.0, v] for v in (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0)])
    fitted = Isotonic.fit(logits, [0, 1, 0, 0, 1, 1])
    p = expit(fitted.margin(np.array([-2.0, -1.0, 1.0, 2.0, 9.0])))
    assert p == pytest.approx([1 / 8, 1 / 3, 1 / 3, 7 / 8, 7 / 8])  # 0 | (1, 0, 0) | 1, 1, clipped to 1 / (6 + 2)


def test_the_sweep_takes_the_best_combined_score_of_its_grid() -> None:
    logits, labels = overconfident(1000)
    fitted = TemperatureSweep.fit(logits, labels)
    scores = {t: combined_score(labels, expit(margin(logits) / t)) for t in SWEEP}
    assert fitted.temperature in SWEEP
    assert scores[fitted.temperature] == max(scores.values()) > scores[1.0]
    assert (min(SWEEP), max(SWEEP), len(SWEEP), 1.0 in SWEEP) == (0.1, 10.0, 41, True)
    hopeless = np.stack([np.zeros(200), np.tile([-30.0, 30.0], 100)], axis=1)  # the combined score is 0 everywhere
    assert TemperatureSweep.fit(hopeless, [0, 1, 1, 0] * 50).temperature == 10.0
    right = np.array([[0.0, -50.0], [0.0, 50.0]] * 5)  # every temperature of the lower grid is perfect up to rounding
    assert TemperatureSweep.fit(right, [0, 1] * 5).temperature == 1.0


@pytest.mark.parametrize("calibrator", ALL)
def test_margins_of_any_size_are_fitted(calibrator: type[Calibrator]) -> None:
    logits, labels, _ = margins_and_labels()
    for size in (1e-1, 1e2):
        fitted = calibrator.fit(logits * size, labels)
        assert np.isfinite(fitted.apply(logits * size)).all()
        assert nll(fitted.apply(logits * size), labels) <= nll(logits * size, labels) + 1e-9


@pytest.mark.parametrize("calibrator", ALL)
def test_separable_and_worthless_scores_give_finite_probabilities(calibrator: type[Calibrator]) -> None:
    labels = np.array([0, 1] * 50)
    for z in (labels * 8.0 - 4.0, 4.0 - labels * 8.0, np.zeros(100), np.tile([0.0, 1.0], 50)[::-1]):
        logits = np.stack([np.zeros(100), z], axis=1)
        fitted = calibrator.fit(logits, labels)
        assert np.isfinite(fitted.apply(logits)).all()
        line = fitted.affine()
        assert line is None or 0.01 <= line[0] <= 100.0


@pytest.mark.parametrize("size", [1.0, 50.0, 500.0])
def test_classes_that_a_threshold_tells_apart_get_the_steepest_line(size: float) -> None:
    """There is no minimum but at the bound; Newton's steps stop before it, as the gradient vanishes."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [40, 80])
    z = size * np.where(labels == 1, 1.0, -1.2) + rng.normal(size=120) * size / 50
    logits, sure = np.stack([np.zeros(120), z], axis=1), nll(np.stack([np.zeros(120), z], axis=1), labels)
    line, curve = TemperatureBias.fit(logits, labels), Beta.fit(logits, labels)
    assert (line.scale, curve.a, curve.b) == (100.0, 100.0, 100.0)
    assert curve.c == pytest.approx(line.bias)
    for fitted in (line, curve):
        assert (np.sign(fitted.margin(z)) == 2 * labels - 1).all()
        assert np.abs(fitted.margin(z)).min() > np.abs(z).min()
        assert nll(fitted.apply(logits), labels) <= sure
    exchanged = TemperatureBias.fit(logits, 1 - labels)
    assert (exchanged.scale, Beta.fit(logits, 1 - labels).a) == (0.01, 0.01)
    if size > 1.0:  # in the middle of the gap, not at its edge
        assert Bias.fit(logits, labels).bias == pytest.approx(0.1 * size, abs=0.05 * size)


def test_the_bias_beside_the_bound_is_the_best_one() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], [40, 80])
    z = np.where(labels == 1, 0.01, -0.01) + np.where(labels == 1, 1, -1) * rng.random(120) * 0.05
    for calibrator, own in ((TemperatureBias, "bias"), (Beta, "c")):
        fitted = calibrator.fit(np.stack([np.zeros(120), z], axis=1), labels)
        sharp = np.stack([np.zeros(120), 100.0 * z], axis=1)
        found = minimize_scalar(
            lambda b, sharp=sharp: nll(sharp + np.array([0.0, b]), labels),
            bounds=(-3, 3),
            method="bounded",
            options={"xatol": 1e-9},
        )
        assert getattr(fitted, own) == pytest.approx(found.x, abs=1e-5)


@pytest.mark.parametrize("size", [50.0, 500.0])
def test_one_error_among_sure_scores_is_no_bound(size: float) -> None:
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1], 100)
    z = size * (2 * labels - 1) + rng.normal(size=200) * size / 50
    z[0] *= -1
    fitted = TemperatureBias.fit(np.stack([np.zeros(200), z], axis=1), labels)
    found = minimize(
        lambda v: float(np.mean(np.logaddexp(0, v[0] * z / size + v[1]) - labels * (v[0] * z / size + v[1]))),
        [1.0, 0.0],
        bounds=[(0.01 * size, 100 * size), (None, None)],
        tol=1e-12,
    )
    assert (fitted.scale, fitted.bias) == (
        pytest.approx(found.x[0] / size, rel=1e-3),
        pytest.approx(found.x[1], abs=1e-3),
    )


@pytest.mark.parametrize("calibrator", ALL)
def test_parameters_survive_json(calibrator: type[Calibrator]) -> None:
    logits, labels, weights = margins_and_labels()
    fitted = calibrator.fit(logits, labels, weights)
    stored = json.loads(json.dumps(fitted.parameters(), allow_nan=False))
    again = calibrator.from_parameters(stored)
    assert again == fitted
    assert (again.apply(logits) == fitted.apply(logits)).all()
    if (line := fitted.affine()) is not None:
        assert margin(fitted.apply(logits)) == pytest.approx(line[0] * margin(logits) + line[1])
    for wrong in ({}, {**stored, "more": 1}, dict.fromkeys(stored, "text"), dict.fromkeys(stored, float("nan"))):
        with pytest.raises(MetricError):
            calibrator.from_parameters(wrong)


@pytest.mark.parametrize("calibrator", ALL)
def test_integer_weights_are_repetition_for_all(calibrator: type[Calibrator]) -> None:
    logits, labels, weights = margins_and_labels(300)
    again = np.repeat(np.arange(300), weights.astype(int))
    z = margin(logits)
    one, other = calibrator.fit(logits, labels, weights), calibrator.fit(logits[again], labels[again])
    if calibrator in (Platt, Isotonic):  # the smoothing and the clipping count samples, not weights
        assert one.margin(z) == pytest.approx(other.margin(z), abs=0.8)
    else:
        assert one.margin(z) == pytest.approx(other.margin(z), rel=1e-4, abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(
    z=st.lists(st.floats(-40, 40), min_size=8, max_size=40),
    seed=st.integers(0, 1000),
    which=st.sampled_from(ALL),
)
def test_no_calibrator_turns_a_pair_around_and_the_monotone_ones_keep_auroc(
    z: list[float], seed: int, which: type[Calibrator]
) -> None:
    z_sorted = np.sort(np.round(z, 3))
    labels = np.random.default_rng(seed).integers(0, 2, len(z))
    labels[0], labels[-1] = 1 - labels[0], labels[0]
    if len(set(labels)) < 2:
        labels[0] = 1 - labels[0]
    logits = np.stack([np.zeros(len(z)), z_sorted], axis=1)
    calibrated = which.fit(logits, labels).margin(z_sorted)
    assert (np.diff(calibrated) >= 0).all()
    if which in MONOTONE:
        assert (np.diff(calibrated)[np.diff(z_sorted) > 0] > 0).all()
        assert roc_auc_score(labels, calibrated) == pytest.approx(roc_auc_score(labels, z_sorted), abs=1e-12)


def test_which_are_monotone() -> None:
    assert set(MONOTONE) == set(ALL) - {Isotonic}
    assert Isotonic.minimum_samples > Beta.minimum_samples > Platt.minimum_samples > Temperature.minimum_samples
