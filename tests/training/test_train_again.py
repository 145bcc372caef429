"""Trainings that follow others: started over, taken up with other luck in decoding, or begun from trained weights."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

import gasdet.training.preparing as preparing
from gasdet.bundle import resolve_weights
from gasdet.bundle.calibration import CALIBRATOR_NAME, CalibratorError, CalibratorFile, write_calibrator
from gasdet.data import Dataset
from gasdet.errors import DataError, PluginError, RunError, UsageError
from gasdet.registry import load_registry
from gasdet.training import DataChoice, TrainOptions, load_chosen_data, train_detector
from gasdet.training.decoded_store import Failure
from gasdet.training.distributed import Processes
from gasdet.training.features import FeatureSet
from gasdet.training.identity import plugin_sha256, rows_sha256, training_code, training_versions
from gasdet.training.objectives import calibration_line
from gasdet.types import DetectorSpec, Modality, Preprocessing, Reason, Sample


class Notes:
    """A progress sink that remembers what it is told, and what was decoded."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.stages: list[str] = []

    def start(self, label: str, total: int) -> None:
        self.stages.append(label)

    def advance(self, done: int, errors: int) -> None:
        pass

    def finish(self) -> None:
        pass

    def note(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def options(tmp_path: Path) -> TrainOptions:
    return TrainOptions(cache=tmp_path / "cache", workers=1, device="cpu", settings=("epochs=1",))


@pytest.fixture
def first(toy: Any, tiny_dataset: Dataset, tmp_path: Path, options: TrainOptions) -> Path:
    """The folder of a finished training."""
    return train_detector(toy.spec, tiny_dataset, tmp_path / "first", options).weights.parent


def record_of(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "train.json").read_text())
    return found


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def rows_of(folder: Path) -> dict[str, tuple[str | None, str, bool]]:
    table = pq.read_table(folder / "samples.parquet").to_pydict()
    found = {n: (c, p, e) for n, c, p, e in zip(*(table[k] for k in ("sample_id", "content", "part", "earlier")))}  # noqa: B905
    assert len(found) == len(table["sample_id"])
    return found


def swapped(dataset: Dataset, count: int = 2) -> Dataset:
    """The validation part and as many groups of the training part in each other's place."""
    moved = {s.group for s in dataset.samples if s.split == "train"}
    moved = set(sorted(moved)[:count])
    samples = tuple(dataclasses.replace(s, split="val" if s.group in moved else "train") for s in dataset.samples)
    return dataclasses.replace(dataset, samples=samples, fingerprint="swapped")


def test_nothing_is_cleared_before_everything_is_checked(
    toy: Any, tiny_dataset: Dataset, first: Path, options: TrainOptions
) -> None:
    (first / "calibrator.json").write_text("{}")
    before = content_of(first)
    for setting in ("epochs=0", "losses.nothing=1", "trainable=layernorm", "sampling=paired", "precision=float16"):
        wrong = dataclasses.replace(options, settings=(setting,), restart=True)
        with pytest.raises((UsageError, DataError, PluginError)):
            train_detector(toy.spec, tiny_dataset, first, wrong)
    chosen = dataclasses.replace(options, weights=str(first), restart=True)
    with pytest.raises(RunError, match=r"--weights: .* lies in .*choose another folder"):
        train_detector(toy.spec, tiny_dataset, first, chosen)
    save_file({"weight": torch.eye(6)}, str(first / "backbone.safetensors"))
    chosen = dataclasses.replace(options, backbone=str(first / "backbone.safetensors"), restart=True)
    with pytest.raises(RunError, match=r"--backbone: .* lies in"):
        train_detector(toy.spec, tiny_dataset, first, chosen)
    assert {n: b for n, b in content_of(first).items() if n != "backbone.safetensors"} | {".lock": b""} == before | {
        ".lock": b""
    }
    train_detector(toy.spec, tiny_dataset, first, dataclasses.replace(options, restart=True))
    assert not (first / "calibrator.json").exists()


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("name", ["model.py", "model_config.yaml", "model.safetensors", "train.json", "metrics.jsonl"])
def test_files_that_no_training_wrote_are_left_alone(
    toy: Any, tiny_dataset: Dataset, tmp_path: Path, options: TrainOptions, name: str, restart: bool
) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / name).write_text("{}")
    with pytest.raises(RunError, match=f"already holds {name}"):
        train_detector(toy.spec, tiny_dataset, taken, dataclasses.replace(options, restart=restart))
    assert (taken / name).read_text() == "{}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("trainable=layernorm",), "no LayerNorm"),
        (("trainable=lora", "lora={targets: nothing}"), "no Linear layer outside the head"),
        (("precision=float16",), "needs a CUDA device"),
        (("sampling=paired",), "needs pair ids"),
        (("sampling=weighted",), "needs sampling_options.weights"),
        (("cache_features=false", "augmentation=[{name: random_crop, size: 4000}]"), "no window of 4000 pixels"),
    ],
)
def test_what_cannot_be_trained_is_told_before_decoding(
    toy: Any, tiny_dataset: Dataset, tmp_path: Path, options: TrainOptions, settings: tuple[str, ...], message: str
) -> None:
    sink = Notes()
    chosen = dataclasses.replace(options, settings=settings)
    with pytest.raises((UsageError, DataError), match=message):
        train_detector(toy.spec, tiny_dataset, tmp_path / "out", chosen, sink)
    assert sink.stages == []
    assert not (tmp_path / "out" / "train.json").exists()


