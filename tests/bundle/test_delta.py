"""Delta files: what is in them, that they complete to the very file, and everything that can be wrong with file or base."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import shutil
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gasdet.bundle import load_bundle, load_detector, resolve_weights
from gasdet.bundle.completing import DeltaError, Written, is_whole, write_delta
from gasdet.bundle.delta import DELTA_KEY, Base, complete_sha256_of, read_delta
from gasdet.bundle.safefile import read_header, sha256_of
from gasdet.errors import BundleError, PluginError, WeightsError
from gasdet.types import DetectorSpec, Modality, WeightsSpec

MODEL = '''
    """A backbone with a LayerNorm, a projection that no backbone file has, and a head."""

    import torch
    from safetensors.torch import load_file
    from torch import nn


    class Net(nn.Module):
        def __init__(self, width=6, num_classes=2):
            super().__init__()
            self.backbone = nn.Sequential(nn.Linear(3, width), nn.LayerNorm(width), nn.Linear(width, 512))
            self.extra = nn.Linear(512, 4)
            self.head = nn.Linear(4, num_classes)
            self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

        def forward(self, x):
            return self.head(self.extra(self.backbone((x / 255.0).mean((2, 3)))))


    def build(weights=None, /, **model):
        net = Net(**model)
        tensors = load_file(str(weights))
        if set(tensors) != set(net.backbone.state_dict()):
            raise ValueError(f"{weights} is no backbone of Net.")
        net.backbone.load_state_dict(tensors)
        return net


    def is_foreign(names):
        return all(name.startswith("published.") for name in names)


    def load_model(weights_path, num_classes=2, width=6):
        net = Net(width, num_classes)
        tensors = load_file(str(weights_path))
        net.load_state_dict({name.removeprefix("published."): tensor for name, tensor in tensors.items()})
        return net.eval()
'''
CHANGED = {"backbone.1.weight", "backbone.1.bias", "head.weight", "head.bias"}
BATCH = np.random.default_rng(1).integers(0, 256, (3, 3, 8, 8), dtype=np.uint8)


@dataclass
class Site:
    """A plugin with a backbone file and weights that were trained from it."""

    spec: DetectorSpec
    backbone: Path
    trained: Path
    folder: Path

    @property
    def base(self) -> Base:
        return Base("backbone", str(self.backbone), sha256_of(self.backbone), {"width": 6})

    def written(self, out: Path, base: Base | None = None, file: Path | None = None) -> Written:
        found = resolve_weights(self.spec, str(self.trained), demo_data=False)
        detector = load_detector(self.spec, found, origin="net 1.0")
        return write_delta(detector, self.spec, base or self.base, file or self.backbone, out)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("GASDET_CACHE", str(tmp_path / "cache"))
    name = f"net_of_test_{abs(hash(tmp_path)):x}"
    code = tmp_path / "site"
    code.mkdir()
    (code / f"{name}.py").write_text(textwrap.dedent(MODEL))
    (code / f"{name}_recipe.py").write_text(
        f"from gasdet import Recipe\nNET = Recipe(builder='{name}:build', head=('head.',))\n"
    )
    monkeypatch.syspath_prepend(str(code))
    module: Any = importlib.import_module(name)
    torch.manual_seed(7)
    net = module.Net()
    folder = tmp_path / "weights"
    folder.mkdir()
    save_file(net.backbone.state_dict(), folder / "backbone.safetensors")
    with torch.no_grad():
        for changed in CHANGED:
            net.get_parameter(changed).add_(torch.randn_like(net.get_parameter(changed)))
        net.head.bias.zero_()
    save_file(net.state_dict(), folder / "model.safetensors", {"gasdet": json.dumps({"detector": "net"})})
    spec = DetectorSpec(
        name="net", modality=Modality.IMAGE, target=name, summary="", model={"width": 6},
        preprocessing={"resize": [8, 8]}, recipe=f"{name}_recipe:NET",
    )  # fmt: skip
    yield Site(spec, folder / "backbone.safetensors", folder / "model.safetensors", folder)
    for made in (name, f"{name}_recipe"):
        sys.modules.pop(made, None)


@pytest.fixture
def delta(site: Site, tmp_path: Path) -> Path:
    """A delta in a folder of its own."""
    return site.written(tmp_path / "shared" / "net.safetensors").path


def rewritten(path: Path, tensors: dict[str, torch.Tensor], **changes: Any) -> Path:
    """The delta with other tensors, or another description."""
    described = json.loads(read_header(path).metadata[DELTA_KEY]) | changes
    save_file(tensors, path, {DELTA_KEY: json.dumps(described)})
    return path


def test_it_holds_what_the_training_changed_and_what_the_base_has_not(site: Site, tmp_path: Path) -> None:
    done = site.written(tmp_path / "net.safetensors")
    stored = load_file(done.path)
    # extra is no part of the backbone file: a new detector draws it anew, whether it was trained or not
    assert set(stored) == CHANGED | {"extra.weight", "extra.bias"}
    whole = load_file(site.trained)
    assert all(torch.equal(stored[name], whole[name]) for name in stored)
    assert (done.tensors, done.of_tensors) == (6, 11)
    assert done.parameters == 2 * 6 + 512 * 4 + 4 + 4 * 2 + 2
    assert done.size == done.path.stat().st_size < site.trained.stat().st_size
    assert done.complete_sha256 == sha256_of(site.trained)
    assert done.same_file
    said = read_delta(done.path)
    assert said is not None
    assert said.base == replace(site.base, source="backbone.safetensors")  # a path of this machine is not told
    assert set(said.from_base) == set(whole) - set(stored)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_a_new_head_drew_is_stored_whatever_the_seed_of_the_training(
    site: Site, tmp_path: Path, seed: int
) -> None:
    """Of a layer that was not trained, the builder draws the very same numbers again where it gets the same seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        drawn = sys.modules[site.spec.target].build(site.backbone).state_dict()
    extra = {name: drawn[name] for name in ("extra.weight", "extra.bias")}
    save_file({**load_file(site.trained), **extra}, site.trained, {"gasdet": "{}"})
    done = site.written(tmp_path / "net.safetensors")
    assert set(load_file(done.path)) == CHANGED | set(extra)
    assert done.same_file


