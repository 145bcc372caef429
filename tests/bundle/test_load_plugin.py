"""A plugin's own model.py: loaded from its target, and held strictly to its weights file."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gasdet.bundle import ResolvedWeights, load_detector
from gasdet.bundle.safefile import sha256_of
from gasdet.errors import BundleError, ConfigError, PluginError, WeightsError
from gasdet.types import DetectorSpec, Modality

BATCH = np.random.default_rng(1).integers(0, 256, (3, 3, 8, 8), dtype=np.uint8)

Tensors = Callable[..., dict[str, Any]]
Plugin = Callable[..., tuple[DetectorSpec, ResolvedWeights]]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image_model: str, tensors_for: Tensors) -> Iterator[Plugin]:
    """A plugin's package with a model.py and weights, as its spec and resolved weights."""
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(str(site))
    made: list[str] = []

    def make(
        code: str = image_model, tensors: dict[str, Any] | None = None, **changes: Any
    ) -> tuple[DetectorSpec, ResolvedWeights]:
        package = f"plugin_of_test_{len(made)}_{tmp_path.name}"
        made.append(package)
        folder = site / package
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
        (folder / "model.py").write_text(code)
        file = folder / "w.safetensors"
        save_file(tensors or tensors_for("image"), file)
        spec = DetectorSpec(
            name="some", modality=Modality.IMAGE, target=f"{package}.model", summary="",
            preprocessing={"resize": [8, 8], "antialias": True}, model={"width": 5},
        )  # fmt: skip
        weights = ResolvedWeights(
            file, sha256_of(file), "v1", "release", "MIT",
            **{"model": {"width": 4}, "preprocessing": {"resize": [8, 6]}, **changes},
        )  # fmt: skip
        return spec, weights

    yield make
    for name in [n for n in sys.modules if n.split(".")[0] in made]:
        del sys.modules[name]


def test_a_plugins_detector(plugin: Plugin) -> None:
    spec, weights = plugin()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detector = load_detector(spec, weights, origin="plugin 1.2")
    assert detector.preprocessing.resize == (8, 6)  # the weights' keys win over the detector's
    assert detector.preprocessing.antialias is True
    assert dict(detector.model_kwargs) == {"width": 4}
    assert (detector.origin, detector.weights.name, detector.weights.kind) == ("plugin 1.2", "v1", "release")
    assert detector.model_sha256 == sha256_of(weights.path.parent / "model.py")
    assert not detector.module.training
    assert detector.logits(BATCH).shape == (3, 2)
    assert type(detector.module).__module__ == spec.target  # imported normally, from its target


def test_a_plugin_that_cannot_be_imported(plugin: Plugin) -> None:
    spec, weights = plugin("import no_such_package_xyz\n")
    with pytest.raises(PluginError, match="needs the package 'no_such_package_xyz', which is not installed here"):
        load_detector(spec, weights, origin="plugin 1.2")
    spec, weights = plugin("1 / 0\n")
    with pytest.raises(PluginError, match=r"does not import \(ZeroDivisionError: division by zero\)"):
        load_detector(spec, weights, origin="plugin 1.2")
    spec, weights = plugin("x = 1\n")
    with pytest.raises(BundleError, match="defines no function load_model"):
        load_detector(spec, weights, origin="plugin 1.2")


def test_a_plugin_is_held_to_its_own_keys(plugin: Plugin) -> None:
    spec, weights = plugin(model={"depth": 3})
    with pytest.raises(PluginError, match=r"does not take what plugin 1\.2 registers for it: .*'depth'"):
        load_detector(spec, weights, origin="plugin 1.2")
    spec, weights = plugin(preprocessing={"resise": [1, 1]})
    with pytest.raises(ConfigError, match="preprocessing of some: unknown key 'resise'"):
        load_detector(spec, weights, origin="plugin 1.2")


LENIENT = (
    "model.load_state_dict({k: v for k, v in load_file(weights_path).items() if k in model.state_dict()}, strict=False)"
)


def test_a_plugin_that_ignores_tensors_is_refused(plugin: Plugin, image_model: str, tensors_for: Tensors) -> None:
    code = image_model.replace("model.load_state_dict(load_file(weights_path))", LENIENT)
    tensors = tensors_for("image")
    full = dict(tensors)
    full["extra.weight"] = torch.arange(3.0)
    with pytest.raises(WeightsError, match=r"does not fit some: 1 unexpected: extra\.weight"):
        load_detector(*plugin(code, full), origin="p")
    part = {k: v for k, v in tensors.items() if k.startswith("conv")}
    with pytest.raises(WeightsError, match=r"2 missing: classifier\.(weight|bias), classifier\.(weight|bias)"):
        load_detector(*plugin(code, part), origin="p")
    assert load_detector(*plugin(code, tensors), origin="p").name == "some"


RENAMED = (
    "model.load_state_dict({k.removeprefix('published.'): v for k, v in load_file(weights_path).items()})\n"
    "    return model\n\n\n"
    "def is_foreign(names):\n"
    "    return all(name.startswith('published.') for name in names)\n"
)


