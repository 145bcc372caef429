"""Fitting a calibrator from scored samples: what is kept back, what is refused, and whether the report is right."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from gasdet.builtin.calibrators import Platt
from gasdet.errors import DataError, UsageError
from gasdet.evaluation.calibrating import (
    fit_calibrator,
    kept_back,
    made_worse,
    probabilities,
)
from gasdet.evaluation.scored_samples import ScoredSamples, fitted_among, join_copies


def scored(n: int = 600, *, per_group: int = 3, seed: int = 0, share: float = 0.5, name: str = "data") -> ScoredSamples:
    """Scores that are three times too sure and shifted."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) // per_group % 100 < share * 100).astype(np.int64)
    z = 3.0 * rng.normal(np.where(labels == 1, 1.0, -1.0), 1.2, n) + 2.0
    return ScoredSamples(
        detector="tiny",
        weights_sha256="a" * 64,
        description=name,
        fingerprint=f"print of {name}",
        sample_ids=np.array([f"{name}-{i:06d}" for i in range(n)]),
        groups=np.array([f"{name}-g{i // per_group}" for i in range(n)]),
        splits=np.array(["calibration"] * n),
        logits=np.stack([np.zeros(n), z], axis=1),
        labels=labels,
        weights=rng.integers(1, 3, n).astype(np.float64),
    )


def fit(data: ScoredSamples, **options: Any) -> Any:
    return fit_calibrator(data, **{"method": "platt", "resamples": 50, **options})


def test_the_report_is_on_groups_that_were_not_fitted_on() -> None:
    data = scored()
    back = kept_back(data, 0.3, seed=0)
    assert not set(data.groups[back]) & set(data.groups[~back])
    assert 0.25 < back.mean() < 0.35
    for label in (0, 1):
        assert 0.25 < back[data.labels == label].mean() < 0.35
    fitted = fit(data)
    own = Platt.fit(data.logits[~back], data.labels[~back], data.weights[~back])
    assert fitted.parameters == own.parameters()
    assert fitted.fitted_on["samples"] + fitted.judged_on["samples"] == 600
    assert fitted.fitted_on["sample_ids_sha256"] != fitted.judged_on["sample_ids_sha256"]
    assert (fitted.fitted_on["split"], fitted.weights_sha256, fitted.detector) == ("calibration", "a" * 64, "tiny")

    y, w, z = data.labels[back], data.weights[back], data.logits[back, 1]
    for report, p in ((fitted.before, expit(z)), (fitted.after, expit(own.scale * z + own.bias))):
        assert report["cross_entropy"]["value"] == pytest.approx(log_loss(y, p, sample_weight=w), rel=1e-9)
        assert report["brier"]["value"] == pytest.approx(brier_score_loss(y, p, sample_weight=w), rel=1e-9)
        assert report["auroc"]["value"] == pytest.approx(roc_auc_score(y, p, sample_weight=w), rel=1e-9)
        assert report["ece"]["low"] < report["ece"]["high"]
    assert fitted.after["cross_entropy"]["value"] < fitted.before["cross_entropy"]["value"] - 0.1
    assert fitted.after["auroc"] == fitted.before["auroc"]


def test_the_choice_of_groups_depends_on_the_seed_and_not_on_the_order() -> None:
    data = scored()
    back = kept_back(data, 0.3, seed=0)
    order = np.random.default_rng(1).permutation(600)
    assert (kept_back(data.part(order), 0.3, seed=0) == back[order]).all()
    assert (kept_back(data, 0.3, seed=1) != back).any()


def test_mixed_groups_stay_whole() -> None:
    data = scored(300)
    data = dataclasses.replace(data, groups=np.array([f"g{i % 60}" for i in range(300)]))
    back = kept_back(data, 0.25, seed=0)
    assert not set(data.groups[back]) & set(data.groups[~back])
    assert 0.15 < back.mean() < 0.35


def test_groups_that_share_a_content_become_one() -> None:
    data = dataclasses.replace(scored(6, per_group=1), groups=np.array(["a", "b", "c", "d", "e", "f"]))
    assert join_copies(data, ["1", "2", None, "2", "1", None]).groups.tolist() == ["a", "b", "c", "b", "a", "f"]
    assert join_copies(data, ["1", "2", "1", "2", "2", "1"]).groups.tolist() == ["a", "b", "a", "b", "b", "a"]
    chain = dataclasses.replace(data, groups=np.array(["a", "b", "b", "c", "c", "f"]))
    assert join_copies(chain, ["1", "1", "2", "2", "3", None]).groups.tolist() == [*"aaaaa", "f"]
    assert join_copies(data, []).groups.tolist() == data.groups.tolist()


@pytest.mark.parametrize(("method", "needed"), [("temperature", 30), ("platt", 50), ("beta", 100), ("isotonic", 500)])
def test_too_few_samples_are_refused_with_the_number_needed(method: str, needed: int) -> None:
    data = scored(2 * needed + 20, per_group=1)
    with pytest.raises(DataError, match=rf"{method}.* at least {needed} real and {needed} synthetic .*kept back"):
        fit(data, method=method)
    enough = scored(int(2 * needed / 0.7) + 40, per_group=1)
    assert fit(enough, method=method).method == method


