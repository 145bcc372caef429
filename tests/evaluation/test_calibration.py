"""A calibrator in an evaluation: raw and calibrated scores in the records, another run's identity, both in the summary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from gasdet.bundle.calibration import CalibratorError, CalibratorFile
from gasdet.errors import MetricError, RunError, UsageError
from gasdet.evaluation.calibration import calibrator_of
from gasdet.evaluation.inference import Scorer
from gasdet.evaluation.run import RunOptions, evaluate_run, run_configuration
from gasdet.reporting.tables import comparison_table

PLATT = CalibratorFile(
    method="platt", parameters={"scale": 0.5, "bias": -1.0}, detector="tiny", weights_sha256="0" * 64
)


def images(*values: int) -> np.ndarray:
    return np.stack([np.full((3, 4, 4), v, np.uint8) for v in values])


def test_scores_are_calibrated_and_the_models_own_stay(make_detector: Callable[..., Any]) -> None:
    batch = images(0, 100, 140, 255)
    raw = Scorer(make_detector()).score(batch, 0)
    calibrated = Scorer(make_detector(calibrator=PLATT)).score(batch, 0)
    for one, other in zip(raw, calibrated, strict=True):
        z = one.logit_synthetic - one.logit_real
        assert (other.logit_real, other.logit_synthetic, other.p_raw) == (
            one.logit_real,
            one.logit_synthetic,
            one.p_synthetic,
        )
        assert one.p_raw == one.p_synthetic == pytest.approx(expit(z))
        assert other.p_synthetic == pytest.approx(expit(0.5 * z - 1.0), rel=1e-12)


def test_three_classes_are_calibrated_on_their_folded_margin(make_detector: Callable[..., Any]) -> None:
    import torch

    class Three(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.tensor([[0.5, 1.0, 2.0]]).repeat(len(x), 1)

    score = Scorer(make_detector(Three(), num_classes=3, calibrator=PLATT)).score(images(1), 0)[0]
    z = np.logaddexp(1.0, 2.0) - 0.5
    assert score.p_raw == pytest.approx(expit(z))
    assert score.p_synthetic == pytest.approx(expit(0.5 * z - 1.0))


def test_a_run_holds_both_and_is_another_than_the_raw_one(
    make_detector: Callable[..., Any], make_dataset: Callable[..., Any], samples: Any, hostile: str, tmp_path: Path
) -> None:
    data = make_dataset(samples(*(f"ok:{v}" for v in range(60, 160, 2))))
    options = RunOptions(device="cpu", workers=1, resamples=20)
    plain, calibrated = make_detector(), make_detector(calibrator=PLATT)
    raw = evaluate_run([plain], data, tmp_path / "raw", options)
    run = evaluate_run([calibrated], data, tmp_path / "calibrated", options)
    assert raw.id != run.id
    identity = run_configuration([calibrated], data, options)["detectors"]["tiny"]
    assert identity["calibrator"] == PLATT.sha256
    assert "calibrator" not in run_configuration([plain], data, options)["detectors"]["tiny"]
    with pytest.raises(RunError, match="calibrator: none ->"):
        evaluate_run([calibrated], data, tmp_path / "raw", options)

    one, other = raw.records().to_pydict(), run.records().to_pydict()
    assert other["p_raw"] == one["p_synthetic"] == one["p_raw"]
    assert other["logit_synthetic"] == one["logit_synthetic"]
    z = np.subtract(one["logit_synthetic"], one["logit_real"])
    assert other["p_synthetic"] == pytest.approx(expit(0.5 * z - 1.0))
    assert other["prediction"] == [int(p > 0.5) for p in other["p_synthetic"]]

    before = run.summary["detectors"]["tiny"]["before_calibration"]
    whole = raw.summary["detectors"]["tiny"]["metrics"]
    assert set(before) >= {"combined_score", "ece", "brier", "cross_entropy"}
    assert before == {name: whole[name] for name in before}
    assert before["ece"]["value"] != run.summary["detectors"]["tiny"]["metrics"]["ece"]["value"]
    assert "before_calibration" not in raw.summary["detectors"]["tiny"]
    assert "before calibration" in comparison_table(run.summary)
    assert "before calibration" not in comparison_table(raw.summary)


def test_unusable_calibrators_are_refused(make_detector: Callable[..., Any]) -> None:
    import dataclasses

    with pytest.raises(CalibratorError, match="scale"):
        calibrator_of(dataclasses.replace(PLATT, parameters={"scale": -1.0, "bias": 0.0}))
    with pytest.raises(CalibratorError, match="parameters"):
        calibrator_of(dataclasses.replace(PLATT, parameters={"scale": 1.0}))
    with pytest.raises(UsageError, match="no calibrator is called"):
        calibrator_of(dataclasses.replace(PLATT, method="of another plugin"))


def test_a_calibrator_that_gives_no_probability_ends_the_run(
    make_detector: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from gasdet.builtin.calibrators import Platt

    monkeypatch.setattr(Platt, "apply", lambda self, logits: np.full((1, 2), np.nan))
    with pytest.raises(MetricError, match="calibrator of tiny"):
        Scorer(make_detector(calibrator=PLATT)).score(images(1), 0)