def test_it_completes_to_the_same_bytes_and_the_same_logits(site: Site, delta: Path) -> None:
    found = resolve_weights(site.spec, str(delta), demo_data=False, bases=[str(site.backbone)])
    assert found.path.read_bytes() == site.trained.read_bytes()
    assert found.path.is_relative_to(site.folder.parent / "cache")
    assert (found.given, found.home, found.kind) == (delta, delta, "file")
    assert found.sha256 == sha256_of(site.trained) == complete_sha256_of(delta) == complete_sha256_of(site.trained)
    whole = resolve_weights(site.spec, str(site.trained), demo_data=False)
    one, other = (load_detector(site.spec, weights, origin="net") for weights in (found, whole))
    assert np.array_equal(one.logits(BATCH), other.logits(BATCH))
    assert one.preprocessing == other.preprocessing
    told = one.describe()["weights"]
    assert told["sha256"] == sha256_of(site.trained)
    assert told["path"] == str(delta.absolute())
    assert told["delta"]["sha256"] == sha256_of(delta)
    assert told["delta"]["base"] == {"source": "backbone.safetensors", "sha256": sha256_of(site.backbone)}
    assert "delta" not in other.describe()["weights"]


def test_once_completed_it_needs_its_base_no_more(site: Site, delta: Path) -> None:
    with pytest.raises(
        DeltaError, match=r"a delta over backbone\.safetensors with the sha256 \w{16}…, which is not at hand"
    ):
        resolve_weights(site.spec, str(delta), demo_data=False)
    done = resolve_weights(site.spec, str(delta), demo_data=False, bases=[str(site.backbone)]).path
    assert [file.name for file in done.parent.iterdir()] == [f"{sha256_of(delta)}.safetensors"]  # nothing half-written
    refused = site.folder / "other.safetensors"
    save_file({"a": torch.zeros(1)}, refused)
    with pytest.raises(DeltaError, match="give that very file"):  # what the user names is looked at all the same
        resolve_weights(site.spec, str(delta), demo_data=False, bases=[str(refused)])
    site.backbone.unlink()
    made = done.stat().st_mtime_ns
    assert resolve_weights(site.spec, str(delta), demo_data=False).path == done
    assert done.stat().st_mtime_ns == made
    done.write_bytes(done.read_bytes()[:-4] + b"1234")  # a disk that lost some
    with pytest.raises(DeltaError, match="not at hand"):
        resolve_weights(site.spec, str(delta), demo_data=False)


