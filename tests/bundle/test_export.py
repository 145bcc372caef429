"""A detector as a bundle: what is written, what the clean process finds, and that a failure leaves nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gasdet.bundle import Detector, clean_process, comparison, load_bundle, read_config
from gasdet.bundle.comparison import LIMIT, ExportError, Folded, Inputs
from gasdet.bundle.export import Export, write_bundle
from gasdet.errors import BundleError

pytestmark = pytest.mark.filterwarnings("ignore::gasdet.errors.GasdetWarning")

MakeBundle = Callable[..., Path]

IGNORES_WHAT_IT_DOES_NOT_KNOW = (
    "model.load_state_dict(load_file(weights_path))",
    "model.load_state_dict(load_file(weights_path), strict=False)",
)
AFFINE = (
    "model.load_state_dict(load_file(weights_path))\n    return model",
    "tensors = load_file(weights_path)\n"
    "    if 'calibration.affine' in tensors:\n"
    "        model.calibration = nn.Module()\n"
    "        model.calibration.register_buffer('affine', tensors['calibration.affine'])\n"
    "        plain = model.forward\n"
    "        def forward(x):\n"
    "            z = plain(x).diff() * model.calibration.affine[0] + model.calibration.affine[1]\n"
    "            return torch.cat([torch.zeros_like(z), z], 1).float()\n"
    "        model.forward = forward\n"
    "    model.load_state_dict(tensors)\n    return model",
)


@pytest.fixture
def without_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clean process's answers from this one, for tests of what is made of them: a process of its own takes seconds."""

    def answered(request: Path) -> subprocess.CompletedProcess[bytes]:
        before = sys.modules.get("model")
        try:
            clean_process.answer(json.loads(request.read_text()))
        except Exception as error:
            return subprocess.CompletedProcess([], 1, b"", repr(error).encode())
        finally:
            sys.modules.pop("model", None)
            if before is not None:
                sys.modules["model"] = before
        return subprocess.CompletedProcess([], 0, b"", b"")

    monkeypatch.setattr(comparison, "start_clean", answered)


@pytest.fixture
def batch() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 3, 8, 8), dtype=np.uint8)


@pytest.fixture
def detector(make_bundle: MakeBundle) -> Detector:
    """A detector with arguments, preprocessing and a version of its own."""
    root = make_bundle(preprocessing={"resize": [8, 8], "resize_mode": "stretch"}, input_dtype="float32")
    return load_bundle(root, trust_code=True)


def inputs_of(detector: Detector, *batches: np.ndarray, off_by: float = 0.0) -> Inputs:
    expected = [detector.logits(batch).astype(np.float64) for batch in batches]
    expected[-1][-1, -1] += off_by
    return Inputs("noise", batches, tuple(expected))


def exported(detector: Detector, out: Path, inputs: Inputs, **options: Any) -> Export:
    return write_bundle(detector, Path(detector.weights.path).parent / "model.py", out, inputs=inputs, **options)


def changed(make_bundle: MakeBundle, image_model: str, old: str, new: str, folder: str = "changed") -> Detector:
    assert old in image_model
    return load_bundle(
        make_bundle(folder=folder, code=image_model.replace(old, new), input_dtype="float32"), trust_code=True
    )


