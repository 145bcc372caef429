"""Every fault that a detector's author may make fails the one check that names it; the scaffold's and sound ones pass all."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gasdet.builtin.metrics import auroc
from gasdet.bundle.weights import WeightsState
from gasdet.errors import UsageError
from gasdet.registry import load_target
from gasdet.scaffold import write_plugin
from gasdet.testing import samples, suites
from gasdet.testing.detectors import DetectorSubject
from gasdet.testing.running import run_detector
from gasdet.types import Modality, Preprocessing

from .broken_detectors import FAULTS, FOREIGN, HEAD, MODEL, PLUGIN, SOUND, STORED, Change

NOTHING_DEMANDED = {"cost"}
SLOW = ("light", "export")
"""They start processes: run where the plugin is wrong in them, and with the scaffold's own."""

Install = Callable[[Path], None]
Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """Random weights of the scaffold's network whose head points the right way on the fixture's pictures."""
    folder = write_plugin("untouched", out=tmp_path_factory.mktemp("untouched") / "plugin").folder
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder / "src"))
        keys = load_target("gasdet_untouched.recipe:PREPROCESSING")
        torch.manual_seed(0)
        model = load_target("gasdet_untouched.training:build")().eval()
    batch, labels = samples.batch(Preprocessing.from_mapping(Modality.IMAGE, keys), 24)
    with torch.no_grad():
        margin = model(torch.from_numpy(batch)).diff().numpy()[:, 0]
        right = auroc(labels, 1 / (1 + np.exp(-(margin - margin.mean()))))
        assert abs(right - 0.5) > 0.2, "random features do not tell the fixture's classes apart"
        model.head.weight *= 1.0 if right > 0.5 else -1.0
    return {name: tensor.contiguous() for name, tensor in model.state_dict().items()}