def test_validation_samples_that_the_start_weights_were_trained_on_are_refused(
    toy: Any, tiny_dataset: Dataset, tmp_path: Path, options: TrainOptions, first: Path
) -> None:
    chosen = dataclasses.replace(options, weights=str(first))
    again = train_detector(toy.spec, tiny_dataset, tmp_path / "same", chosen)  # its own validation part is fine
    assert again.record["data"]["ancestry"] == "known"
    other, sink = swapped(tiny_dataset), Notes()
    with pytest.raises(DataError, match=r"4 of the 4 validation samples .*--allow-training-data"):
        train_detector(toy.spec, other, tmp_path / "out", chosen, sink)
    assert sink.stages == []
    renamed = tuple(dataclasses.replace(s, sample_id=f"{i:032x}") for i, s in enumerate(other.samples))
    with pytest.raises(DataError, match=r"4 of the 4 validation samples .*exact copies"):
        train_detector(toy.spec, dataclasses.replace(other, samples=renamed), tmp_path / "copies", chosen)
    allowed = dataclasses.replace(chosen, allow_training_data=True)
    trained = train_detector(toy.spec, other, tmp_path / "allowed", allowed)
    assert trained.record["data"]["validation_trained_on_before"] == 4
    used = {s.sample_id: s.split for s in other.samples}
    rows = rows_of(tmp_path / "allowed")
    assert {part for _, part, _ in rows.values()} == {"train"}  # every sample was trained on now, or before
    assert {name for name, (_, _, earlier) in rows.items() if earlier} == {n for n, s in used.items() if s == "val"}


def test_the_samples_of_the_trainings_before_stay_on_record(
    toy: Any, tiny_dataset: Dataset, tiny_samples: Callable[..., list[Sample]], tmp_path: Path, options: TrainOptions,
    first: Path,
) -> None:  # fmt: skip
    fresh = tuple(
        dataclasses.replace(s, group=f"x{s.group}", sample_id=f"{i:032x}")
        for i, s in enumerate(tiny_samples(seed=1, splits=True))
    )
    other = Dataset(samples=fresh, fingerprint="o", description="other", is_demo=False)
    second = train_detector(toy.spec, other, tmp_path / "2", dataclasses.replace(options, weights=str(first)))
    third = train_detector(toy.spec, other, tmp_path / "3", dataclasses.replace(options, weights=str(tmp_path / "2")))
    assert (second.record["data"]["ancestry"], third.record["data"]["ancestry"]) == ("known", "known")
    before = rows_of(first)
    rows = rows_of(tmp_path / "3")
    assert {n: (c, p, False) for n, (c, p, e) in rows.items() if e} == before
    assert len(rows) == 80
    small = dataclasses.replace(
        options, weights=str(tmp_path / "2"), settings=("epochs=1", "preprocessing.resize=[8, 8]")
    )
    train_detector(toy.spec, other, tmp_path / "small", small)  # other arrays have other digests
    assert {c for c, _, e in rows_of(tmp_path / "small").values() if e} == {None}

    from gasdet.evaluation.seen import seen_by

    found = seen_by(third.weights, third.record["weights"]["sha256"])
    assert found.complete
    assert {found.parts[s.sample_id] for s in tiny_dataset.samples} == {"train", "validation"}


