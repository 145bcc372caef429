"""Every check of a component's suite is failed by the component that is wrong in just that, and by no other; ours pass all."""

from __future__ import annotations

import dataclasses

import pytest

from gasdet.errors import GasdetError
from gasdet.registry import COMPONENT_KINDS, load_registry
from gasdet.testing import ConformanceError, check_calibrator, check_loss, check_metric, check_preprocessor, suites
from gasdet.testing.running import run_component
from gasdet.types import ComponentKind, ComponentSpec

PACKAGE = "gasdet_testbroken"
METRIC = {"higher_is_better": False, "bounds": (0.0, 1.0), "agrees_with": f"{PACKAGE}.metrics:good"}
# Where the name of the check cannot be that of the function, or the spec is what is wrong.
NAMES = {"range": "range_"}
CHANGED = {
    ("metric", "range"): {"agrees_with": f"{PACKAGE}.metrics:range_"},
    ("metric", "direction"): {"agrees_with": f"{PACKAGE}.metrics:direction"},
    ("metric", "ties"): {"agrees_with": f"{PACKAGE}.metrics:ties"},
    ("metric", "weights-are-repeats"): {"agrees_with": f"{PACKAGE}.metrics:weights_are_repeats"},
}


def spec_of(kind: ComponentKind, check: str) -> ComponentSpec:
    name = NAMES.get(check, check.replace("-", "_"))
    if kind == "calibrator":
        name = "".join(part.capitalize() for part in check.split("-"))
    spec = ComponentSpec(f"{kind}-{check}", f"{PACKAGE}.{kind}s:{name}".replace("losss", "losses"), "for tests")
    if kind == "metric":
        spec = dataclasses.replace(spec, **METRIC)
    return dataclasses.replace(spec, **CHANGED.get((kind, check), {}))


NOT_TO_BREAK = {("preprocessor", "clear-errors")}  # only the core decodes, and its errors are tested in tests/media
CASES = [
    (kind, check) for kind in COMPONENT_KINDS for check in suites()[kind].checks if (kind, check) not in NOT_TO_BREAK
]


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize(("kind", "check"), CASES, ids=lambda text: text)
def test_each_broken_component_fails_its_check_and_no_other(kind: ComponentKind, check: str) -> None:
    report = run_component(kind, spec_of(kind, check))
    assert [result.check for result in report.failed] == [check], report.failed
    failed = report.failed[0]
    assert failed.detail.endswith(".")
    assert failed.advice.endswith(".")


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("kind", COMPONENT_KINDS)
def test_the_one_that_they_are_made_from_passes(kind: ComponentKind) -> None:
    name = "Good" if kind == "calibrator" else "good"
    spec = ComponentSpec("good", f"{PACKAGE}.{kind}s:{name}".replace("losss", "losses"), "for tests")
    report = run_component(kind, dataclasses.replace(spec, **METRIC) if kind == "metric" else spec)
    assert report.passed, report.failed


OURS = [(kind, entry.spec.name) for kind in COMPONENT_KINDS for entry in load_registry().components(kind)]
CHECKS = {
    "metric": check_metric,
    "loss": check_loss,
    "calibrator": check_calibrator,
    "preprocessor": check_preprocessor,
}


@pytest.mark.parametrize(("kind", "name"), OURS, ids=lambda text: text)
def test_every_installed_component_passes(kind: ComponentKind, name: str) -> None:
    assert CHECKS[kind](name).passed


@pytest.mark.usefixtures("broken")
def test_a_failure_in_a_test_lists_every_check_with_what_to_change() -> None:
    with pytest.raises(ConformanceError) as raised:
        check_metric(spec_of("metric", "one-class"))
    message = str(raised.value)
    assert "fails 1 of 10 checks" in message
    assert "one-class: It raises ZeroDivisionError: no negatives." in message
    assert "return float('nan')" in message


def test_a_target_that_does_not_import_fails_the_first_check_alone() -> None:
    report = run_component("metric", ComponentSpec("gone", "gasdet_testbroken.absent:metric", "for tests"))
    assert [r.check for r in report.failed] == ["imports"]
    assert {r.detail for r in report.results[1:]} == {"imports: failed"}


@pytest.mark.usefixtures("broken")
def test_a_preprocessor_whose_package_is_absent_is_neither_good_nor_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(frames: object) -> None:
        raise GasdetError("red is found with the package redness, which is not installed; install it.")

    monkeypatch.setattr("gasdet_testbroken.preprocessors.good", lacking)
    report = run_component("preprocessor", ComponentSpec("red", f"{PACKAGE}.preprocessors:good", "for tests"))
    assert {r.result for r in report.results} == {"not applicable"}
    assert "install it" in report.results[0].detail


def test_only_some_checks() -> None:
    report = check_metric("brier", only=["ties", "range"])
    assert [r.check for r in report.results] == ["range", "ties"]
