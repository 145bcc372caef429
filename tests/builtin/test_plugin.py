"""The core's own plugin: what it registers exists, is what the summary shows, and costs nothing to list."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest

from gasdet.builtin import metrics, plugin
from gasdet.builtin.tally import VECTORISED
from gasdet.hookspecs import HOOKS
from gasdet.types import ComponentSpec


def registered(kind: str) -> dict[str, ComponentSpec]:
    specs: list[ComponentSpec] = []
    getattr(plugin, HOOKS[kind])(register=specs.append)
    assert len({s.name for s in specs}) == len(specs)
    return {s.name: s for s in specs}


def load(spec: ComponentSpec) -> object:
    module, _, attribute = spec.target.partition(":")
    return getattr(importlib.import_module(module), attribute)


KINDS = ["preprocessor", "loss", "calibrator", "metric"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_component_exists_and_takes_its_options(kind: str) -> None:
    for spec in registered(kind).values():
        component = load(spec)
        assert callable(component), spec.target
        assert spec.summary
        known = inspect.signature(component).parameters  # type: ignore[arg-type]
        assert set(spec.options) <= set(known), spec.name


def test_the_registered_metrics_are_those_of_the_summary() -> None:
    specs = registered("metric")
    assert list(specs) == list(metrics.STANDARD) == list(VECTORISED)
    labels, scores, weights = [0, 0, 1, 1, 1, 0], [0.1, 0.55, 0.4, 0.9, 0.9, 0.2], [1, 2, 1, 1, 3, 1]
    for name, spec in specs.items():
        component = load(spec)
        value = component(labels, scores, weights, **spec.options)  # type: ignore[operator]
        assert value == metrics.STANDARD[name](labels, scores, weights), name


def test_better_means_better() -> None:
    labels = [0, 0, 0, 1, 1, 1]
    good, bad = [0.05, 0.1, 0.2, 0.8, 0.9, 0.95], [0.9, 0.3, 0.6, 0.9, 0.3, 0.3]
    for name, spec in registered("metric").items():
        if spec.higher_is_better is None:
            continue
        ahead = metrics.STANDARD[name](labels, good, None) - metrics.STANDARD[name](labels, bad, None)
        assert (ahead > 0) is spec.higher_is_better, name


def test_the_losses_and_modalities() -> None:
    assert list(registered("loss")) == ["cross_entropy", "focal", "brier", "focal_brier", "soft_mcc", "combined_score"]
    assert list(registered("preprocessor")) == ["image", "video", "audio"]
    assert set(registered("calibrator")) == {
        "temperature", "bias", "temperature_bias", "platt", "beta", "isotonic", "temperature_sweep",
    }  # fmt: skip


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys, gasdet.builtin.plugin as p\n"
        "p.register_metrics(register=lambda s: None)\n"
        "heavy = {'numpy', 'torch', 'sklearn', 'scipy', 'cv2', 'av', 'rich', 'pyarrow', 'PIL'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
