"""From a name to a report: the functions that plugins' tests and ``gasdet plugin check`` call."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gasdet.registry import COMPONENT_KINDS, PluginInfo, Registered, Registry, load_registry
from gasdet.testing.suite import Report, Told
from gasdet.types import ComponentKind, ComponentSpec, Kind, Modality

if TYPE_CHECKING:
    from gasdet.testing.suite import Suite


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
        weights: As ``--weights``. None takes the demo weights; without such, a release that is in the package or was fetched
            before; without either, the network that the recipe's builder makes for the demo data, with random weights: what
            is then checked is the code.
        data: Labelled data for the polarity check, as ``--data`` takes them, "demo" for the demo data. None takes these for
            demo weights; for other weights that check does not apply then.
        only: Names of the checks to run; empty for all.

    Raises:
        ConformanceError: A check failed; the message lists all that did.
        UsageError: There is no such detector, there are no such weights, the data cannot be used, or there is no check of a
            name in ``only``.
    """
    return run_detector(name, weights=weights, data=data, only=only).require()


def run_detector(
    name: str,
    *,
    weights: str | None = None,
    data: str | Path | None = None,
    only: Sequence[str] = (),
    told: Told | None = None,
    beside: Collection[Modality] = (),
) -> Report:
    """As ``check_detector``, without an error for checks that fail; ``beside`` as of ``DetectorSubject``."""
    import torch

    from gasdet.testing.detectors import SUITE, DetectorSubject
    from gasdet.training.checkpoint import own_random_numbers

    # an author's tests go on in this process, perhaps with a seed of their own
    with (
        own_random_numbers(torch.device("cpu")),
        tempfile.TemporaryDirectory(prefix="gasdet-check-") as folder,
    ):
        subject = DetectorSubject(name, Path(folder), weights=weights, data=data, beside=beside)
        subject.check_given()
        return SUITE.run(name, subject, only, told)


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


def run_component(
    kind: ComponentKind,
    component: str | ComponentSpec | Registered[ComponentSpec],
    only: Sequence[str] = (),
    told: Told | None = None,
) -> Report:
    """As ``check_metric`` and its like, without an error for checks that fail; what is registered is held with its plugin."""
    found = load_registry().component(kind, component) if isinstance(component, str) else component
    spec, plugin = (found, None) if isinstance(found, ComponentSpec) else (found.spec, found.plugin)
    return suites()[kind].run(spec.name, _subject(kind, spec, plugin), only, told)


def _subject(kind: ComponentKind, spec: ComponentSpec, plugin: PluginInfo | None) -> Any:
    if kind == "metric":
        from gasdet.testing.metrics import MetricSubject

        return MetricSubject(spec, plugin)
    if kind == "loss":
        from gasdet.testing.loss_subject import LossSubject

        return LossSubject(spec, plugin)
    if kind == "calibrator":
        from gasdet.testing.calibrators import CalibratorSubject

        return CalibratorSubject(spec, plugin)
    from gasdet.testing.preprocessors import PreprocessorSubject

    return PreprocessorSubject(spec, plugin)


def check_plugin(
    name: str,
    *,
    weights: str | None = None,
    data: str | Path | None = None,
    starts: Callable[[Kind, str], Told] | None = None,
) -> list[Report]:
    """Run the conformance kit on all that an installed plugin registers, or on the components of one name.

    Args:
        name: A plugin (its entry point's name, or its distribution's), or any component.
        weights: For its detectors, as in ``check_detector``.
        data: Likewise.
        starts: Called with kind and name of each component before its first check; what it returns hears of each result.

    Returns:
        A report for each component.

    Raises:
        UsageError: There is neither a plugin nor a component of this name.
        PluginError: The plugin is broken or refused.
    """
    reports = []
    entries = _entries(load_registry(), name)
    beside = {Modality(entry.spec.modality) for kind, entry in entries if kind == "detector"}
    for kind, entry in entries:
        told = starts(kind, entry.spec.name) if starts is not None else None
        if isinstance(entry.spec, ComponentSpec):
            reports.append(run_component(kind, entry, told=told))  # type: ignore[arg-type]
        else:
            reports.append(run_detector(entry.qualified, weights=weights, data=data, told=told, beside=beside))
    return reports


def _entries(registry: Registry, name: str) -> list[tuple[Kind, Registered[Any]]]:
    """What a plugin registers, detectors first; else what is called so."""
    everything: list[tuple[Kind, Registered[Any]]] = [("detector", entry) for entry in registry.detectors()]
    everything += [(kind, entry) for kind in COMPONENT_KINDS for entry in registry.components(kind)]
    of_plugin = [(kind, entry) for kind, entry in everything if entry.plugin.answers_to(name)]
    if of_plugin:
        return of_plugin
    named = [(kind, entry) for kind, entry in everything if name in (entry.spec.name, entry.qualified)]
    # the registry raises with the nearest names, or says what broke the plugin, or that two plugins use the name
    return named if any(kind != "detector" for kind, _ in named) else [("detector", registry.detector(name))]