def test_one_class_has_nothing_to_report_on() -> None:
    data = scored(400)
    one_synthetic_group = dataclasses.replace(
        data, groups=np.where(data.labels == 1, "all of them", data.groups.astype(object)).astype(np.str_)
    )
    with pytest.raises(DataError, match="the report needs real and synthetic"):
        fit(one_synthetic_group)
    with pytest.raises(DataError, match="at least 50 real and 50 synthetic"):
        fit(scored(400, share=0.0))


def test_other_data_for_the_report() -> None:
    data, test = scored(), scored(300, seed=5, name="test")
    fitted = fit(data, test=test)
    assert fitted.parameters == Platt.fit(data.logits, data.labels, data.weights).parameters()
    assert fitted.judged_on["description"] == "test"
    with pytest.raises(DataError, match="300 of 300 samples of data are in the calibration data"):
        fit(data, test=data.part(np.arange(300)))
    with pytest.raises(DataError, match="other weights"):
        fit(data, test=dataclasses.replace(test, weights_sha256="b" * 64))
    shared = dataclasses.replace(test, groups=np.where(np.arange(300) < 30, data.groups[:300], test.groups))
    near = fit(data, test=shared)
    assert near.judged_on["samples"] == 270
    assert any("30 samples are left out" in note for note in near.notes)


def test_thresholds_are_found_on_calibrated_scores_of_the_fit() -> None:
    data = scored(2000, per_group=1)
    fitted = fit(data, fpr=(0.05, 0.01, 0.05))
    assert [p["fpr"] for p in fitted.thresholds] == [0.01, 0.05]
    assert fitted.thresholds[0]["threshold"] > fitted.thresholds[1]["threshold"]
    fitting = data.part(~kept_back(data, 0.3, seed=0))
    p = probabilities(Platt.from_parameters(fitted.parameters).apply(fitting.logits))
    for point in fitted.thresholds:
        rate = (p[fitting.labels == 0] > point["threshold"]).mean()
        assert point["calibration"]["fpr"]["value"] == pytest.approx(rate)
        assert rate <= point["fpr"]
        assert point["test"]["tpr"]["low"] < point["test"]["tpr"]["value"] < point["test"]["tpr"]["high"]
    with pytest.raises(DataError, match=r"needs at least 999 .* real samples"):
        fit(data, fpr=(0.001,))


def test_what_a_reader_must_know_is_said() -> None:
    data = scored()
    worthless = dataclasses.replace(data, labels=np.random.default_rng(0).permutation(data.labels))
    turned = dataclasses.replace(data, logits=-data.logits)
    assert any("no better than chance" in note for note in fit(turned).notes)
    separable = dataclasses.replace(data, logits=np.stack([np.zeros(600), data.labels * 100.0 - 50.0], axis=1))
    for method in ("temperature_bias", "beta"):
        assert any("bound, 100: the detector is without an error" in n for n in fit(separable, method=method).notes)
    assert any("ties" in note for note in fit(scored(2000), method="isotonic").notes)
    assert not any("worse" in note for note in fit(data).notes)
    few = dataclasses.replace(data, groups=np.array([f"{y}-{i % 8}" for i, y in enumerate(data.labels)]))
    assert any("No intervals" in note for note in fit(few).notes)
    assert fit(worthless).after["brier"]["value"] == pytest.approx(0.25, abs=0.01)


def test_a_calibrator_that_makes_things_worse_is_called_so() -> None:
    data, test = scored(), scored(300, seed=5, name="test")
    well = dataclasses.replace(test, logits=np.stack([np.zeros(300), (test.labels * 2 - 1) * 8.0], axis=1))
    fitted = fit(data, test=well)
    assert any("makes things worse" in note and "leave it out" in note for note in fitted.notes)
    assert [words.split()[0] for words in made_worse(fitted)] == ["NLL", "Brier"]
    assert made_worse(fit(data)) == []
    one = dataclasses.replace(fitted, after={**fitted.after, "brier": fitted.before["brier"]})
    assert len(made_worse(one)) == 1


def test_which_samples_were_fitted_on_is_known_by_id() -> None:
    data = dataclasses.replace(scored(), sample_ids=np.array([f"{i:016x}{'0' * 16}" for i in range(600)]))
    back = kept_back(data, 0.3, seed=0)
    fitted = fit(data)
    assert fitted_among(fitted, data.sample_ids[~back].tolist()) == int((~back).sum())
    assert fitted_among(fitted, data.sample_ids[back].tolist()) == 0
    assert fitted_among(fitted, [*data.sample_ids[~back][:3].tolist(), "f" * 32]) == 3
    assert "sample_ids" not in fitted.judged_on
    assert fitted_among(dataclasses.replace(fitted, fitted_on={}), ["f" * 32]) is None


def test_unknown_methods_and_fractions_are_refused() -> None:
    with pytest.raises(UsageError, match=r"no calibrator is called 'plat'.*'platt'"):
        fit(scored(), method="plat")
    with pytest.raises(UsageError, match="between 0 and 1"):
        fit(scored(), test_fraction=1.0)