def test_the_bundle_is_the_detector(detector: Detector, batch: np.ndarray, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)  # an empty folder is as good as none
    given = inputs_of(detector, batch[:2], batch[2:])
    told = exported(detector, out, given, about={"version": "3.1", "description": "Small: one", "paper": ""})
    assert sorted(file.name for file in out.iterdir()) == ["model.py", "model.safetensors", "model_config.yaml"]
    assert told.files == {file.name: file.stat().st_size for file in out.iterdir()}
    source = detector.weights.path.parent
    assert (out / "model.py").read_bytes() == (source / "model.py").read_bytes()
    before, after = load_file(str(detector.weights.path)), load_file(str(out / "model.safetensors"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    config = read_config(out / "model_config.yaml")
    assert (config.name, config.version, config.info) == ("small-image", "3.1", {"description": "Small: one"})
    again = load_bundle(out, trust_code=True)
    assert again.preprocessing == detector.preprocessing
    assert again.input_dtype == detector.input_dtype
    np.testing.assert_array_equal(again.logits(batch[:2]), given.expected[0])
    assert (told.samples, told.compared, told.difference, told.difference_uint8) == (5, "logits", 0.0, 0.0)
    assert told.gasbench == ("it does not know resize_mode: stretch",)
    assert not list(tmp_path.joinpath("deep").glob(".*"))


@pytest.mark.usefixtures("without_process")
def test_the_same_export_gives_the_same_bytes(detector: Detector, batch: np.ndarray, tmp_path: Path) -> None:
    for name in ("a", "b"):
        exported(detector, tmp_path / name, inputs_of(detector, batch), zipped=True)
    for file in ("model.py", "model.safetensors", "model_config.yaml"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            file.name: file.read_bytes() for file in (tmp_path / "a").iterdir()
        }
    zipped = load_bundle(tmp_path / "a.zip", trust_code=True)
    np.testing.assert_array_equal(zipped.logits(batch), detector.logits(batch))


@pytest.mark.usefixtures("without_process")
def test_the_limit(detector: Detector, batch: np.ndarray, tmp_path: Path) -> None:
    given = inputs_of(detector, batch[:3], batch[3:], off_by=2 * LIMIT)
    with pytest.raises(ExportError, match=r"logits differ by up to 0\.0002 on noise \(limit 0\.0001"):
        exported(detector, tmp_path / "out", given, zipped=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]


@pytest.mark.usefixtures("without_process")
def test_rounded_weights_are_reported_and_no_error(detector: Detector, batch: np.ndarray, tmp_path: Path) -> None:
    given = inputs_of(detector, batch)
    code = detector.weights.path.parent / "model.py"
    code.write_text(code.read_text().replace("x = x / 255.0 - 0.5", "x = (x / 255.0 - 0.5).to(self.conv.weight.dtype)"))
    detector = load_bundle(code.parent, trust_code=True)
    told = exported(detector, tmp_path / "out", given, dtype="bfloat16")
    assert {t.dtype for t in load_file(str(tmp_path / "out" / "model.safetensors")).values()} == {torch.bfloat16}
    assert (told.dtype, read_config(tmp_path / "out" / "model_config.yaml").dtype) == ("bfloat16", "bfloat16")
    found = load_bundle(tmp_path / "out", trust_code=True).logits(batch)
    assert 1e-4 < told.difference == pytest.approx(np.abs(found - given.expected[0]).max(), rel=1e-5)


@pytest.mark.usefixtures("without_process")
def test_a_model_that_sees_bytes_differently_is_reported(
    make_bundle: MakeBundle, image_model: str, batch: np.ndarray, tmp_path: Path
) -> None:
    detector = changed(
        make_bundle, image_model, "x = x / 255.0 - 0.5", "x = x / (1.0 if x.dtype == torch.uint8 else 255.0)"
    )
    told = exported(detector, tmp_path / "out", inputs_of(detector, batch))
    assert told.difference == 0
    assert told.difference_uint8 is not None
    assert told.difference_uint8 > 1
    assert "bytes, which changes this model's logits" in told.gasbench[0]
    detector = changed(make_bundle, image_model, "x = x / 255.0 - 0.5", "x = torch.sqrt_(x)", "fails")
    told = exported(detector, tmp_path / "out2", inputs_of(detector, batch))
    assert told.difference_uint8 is None
    assert told.gasbench == ("it hands forward bytes, which this model does not take",)


# --- calibrators -----------------------------------------------------------------------------------------------------

PLATT = Folded("affine", np.array([1.5, -0.25]))


def calibrated(detector: Detector, batch: np.ndarray) -> Inputs:
    margin = np.diff(detector.logits(batch).astype(np.float64)) * 1.5 - 0.25
    return Inputs("noise", (batch,), (np.concatenate([-margin / 2, margin / 2], axis=1),))


@pytest.mark.usefixtures("without_process")
def test_a_calibrator_goes_into_the_weights(
    make_bundle: MakeBundle, image_model: str, batch: np.ndarray, tmp_path: Path
) -> None:
    detector = changed(make_bundle, image_model, *AFFINE)
    given = calibrated(detector, batch)
    told = exported(detector, tmp_path / "out", given, folded=PLATT)
    assert (told.compared, told.calibrator) == ("margins", "affine")
    assert told.difference < 1e-5
    tensors = load_file(str(tmp_path / "out" / "model.safetensors"))
    assert tensors["calibration.affine"].tolist() == [1.5, -0.25]
    logits = load_bundle(tmp_path / "out", trust_code=True).logits(batch)
    np.testing.assert_allclose(np.diff(logits), np.diff(given.expected[0]), atol=1e-5)
    again = load_bundle(tmp_path / "out", trust_code=True)
    with pytest.raises(ExportError, match=r"holds a calibrator already \(calibration\.affine\)"):
        exported(again, tmp_path / "twice", calibrated(again, batch), folded=PLATT)


@pytest.mark.usefixtures("without_process")
@pytest.mark.parametrize("dtype", [None, "bfloat16"])
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("return model", "return model", "does not run in a clean process.*calibration.affine.*docs/bundles"),
        (
            *IGNORES_WHAT_IT_DOES_NOT_KNOW,
            r"margins differ by up to .* \(limit 0\.0001 in float32\).* may not apply the tensor calibration.affine",
        ),
    ],
)
def test_a_model_that_does_not_apply_it_is_an_error(
    make_bundle: MakeBundle,
    image_model: str,
    batch: np.ndarray,
    tmp_path: Path,
    old: str,
    new: str,
    message: str,
    dtype: str | None,
) -> None:
    code = image_model.replace("x = x / 255.0 - 0.5", "x = (x / 255.0 - 0.5).to(self.conv.weight.dtype)")
    detector = changed(make_bundle, code, old, new)
    with pytest.raises(ExportError, match=message):
        exported(detector, tmp_path / "out", calibrated(detector, batch), folded=PLATT, dtype=dtype)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["changed"]


