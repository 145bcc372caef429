"""Targets, outputs, annotations and progress: a whole training of a tiny audio detector that hears where a tone is."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from click.testing import CliRunner, Result
from toy_losses import site as install_losses

from gasdet.cli.group import gasdet as cli
from gasdet.data import Dataset, load_data
from gasdet.errors import DataError, PluginError, UsageError
from gasdet.registry import load_registry
from gasdet.training import DataChoice, TrainingData, TrainOptions, load_chosen_data, recipe_of, train_detector
from gasdet.training.targets import Targets
from gasdet.types import Locator, MediaType, Modality, Preprocessing, Sample

RATE, COUNT, FRAMES = 8000, 4000, 20

_MODEL = """
    import torch
    from safetensors.torch import load_file
    from torch import nn


    class Hearing(nn.Module):
        '''Where a tone is, told frame by frame; what it says of the whole weighs frames by where the tone is.'''

        def __init__(self):
            super().__init__()
            self.front = nn.Conv1d(1, 8, 64, stride=8)
            self.teller = nn.Linear(8, 1)
            self.head = nn.Linear(8, 2)
            self.progress = 0.0
            self.heard = []

        def set_progress(self, progress):
            assert self.training
            self.progress = progress

        def frames(self, x):
            if self.training:
                x = x * (0.9 + 0.2 * torch.rand(len(x), 1))  # torch's own random numbers, which a checkpoint has
            levels = torch.relu(self.front(x[:, None]))
            return nn.functional.adaptive_avg_pool1d(levels, 20).transpose(1, 2)

        def forward_with_outputs(self, x, targets=None):
            frames = self.frames(x)
            told = self.teller(frames).squeeze(-1)
            weights = torch.sigmoid(told)
            known = torch.zeros(len(x), dtype=torch.bool) if targets is None else targets[:, 0] >= 0
            if targets is not None:
                self.heard.append((self.progress, len(x)))
                given = (1 - self.progress) * targets + self.progress * weights
                weights = torch.where(known[:, None], given, weights)
            pooled = (frames * weights[..., None]).mean(1)
            wanted = told.detach() if targets is None else torch.where(known[:, None], 8 * targets - 4, told.detach())
            return {"logits": self.head(pooled), "embeddings": pooled, "told": told, "wanted": wanted}

        def forward(self, x):
            return self.forward_with_outputs(x)["logits"]


    def build(weights=None, /):
        return Hearing()


    def load_model(weights_path, num_classes=2):
        model = Hearing()
        model.load_state_dict(load_file(str(weights_path)))
        return model.eval()
"""

_RECIPE = """
    import numpy as np

    from gasdet import Recipe


    def where(array, sample, sample_rate):
        said = sample.annotations.get("tone")
        if said is None:
            return np.full(20, -1.0)
        mask = np.zeros(len(array))
        for span in said.split():
            start, end = (round(float(second) * sample_rate) for second in span.split("-"))
            mask[start:end] = 1
        return mask.reshape(20, -1).mean(1)


    RECIPE = Recipe(
        builder="gasdet_hearing.model:build",
        head=("head", "teller"),
        needs_backbone=False,
        trainable="all",
        targets="gasdet_hearing.recipe:where",
        annotations=("tone",),
        losses={"cross_entropy": 1.0, "told": 0.1, "scatter": 0.01},
        augmentation=({"name": "gain", "p": 0.5},),
        learning_rate=0.02,
        batch_size=8,
        accumulate=2,
        epochs=6,
        evaluate_every=3,
    )