def test_a_plugin_answers_for_a_file_with_its_publishers_names(
    plugin: Plugin, image_model: str, tensors_for: Tensors
) -> None:
    code = image_model.replace("model.load_state_dict(load_file(weights_path))\n    return model\n", RENAMED)
    tensors = tensors_for("image")
    renamed = {f"published.{name}": tensor for name, tensor in tensors.items()}
    published = load_detector(*plugin(code, renamed), origin="p")
    own = load_detector(*plugin(code, tensors), origin="p")
    assert np.array_equal(published.logits(BATCH), own.logits(BATCH))
    assert any("4 tensors that w.safetensors does not name" in note for note in published.notes)
    assert own.notes == ()
    # one that it does not call foreign is held to its names; one whose values do not arrive is refused all the same
    with pytest.raises(WeightsError, match=r"4 missing: .*4 unexpected"):
        load_detector(*plugin(code.replace("is_foreign", "other"), renamed), origin="p")
    ignoring = code.replace("for k, v in load", "for k, v in model.state_dict().items() if load")
    ignoring = ignoring.replace("load_file(weights_path).items()}", "load_file(weights_path)}")
    with pytest.raises(WeightsError, match=r"load_model of some did not load .*: the values of none"):
        load_detector(*plugin(ignoring, renamed), origin="p")


def test_a_plugin_that_never_loads_its_weights_is_refused(plugin: Plugin, image_model: str) -> None:
    code = image_model.replace("    model.load_state_dict(load_file(weights_path))\n", "")
    with pytest.raises(
        WeightsError, match=r"the model has other values than the file in classifier\.bias, classifier\.weight"
    ):
        load_detector(*plugin(code), origin="p")


DEEP = """
from safetensors.torch import load_file
from torch import nn


class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(40))
        self.large = nn.Linear(1024, 2048)


def load_model(weights_path, num_classes=2, width=4):
    model = Deep()
    model.load_state_dict(load_file(weights_path))
    model.CHANGED
    return model
"""


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ("layers[7].weight.data[1, 1] += 1", r"layers\.7\.weight"),
        ("layers[8].bias.data[0] += 1", r"layers\.8\.bias"),
        ("large.weight.data[3] += 1", r"large\.weight"),
        ("large.weight.data[:, 1] += 1", r"large\.weight"),
    ],
)
def test_a_plugin_that_changes_one_of_many_tensors_is_refused(plugin: Plugin, change: str, name: str) -> None:
    tensors = {f"layers.{i}.weight": torch.randn(2, 2) for i in range(40)}
    tensors |= {f"layers.{i}.bias": torch.randn(2) for i in range(40)}
    tensors |= {"large.weight": torch.randn(2048, 1024), "large.bias": torch.randn(2048)}
    with pytest.raises(WeightsError, match=f"the model has other values than the file in {name}\\.$"):
        load_detector(*plugin(DEEP.replace("CHANGED", change), tensors), origin="p")
    assert load_detector(*plugin(DEEP.replace("CHANGED", "eval()"), tensors), origin="p").name == "some"


def test_the_dtypes_that_weights_state_are_used(plugin: Plugin) -> None:
    detector = load_detector(*plugin(dtype="bfloat16", input_dtype="uint8"), origin="p")
    assert (detector.dtype, detector.input_dtype) == ("bfloat16", "uint8")
    assert {p.dtype for p in detector.module.parameters()} == {torch.bfloat16}


def test_a_plugin_that_leaves_tensors_on_the_meta_device(plugin: Plugin, image_model: str) -> None:
    code = image_model.replace(
        "    model = Small(num_classes, width)\n    model.load_state_dict(load_file(weights_path))\n",
        "    with torch.device('meta'):\n        model = Small(num_classes, width)\n",
    )
    with pytest.raises(WeightsError, match=r"left tensors without values .*: conv\.weight"):
        load_detector(*plugin(code), origin="p")


TIED = """
import torch
from safetensors.torch import load_file
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(3, 3, bias=False)
        self.b = nn.Linear(3, 3, bias=False)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(self.a(x.mean((2, 3))))[:, :2]


def load_model(weights_path, num_classes=2, width=4):
    model = M()
    model.load_state_dict({**load_file(weights_path), "b.weight": load_file(weights_path)["a.weight"]})
    return model
"""


def test_tied_weights_need_to_be_in_the_file_once(plugin: Plugin) -> None:
    tensors = {"a.weight": torch.arange(9.0).reshape(3, 3)}
    assert load_detector(*plugin(TIED, tensors), origin="p").logits(BATCH).shape == (3, 2)


def test_stored_half_loaded_full_is_the_same(plugin: Plugin, tensors_for: Tensors) -> None:
    halves = {name: tensor.half() for name, tensor in tensors_for("image").items()}
    assert load_detector(*plugin(tensors=halves), origin="p").dtype == "float32"


def test_weights_of_another_shape_say_so(plugin: Plugin, tensors_for: Tensors) -> None:
    with pytest.raises(WeightsError, match=r"load_model of some cannot use .*size mismatch for conv\.weight"):
        load_detector(*plugin(tensors=tensors_for("image", width=7)), origin="p")