# --- failures leave nothing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("there", ["out/notes.txt", "out.zip"])
def test_nothing_is_written_over(detector: Detector, batch: np.ndarray, tmp_path: Path, there: str) -> None:
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).write_text("mine")
    with pytest.raises(ExportError, match="exists"):
        exported(detector, tmp_path / "out", inputs_of(detector, batch), zipped=True)
    assert (tmp_path / there).read_text() == "mine"
    assert not (tmp_path / "out" / "model.py").exists()


def test_code_that_the_check_refuses_is_not_exported(detector: Detector, batch: np.ndarray, tmp_path: Path) -> None:
    code = detector.weights.path.parent / "model.py"
    given = inputs_of(detector, batch)
    code.write_text("import os\n" + code.read_text())
    detector.model_sha256 = __import__("hashlib").sha256(code.read_bytes()).hexdigest()
    with pytest.raises(BundleError, match="does not pass the code check"):
        exported(detector, tmp_path / "out", given)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]


def test_code_that_changed_since_it_was_loaded(detector: Detector, batch: np.ndarray, tmp_path: Path) -> None:
    code = detector.weights.path.parent / "model.py"
    code.write_text(code.read_text() + "\n")
    with pytest.raises(ExportError, match="has changed since"):
        exported(detector, tmp_path / "out", inputs_of(detector, batch))


@pytest.mark.usefixtures("without_process")
def test_logits_that_are_not_finite_in_the_clean_process(detector: Detector, batch: np.ndarray, tmp_path: Path) -> None:
    given = inputs_of(detector, batch, off_by=float("nan"))
    with pytest.raises(ExportError, match="differ by up to inf"):
        exported(detector, tmp_path / "out", given)


# --- the clean process itself ----------------------------------------------------------------------------------------


def test_gasdet_and_the_plugin_cannot_be_imported_in_it(
    make_bundle: MakeBundle, image_model: str, batch: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = """
import importlib
import os
import installed_editable, installed_elsewhere  # what is not named stays importable
caches = [os.environ[name] for name in ("HF_HOME", "TORCH_HOME", "XDG_CACHE_HOME")]
assert caches == [os.path.join(os.getcwd(), "cache")] * 3 and "HF_HUB_CACHE" not in os.environ, caches
for name in ("gasdet", "gasdet.types", "gasdet_restrav.model"):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        assert "a bundle runs without it" in str(error)
    else:
        raise AssertionError(f"{name} was imported")
"""
    root = make_bundle(code=tries + image_model)
    np.save(tmp_path / "input.npy", batch)
    run = {
        "input": str(tmp_path / "input.npy"),
        "output": str(tmp_path / "logits.npy"),
        "dtype": "float32",
        "optional": False,
    }
    site = tmp_path / "site"  # as the user's own packages, or those of PYTHONPATH, which python -I does not know
    site.mkdir()
    (site / "installed_elsewhere.py").write_text("")
    (site / "gasdet.py").write_text("")
    (site / "more.pth").write_text(str(tmp_path / "editable"))
    (tmp_path / "editable").mkdir()
    (tmp_path / "editable" / "installed_editable.py").write_text("")
    monkeypatch.setenv("HF_HUB_CACHE", "/nowhere")
    request = {
        "code": str(root / "model.py"),
        "kwargs": {},
        "absent": ["gasdet", "gasdet_restrav"],
        "site_folders": [str(site)],
        "threads": 1,
        "loads": [{"weights": str(root / "model.safetensors"), "dtype": "float32", "runs": [run]}],
    }
    (tmp_path / "request.json").write_text(json.dumps(request))
    done = comparison.start_clean(tmp_path / "request.json")
    assert done.returncode == 0, done.stderr.decode()
    assert np.load(tmp_path / "logits.npy").shape == (5, 2)
    assert not (root / "__pycache__").exists()


def test_what_does_not_end_is_an_error(
    detector: Detector, batch: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "TIMEOUT_S", 0.05)  # less than a process needs to import torch
    with pytest.raises(ExportError, match=r"was not done after 0\.05 seconds"):
        exported(detector, tmp_path / "out", inputs_of(detector, batch))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]


def test_which_folders_hold_installed_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "user" / "some-1.0.dist-info").mkdir(parents=True)
    (tmp_path / "scripts").mkdir()
    monkeypatch.setattr(
        sys, "path", ["", str(tmp_path / "scripts"), str(tmp_path / "user"), str(tmp_path / "none.zip")]
    )
    assert comparison.site_folders() == [str(tmp_path / "user")]