def test_start_weights_without_a_record_leave_the_rest_unknown(
    toy: Any, tiny_dataset: Dataset, tmp_path: Path, options: TrainOptions, first: Path
) -> None:
    from gasdet.evaluation.seen import seen_by

    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "w.safetensors").write_bytes((first / "model.safetensors").read_bytes())
    start = bare / "w.safetensors"
    for name in ("2", "3"):
        trained = train_detector(
            toy.spec, tiny_dataset, tmp_path / name, dataclasses.replace(options, weights=str(start))
        )
        assert trained.record["data"]["ancestry"] == "unknown"
        assert not seen_by(trained.weights, trained.record["weights"]["sha256"]).complete
        start = trained.weights


@pytest.fixture
def unlucky(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Members that do not decode in time while they are in this set."""
    members: set[str] = set()
    real = preparing.extract_features

    def extract(module: Any, samples: Any, *rest: Any, **named: Any) -> FeatureSet:
        found = real(module, samples, *rest, **named)
        late = [s for s in found.samples if s.member in members]
        kept = found.part([s for s in found.samples if s not in late])
        failures = (*found.failures, *(Failure(s, Reason.DECODE_TIMEOUT, "too slow") for s in late))
        return dataclasses.replace(kept, failures=failures, computed=found.computed)

    monkeypatch.setattr(preparing, "extract_features", extract)
    return members


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Interrupts the next step."""
    due = [False]
    step = Processes.step

    def stepping(*arguments: Any) -> None:
        step(*arguments)
        if due[0]:
            due[0] = False
            raise KeyboardInterrupt

    monkeypatch.setattr(Processes, "step", stepping)
    return lambda: due.__setitem__(0, True)


def test_a_file_that_decodes_in_one_session_only(
    toy: Any, tiny_dataset: Dataset, tmp_path: Path, options: TrainOptions, unlucky: set[str], stop: Callable[[], None]
) -> None:
    chosen = dataclasses.replace(options, settings=("epochs=2", "batch_size=8"))
    unlucky.add("000.png")
    whole = train_detector(toy.spec, tiny_dataset, tmp_path / "whole", chosen)
    out, sink = tmp_path / "out", Notes()
    stop()
    with pytest.raises(KeyboardInterrupt):
        train_detector(toy.spec, tiny_dataset, out, dataclasses.replace(chosen, restart=True), sink)
    assert any("the same command without --restart goes on" in line for line in sink.lines)
    assert record_of(out)["sessions"][0]["seconds"] > 0
    unlucky.clear()  # decodes now, and still takes no part
    unlucky.add("001.png")  # took part, and does not decode now
    with pytest.raises(RunError, match=r"001\.png cannot be used now \(decode_timeout, too slow\)"):
        train_detector(toy.spec, tiny_dataset, out, chosen)
    unlucky.clear()
    resumed = train_detector(toy.spec, tiny_dataset, out, chosen)
    assert resumed.weights.read_bytes() == whole.weights.read_bytes()
    assert [f["member"] for f in resumed.record["data"]["failed"]] == ["000.png"]
    seconds = [session["seconds"] for session in resumed.record["sessions"]]
    assert len(seconds) == 3
    assert resumed.record["seconds"] == pytest.approx(sum(seconds))


def test_files_that_were_all_bad_can_be_replaced(
    toy: Any, tiny_dataset: Dataset, tmp_path: Path, options: TrainOptions, unlucky: set[str]
) -> None:
    unlucky |= {s.member for s in tiny_dataset.samples if s.label == 1}
    with pytest.raises(DataError, match="0 synthetic"):
        train_detector(toy.spec, tiny_dataset, tmp_path / "out", options)
    unlucky.clear()
    trained = train_detector(toy.spec, tiny_dataset, tmp_path / "out", options)
    assert trained.record["data"]["train"]["failed"] == 0


def test_features_of_an_unchanged_backbone_are_asked_for_once(
    toy: Any, tiny_dataset: Dataset, tmp_path: Path, options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = preparing.extract_features
    monkeypatch.setattr(preparing, "extract_features", lambda *a, **k: (asked.append(k["label"]), real(*a, **k))[1])
    stages = "stages=[{}, {learning_rate: 1e-4}, {trainable: all}, {trainable: head}]"
    train_detector(
        toy.spec, tiny_dataset, tmp_path / "out", dataclasses.replace(options, settings=("epochs=1", stages))
    )
    assert asked == ["features, training", "features, validation"] * 2  # once more after the backbone was trained


def test_what_else_a_training_takes_from_its_samples_is_its_identity(
    toy: Any, tiny_dataset: Dataset, options: TrainOptions, first: Path
) -> None:
    sample = tiny_dataset.samples[0]
    for change in ({"weight": 2.0}, {"pair": "p"}, {"dataset": "other"}, {"group": "g"}):
        other = dataclasses.replace(sample, **change)  # type: ignore[arg-type]
        with pytest.raises(RunError, match=r"data\.train"):
            train_detector(
                toy.spec, dataclasses.replace(tiny_dataset, samples=(other, *tiny_dataset.samples[1:])), first, options
            )
    assert rows_sha256([sample], {sample.sample_id: "a"}) != rows_sha256([sample], {sample.sample_id: "b"})
    pair = tiny_dataset.samples[:2]
    assert rows_sha256(pair) != rows_sha256(pair[::-1])


def test_identity_holds_model_libraries_and_every_file_of_the_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib.metadata import version

    assert training_versions()["safetensors"] == version("safetensors")
    package = tmp_path / "plugged"
    (package / "deep").mkdir(parents=True)
    for name in ("__init__.py", "model.py", "deep/__init__.py", "deep/blocks.py"):
        (package / name).write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = DetectorSpec(name="p", modality=Modality.IMAGE, target="plugged.model", summary="p")
    before = plugin_sha256(spec, "plugged.model:build")
    assert plugin_sha256(spec, "plugged.model:build") == before
    (package / "deep" / "blocks.py").write_text("x = 1")
    assert plugin_sha256(spec, "plugged.model:build") != before


def test_code_of_losses_and_targets_is_the_trainings_identity(
    toy: Any, tiny_dataset: Dataset, tmp_path: Path, options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another distribution than the detector, as a package that only brings losses is."""
    site = tmp_path / "brought"
    for name in ("brought_losses", "brought_targets", "brought_losses-1.0.dist-info"):
        (site / name).mkdir(parents=True)
    losses, targets = site / "brought_losses" / "__init__.py", site / "brought_targets" / "__init__.py"
    losses.write_text("def square(logits, labels):\n    return (logits[:, 1] - labels).square().mean()\n")
    targets.write_text("def none(array, sample, sample_rate):\n    return array[:1]\n")
    (site / "brought_losses" / "plugin.py").write_text(
        "from gasdet import ComponentSpec, hookimpl\n\n@hookimpl\ndef register_losses(register):\n"
        "    register(ComponentSpec('square', 'brought_losses:square', 'squared error'))\n"
    )
    info = site / "brought_losses-1.0.dist-info"
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brought-losses\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[gasdet]\nbrought = brought_losses.plugin\n")
    monkeypatch.syspath_prepend(str(site))
    load_registry.cache_clear()
    try:
        own = toy.recipe
        recipe = dataclasses.replace(own, stages=({}, {"losses": {"square": 1.0}, "targets": "brought_targets:none"}))
        code = training_code(recipe)
        assert set(code) >= {own.builder, "brought_losses:square", "brought_targets:none"}
        assert "brought_losses:square" not in training_code(dataclasses.replace(recipe, stages=()))
        digests = [plugin_sha256(toy.spec, *code)]
        assert plugin_sha256(toy.spec, *training_code(own)) == plugin_sha256(
            toy.spec, own.builder
        )  # gasdet has a version
        for file in (losses, targets):
            file.write_text(file.read_text() + "# changed\n")
            digests.append(plugin_sha256(toy.spec, *code))
        assert len(set(digests)) == 3

        chosen = dataclasses.replace(options, settings=("epochs=1", "losses={square: 1}"))
        out = tmp_path / "out"
        train_detector(toy.spec, tiny_dataset, out, chosen)
        assert train_detector(toy.spec, tiny_dataset, out, chosen).weights.exists()
        losses.write_text(losses.read_text() + "# changed again\n")
        with pytest.raises(RunError, match=r"begun with another configuration .*model_sha256"):
            train_detector(toy.spec, tiny_dataset, out, chosen)
    finally:
        load_registry.cache_clear()


def test_stored_vectors_that_are_not_finite_count_once(toy: Any, tmp_path: Path, options: TrainOptions) -> None:
    features = np.random.default_rng(0).normal(size=(40, 6))
    features[[0, 1, 39]] = np.nan
    split = ["val" if i >= 30 else "train" for i in range(40)]
    file = tmp_path / "v.parquet"
    pq.write_table(pa.table({"features": features.tolist(), "label": np.arange(40) % 2, "split": split}), file)
    data = load_chosen_data(DataChoice(features=file), Modality.IMAGE)
    record = train_detector(toy.spec, data, tmp_path / "out", options).record["data"]
    assert (record["train"]["failed"], record["validation"]["failed"], len(record["failed"])) == (2, 1, 3)


def test_a_set_value_wins_over_the_weights_even_where_the_recipe_says_the_same(
    toy: Any, tiny_dataset: Dataset, tmp_path: Path, options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib

    module = importlib.import_module(toy.spec.recipe.partition(":")[0])
    monkeypatch.setattr(module, "RECIPE", dataclasses.replace(toy.recipe, preprocessing={"resize": [16, 16]}))
    small = dataclasses.replace(options, settings=("epochs=1", "preprocessing.resize=[8, 8]"))
    train_detector(toy.spec, tiny_dataset, tmp_path / "1", small)
    for settings, size in (((), [8, 8]), (("preprocessing.resize=[16, 16]",), [16, 16])):
        chosen = dataclasses.replace(options, weights=str(tmp_path / "1"), settings=("epochs=1", *settings))
        trained = train_detector(toy.spec, tiny_dataset, tmp_path / f"{size}", chosen)
        assert trained.record["preprocessing"]["resize"] == size


def test_a_calibrator_beside_the_weights_matters_to_a_reward_stage_alone(
    toy: Any, tiny_dataset: Dataset, tmp_path: Path, options: TrainOptions, first: Path
) -> None:
    (first / "calibrator.json").write_text("no JSON")
    chosen = dataclasses.replace(options, weights=str(first))
    train_detector(toy.spec, tiny_dataset, tmp_path / "plain", chosen)
    with pytest.raises(CalibratorError, match="calibrate again, or move it away") as told:
        train_detector(toy.spec, tiny_dataset, tmp_path / "reward", dataclasses.replace(chosen, reward=True))
    assert "--no-calibrator" not in str(told.value)


def test_a_reward_stage_takes_the_line_only_of_its_own_preprocessing(toy: Any, first: Path) -> None:
    weights = resolve_weights(toy.spec, str(first), demo_data=False)
    own = Preprocessing.from_mapping(toy.spec.modality, weights.preprocessing)
    fitted = CalibratorFile(
        method="platt",
        parameters={"scale": 2.0, "bias": 0.5},
        detector=toy.spec.name,
        weights_sha256=weights.sha256,
        preprocessing=own.to_mapping(),
    )
    write_calibrator(first / CALIBRATOR_NAME, fitted)
    assert calibration_line(weights, own) == (2.0, 0.5)
    assert calibration_line(weights, dataclasses.replace(own, region="faces")) is None


def test_the_calibration_of_a_reward_stage_is_kept_and_told(
    toy: Any, tiny_samples: Callable[..., list[Sample]], tmp_path: Path, options: TrainOptions
) -> None:
    samples = tuple(tiny_samples(count=80, splits=True))
    dataset = Dataset(samples=samples, fingerprint="a", description="tiny", is_demo=False)
    settings = ("epochs=3", "accumulate=3", "batch_size=6", "stages.1.steps=2")
    sink = Notes()
    chosen = dataclasses.replace(options, settings=settings, reward=True)
    trained = train_detector(toy.spec, dataset, tmp_path / "out", chosen, sink)
    assert trained.record["recipe"]["stages"][1]["batch_size"] == 510
    supervised, reward = trained.record["result"]["stages"]
    assert "calibration" not in supervised
    line = reward["calibration"]
    assert any(f"{line['scale']:.4g} x margin {line['bias']:+.4g}" in told for told in sink.lines)
    lines = trained.lines()
    place = next(i for i, told in enumerate(lines) if told.startswith("Stage 1: kept"))
    assert "calibrated probabilities" in lines[place + 1]
    assert "gasdet calibrate" in lines[place + 1]
    assert sum("gasdet calibrate" in told for told in lines) == 1


def test_a_backbone_that_is_not_at_hand_names_its_option(
    toy: Any, tiny_dataset: Dataset, tmp_path: Path, options: TrainOptions
) -> None:
    from gasdet.errors import FetchError
    from gasdet.types import BackboneSpec

    backbone = BackboneSpec(name="b", source="hf-hub:nobody/nothing/model.safetensors", licence="MIT", parameters=1)
    spec = dataclasses.replace(toy.spec, backbones=(backbone,))
    chosen = dataclasses.replace(options, settings=("needs_backbone=true",), offline=True)
    with pytest.raises(FetchError, match=r"--backbone.*also where --features trains the head alone"):
        train_detector(spec, tiny_dataset, tmp_path / "out", chosen)
