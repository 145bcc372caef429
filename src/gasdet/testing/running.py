"""From a name to a report: the functions that plugins' tests and ``gasdet plugin check`` call."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gasdet.registry import COMPONENT_KINDS, Registry, load_registry
from gasdet.testing.suite import Report
from gasdet.types import ComponentKind, ComponentSpec

if TYPE_CHECKING:
    from gasdet.testing.suite import Suite

Kind = Literal["detector", "metric", "loss", "calibrator", "preprocessor"]
KINDS: tuple[Kind, ...] = ("detector", "metric", "loss", "calibrator", "preprocessor")


def suites() -> Mapping[Kind, Suite[Any]]:
    """All checks by the kind of component, in the order in which they run."""
    from gasdet.testing import calibrators, detectors, losses, metrics, preprocessors

    return {
        "detector": detectors.SUITE,
        "metric": metrics.SUITE,
        "loss": losses.SUITE,
        "calibrator": calibrators.SUITE,
        "preprocessor": preprocessors.SUITE,
    }


def check_detector(
    name: str, *, weights: str | None = None, data: str | Path | None = None, only: Sequence[str] = ()
) -> Report:
    """Run the conformance kit on an installed detector.

    Args:
        name: As registered, or ``plugin/name``.
        weights: As ``--weights``. None takes the demo weights; without such, the network that the recipe's builder makes for
            the demo data, with random weights: what is then checked is the code.
        data: Labelled data for the polarity check, as ``--data`` takes them. None takes the demo data for demo weights; for
            other weights that check does not apply then.
        only: Names of the checks to run; empty for all.

    Raises:
        ConformanceError: A check failed; the message lists all that did.
        UsageError: There is no such detector, or no check of a name in ``only``.
    """
    return run_detector(name, weights=weights, data=data, only=only).require()


def run_detector(
    name: str, *, weights: str | None = None, data: str | Path | None = None, only: Sequence[str] = ()
) -> Report:
    """As ``check_detector``, without an error for checks that fail."""
    from gasdet.testing.detectors import SUITE, DetectorSubject

    with tempfile.TemporaryDirectory(prefix="gasdet-check-") as folder:
        return SUITE.run(name, DetectorSubject(name, Path(folder), weights=weights, data=data), only)


def check_metric(metric: str | ComponentSpec, *, only: Sequence[str] = ()) -> Report:
    """Run the conformance kit on a metric: the name of an installed one, or a spec.

    Raises:
        ConformanceError: A check failed; the message lists all that did.
        UsageError: There is no such metric, or no check of a name in ``only``.
    """
    return run_component("metric", metric, only).require()


def check_loss(loss: str | ComponentSpec, *, only: Sequence[str] = ()) -> Report:
    """Run the conformance kit on a loss: the name of an installed one, or a spec.

    Raises:
        ConformanceError: A check failed; the message lists all that did.
        UsageError: There is no such loss, or no check of a name in ``only``.
    """
    return run_component("loss", loss, only).require()


def check_calibrator(calibrator: str | ComponentSpec, *, only: Sequence[str] = ()) -> Report:
    """Run the conformance kit on a calibrator: the name of an installed one, or a spec.

    Raises:
        ConformanceError: A check failed; the message lists all that did.
        UsageError: There is no such calibrator, or no check of a name in ``only``.
    """
    return run_component("calibrator", calibrator, only).require()


def check_preprocessor(preprocessor: str | ComponentSpec, *, only: Sequence[str] = ()) -> Report:
    """Run the conformance kit on a preprocessor: the name of an installed one, or a spec.

    Raises:
        ConformanceError: A check failed; the message lists all that did.
        UsageError: There is no such preprocessor, or no check of a name in ``only``.
    """
    return run_component("preprocessor", preprocessor, only).require()


def run_component(kind: ComponentKind, component: str | ComponentSpec, only: Sequence[str] = ()) -> Report:
    """As ``check_metric`` and its like, without an error for checks that fail."""
    if isinstance(component, ComponentSpec):
        spec = component
    else:
        spec = load_registry().component(kind, component).spec
    return suites()[kind].run(spec.name, _subject(kind, spec), only)


def _subject(kind: ComponentKind, spec: ComponentSpec) -> Any:
    if kind == "metric":
        from gasdet.testing.metrics import MetricSubject

        return MetricSubject(spec)
    if kind == "loss":
        from gasdet.testing.losses import LossSubject

        return LossSubject(spec)
    if kind == "calibrator":
        from gasdet.testing.calibrators import CalibratorSubject

        return CalibratorSubject(spec)
    from gasdet.testing.preprocessors import PreprocessorSubject

    return PreprocessorSubject(spec)


def check_plugin(
    name: str,
    *,
    weights: str | None = None,
    data: str | Path | None = None,
    told: Callable[[Report], None] | None = None,
) -> list[Report]:
    """Run the conformance kit on all that an installed plugin registers, or on the components of one name.

    Args:
        name: A plugin (its entry point's name, or its distribution's), or any component.
        weights: For its detectors, as in ``check_detector``.
        data: Likewise.
        told: Called with each report as it is ready.

    Returns:
        A report for each component.

    Raises:
        UsageError: There is neither a plugin nor a component of this name.
        PluginError: The plugin is broken or refused.
    """
    reports = []
    for run in _runs(load_registry(), name, weights, data):
        report = run()
        reports.append(report)
        if told is not None:
            told(report)
    return reports


def _runs(
    registry: Registry, name: str, weights: str | None, data: str | Path | None
) -> Iterator[Callable[[], Report]]:
    from functools import partial

    detectors = [e for e in registry.detectors() if e.plugin.answers_to(name)]
    components = [(k, e) for k in COMPONENT_KINDS for e in registry.components(k) if e.plugin.answers_to(name)]
    if not detectors and not components:  # no plugin: a component's name
        bare = name.rpartition("/")[2]
        found = [(k, e) for k in COMPONENT_KINDS for e in registry.components(k) if name in (e.spec.name, e.qualified)]
        if bare not in {e.spec.name for e in registry.detectors()} and found:
            components = found
        else:
            detectors = [registry.detector(name)]  # raises with the nearest names, or says what broke the plugin
    for detector in detectors:
        yield partial(run_detector, detector.qualified, weights=weights, data=data)
    for kind, component in components:
        yield partial(run_component, kind, component.spec)