def test_the_base_is_found_beside_the_delta_and_by_the_record(site: Site, delta: Path, tmp_path: Path) -> None:
    beside = shutil.copy(site.backbone, delta.parent)
    assert resolve_weights(site.spec, str(delta), demo_data=False).path.read_bytes() == site.trained.read_bytes()
    shutil.rmtree(tmp_path / "cache")
    save_file({"a": torch.zeros(1)}, beside)
    with pytest.raises(DeltaError, match=r"which is not .*shared/backbone\.safetensors, which has the sha256 "):
        resolve_weights(site.spec, str(delta), demo_data=False)
    record = {"weights": {"sha256": sha256_of(site.trained)}, "base": site.base.to_mapping()}
    (delta.parent / "train.json").write_text(json.dumps(record))
    assert resolve_weights(site.spec, str(delta), demo_data=False).path.read_bytes() == site.trained.read_bytes()


def test_the_base_is_found_in_the_hubs_cache(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    source = "hf-hub:someone/net/backbone.safetensors"
    delta = site.written(tmp_path / "net.safetensors", replace(site.base, source=source)).path
    with pytest.raises(DeltaError, match=r"the base of .*net\.safetensors is not at hand: hf-hub:someone/net/.*--base"):
        resolve_weights(site.spec, str(delta), demo_data=False, offline=True)
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "hub" / "models--someone--net" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs" / "main").write_text(commit)
    shutil.copy(site.backbone, snapshot / "backbone.safetensors")
    found = resolve_weights(site.spec, str(delta), demo_data=False, offline=True)
    assert found.path.read_bytes() == site.trained.read_bytes()


def test_whole_weights_can_be_the_base(site: Site, tmp_path: Path) -> None:
    """A release, say, whose head was tuned; found by its sha256 among the detector's own."""
    release = tmp_path / "release.safetensors"
    tensors = load_file(site.trained)
    save_file({**tensors, "head.weight": tensors["head.weight"] + 1}, release)
    base = Base("weights", "https://example.org/release.safetensors", sha256_of(release))
    done = site.written(tmp_path / "net.safetensors", base, release)
    assert set(load_file(done.path)) == {"head.weight"}
    (tmp_path / "cache" / "weights" / "net" / "v1").mkdir(parents=True)
    shutil.copy(release, tmp_path / "cache" / "weights" / "net" / "v1")
    v1 = WeightsSpec("v1", "https://example.org/release.safetensors", sha256_of(release), "MIT")
    found = resolve_weights(replace(site.spec, weights=(v1,)), str(done.path), demo_data=False)
    assert found.path.read_bytes() == site.trained.read_bytes()
    assert (found.name, found.kind) == ("net.safetensors", "file")


def test_the_base_may_have_the_names_of_its_publisher(site: Site, tmp_path: Path) -> None:
    release = tmp_path / "release.safetensors"
    tensors = load_file(site.trained)
    renamed = {f"published.{n}": t + (n == "head.bias") for n, t in tensors.items()}
    save_file(renamed, release)
    assert is_whole(site.spec, release, site.trained)
    assert is_whole(site.spec, site.trained, site.trained)
    assert not is_whole(site.spec, site.backbone, site.trained)
    done = site.written(
        tmp_path / "net.safetensors", Base("weights", "release.safetensors", sha256_of(release)), release
    )
    assert set(load_file(done.path)) == {"head.bias"}
    found = resolve_weights(site.spec, str(done.path), demo_data=False)
    assert found.path.read_bytes() == site.trained.read_bytes()


def test_a_zero_that_changed_its_sign_is_a_change(site: Site, tmp_path: Path) -> None:
    tensors = load_file(site.backbone)
    save_file({**tensors, "0.bias": torch.zeros(6)}, site.backbone)
    whole = load_file(site.trained)
    save_file({**whole, "backbone.0.bias": -torch.zeros(6)}, site.trained, {"gasdet": "{}"})
    done = site.written(tmp_path / "net.safetensors")
    assert "backbone.0.bias" in load_file(done.path)
    assert done.same_file


def test_weights_of_another_layout_complete_to_the_same_tensors_in_another_file(site: Site, tmp_path: Path) -> None:
    tensors = {name: tensor.half() for name, tensor in load_file(site.trained).items() if tensor.is_floating_point()}
    save_file({**tensors, "steps": torch.zeros((), dtype=torch.int64)}, site.trained)
    base = {name.removeprefix("backbone."): t.float() for name, t in tensors.items() if name.startswith("backbone.")}
    save_file(base, site.backbone)
    done = site.written(tmp_path / "net.safetensors")
    assert not done.same_file
    found = resolve_weights(site.spec, str(done.path), demo_data=False, bases=[str(site.backbone)])
    whole = resolve_weights(site.spec, str(site.trained), demo_data=False)
    one, other = (load_detector(site.spec, weights, origin="net") for weights in (found, whole))
    assert np.array_equal(one.logits(BATCH), other.logits(BATCH))


def refuse(site: Site, delta: Path, message: str, base: Path | None = None, kind: type[Exception] = DeltaError) -> None:
    with pytest.raises(kind, match=message) as caught:
        resolve_weights(site.spec, str(delta), demo_data=False, bases=[str(base or site.backbone)])
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")
    assert not list((site.folder.parent / "cache").rglob("*.safetensors"))


def test_another_base_is_refused(site: Site, delta: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(site.backbone).items()}, other)
    refuse(site, delta, r"and .*other\.safetensors has \w{16}…; give that very file with --base", other)


