"""Every check of detectors is failed by a plugin that is wrong in just that, and by no other; the scaffold's passes all.

The broken plugins are the scaffold's with one text replaced by another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gasdet.builtin.metrics import auroc
from gasdet.registry import load_target
from gasdet.scaffold import write_plugin
from gasdet.testing import samples, suites
from gasdet.testing.running import run_detector
from gasdet.types import Modality, Preprocessing

MODEL, PLUGIN, RECIPE = "model.py", "plugin.py", "recipe.py"
FORWARD = "        return torch.cat([torch.zeros_like(z), z], dim=1)"
HEAD = "z = self.head(self.blocks(nn.functional.gelu(features)).mean((2, 3))).float()"
START = "        x = x.float() / 127.5 - 1.0"
STEM = "        self.stem = nn.Conv2d(6, width, 3, padding=1)"

# Check to (file, text, what stands in its place): in what that plugin is wrong.
MUTATIONS: dict[str, list[tuple[str, str, str]]] = {
    "light": [(PLUGIN, "from gasdet import", "import torch  # noqa: F401\n\nfrom gasdet import")],
    "metadata": [(PLUGIN, 'code_licence="MIT"', 'code_licence=""')],
    "version-range": [(PLUGIN, ',<1"', '"')],
    "self-contained": [(MODEL, "import typing\n", "import os\nimport typing\n")],
    "loads": [(MODEL, "    if num_classes != 2:", "    if num_classes == 2:")],
    # drops the last sample of a batch of five, as an incomplete batch may be dropped
    "output-shape": [(MODEL, FORWARD, f"        z = z[:4] if len(z) == 5 else z\n{FORWARD}")],
    "input-dtypes": [(MODEL, START, "        x = (x / 127.5 if x.dtype is torch.uint8 else x / 255.0) - 1.0")],
    "bfloat16": [(MODEL, HEAD, f"{HEAD}\n        z = z + 9.0 * (self.stem.weight.dtype is torch.bfloat16)")],
    "eval-mode": [
        (
            MODEL,
            '    def forward(self, x: torch.Tensor) -> torch.Tensor:\n        """Logits',
            "    def train(self, mode: bool = True) -> typing.Self:\n        return super().train(True)\n\n"
            '    def forward(self, x: torch.Tensor) -> torch.Tensor:\n        """Logits',
        )
    ],
    "deterministic": [(MODEL, HEAD, f"{HEAD}\n        z = z + 0.1 * (torch.initial_seed() == 1)")],
    "batch-invariant": [(MODEL, HEAD, f"{HEAD}\n        z = z - z.mean(0)")],
    "no-state": [
        (MODEL, STEM, f'{STEM}\n        self.register_buffer("calls", torch.zeros(()))'),
        (MODEL, HEAD, f"{HEAD}\n        self.calls += not self.training"),
    ],
    "offers-agree": [
        (
            MODEL,
            FORWARD,
            f"{FORWARD}\n\n    def forward_with_embeddings(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:\n"
            '        """Other logits than forward\'s."""\n        return self(x) + torch.tensor([0.0, 1.0]), self(x)',
        )
    ],
    "extreme-content": [(MODEL, START, f"{START}\n        x = x / x.std((1, 2, 3), keepdim=True)")],
    "wrong-input-refused": [
        (
            MODEL,
            "        if x.dim() != 4 or x.shape[1] != 3:",
            "        x = x[None] if x.dim() == 3 else x\n        if x.shape[1] != 3:",
        )
    ],
    "polarity": [(MODEL, HEAD, f"{HEAD}\n        z = -z")],
    "save-and-load": [
        (
            MODEL,
            "    model = Detector(width=width)",
            '    model = Detector(width=width)\n    model.extra = float("again" in weights_path)',
        ),
        (MODEL, STEM, f"{STEM}\n        self.extra = 0.0"),
        (MODEL, HEAD, f"{HEAD}\n        z = z + self.extra"),
    ],
    "strict-loading": [
        (
            MODEL,
            "    load_tensors(model, tensors, str(weights_path))\n    return",
            "    model.load_state_dict(tensors, strict=False)\n    return",
        ),
        (
            MODEL,
            "def load_tensors(",
            'def is_foreign(names: frozenset[str]) -> bool:\n    """Any file with a tensor too many."""\n'
            '    return "extra.weight" in names\n\n\ndef load_tensors(',
        ),
    ],
    "calibrators": [(MODEL, "z = self.calibration(z)", "z = self.calibration(z) + 1.0")],
    "export": [(MODEL, HEAD, f'{HEAD}\n        z = z + 1.0 * (__name__ == "model")')],
    "recipe": [(RECIPE, '"cross_entropy": 1.0', '"cross_entropi": 1.0')],
    "gradient": [(MODEL, ".mean((2, 3))).float()", ".mean((2, 3)).detach()).float()")],
}
NOTHING_DEMANDED = {"cost"}
SLOW = ("light", "export")
"""They start processes: run where the plugin is wrong in them, and with the scaffold's own."""

Install = Callable[[Path], None]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
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


def made(tmp_path: Path, name: str, changes: list[tuple[str, str, str]], weights: dict[str, torch.Tensor]) -> Path:
    """A plugin of the scaffold with weights of its own, and with texts replaced."""
    folder = write_plugin(name, out=tmp_path / f"gasdet-{name}").folder
    package = folder / "src" / f"gasdet_{name.replace('-', '_')}"
    save_file(weights, str(package / "v1.safetensors"))
    sha256 = hashlib.sha256((package / "v1.safetensors").read_bytes()).hexdigest()
    options = 'training_data="none", dtypes=("float32", "bfloat16")'
    stated = f'WeightsSpec("v1", "package:v1.safetensors", "{sha256}", "MIT", {options})'
    plugin = (package / PLUGIN).read_text()
    plugin = plugin.replace("Modality, hookimpl", "Modality, WeightsSpec, hookimpl")
    (package / PLUGIN).write_text(plugin.replace('    recipe="', f'    weights=({stated},),\n    recipe="'))
    for file, old, new in changes:
        text = (package / file).read_text()
        assert old in text, (file, old)
        (package / file).write_text(text.replace(old, new))
    return folder


@pytest.mark.parametrize("check", MUTATIONS)
def test_each_broken_plugin_fails_its_check_and_no_other(
    check: str, tmp_path: Path, installed: Install, gasdet_media: Callable[..., Path], weights: dict[str, torch.Tensor]
) -> None:
    name = f"broken-{check}"
    own = {**weights, "calls": torch.zeros(())} if check == "no-state" else weights
    installed(made(tmp_path, name, MUTATIONS[check], own))
    only = [c for c in suites()["detector"].checks if c == check or c not in SLOW]
    report = run_detector(name, weights="v1", data=gasdet_media("image"), only=only)
    assert [result.check for result in report.failed] == [check], report.failed
    assert report.failed[0].advice.endswith(".")


def test_the_scaffolds_own_passes_all(
    tmp_path: Path, installed: Install, gasdet_media: Callable[..., Path], weights: dict[str, torch.Tensor]
) -> None:
    installed(made(tmp_path, "sound", [], weights))
    report = run_detector("sound", weights="v1", data=gasdet_media("image"))
    assert report.passed, report.failed
    left_out = {r.check for r in report.results if r.result == "not applicable"}
    assert left_out == {"offers-agree"}


def test_every_check_is_broken_by_a_plugin() -> None:
    assert set(MUTATIONS) | NOTHING_DEMANDED == set(suites()["detector"].checks)
