from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gasdet.errors import UsageError
from gasdet.training import DataChoice, load_chosen_data, load_training_data
from gasdet.training.data import balanced_rows
from gasdet.types import Locator, MediaType, Modality, Sample, sample_id


def sample(name: str, label: int) -> Sample:
    return Sample(
        sample_id=sample_id("d", name),
        dataset="d",
        member=name,
        locator=Locator("file", name),
        modality=Modality.IMAGE,
        media_type=(MediaType.REAL, MediaType.SYNTHETIC)[label],
        group=name,
    )


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    root = tmp_path / "pictures"
    for folder in ("real", "synthetic"):
        (root / folder).mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (8, 8), (i, i, i)).save(root / folder / f"{i}.png")
    return root


def test_folder_data_loads(pictures: Path) -> None:
    (pictures / "real" / "song.wav").write_bytes(b"RIFF\x00\x00\x00\x00WAVEfmt ")
    loaded = load_training_data(pictures, modality=Modality.IMAGE)
    assert sorted(s.label for s in loaded.samples) == [0] * 4 + [1] * 4
    chosen = load_chosen_data(DataChoice(data=(pictures,), limit=4), Modality.IMAGE)
    assert (len(chosen.dataset.samples), chosen.val, chosen.stored) == (4, None, None)


def test_validation_data_of_their_own(pictures: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    pictures.rename(other)
    for label in ("real", "synthetic"):
        (pictures / label).mkdir(parents=True)
        (other / label / "3.png").rename(pictures / label / "3.png")
    chosen = load_chosen_data(DataChoice(data=(other,), val=(pictures,)), Modality.IMAGE)
    assert chosen.val is not None
    assert (len(chosen.dataset.samples), len(chosen.val.samples)) == (6, 2)


def test_tables_with_a_root(pictures: Path, tmp_path: Path) -> None:
    for name, numbers in (("train", (0, 1, 2)), ("val", (3,))):
        rows = [f"{label}/{i}.png,{label}" for label in ("real", "synthetic") for i in numbers]
        (tmp_path / f"{name}.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    choice = DataChoice(train_csv=tmp_path / "train.csv", val_csv=tmp_path / "val.csv", data_root=pictures)
    chosen = load_chosen_data(choice, Modality.IMAGE)
    assert chosen.val is not None
    assert (len(chosen.dataset.samples), len(chosen.val.samples)) == (6, 2)
    assert all(Path(s.locator.path).is_file() for s in (*chosen.dataset.samples, *chosen.val.samples))


def test_stored_vectors(tmp_path: Path) -> None:
    file = tmp_path / "vectors.parquet"
    rng = np.random.default_rng(0)
    pq.write_table(pa.table({"features": rng.normal(size=(6, 3)).tolist(), "label": [0, 1] * 3}), file)
    chosen = load_chosen_data(DataChoice(features=file), Modality.VIDEO)
    assert chosen.stored is not None
    assert chosen.stored.features.shape == (6, 3)
    assert [s.label for s in chosen.dataset.samples] == [0, 1] * 3


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (DataChoice(), "one of --data, --train-csv and --features"),
        (DataChoice(data=("a",), features=Path("b")), "one of --data"),
        (DataChoice(train_csv=Path("a"), val=("b",)), "from --val-csv, and --data from --val"),
        (DataChoice(data=("a",), val_csv=Path("b")), "from --val-csv, and --data from --val"),
        (DataChoice(data=("a",), val=("c",), val_csv=Path("b")), "both name the validation data"),
        (DataChoice(data=("a",), data_root=Path("b")), "name such a table"),
        (DataChoice(features=Path("a"), limit=3), "are for media"),
        (DataChoice(train_csv=Path("a"), datasets=("x",)), "is one"),
    ],
)
def test_options_that_do_not_go_together(choice: DataChoice, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_chosen_data(choice, Modality.IMAGE)


def test_the_larger_class_is_cut_to_the_smaller_by_hash() -> None:
    samples = [sample(f"s{i}", int(i % 5 == 0)) for i in range(100)]
    rows = balanced_rows(samples, 3)
    labels = [samples[row].label for row in rows]
    assert (labels.count(0), labels.count(1)) == (20, 20)
    assert rows == sorted(set(rows))
    assert rows == balanced_rows(samples, 3)
    assert rows != balanced_rows(samples, 4)
    backwards = {samples[::-1][row].member for row in balanced_rows(samples[::-1], 3)}
    assert backwards == {samples[row].member for row in rows}


def test_notes_on_both_demo_splits_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import gasdet.training.data as module
    from gasdet.data import Dataset

    said = {"train": ("1,200 audio samples left out: why", "same"), "val": ("34 audio samples left out: why", "same")}
    monkeypatch.setattr(module, "load_data", lambda *_, split, **__: Dataset((), split, split, True, said[split]))
    found = module.load_training_data("demo", modality=Modality.VIDEO)
    assert found.notes == ("1,234 audio samples left out: why", "same")