def test_a_pickle_is_no_base(site: Site, delta: Path, tmp_path: Path) -> None:
    (tmp_path / "base.pt").write_bytes(pickle.dumps({"a": 1}))
    refuse(site, delta, r"base\.pt is no safetensors file but a Python pickle", tmp_path / "base.pt", WeightsError)
    torch.save({"a": torch.zeros(2)}, tmp_path / "base.pt")
    refuse(
        site,
        delta,
        r"no safetensors file but a zip archive, which is what torch\.save",
        tmp_path / "base.pt",
        WeightsError,
    )


def test_a_damaged_delta_is_refused(site: Site, delta: Path) -> None:
    delta.write_bytes(delta.read_bytes()[:-4] + b"1234")
    refuse(
        site,
        delta,
        r"net\.safetensors does not complete to the weights that it was made from .* it is damaged, or this",
    )


def test_a_cut_delta_is_refused(site: Site, delta: Path) -> None:
    delta.write_bytes(delta.read_bytes()[:-4])
    refuse(site, delta, "is cut off", kind=WeightsError)


def test_a_missing_tensor_is_refused(site: Site, delta: Path) -> None:
    tensors = load_file(delta)
    del tensors["head.weight"]
    refuse(site, rewritten(delta, tensors), r"do not make a net: 1 tensors are in neither \(head\.weight\)")


def test_an_unexpected_tensor_is_refused(site: Site, delta: Path) -> None:
    tensors = {**load_file(delta), "more": torch.zeros(1)}
    refuse(site, rewritten(delta, tensors), r"1 tensors are unknown to the model \(more\)")


def test_a_tensor_from_both_is_refused(site: Site, delta: Path) -> None:
    tensors = {**load_file(delta), "backbone.0.bias": torch.zeros(6)}
    refuse(
        site,
        rewritten(delta, tensors),
        r"1 tensors should be the base's and are in the delta too \(backbone\.0\.bias\)",
    )


def test_a_tensor_of_another_shape_is_refused(site: Site, delta: Path) -> None:
    tensors = {**load_file(delta), "head.weight": torch.zeros(2, 3)}
    refuse(site, rewritten(delta, tensors), "does not complete to the weights")