"""

_PLUGIN = """
    from gasdet import DetectorSpec, Modality, hookimpl

    HEARING = DetectorSpec(
        name="hearing",
        modality=Modality.AUDIO,
        target="gasdet_hearing.model",
        summary="hears where a tone is",
        preprocessing={"sample_rate": 8000, "duration_seconds": 0.5},
        recipe="gasdet_hearing.recipe:RECIPE",
    )

    @hookimpl
    def register_models(register):
        register(HEARING)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with the detector, and the losses of support/toy_losses.py, as installed plugins."""
    folder = install_losses(tmp_path_factory.mktemp("hearing") / "site")
    package, info = folder / "gasdet_hearing", folder / "gasdet_hearing-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").write_text("")
    for name, text in (("model", _MODEL), ("recipe", _RECIPE), ("plugin", _PLUGIN)):
        (package / f"{name}.py").write_text(textwrap.dedent(text))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gasdet-hearing\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[gasdet]\nhearing = gasdet_hearing.plugin\n")
    return folder


@pytest.fixture
def installed(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("GASDET_PLUGINS", "hearing,toylosses")
    monkeypatch.setenv("GASDET_CACHE", str(tmp_path / "cache"))
    load_registry.cache_clear()
    yield
    load_registry.cache_clear()


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty recordings with a tone in half of each: the later half of real ones, the first of synthetic ones, or the other
    way round; the pitch tells the label.
    """
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    rows = ["path,label,group,split,Tone"]
    for i in range(40):
        label, first = i % 2, i // 2 % 2
        x = 0.05 * rng.normal(size=COUNT)
        half = slice(0, COUNT // 2) if first else slice(COUNT // 2, COUNT)
        x[half] += 0.4 * np.sin(2 * np.pi * (900, 1400)[label] * np.arange(COUNT // 2) / RATE)
        soundfile.write(folder / f"{i}.wav", x, RATE)
        span = "0-0.25" if first else "0.25-0.40 0.4-0.5"
        rows.append(f"{i}.wav,{label},{i // 2},{'val' if i // 2 % 4 == 3 else 'train'},{span}")
    (folder / "list.csv").write_text("\n".join(rows) + "\n")
    return folder / "list.csv"


def command(table: Path, out: Path, *others: str) -> Result:
    words = [
        "train",
        "--plugin",
        "hearing",
        "--device",
        "cpu",
        "--workers",
        "1",
        "--data",
        table,
        "--out",
        out,
        *others,
    ]
    return CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture
def ctrl_c(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sends this process a Ctrl-C in the middle of the n-th step from now on, once."""
    from gasdet.training.distributed import Processes

    left, step = [0], Processes.step

    def stepping(*arguments: Any) -> None:
        step(*arguments)
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Processes, "step", stepping)
    return lambda steps: left.__setitem__(0, steps)


@pytest.mark.usefixtures("installed")
def test_targets_teach_what_labels_do_not_and_a_resume_is_exact(
    table: Path, tmp_path: Path, ctrl_c: Callable[[int], None]
) -> None:
    whole = command(table, tmp_path / "whole")
    assert whole.exit_code == 0, whole.output
    weights = tmp_path / "whole" / "model.safetensors"
    import gasdet_hearing.model as plugin

    told = accuracy_of_told(plugin.load_model(weights), table)
    assert told > 0.95
    without = command(table, tmp_path / "without", "--set", "losses.told=0", "--set", "targets=")
    assert without.exit_code == 0, without.output
    assert accuracy_of_told(plugin.load_model(tmp_path / "without" / "model.safetensors"), table) < 0.8

    ctrl_c(11)
    assert command(table, tmp_path / "out").exit_code != 0
    assert not (tmp_path / "out" / "model.safetensors").exists()
    resumed = command(table, tmp_path / "out")
    assert "going on" in resumed.stderr
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == weights.read_bytes()
    lines = (tmp_path / "out" / "metrics.jsonl").read_text()
    assert lines == (tmp_path / "whole" / "metrics.jsonl").read_text()
    assert "train_told" in lines


def accuracy_of_told(model: Any, table: Path) -> float:
    """How often the sign of what the model tells of a frame of a validation recording is right."""
    right = []
    for sample in load_data(table, split="val", annotations=("tone",)).samples:
        x = torch.from_numpy(soundfile.read(sample.locator.path, dtype="float32")[0])
        with torch.no_grad():
            told = model.forward_with_outputs(x[None])["told"][0] > 0
        wanted = torch.arange(FRAMES) < FRAMES // 2
        right += (told == (wanted if sample.annotations["tone"] == "0-0.25" else ~wanted)).tolist()
    assert len(right) == FRAMES * 10
    return sum(right) / len(right)


@pytest.mark.usefixtures("installed")
def test_a_changed_annotation_is_another_training(table: Path, tmp_path: Path, ctrl_c: Callable[[int], None]) -> None:
    ctrl_c(3)
    command(table, tmp_path / "out", "--set", "epochs=1")
    copied = Path(shutil.copytree(table.parent, tmp_path / table.parent.name))
    changed = copied / table.name
    changed.write_text(table.read_text().replace("0-0.25", "0-0.24"))
    again = command(changed, tmp_path / "out", "--set", "epochs=1")
    assert again.exit_code != 0
    assert "begun with another configuration" in again.stderr
    changed.write_text(table.read_text().replace(",Tone\n", ",notes\n"))
    without = command(changed, tmp_path / "without", "--set", "epochs=1")
    assert without.stderr.count("annotation") == 1
    assert "0 of 30 training samples have the annotation tone" in without.stderr
    changed.write_text(table.read_text())
    assert command(changed, tmp_path / "out", "--set", "epochs=1").exit_code == 0, "the same data in another folder"


@pytest.mark.usefixtures("installed")
def test_the_model_is_told_how_far_it_is_and_gets_targets_in_training_alone(table: Path, tmp_path: Path) -> None:
    import gasdet_hearing.model as plugin

    heard: list[Any] = []
    made: list[Any] = []

    def build(weights: Any = None, /) -> Any:
        made.append(plugin.Hearing())
        made[-1].heard = heard
        return made[-1]

    spec = load_registry().detector("hearing").spec
    data = load_chosen_data(DataChoice(data=(table,)), Modality.AUDIO, annotations=recipe_of(spec).annotations)
    original, plugin.build = plugin.build, build
    try:
        options = TrainOptions(settings=("epochs=2",), cache=tmp_path / "cache", workers=1, device="cpu")
        train_detector(spec, data, tmp_path / "out", options)
    finally:
        plugin.build = original
    # thirty samples in batches of 8, each in two parts, two epochs
    assert [count for _, count in heard] == [4, 4, 4, 4, 4, 4, 3, 3] * 2
    assert [progress for progress, _ in heard] == [step / 8 for step in range(8) for _ in range(2)]


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["targets=gasdet_hearing.recipe:absent"], "no attribute 'absent'"),
        (["targets=gasdet_hearing.recipe:RECIPE"], "which is no function"),
        (["loss_options.told.key=said"], "takes the output 'said', .* it gives embeddings, logits, told, wanted"),
        (["annotations=[a]"], "no such setting"),
        (
            ["losses={told: 1}", "loss_options.told.key=wanted"],
            r"a stage \(told\) depends on nothing .*trainable = all",
        ),
    ],
)
def test_what_cannot_be_is_said(table: Path, tmp_path: Path, settings: list[str], message: str) -> None:
    words = [word for setting in settings for word in ("--set", setting)]
    with pytest.raises((UsageError, PluginError), match=message):
        raise_of(command(table, tmp_path / "out", *words))


def raise_of(result: Result) -> None:
    raise UsageError(result.stderr)


@pytest.mark.usefixtures("with_toy_losses")
def test_targets_need_media_and_outputs_do_not(
    toy: Any, tiny_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head on cached features gives outputs through ``classify_with_outputs``; with targets it trains on media."""
    shapes: list[Any] = []

    def classify(self: Any, features: torch.Tensor, targets: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        shapes.append((tuple(features.shape[1:]), None if targets is None else tuple(targets.shape[1:])))
        logits = self.classify(features)
        return {"logits": logits, "told": logits, "wanted": torch.zeros_like(logits)}

    def forward(self: Any, x: torch.Tensor, targets: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        return classify(self, self.features(x), targets)

    module = importlib.import_module(toy.spec.target)
    monkeypatch.setattr(module.Toy, "classify_with_outputs", classify, raising=False)
    monkeypatch.setattr(module.Toy, "forward_with_outputs", forward, raising=False)
    kinds = {}
    for name, setting in (("features", "targets="), ("media", "targets=media_targets:corner")):
        settings = ("epochs=2", "losses={cross_entropy: 1, told: 9}", setting)
        options = TrainOptions(settings=settings, cache=tmp_path / "cache", workers=1, device="cpu")
        kinds[name] = train_detector(toy.spec, tiny_dataset, tmp_path / name, options).record["features"]["kind"]
    assert kinds == {"features": "features", "media": "media"}
    assert {((6,), None), ((6,), (2,))} == set(shapes)
    vectors = vectors_in(tmp_path)
    with pytest.raises(
        UsageError, match="--features has vectors, and the targets of this training are made from media"
    ):
        train_detector(toy.spec, vectors, tmp_path / "out", options)


def vectors_in(folder: Path) -> TrainingData:
    """Stored feature vectors for the toy."""
    columns = {"features": [[float(i)] * 6 for i in range(16)], "label": [i % 2 for i in range(16)]}
    pq.write_table(pa.table(columns), folder / "vectors.parquet")
    return load_chosen_data(DataChoice(features=folder / "vectors.parquet"), Modality.IMAGE)


def test_a_model_without_outputs_has_no_targets(toy: Any, tmp_path: Path) -> None:
    options = TrainOptions(settings=("targets=toy_losses:told",), cache=tmp_path, device="cpu")
    with pytest.raises(UsageError, match="no forward_with_outputs"):
        train_detector(toy.spec, vectors_in(tmp_path), tmp_path / "out", options)


SOUND = Preprocessing.from_mapping(Modality.AUDIO, {"sample_rate": 8000})
SAMPLE = Sample("0" * 32, "d", "a.wav", Locator("file", "a.wav"), Modality.AUDIO, MediaType.REAL)


def targets_of(function: Any, preprocessing: Preprocessing = SOUND) -> Targets:
    found = Targets("toy_losses:told", preprocessing)
    found._function = function
    return found


def test_a_target_function_gets_array_sample_and_rate() -> None:
    given: list[Any] = []

    def notes(array: np.ndarray, sample: Sample, sample_rate: int | None) -> np.ndarray:
        given.append((array.shape, sample, sample_rate))
        return np.arange(3, dtype=np.float64) * sample.weight

    found = targets_of(notes).batch([np.zeros(5), np.ones(5)], [SAMPLE, SAMPLE])
    assert (found.dtype, found.tolist()) == (torch.float32, [[0, 1, 2]] * 2)
    assert given == [((5,), SAMPLE, 8000)] * 2
    targets_of(notes, Preprocessing(Modality.IMAGE)).batch([np.zeros((3, 2, 2))], [SAMPLE])
    assert given[-1][2] is None
    kinds = {np.uint16: torch.int64, np.int8: torch.int64, np.bool_: torch.bool, np.float16: torch.float32}
    for given_type, expected in kinds.items():
        one = targets_of(lambda *_, t=given_type: np.ones((), t)).batch([np.zeros(1)], [SAMPLE])
        assert (one.dtype, one.shape) == (expected, (1,))


def test_unusable_targets_are_told() -> None:
    def refuses(*_: Any) -> np.ndarray:
        raise ValueError("1-0 is no interval")

    arrays = [np.zeros(5), np.zeros(5)]
    with pytest.raises(DataError, match=r"a\.wav has no usable target: 1-0 is no interval"):
        targets_of(refuses).batch(arrays, [SAMPLE] * 2)
    with pytest.raises(PluginError, match="must be numbers"):
        targets_of(lambda *_: np.array(["a"])).batch(arrays, [SAMPLE] * 2)
    path = "toy_losses:told"
    with pytest.raises(
        PluginError, match=rf"{path} fails for a\.wav: KeyError, and the sample has no annotation 'tone'; "
    ):
        targets_of(lambda array, sample, rate: sample.annotations["tone"]).batch(arrays, [SAMPLE] * 2)
    with pytest.raises(PluginError, match=rf"{path} fails for a\.wav: IndexError: .*\.$"):
        targets_of(lambda array, *_: array[7]).batch(arrays, [SAMPLE] * 2)
    with pytest.raises(PluginError, match=f"{path} returns no array of numbers: "):
        targets_of(lambda *_: [[1.0], [1.0, 2.0]]).batch(arrays, [SAMPLE] * 2)
    lengths = iter([2, 3, 2, 3])
    with pytest.raises(PluginError, match=r"\[2\] and \[3\] for arrays of one shape"):
        targets_of(lambda *_: np.zeros(next(lengths))).batch(arrays, [SAMPLE] * 2)
    with pytest.raises(DataError, match=r"\[2\] and \[3\] cannot go into one batch"):
        targets_of(lambda *_: np.zeros(next(lengths))).batch([np.zeros(5), np.zeros(6)], [SAMPLE] * 2)
