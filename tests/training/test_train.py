"""From samples to a bundle, with a toy detector and real decode processes."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from gasdet.data import Dataset
from gasdet.errors import DataError, RunError, UsageError, WeightsError
from gasdet.training import DataChoice, TrainingData, TrainOptions, load_chosen_data, train_detector
from gasdet.types import Locator, Modality, Sample


class Notes:
    """A progress sink that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.stages: list[list[Any]] = []

    def start(self, label: str, total: int) -> None:
        self.stages.append([label, total, 0, 0])

    def advance(self, done: int, errors: int) -> None:
        self.stages[-1][2] += done
        self.stages[-1][3] += errors

    def finish(self) -> None:
        pass

    def note(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def options(tmp_path: Path) -> TrainOptions:
    return TrainOptions(cache=tmp_path / "cache", workers=1, device="cpu")


def record_of(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "train.json").read_text())
    return found


def test_a_training_writes_a_bundle_that_works(
    toy: Any, tiny_dataset: Dataset, tmp_path: Path, options: TrainOptions
) -> None:
    broken = Path(tiny_dataset.samples[3].locator.path)
    broken.write_bytes(broken.read_bytes()[:60])
    sink = Notes()
    out = tmp_path / "out"
    chosen = dataclasses.replace(options, settings=("balance=true",))
    trained = train_detector(toy.spec, tiny_dataset, out, chosen, sink, origin="toy 1.0")
    assert trained.weights == out / "model.safetensors"

    record = record_of(out)
    assert record == trained.record
    assert record["state"] == "complete"
    assert record["data"]["train"] == {"real": 14, "synthetic": 14, "failed": 1}
    assert record["data"]["validation"] == {"real": 5, "synthetic": 5, "failed": 0}
    assert record["data"]["left_out_to_balance"] == 1
    assert [f["member"] for f in record["data"]["failed"]] == ["003.png"]
    assert record["result"]["trained_on"] == {"real": 14, "synthetic": 14}
    assert record["features"]["computed"] == 39
    assert record["data"]["fingerprint"] == record["data_fingerprint"] == tiny_dataset.fingerprint
    assert record["versions"]["torch"] == torch.__version__
    assert len(record["sessions"]) == 1
    epochs = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [e["epoch"] for e in epochs] == list(range(1, 31))
    assert record["result"]["kept_epoch"] in epochs
    assert record["result"]["kept_epoch"]["val_accuracy"] > 0.8
    assert any("left out 003.png" in line for line in sink.lines)
    assert sink.stages[:2] == [["features, training", 30, 30, 1], ["features, validation", 10, 10, 0]]
    assert list((out / "tensorboard").glob("events.out.tfevents*"))
    assert not (out / "checkpoint").exists()

    samples = pq.read_table(out / "samples.parquet").to_pydict()
    assert sorted(set(samples["part"])) == ["train", "validation"]
    assert (samples["part"].count("train"), samples["part"].count("validation")) == (28, 10)
    assert set(samples["sample_id"]) <= {s.sample_id for s in tiny_dataset.samples} - {
        tiny_dataset.samples[3].sample_id
    }
    assert len(set(samples["content"])) == 38
    assert None not in samples["content"]

    from gasdet.bundle import load_bundle
    from gasdet.media import decode

    detector = load_bundle(out, trust_code=True)
    assert detector.preprocessing.resize == (16, 16)
    right = 0
    for sample in tiny_dataset.samples:
        if sample.split == "val":
            logits = detector.logits(decode(Path(sample.locator.path), detector.preprocessing).array[None])
            right += int(logits.argmax()) == sample.label
    assert right / 10 == record["result"]["kept_epoch"]["val_accuracy"]