@pytest.mark.parametrize(
    "changes",
    [{"base": None}, {"base": {"kind": "x", "source": "", "sha256": "", "model": {}}}, {"model": 3}, {"from_base": [1]},
     {"from_base": "head"}, {"from_base": {"head": 1}}, {"dtype": "int8"}, {"dtype": ["float32"]}, {"input_dtype": "int8"},
     {"preprocessing": []}, {"preprocessing": {"sizes": 3}}, {"preprocessing": {"resize": "big"}},
     {"detector": None}, {"more": 1}, {"complete_metadata": {"a": 1}}],
)  # fmt: skip
def test_a_damaged_description_is_refused(site: Site, delta: Path, changes: dict[str, Any]) -> None:
    """Before its base is looked for: it is not at hand here."""
    shutil.move(site.backbone, site.backbone.with_suffix(".away"))
    refuse(site, rewritten(delta, load_file(delta), **changes), "damaged delta file", kind=WeightsError)


def test_deltas_that_are_each_others_base_are_refused(site: Site, delta: Path) -> None:
    one, other = (Path(shutil.copy(delta, delta.parent / name)) for name in ("one.safetensors", "other.safetensors"))
    base = {"kind": "weights", "sha256": sha256_of(site.trained), "model": {}}
    rewritten(one, load_file(one), base={**base, "source": "other.safetensors"})
    rewritten(other, load_file(other), base={**base, "source": "one.safetensors"})
    with pytest.raises(
        DeltaError, match=r"one\.safetensors is a delta whose base is that very file, or a delta of it"
    ) as caught:
        resolve_weights(site.spec, str(one), demo_data=False)
    assert "\n" not in str(caught.value)
    with pytest.raises(DeltaError, match="whose base is that very file"):
        resolve_weights(site.spec, str(one), demo_data=False, bases=[str(other)])


def test_a_delta_may_have_a_delta_as_its_base(site: Site, delta: Path, tmp_path: Path) -> None:
    tensors = load_file(site.trained)
    tuned = tmp_path / "tuned.safetensors"
    save_file({**tensors, "head.bias": tensors["head.bias"] + 1}, tuned, {"gasdet": "{}"})
    detector = load_detector(site.spec, resolve_weights(site.spec, str(tuned), demo_data=False), origin="net 1.0")
    base = Base("weights", "net.safetensors", sha256_of(site.trained))
    second = write_delta(detector, site.spec, base, site.trained, delta.parent / "second.safetensors").path
    shutil.copy(site.backbone, delta.parent)
    found = resolve_weights(site.spec, str(second), demo_data=False)
    assert found.path.read_bytes() == tuned.read_bytes()


def test_a_configuration_beside_a_delta_is_not_used_and_a_line_says_so(site: Site, delta: Path) -> None:
    (delta.parent / "model_config.yaml").write_text("modality: image\npreprocessing: {resize: [4, 4]}\n")
    shutil.copy(site.backbone, site.folder / "base.safetensors")
    for choice in (delta, delta.parent):
        found = resolve_weights(site.spec, str(choice), demo_data=False, bases=[str(site.backbone)])
        assert found.preprocessing["resize"] == [8, 8]
        assert found.message == (
            f"The model_config.yaml beside {delta} is not used: a delta file says itself how its weights are used."
        )
    (delta.parent / "model_config.yaml").unlink()
    assert resolve_weights(site.spec, str(delta), demo_data=False, bases=[str(site.backbone)]).message == ""
    (site.folder / "model_config.yaml").write_text("modality: image\nmodel: {weights_file: model.safetensors}\n")
    assert resolve_weights(site.spec, str(site.trained), demo_data=False).message == ""