@pytest.fixture(autouse=True)
def few_threads() -> Iterator[None]:
    """The networks are tiny: threads would wait for each other, and for those of the tests beside these."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def made(folder: Path, name: str, changes: Sequence[Change], weights: Weights | None, *, kind: str = "release") -> Path:
    """A plugin of the scaffold with weights of its own, and with texts replaced."""
    folder = write_plugin(name, out=folder / f"gasdet-{name}").folder
    package = folder / "src" / f"gasdet_{name.replace('-', '_')}"
    if weights is not None:
        save_file(weights, str(package / "v1.safetensors"))
        sha256 = hashlib.sha256((package / "v1.safetensors").read_bytes()).hexdigest()
        options = f'kind="{kind}", training_data="none", dtypes=("float32", "bfloat16")'
        stated = f'WeightsSpec("v1", "package:v1.safetensors", "{sha256}", "MIT", {options})'
        plugin = (package / PLUGIN).read_text()
        plugin = plugin.replace("Modality, hookimpl", "Modality, WeightsSpec, hookimpl")
        (package / PLUGIN).write_text(plugin.replace('    recipe="', f'    weights=({stated},),\n    recipe="'))
    for file, old, new in changes:
        text, old, new = (package / file).read_text(), old.replace("NAME", name), new.replace("NAME", name)
        assert text.count(old) == 1, (file, old)
        (package / file).write_text(text.replace(old, new))
    return folder


def quick(*more: str) -> list[str]:
    return [check for check in suites()["detector"].checks if check in more or check not in SLOW]


@pytest.mark.parametrize("what", FAULTS)
def test_each_fault_fails_the_check_that_names_it_and_no_other(
    what: str, tmp_path: Path, installed: Install, gasdet_media: Callable[..., Path], weights: Weights
) -> None:
    fault = FAULTS[what]
    name = f"broken-{list(FAULTS).index(what)}"
    own = {**weights, **fault.added}
    own = {f"{STORED}{key}": tensor for key, tensor in own.items()} if fault.foreign else own
    installed(made(tmp_path, name, fault.changes, own))
    report = run_detector(name, weights="v1", data=gasdet_media("image"), only=quick(fault.check))
    assert [failed.check for failed in report.failed] == [fault.check], report.failed
    (failed,) = report.failed
    assert fault.says in failed.detail
    assert failed.detail.endswith(".")
    assert failed.advice.endswith(".")


def test_the_scaffolds_own_passes_all(
    tmp_path: Path, installed: Install, gasdet_media: Callable[..., Path], weights: Weights
) -> None:
    installed(made(tmp_path, "sound", [], weights))
    report = run_detector("sound", weights="v1", data=gasdet_media("image"))
    assert report.passed, report.failed
    assert {r.check for r in report.results if r.result == "not applicable"} == {"offers-agree"}


@pytest.mark.parametrize("what", [*SOUND, "a publisher's names"])
def test_what_is_no_fault_passes_all(what: str, tmp_path: Path, installed: Install, weights: Weights) -> None:
    foreign = what not in SOUND
    own = {f"{STORED}{key}": tensor for key, tensor in weights.items()} if foreign else weights
    name = f"sound-{[*SOUND, what].index(what)}"
    installed(made(tmp_path, name, FOREIGN if foreign else SOUND[what], own))
    report = run_detector(name, only=quick())
    assert report.passed, report.failed
    left_out = {r.check for r in report.results if r.result == "not applicable"}
    assert left_out == {"offers-agree", "polarity"}


def test_every_check_is_failed_by_a_fault() -> None:
    assert {fault.check for fault in FAULTS.values()} | NOTHING_DEMANDED == set(suites()["detector"].checks)


NO_RECIPE: Change = (PLUGIN, "    recipe=", "    # ")


def test_without_any_weights_it_fails_and_says_what_to_give(tmp_path: Path, installed: Install) -> None:
    installed(made(tmp_path, "bare-none", [NO_RECIPE], None))
    report = run_detector("bare-none", only=quick())
    (failed,) = report.failed
    assert failed.check == "loads"
    assert "its plugin states no recipe" in failed.detail
    assert "--weights" in failed.advice


@pytest.mark.parametrize("changes", [[NO_RECIPE], []], ids=["no recipe", "a recipe"])
def test_a_release_in_the_package_is_what_is_checked(
    changes: list[Change], tmp_path: Path, installed: Install, weights: Weights
) -> None:
    broken = (MODEL, HEAD, f'        raise RuntimeError("broken")\n{HEAD}')
    name = f"bare-{len(changes)}"
    installed(made(tmp_path, name, [*changes, broken], weights))
    report = run_detector(name, only=["loads", "output-shape"])
    assert "the weights v1" in report.results[0].detail
    assert [(r.check, r.detail) for r in report.failed] == [("output-shape", "It raises RuntimeError: broken.")]


def test_a_publishers_detector_without_recipe_is_held_to_its_files(
    tmp_path: Path, installed: Install, weights: Weights
) -> None:
    foreign = {f"{STORED}{key}": tensor for key, tensor in weights.items()}
    installed(made(tmp_path, "bare-foreign", [NO_RECIPE, *FOREIGN], foreign))
    report = run_detector("bare-foreign", only=quick())
    assert report.passed, report.failed
    applied = {r.check for r in report.results if r.result == "passed"}
    assert {"save-and-load", "strict-loading", "calibrators"} <= applied
    (strict,) = (r for r in report.results if r.check == "strict-loading")
    assert "head." in strict.detail


def test_data_and_weights_that_cannot_be_used_are_the_callers_mistake(
    tmp_path: Path, installed: Install, gasdet_media: Callable[..., Path], weights: Weights
) -> None:
    installed(made(tmp_path, "sound-given", [], weights))
    with pytest.raises(UsageError, match="polarity check cannot be used: there is no file or folder"):
        run_detector("sound-given", data=tmp_path / "absent")
    one_class = gasdet_media("image") / "real"
    with pytest.raises(UsageError, match="no image samples of both classes"):
        run_detector("sound-given", data=one_class)
    with pytest.raises(UsageError, match="no weights named 'v2'"):
        run_detector("sound-given", weights="v2")


@pytest.mark.usefixtures("with_plugins")
def test_demo_weights_come_before_a_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = DetectorSubject("edges", tmp_path)
    state = WeightsState("v1", "release", "MIT", available=True, where="")
    monkeypatch.setattr("gasdet.testing.detectors.subject.weights_state", lambda spec: [state])
    assert subject._release == "v1"
    assert (subject.weights_kind, subject.weights) == ("demo", "demo")


@pytest.mark.usefixtures("with_plugins")
def test_the_demo_data_are_named_as_everywhere() -> None:
    (result,) = run_detector("edges", weights="demo", data="demo", only=["polarity"]).results
    assert result.detail.startswith("AUROC ")
    assert "demo (test split)" in result.detail


@pytest.mark.usefixtures("with_plugins")
def test_it_leaves_the_processes_random_numbers_as_they_were() -> None:
    before = (torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist())
    report = run_detector("edges", only=["loads", "eval-mode", "deterministic"])
    assert [r.result for r in report.results] == ["passed"] * 3
    assert (torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()) == before
