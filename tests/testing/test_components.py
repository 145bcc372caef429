"""Every check of a component's suite is failed by the component that is wrong in just that, and by no other; ours pass all."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

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
OF_PLUGINS = ("light", "metadata", "version-range")  # these look at a plugin, and test_plugins breaks them
CASES = [
    (kind, check)
    for kind in COMPONENT_KINDS
    for check in suites()[kind].checks
    if (kind, check) not in NOT_TO_BREAK and check not in OF_PLUGINS
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


def loss(module: str, name: str, **fields: Any) -> ComponentSpec:
    return ComponentSpec(name.lower(), f"{PACKAGE}.{module}:{name}", "for tests", **fields)


# The words that the finding must have say that it is found for its cause.
FAULTS = {
    "its optimum is no number": (
        loss("losses", "too_sure", optimum=f"{PACKAGE}.designs:none_stated"),
        "minimal-when-right",
        "gives 'five', which is neither a number nor a pair of numbers",
    ),
    "it is about one class alone": (loss("losses", "one_sided"), "minimal-when-right", "For real samples"),
    "sure and right logits cost more": (loss("losses", "too_sure"), "minimal-when-right", "at a margin of 5.25"),
    "it is not where it says": (
        loss("losses", "too_sure", optimum=f"{PACKAGE}.losses:one"),
        "minimal-when-right",
        "at a margin of 5.25",
    ),
    "it says that it is about no labels": (
        loss("designs", "MovingCentres", unsupervised=True, detaches="the centres"),
        "uses-labels",
        "says unsupervised",
    ),
    "it detaches and does not say so": (loss("designs", "focal_detached"), "gradient", "by differences"),
    "its gradient leads uphill": (loss("designs", "uphill", detaches="much"), "gradient", "A small step"),
}


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("fault", FAULTS)
def test_losses_that_are_wrong_in_ways_that_happen(fault: str) -> None:
    spec, check, words = FAULTS[fault]
    report = run_component("loss", spec)
    found = {result.check: result.detail for result in report.failed}
    assert set(found) == {check}
    assert words in found[check]


@pytest.mark.usefixtures("broken")
def test_weights_that_are_cut_to_whole_numbers() -> None:
    spec = ComponentSpec("cut", f"{PACKAGE}.designs:rounded_weights", "for tests", higher_is_better=False)
    report = run_component("metric", spec)
    assert [result.check for result in report.failed] == ["weights-are-repeats"]
    assert "in two parts" in report.failed[0].detail


DESIGNS = {
    "least squares": loss("designs", "least_squares", optimum=f"{PACKAGE}.designs:one_and_one"),
    "an aim, stated": loss("losses", "too_sure", optimum=f"{PACKAGE}.losses:five"),
    "hinge": loss("designs", "hinge"),
    "hardest half": loss("designs", "hardest_half"),
    "ranking": loss("designs", "ranking"),
    "detached factor": loss("designs", "focal_detached", detaches="the focal factor"),
    "moving centres": loss("designs", "MovingCentres", detaches="the centres"),
    "centres that are kept for a log": loss("designs", "LoggedCentres"),
    "an aim, as a tensor": loss("losses", "too_sure", optimum=f"{PACKAGE}.designs:five_as_tensor"),
    "an aim, of NumPy": loss("losses", "too_sure", optimum=f"{PACKAGE}.designs:five_of_numpy"),
    "learnable temperature": loss("designs", "Tempered"),
    "of embeddings alone": loss("losses", "uses_labels", unsupervised=True),
}


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("design", DESIGNS)
def test_published_designs_pass(design: str) -> None:
    report = run_component("loss", DESIGNS[design])
    assert report.passed, report.failed
    if DESIGNS[design].detaches:
        assert "leads downhill" in next(r.detail for r in report.results if r.check == "gradient")


@pytest.mark.parametrize("smoothing", [0.05, 0.2, 0.4])
def test_the_cores_cross_entropy_passes_with_label_smoothing(smoothing: float) -> None:
    spec = load_registry().component("loss", "cross_entropy").spec
    report = run_component("loss", dataclasses.replace(spec, options={"label_smoothing": smoothing})).require()
    said = next(r.detail for r in report.results if r.check == "minimal-when-right")
    assert f"real at a margin of {math.log(2 / smoothing - 1):.3g}" in said


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
    assert "fails 1 of 13 checks" in message
    assert "one-class: It raises ZeroDivisionError: no negatives." in message
    assert "return float('nan')" in message


def test_a_target_that_does_not_import_fails_the_first_check_alone() -> None:
    report = run_component("metric", ComponentSpec("gone", "gasdet_testbroken.absent:metric", "for tests"))
    assert [r.check for r in report.failed] == ["imports"]
    later = report.results[[r.check for r in report.results].index("imports") + 1 :]
    assert {r.detail for r in later} == {"imports: failed"}


@pytest.mark.usefixtures("broken")
def test_a_preprocessor_whose_package_is_absent_is_neither_good_nor_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(frames: object) -> None:
        raise GasdetError("red is found with the package redness, which is not installed; install it.")

    monkeypatch.setattr("gasdet_testbroken.preprocessors.good", lacking)
    report = run_component("preprocessor", ComponentSpec("red", f"{PACKAGE}.preprocessors:good", "for tests"))
    results = {r.check: r for r in report.results if r.check not in OF_PLUGINS}
    assert {r.result for r in results.values()} == {"not applicable"}
    assert "install it" in results["imports"].detail


def test_only_some_checks() -> None:
    report = check_metric("brier", only=["ties", "range"])
    assert [r.check for r in report.results] == ["range", "ties"]