@pytest.mark.parametrize(
    "error", [KeyError("0.weight"), IndexError("no such layer"), AssertionError(), OSError(5, "read error")]
)
def test_whatever_a_builder_raises_is_one_sentence(
    site: Site, delta: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, tmp_path: Path
) -> None:
    def build(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(sys.modules[site.spec.target], "build", build)
    message = rf"net cannot be built from its base .*backbone\.safetensors: .*{type(error).__name__}"
    refuse(site, delta, message, kind=WeightsError)
    with pytest.raises(WeightsError, match=message):  # not that the folder of the delta cannot be written
        site.written(tmp_path / "out" / "net.safetensors")


def test_a_recipe_without_a_builder_is_the_plugins_fault(site: Site, delta: Path) -> None:
    refuse_as = replace(site.spec, recipe=f"{site.spec.target}:ABSENT")
    with pytest.raises(PluginError, match="the builder of net cannot be had: "):
        resolve_weights(refuse_as, str(delta), demo_data=False, bases=[str(site.backbone)])


def test_a_disk_without_hard_links_takes_a_delta_too(
    site: Site, delta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(source: Path, target: Path) -> None:
        if target.exists():
            raise FileExistsError(17, "File exists")
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    out = tmp_path / "stick" / "net.safetensors"
    assert site.written(out).same_file
    assert out.read_bytes() == delta.read_bytes()
    assert list(out.parent.iterdir()) == [out]

    def appears(source: Path, target: Path) -> None:
        target.write_text("mine")
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", appears)
    with pytest.raises(DeltaError, match=r"meanwhile\.safetensors exists; give another file"):
        site.written(out.parent / "meanwhile.safetensors")
    assert (out.parent / "meanwhile.safetensors").read_text() == "mine"


def test_what_cannot_be_written_and_what_cannot_be_read_are_told_apart(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    with pytest.raises(DeltaError, match="taken cannot be written: File exists; give another folder, or make room"):
        site.written(tmp_path / "taken" / "net.safetensors")
    module, calls = sys.modules[site.spec.target], []
    real = module.build

    def build(*args: Any, **model: Any) -> Any:
        calls.append(args)
        if len(calls) == 3:  # when the delta is written, and completed to see that it can be
            raise OSError(5, "Input/output error")
        return real(*args, **model)

    monkeypatch.setattr(module, "build", build)
    with pytest.raises(WeightsError, match=r"cannot be built from its base .* Input/output error"):
        site.written(tmp_path / "out" / "net.safetensors")
    assert list((tmp_path / "out").iterdir()) == []


def test_another_format_or_detector_is_refused(site: Site, delta: Path) -> None:
    refuse(site, rewritten(delta, load_file(delta), detector="npr"), "is a delta of npr, not of net")
    refuse(site, rewritten(delta, load_file(delta), format=2), "of another format than 1", kind=WeightsError)
    save_file(load_file(delta), delta, {DELTA_KEY: "no JSON"})
    refuse(site, delta, "damaged delta file", kind=WeightsError)


def test_a_plugin_that_reads_its_base_otherwise_is_noticed(
    site: Site, delta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules[site.spec.target]
    monkeypatch.setattr(module, "load_file", lambda path: {k: v * 1.01 for k, v in load_file(path).items()})
    refuse(site, delta, "or this version of net reads its base otherwise")


def test_what_cannot_be_a_delta_is_refused_and_leaves_nothing(site: Site, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(site.backbone).items()}, other)
    save_file({**load_file(site.trained), "steps": torch.ones((), dtype=torch.int64)}, site.trained)
    out = tmp_path / "out" / "net.safetensors"
    with pytest.raises(DeltaError, match=r"no tensor of .*model\.safetensors is that of .*so that there is no delta"):
        site.written(out, file=other)
    save_file({"a": torch.zeros(1)}, other)
    with pytest.raises(
        WeightsError, match=r"net cannot be built from its base .*other\.safetensors: .* is no backbone of Net"
    ):
        site.written(out, file=other)
    assert not out.parent.exists() or list(out.parent.iterdir()) == []
    out.parent.mkdir(exist_ok=True)
    out.write_text("mine")
    with pytest.raises(DeltaError, match="exists; give another file"):
        site.written(out)
    assert out.read_text() == "mine"


def test_a_bundle_holds_whole_weights(site: Site, delta: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "model.py").write_text(textwrap.dedent(MODEL))
    (folder / "model_config.yaml").write_text("modality: image\n")
    shutil.copy(delta, folder / "model.safetensors")
    with pytest.raises(BundleError, match="is a delta file, and a bundle holds whole weights; run it with --plugin"):
        load_bundle(folder, trust_code=True)