def test_the_same_again_is_the_same_file_and_computes_no_feature(
    toy: Any, tiny_dataset: Dataset, tmp_path: Path, options: TrainOptions
) -> None:
    first = train_detector(toy.spec, tiny_dataset, tmp_path / "1", options).weights
    second = train_detector(toy.spec, tiny_dataset, tmp_path / "2", options).weights
    assert first.read_bytes() == second.read_bytes()
    record = record_of(tmp_path / "2")
    assert record["features"]["computed"] == 0
    assert record["features"]["from_cache"] == 40
    other = dataclasses.replace(options, settings=("seed=5",))
    assert train_detector(toy.spec, tiny_dataset, tmp_path / "3", other).weights.read_bytes() != first.read_bytes()


def test_a_finished_training_answers_and_another_one_is_refused(
    toy: Any, tiny_dataset: Dataset, tmp_path: Path, options: TrainOptions
) -> None:
    out = tmp_path / "out"
    trained = train_detector(toy.spec, tiny_dataset, out, options)
    before = trained.weights.stat().st_mtime_ns
    sink = Notes()
    assert train_detector(toy.spec, tiny_dataset, out, options, sink).record == trained.record
    assert trained.weights.stat().st_mtime_ns == before
    assert any("finished" in line for line in sink.lines)
    other = dataclasses.replace(options, settings=("epochs=2",))
    with pytest.raises(RunError, match=r"another configuration \(recipe\.epochs: 30 -> 2\).*--restart"):
        train_detector(toy.spec, tiny_dataset, out, other)
    fewer = dataclasses.replace(tiny_dataset, samples=tiny_dataset.samples[2:])
    with pytest.raises(RunError, match=r"data\.train"):
        train_detector(toy.spec, fewer, out, options)
    assert trained.weights.stat().st_mtime_ns == before
    train_detector(toy.spec, tiny_dataset, out, dataclasses.replace(other, restart=True))
    assert record_of(out)["result"]["epochs"] == 2
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 2


@pytest.fixture
def ctrl_c(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sends this process a Ctrl-C in the middle of the n-th step from now on, once."""
    from gasdet.training.distributed import Processes

    left = [0]
    step = Processes.step

    def stepping(*arguments: Any) -> None:
        step(*arguments)
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Processes, "step", stepping)
    return lambda steps: left.__setitem__(0, steps)


@pytest.mark.parametrize("media", [False, True])
def test_an_interrupted_training_goes_on_to_the_same_bytes(
    toy: Any, tiny_dataset: Dataset, tmp_path: Path, options: TrainOptions, ctrl_c: Callable[[int], None], media: bool
) -> None:
    settings = ("batch_size=4", "epochs=6", "evaluate_every=3", f"cache_features={str(not media).lower()}")
    if media:
        settings = (*settings, "augmentation=[{name: hflip, p: 0.5}]")
    chosen = dataclasses.replace(options, settings=settings)
    whole = train_detector(toy.spec, tiny_dataset, tmp_path / "whole", chosen)
    out, sink = tmp_path / "out", Notes()
    ctrl_c(17)
    with pytest.raises(KeyboardInterrupt):
        train_detector(toy.spec, tiny_dataset, out, chosen, sink)
    assert any("the same command goes on" in line for line in sink.lines)
    assert not (out / "model.safetensors").exists()
    assert record_of(out)["state"] == "unfinished"
    sink = Notes()
    resumed = train_detector(toy.spec, tiny_dataset, out, chosen, sink)
    assert any("going on" in line for line in sink.lines)
    assert resumed.weights.read_bytes() == whole.weights.read_bytes()
    assert (out / "metrics.jsonl").read_text() == (tmp_path / "whole" / "metrics.jsonl").read_text()
    assert len(record_of(out)["sessions"]) == 2


def test_duplicates_are_dropped_from_the_training_side_and_counted(
    toy: Any, tiny_dataset: Dataset, tmp_path: Path, options: TrainOptions
) -> None:
    """Two validation pictures under other names, in another file format, in the training part."""
    from PIL import Image

    copies = []
    for index, sample in enumerate([s for s in tiny_dataset.samples if s.split == "val"][:2]):
        path = tmp_path / f"copy-{index}.bmp"
        Image.open(sample.locator.path).save(path)
        original = next(s for s in tiny_dataset.samples if s.split == "train" and s.label == sample.label)
        copies.append(
            dataclasses.replace(
                original,
                sample_id=f"{index:032x}",
                member=path.name,
                locator=Locator("file", str(path)),
                group=path.name,
                media_type=sample.media_type,
            )
        )
    dataset = dataclasses.replace(tiny_dataset, samples=(*tiny_dataset.samples, *copies))
    for number, setting in enumerate(("cache_features=true", "cache_features=false")):
        sink = Notes()
        chosen = dataclasses.replace(options, settings=(setting, "epochs=1"))
        train_detector(toy.spec, dataset, tmp_path / f"{number}", chosen, sink)
        assert any(line.startswith("2 training samples dropped") for line in sink.lines)
        record = record_of(tmp_path / f"{number}")
        assert record["data"]["duplicates_dropped"] == 2
        assert record["data"]["train"] == {"real": 15, "synthetic": 15, "failed": 0}


def test_settings_reach_module_and_preprocessing(
    toy: Any, tiny_dataset: Dataset, tmp_path: Path, options: TrainOptions
) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("epochs: 2\npreprocessing: {resize: [8, 8]}\n")
    chosen = dataclasses.replace(options, settings=("model.gain=2.0",), recipe_files=(file,))
    trained = train_detector(toy.spec, tiny_dataset, tmp_path / "out", chosen)
    assert torch.equal(load_file(str(trained.weights))["backbone.weight"], 2 * torch.eye(6))
    assert trained.record["result"]["epochs"] == 2
    from gasdet.bundle import read_config

    config = read_config(tmp_path / "out" / "model_config.yaml")
    assert config.preprocessing.resize == (8, 8)
    assert config.model == {"gain": 2.0}
    assert config.weights_file == "model.safetensors"


def test_a_backbone_file_is_used_and_recorded(
    toy: Any, tiny_dataset: Dataset, tmp_path: Path, options: TrainOptions
) -> None:
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    save_file({"weight": 3 * torch.eye(6)}, str(good))
    save_file({"kernel": torch.eye(6)}, str(bad))
    chosen = dataclasses.replace(options, backbone=str(good), settings=("epochs=1",))
    trained = train_detector(toy.spec, tiny_dataset, tmp_path / "out", chosen)
    assert torch.equal(load_file(str(trained.weights))["backbone.weight"], 3 * torch.eye(6))
    assert trained.record["backbone"]["source"] == str(good)
    with pytest.raises(WeightsError, match="does not fit"):
        train_detector(toy.spec, tiny_dataset, tmp_path / "b", dataclasses.replace(options, backbone=str(bad)))
    with pytest.raises(UsageError, match="no backbone file nowhere"):
        train_detector(toy.spec, tiny_dataset, tmp_path / "c", dataclasses.replace(options, backbone="nowhere"))
    needs = dataclasses.replace(options, settings=("needs_backbone=true",))
    with pytest.raises(UsageError, match="names no published backbone"):
        train_detector(toy.spec, tiny_dataset, tmp_path / "d", needs)
    assert not any((tmp_path / name / "model.safetensors").exists() for name in "bcd")


def test_wrong_uses_are_told_before_anything_is_decoded(
    toy: Any, tiny_dataset: Dataset, tmp_path: Path, options: TrainOptions
) -> None:
    with pytest.raises(UsageError, match="states no recipe"):
        train_detector(dataclasses.replace(toy.spec, recipe=""), tiny_dataset, tmp_path / "a", options)
    for setting, message in (
        ("x=1", "no such setting"),
        ("losses.squared_hinge=1", "squared_hinge"),
        ("selection=vibes", "vibes"),
        ("augmentation=[{name: sepia}]", "sepia"),
        ("loss_options.cross_entropy.warmth=1", "warmth"),
    ):
        sink = Notes()
        with pytest.raises(UsageError, match=message):
            train_detector(
                toy.spec, tiny_dataset, tmp_path / "a", dataclasses.replace(options, settings=(setting,)), sink
            )
        assert sink.stages == []
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "model.safetensors").write_bytes(b"")
    with pytest.raises(RunError, match=r"already holds model\.safetensors"):
        train_detector(toy.spec, tiny_dataset, taken, options)


def test_a_class_that_fails_wholly_is_said(
    toy: Any, tiny_dataset: Dataset, tmp_path: Path, options: TrainOptions
) -> None:
    for sample in tiny_dataset.samples:
        if sample.split == "val" and sample.label == 1:
            Path(sample.locator.path).unlink()
    with pytest.raises(DataError, match="validation part has 5 real and 0 synthetic samples left after 5 failed"):
        train_detector(toy.spec, tiny_dataset, tmp_path / "out", options)


def test_a_file_name_that_is_no_text_can_be_recorded(
    toy: Any, tiny_dataset: Dataset, tmp_path: Path, options: TrainOptions
) -> None:
    odd = dataclasses.replace(
        tiny_dataset.samples[0],
        member="odd \udcff\n.png",
        locator=Locator("file", str(tmp_path / "odd \udcff\n.png")),
    )
    dataset = dataclasses.replace(tiny_dataset, samples=(odd, *tiny_dataset.samples[1:]))
    sink = Notes()
    train_detector(toy.spec, dataset, tmp_path / "out", options, sink)
    failed = record_of(tmp_path / "out")["data"]["failed"]
    assert [f["reason"] for f in failed] == ["file_missing"]
    assert all("\n" not in line and line.encode() for line in sink.lines)


def test_demo_values_apply_on_demo_data_only(
    toy: Any, tiny_dataset: Dataset, tmp_path: Path, options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(toy.spec.recipe.partition(":")[0])
    monkeypatch.setattr(module, "RECIPE", dataclasses.replace(toy.recipe, demo={"epochs": 3}))
    demo = dataclasses.replace(tiny_dataset, is_demo=True)
    train_detector(toy.spec, demo, tmp_path / "demo", options)
    train_detector(toy.spec, tiny_dataset, tmp_path / "own", options)
    assert [record_of(tmp_path / n)["result"]["epochs"] for n in ("demo", "own")] == [3, 30]


def test_media_and_features_train_the_same_head(
    toy: Any, tiny_dataset: Dataset, tmp_path: Path, options: TrainOptions
) -> None:
    """The frozen backbone's features computed once, or anew in every step: the same numbers up to rounding."""
    heads = []
    for name in ("true", "false"):
        chosen = dataclasses.replace(options, settings=(f"cache_features={name}", "epochs=3"))
        trained = train_detector(toy.spec, tiny_dataset, tmp_path / name, chosen)
        assert trained.record["features"]["kind"] == {"true": "features", "false": "media"}[name]
        heads.append(load_file(str(trained.weights)))
    for key in ("head.weight", "head_mean", "head_std"):
        torch.testing.assert_close(heads[0][key], heads[1][key], rtol=1e-4, atol=1e-5)


def test_the_standardisation_is_of_the_training_part(
    toy: Any, tiny_dataset: Dataset, tmp_path: Path, options: TrainOptions
) -> None:
    from PIL import Image

    chosen = dataclasses.replace(options, settings=("epochs=1",))
    tensors = load_file(str(train_detector(toy.spec, tiny_dataset, tmp_path / "out", chosen).weights))
    rows = []
    for sample in tiny_dataset.samples:
        if sample.split == "train":
            pixels = np.asarray(Image.open(sample.locator.path), np.float64).reshape(-1, 3) / 255
            rows.append(np.concatenate([pixels.mean(0), pixels.std(0, ddof=1)]))
    np.testing.assert_allclose(tensors["head_mean"], np.mean(rows, 0), rtol=1e-5)
    np.testing.assert_allclose(tensors["head_std"], np.std(rows, 0), rtol=1e-4)


def test_stages_follow_each_other_and_a_finished_one_is_not_trained_again(
    toy: Any, tiny_dataset: Dataset, tmp_path: Path, options: TrainOptions, ctrl_c: Callable[[int], None]
) -> None:
    stages = "stages=[{epochs: 4}, {trainable: all, epochs: 3, learning_rate: 1e-3, losses: {brier: 1}}]"
    chosen = dataclasses.replace(options, settings=(stages, "batch_size=8"))
    trained = train_detector(toy.spec, tiny_dataset, tmp_path / "whole", chosen)
    assert [(s["epochs"], s["best"]["stage"]) for s in trained.record["result"]["stages"]] == [(4, 0), (3, 1)]
    assert not torch.equal(load_file(str(trained.weights))["backbone.weight"], torch.eye(6))

    out = tmp_path / "out"
    ctrl_c(4 * 4 + 6)  # in the second epoch of the second stage
    with pytest.raises(KeyboardInterrupt):
        train_detector(toy.spec, tiny_dataset, out, chosen)
    lines = (out / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["stage"] for line in lines] == [0] * 4 + [1]
    resumed = train_detector(toy.spec, tiny_dataset, out, chosen)
    assert resumed.weights.read_bytes() == trained.weights.read_bytes()
    assert (out / "metrics.jsonl").read_text() == (tmp_path / "whole" / "metrics.jsonl").read_text()


def test_training_goes_on_from_trained_weights(
    toy: Any, tiny_dataset: Dataset, tmp_path: Path, options: TrainOptions
) -> None:
    first = train_detector(
        toy.spec, tiny_dataset, tmp_path / "1", dataclasses.replace(options, settings=("epochs=5", "model.gain=2.0"))
    )
    chosen = dataclasses.replace(options, weights=str(tmp_path / "1"), settings=("epochs=1", "learning_rate=1e-9"))
    second = train_detector(toy.spec, tiny_dataset, tmp_path / "2", chosen)
    before, after = load_file(str(first.weights)), load_file(str(second.weights))
    for name, tensor in before.items():  # model.gain and the standardisation are those of the weights
        torch.testing.assert_close(after[name], tensor, rtol=1e-5, atol=1e-6)
    assert second.record["weights_from"]["file_sha256"] == first.record["weights"]["sha256"]
    assert second.record["model"] == {"gain": 2.0}
    with pytest.raises(UsageError, match="leave --backbone out"):
        train_detector(toy.spec, tiny_dataset, tmp_path / "3", dataclasses.replace(chosen, backbone="x"))


def test_a_reward_stage_after_the_others_and_alone(
    toy: Any, tiny_samples: Callable[..., list[Sample]], tmp_path: Path, options: TrainOptions
) -> None:
    samples = tuple(tiny_samples(count=200, splits=True))
    dataset = Dataset(samples=samples, fingerprint="a", description="tiny", is_demo=False)
    short = ("epochs=3", "learning_rate=0.01")
    first = train_detector(toy.spec, dataset, tmp_path / "1", dataclasses.replace(options, settings=short))
    both = dataclasses.replace(options, settings=(*short, "stages.1.steps=20"), reward=True)
    sink = Notes()
    after = train_detector(toy.spec, dataset, tmp_path / "2", both, sink)
    alone = dataclasses.replace(
        options, settings=("learning_rate=0.01", "stages.0.steps=20"), reward=True, weights=str(tmp_path / "1")
    )
    tuned = train_detector(toy.spec, dataset, tmp_path / "3", alone)
    assert [s["best"]["stage"] for s in after.record["result"]["stages"]] == [0, 1]
    assert len(tuned.record["result"]["stages"]) == 1
    assert tuned.record["recipe"]["stages"][0]["learning_rate"] == pytest.approx(0.001)
    assert any("the reference is calibrated on the validation part" in line for line in sink.lines)
    # both tune the same detector in the same way, but for the seed, which follows the stage's number
    start = load_file(str(first.weights))["head.weight"]
    for trained in (after, tuned):
        score = trained.record["result"]["kept_epoch"]["val_combined_score"]
        assert score >= first.record["result"]["kept_epoch"]["val_combined_score"]
        assert (load_file(str(trained.weights))["head.weight"] - start).abs().max() < 0.2


def test_stored_vectors_train_the_head(toy: Any, tmp_path: Path, options: TrainOptions) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    features = rng.normal(size=(400, 6)) + labels[:, None]
    features[399] = features[1] = 7.5  # one in each part
    split = ["val" if i // 2 % 4 == 3 else "train" for i in range(400)]
    file = tmp_path / "vectors.parquet"
    pq.write_table(pa.table({"features": features.tolist(), "label": labels, "split": split}), file)
    data = load_chosen_data(DataChoice(features=file), Modality.IMAGE)
    trained = train_detector(toy.spec, data, tmp_path / "out", options)
    assert trained.record["result"]["kept_epoch"]["val_auroc"] > 0.9
    assert trained.record["features"]["kind"] == "stored features"
    assert trained.record["data"]["duplicates_dropped"] == 1
    unfit = dataclasses.replace(options, settings=("trainable=all",))
    with pytest.raises(UsageError, match="changes more than the head"):
        train_detector(toy.spec, data, tmp_path / "all", unfit)


def test_the_validation_part_can_be_a_generator(
    toy: Any, tiny_samples: Callable[..., list[Sample]], tmp_path: Path, options: TrainOptions
) -> None:
    samples = tuple(
        dataclasses.replace(s, generator="" if s.label == 0 else f"g{i // 2 % 3}", group=s.member)
        for i, s in enumerate(tiny_samples())
    )
    dataset = Dataset(samples=samples, fingerprint="a", description="tiny", is_demo=False)
    chosen = dataclasses.replace(options, split_by="generator", hold_out=("g1",), settings=("epochs=1",))
    trained = train_detector(toy.spec, dataset, tmp_path / "out", chosen)
    table = pq.read_table(tmp_path / "out" / "samples.parquet").to_pydict()
    generators = {s.sample_id: s.generator for s in samples}
    of = {part: set() for part in ("train", "validation")}
    for name, part in zip(table["sample_id"], table["part"], strict=True):
        of[part].add(generators[name])
    assert of == {"train": {"", "g0", "g2"}, "validation": {"", "g1"}}
    assert trained.record["data"]["split"] == "generator g1"


def test_validation_data_of_their_own(
    toy: Any, tiny_samples: Callable[..., list[Sample]], tmp_path: Path, options: TrainOptions
) -> None:
    parts = [tuple(tiny_samples(seed=seed)) for seed in (0, 1)]
    train, val = (
        Dataset(
            samples=tuple(
                dataclasses.replace(s, group=f"{n}{s.group}", sample_id=f"{n}{s.sample_id[1:]}") for s in part
            ),
            fingerprint=str(n),
            description=f"part {n}",
            is_demo=False,
        )
        for n, part in enumerate(parts)
    )
    trained = train_detector(
        toy.spec, TrainingData(train, val), tmp_path / "out", dataclasses.replace(options, settings=("epochs=1",))
    )
    assert trained.record["data"]["train"]["real"] == trained.record["data"]["validation"]["real"] == 20
    assert trained.record["data"]["validation_fingerprint"] == "1"


def test_low_rank_adapters_are_merged_into_a_file_that_the_plugin_loads(
    toy: Any, tiny_dataset: Dataset, tmp_path: Path, options: TrainOptions
) -> None:
    settings = ("trainable=lora", "lora={rank: 2, targets: backbone}", "epochs=3", "learning_rate=1e-2")
    chosen = dataclasses.replace(options, settings=settings)
    trained = train_detector(toy.spec, tiny_dataset, tmp_path / "out", chosen)
    tensors = load_file(str(trained.weights))
    assert set(tensors) == {"backbone.weight", "head.weight", "head.bias", "head_mean", "head_std"}
    change = tensors["backbone.weight"] - torch.eye(6)
    assert change.abs().max() > 1e-4
    assert torch.linalg.matrix_rank(change, rtol=1e-3) <= 2
